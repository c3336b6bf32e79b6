"""Connections, with what their budgets have left."""

from collections.abc import Callable

import orjson

from nwc_service import cursors
from nwc_service.nip47.connection import Connection
from nwc_service.store import connections, ledger
from nwc_service.store.database import Tx
from nwc_service.views.accounts import named
from nwc_service.views.view import View, page
from nwc_service.wallet.budget import period_start, renews_at
from nwc_service.wallet.errors import NotFound
from nwc_service.wallet.units import ConnectionId

RelaysOf = Callable[[Connection], tuple[str, ...]]


async def connection_view(
    tx: Tx, connection: Connection, *, relays_of: RelaysOf, now: int
) -> View:
    found = await ledger.account(tx, connection.account_id)
    return {
        "connection_id": connection.connection_id,
        "account": found.name if found else None,
        "app": connection.app,
        "wallet_pubkey": connection.wallet_pubkey,
        "client_pubkey": connection.client_pubkey,
        "relays": list(relays_of(connection)),
        "scopes": sorted(connection.scopes),
        "notifications": sorted(connection.notifications),
        "encryption": list(connection.encryption),
        "budget": await _budget(tx, connection, now=now),
        "max_payment_msat": connection.max_payment_msat,
        "internal_only": connection.internal_only,
        "destinations": list(connection.destinations or ()),
        "lud16": connection.lud16,
        "metadata": orjson.loads(connection.metadata) if connection.metadata else None,
        "parent_id": connection.parent_id,
        "created_at": connection.created_at,
        "expires_at": connection.expires_at,
        "paused": connection.paused_at is not None,
        "revoked": connection.revoked_at is not None,
    }


async def connection_page(
    tx: Tx,
    *,
    account_name: str | None,
    cursor: str | None,
    limit: int,
    relays_of: RelaysOf,
    now: int,
) -> View:
    """The oldest first. Raises NotFound, and Refused for a cursor that is none."""
    account_id = None
    if account_name is not None:
        account_id = (await named(tx, account_name)).account_id
    found = await connections.connection_page(
        tx, account_id=account_id, after=cursors.row_of(cursor), limit=limit + 1
    )

    def behind() -> str:
        return cursors.after_row(found[limit - 1].created_at, found[limit - 1].connection_id)

    shown = [await connection_view(tx, each, relays_of=relays_of, now=now) for each in found]
    return page(shown, limit=limit, cursor=behind)


async def connection(tx: Tx, connection_id: str, *, relays_of: RelaysOf, now: int) -> View:
    found = await connections.connection(tx, ConnectionId(connection_id))
    if found is None:
        raise NotFound(f"there is no connection {connection_id!r}")
    return await connection_view(tx, found, relays_of=relays_of, now=now)


async def _budget(tx: Tx, connection: Connection, *, now: int) -> View | None:
    budget = connection.budget
    if budget is None:
        return None
    used_msat = await connections.budget_used_msat(
        tx, connection.connection_id, period_start=period_start(budget.renewal, now)
    )
    return {
        "limit_msat": budget.limit_msat,
        "renewal": budget.renewal,
        "used_msat": used_msat,
        "renews_at": renews_at(budget.renewal, now),
    }
