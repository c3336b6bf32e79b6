"""Accounts."""

from dataclasses import asdict

from nwc_service import cursors
from nwc_service.store import ledger
from nwc_service.store.database import Tx
from nwc_service.store.ledger import Account
from nwc_service.views.view import View, page
from nwc_service.wallet.errors import NotFound


def account_view(account: Account) -> View:
    return {
        "account_id": account.account_id,
        "name": account.name,
        "backend": account.backend,
        "available_msat": account.available_msat,
        "held_msat": account.held_msat,
        "keysend_id": account.keysend_id,
        "frozen": account.frozen_at is not None,
        **asdict(account.limits),
        "created_at": account.created_at,
    }


async def account_page(tx: Tx, *, cursor: str | None, limit: int, prefix: str = "") -> View:
    """The oldest first. Raises Refused for a cursor that is none."""
    found = await ledger.account_page(
        tx, after=cursors.row_of(cursor), prefix=prefix, limit=limit + 1
    )

    def behind() -> str:
        return cursors.after_row(found[limit - 1].created_at, found[limit - 1].name)

    return page([account_view(each) for each in found], limit=limit, cursor=behind)


async def account(tx: Tx, name: str) -> View:
    return account_view(await named(tx, name))


async def named(tx: Tx, name: str) -> Account:
    found = await ledger.account_named(tx, name)
    if found is None:
        raise NotFound(f"there is no account {name!r}")
    return found
