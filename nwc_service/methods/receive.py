"""receive (NWC-321): a BIP-321 URI that a payer can be given, with an invoice in it and, where
the node makes them, an offer of the same terms."""

from nwc_service.backend import Cap
from nwc_service.methods.make_invoice import check_terms
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Preset,
    Text,
    stored_metadata,
)
from nwc_service.receive import InvoiceOrder
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import Msat


class Receive(Params):
    amount: AmountMsat | None = None
    description: Text | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: Receive) -> None:
    wallet, caps = context.wallet, context.wallet.backend.caps
    check_terms(params.amount, params.description, caps=caps, code=ErrorCode.BAD_REQUEST)
    if params.amount is None and Cap.AMOUNTLESS_CREATE not in caps:
        raise RequestError(ErrorCode.BAD_REQUEST, "amount: this wallet needs one")
    order = InvoiceOrder(
        amount_msat=None if params.amount is None else Msat(params.amount),
        description=params.description or "",
        description_hash=None,
        expiry_s=wallet.invoice_expiry_s,
        metadata=stored_metadata(params.metadata),
    )
    # NWC-12: "BOLT12 requires an amount-bearing offer to describe the purpose".
    can_be_offered = params.amount is None or bool(params.description)
    with_offer = Cap.BOLT12_RECEIVE in caps and can_be_offered
    await wallet.receiver.issue(
        context.caller,
        order,
        backend=wallet.backend_name,
        beside=wallet.offers.make_beside if with_offer else None,
    )


METHOD = Method(
    name="receive",
    params=Receive,
    handle=handle,
    preset=Preset.ALL,
    mutates=True,
    bad_params=ErrorCode.BAD_REQUEST,
)
