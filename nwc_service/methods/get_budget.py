"""get_budget: what this connection may spend, and has spent, in the running period."""

from nwc_service.methods.method import Context, Method, Params, Preset, Result
from nwc_service.store import connections
from nwc_service.wallet.budget import period_start, renews_at


async def handle(context: Context, params: Params) -> Result:
    """Empty for a connection without a budget, as apps expect it."""
    connection, now = context.caller.connection, context.wallet.clock()
    budget = connection.budget
    if budget is None:
        return {}
    used_msat = await context.wallet.db.read(
        lambda tx: connections.budget_used_msat(
            tx, connection.connection_id, period_start=period_start(budget.renewal, now)
        )
    )
    result: dict[str, object] = {
        "used_budget": used_msat,
        "total_budget": budget.limit_msat,
        "renewal_period": budget.renewal,
    }
    next_at = renews_at(budget.renewal, now)
    return result if next_at is None else result | {"renews_at": next_at}


METHOD = Method(
    name="get_budget",
    params=Params,
    handle=handle,
    # It tells a connection about itself only, so it is always answered; but nostr-sdk 0.44
    # rejects a whole get_info that names it, so it is announced where it was asked for.
    preset=Preset.ALL,
    ungranted=True,
)
