"""Accounts."""

from nwc_service.store import ledger
from nwc_service.store.database import Tx
from nwc_service.store.ledger import Account
from nwc_service.views.view import View
from nwc_service.wallet.errors import NotFound


def account_view(account: Account) -> View:
    return {
        "account_id": account.account_id,
        "name": account.name,
        "backend": account.backend,
        "available_msat": account.available_msat,
        "held_msat": account.held_msat,
        "keysend_id": account.keysend_id,
        "created_at": account.created_at,
    }


async def accounts(tx: Tx) -> list[View]:
    return [account_view(account) for account in await ledger.accounts(tx)]


async def account(tx: Tx, name: str) -> View:
    return account_view(await named(tx, name))


async def named(tx: Tx, name: str) -> Account:
    found = await ledger.account_named(tx, name)
    if found is None:
        raise NotFound(f"there is no account {name!r}")
    return found
