"""An account, as its user sees it."""

from nwc_service.store import ledger
from nwc_service.store.database import Tx
from nwc_service.views.view import View
from nwc_service.wallet.budget import Renewal, period_start
from nwc_service.wallet.errors import NotFound
from nwc_service.wallet.units import AccountId


async def me(tx: Tx, account_id: AccountId, *, now: int) -> View:
    """Raises NotFound."""
    found = await ledger.account(tx, account_id)
    if found is None:
        raise NotFound("this account is not there any more")
    day = period_start(Renewal.DAILY, now)
    return {
        "name": found.name,
        "available_msat": found.available_msat,
        "held_msat": found.held_msat,
        "frozen": found.frozen_at is not None,
        "max_balance_msat": found.limits.max_balance_msat,
        "max_payment_msat": found.limits.max_payment_msat,
        "max_daily_msat": found.limits.max_daily_msat,
        "used_today_msat": await ledger.used_of_day(tx, account_id, day=day),
        "nostr_pubkey": found.nostr_pubkey,
        "created_at": found.created_at,
    }
