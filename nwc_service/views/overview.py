"""The whole service on one page: what is owed, what backs it, what happened over time."""

from nwc_service.store import alarms, ledger, payments, series
from nwc_service.store.database import Tx
from nwc_service.views.view import View, rows
from nwc_service.wallet.payment import LIVE_STATES
from nwc_service.wallet.units import Msat


async def overview(tx: Tx) -> View:
    """As the books have it; looks at each account."""
    standing = await payments.live_states(tx)
    return {
        "owed_msat": await ledger.liabilities_msat(tx),
        "suspense_msat": Msat(await ledger.book_msat(tx, "suspense")),
        "accounts": await ledger.account_count(tx),
        "open_payments": sum(standing.get(state, (0, 0))[0] for state in LIVE_STATES),
        "alarms": len(await alarms.alarms(tx)),
    }


async def time_series(tx: Tx, *, since: int, step_s: int, now: int) -> View:
    """Steps in which nothing happened are missing; `at` has all of them."""
    return {
        "step_s": step_s,
        "at": list(range(since, now + 1, step_s)),
        "incoming": rows(await series.settled(tx, "in", since=since, step_s=step_s)),
        "outgoing": rows(await series.settled(tx, "out", since=since, step_s=step_s)),
        "liquidity": rows(await series.samples(tx, since=since, step_s=step_s)),
    }
