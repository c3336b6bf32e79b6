"""Lightning addresses."""

from nwc_service import cursors
from nwc_service.store import addresses
from nwc_service.store.addresses import Address
from nwc_service.store.database import Tx
from nwc_service.views.accounts import named
from nwc_service.views.view import View, page


def address_view(address: Address) -> View:
    return {
        "name": address.name,
        "account": address.account_name,
        "nostr_pubkey": address.nostr_pubkey,
        "created_at": address.created_at,
    }


async def address_page(
    tx: Tx, *, cursor: str | None, limit: int, account_name: str | None = None
) -> View:
    """In the order of their names. Raises Refused for a cursor that is none, and NotFound."""
    account = await named(tx, account_name) if account_name else None
    found = await addresses.page(
        tx,
        after=cursors.row_of(cursor)[1],
        account_id=account.account_id if account else None,
        limit=limit + 1,
    )

    def behind() -> str:
        return cursors.after_row(found[limit - 1].created_at, found[limit - 1].name)

    return page([address_view(each) for each in found], limit=limit, cursor=behind)
