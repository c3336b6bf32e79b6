"""What the operator sees: the JSON objects of the command line and the admin API.

They read one database transaction and write nothing, so they work with the service down too.
"""

from collections.abc import Callable

from nwc_service.nip47 import transaction
from nwc_service.nip47.connection import Connection
from nwc_service.store import alarms, connections, history, invoices, ledger, payments
from nwc_service.store.audit import audit as run_audit
from nwc_service.store.database import Tx
from nwc_service.store.history import Query
from nwc_service.store.ledger import Account
from nwc_service.wallet.budget import period_start, renews_at
from nwc_service.wallet.errors import NotFound
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import AccountId, ConnectionId, InvoiceId, PaymentId

View = dict[str, object]
RelaysOf = Callable[[Connection], tuple[str, ...]]
MAX_PAYMENTS = 1_000_000


def account_view(account: Account) -> View:
    return {
        "account_id": account.account_id,
        "name": account.name,
        "available_msat": account.available_msat,
        "held_msat": account.held_msat,
        "created_at": account.created_at,
    }


async def accounts(tx: Tx) -> list[View]:
    return [account_view(account) for account in await ledger.accounts(tx)]


async def account(tx: Tx, name: str) -> View:
    return account_view(await _account_named(tx, name))


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
        "created_at": connection.created_at,
        "expires_at": connection.expires_at,
        "revoked": connection.revoked_at is not None,
    }


async def connection_list(
    tx: Tx, *, account_name: str | None, relays_of: RelaysOf, now: int
) -> list[View]:
    account_id = None
    if account_name is not None:
        account_id = (await _account_named(tx, account_name)).account_id
    return [
        await connection_view(tx, connection, relays_of=relays_of, now=now)
        for connection in await connections.connections(tx, account_id=account_id)
    ]


async def connection(tx: Tx, connection_id: str, *, relays_of: RelaysOf, now: int) -> View:
    found = await connections.connection(tx, ConnectionId(connection_id))
    if found is None:
        raise NotFound(f"there is no connection {connection_id!r}")
    return await connection_view(tx, found, relays_of=relays_of, now=now)


async def payment_list(tx: Tx, *, account_name: str | None, now: int) -> list[View]:
    account_id = None
    if account_name is not None:
        account_id = (await _account_named(tx, account_name)).account_id
    names = {account.account_id: account.name for account in await ledger.accounts(tx)}
    found = await history.search(tx, Query(account_id=account_id, limit=MAX_PAYMENTS))
    return [_payment_view(item, names=names, now=now) for item in found]


async def payment(tx: Tx, payment_id: str, *, now: int) -> View:
    found = await payments.payment(tx, PaymentId(payment_id)) or await invoices.invoice(
        tx, InvoiceId(payment_id)
    )
    if found is None:
        raise NotFound(f"there is no payment {payment_id!r}")
    owner = await ledger.account(tx, found.account_id)
    names = {owner.account_id: owner.name} if owner else {}
    return _payment_view(found, names=names, now=now)


def _payment_view(item: Invoice | Payment, *, names: dict[AccountId, str], now: int) -> View:
    if isinstance(item, Invoice):
        received_msat = item.received_msat
        shown: View = {
            "payment_id": item.invoice_id,
            "direction": "incoming",
            "state": transaction.incoming_state(item, now=now),
            "amount_msat": item.amount_msat if received_msat is None else received_msat,
            "fee_msat": 0,
            "settled_at": item.settled_at,
        }
    else:
        shown = {
            "payment_id": item.payment_id,
            "direction": "outgoing",
            "state": transaction.OUTGOING_STATES[item.state],
            "amount_msat": item.amount_msat,
            "fee_msat": item.fee_msat,
            "settled_at": item.settled_at if item.fee_msat is not None else None,
        }
    return {
        "payment_id": shown["payment_id"],
        "account": names.get(item.account_id),
        "connection_id": item.connection_id,
        "direction": shown["direction"],
        "state": shown["state"],
        "payment_hash": item.payment_hash,
        "amount_msat": shown["amount_msat"],
        "fee_msat": shown["fee_msat"],
        "backend": item.backend,
        "created_at": item.created_at,
        "settled_at": shown["settled_at"],
    }


async def _account_named(tx: Tx, name: str) -> Account:
    found = await ledger.account_named(tx, name)
    if found is None:
        raise NotFound(f"there is no account {name!r}")
    return found


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


async def alarm_list(tx: Tx) -> list[View]:
    """What the operator must look at, oldest first."""
    return [
        {name: row[name] for name in ("kind", "subject", "detail", "raised_at")}
        for row in await alarms.alarms(tx)
    ]


async def audit(tx: Tx) -> View:
    found = await run_audit(tx)
    return {
        "ok": found.ok,
        "accounts": found.accounts,
        "entries": found.entries,
        "problems": list(found.problems),
    }
