"""What make_offer answers (NWC-12)."""

from nwc_service.wallet import bip321
from nwc_service.wallet.offer import MadeOffer


def result_of(made: MadeOffer) -> dict[str, object]:
    """`amount` is there even where it is null: any amount."""
    optional: dict[str, object] = {
        "description": made.description or None,
        "issuer": made.issuer,
        "expires_at": made.expires_at,
    }
    result: dict[str, object] = {
        "offer_id": made.bolt12_id,
        "bip321": bip321.build(lno=[made.offer]),
        "offer": made.offer,
        "amount": made.amount_msat,
        "single_use": made.single_use,
        "created_at": made.created_at,
    }
    return result | {name: value for name, value in optional.items() if value is not None}
