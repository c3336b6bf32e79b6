"""What the operator sees: the JSON objects of the command line and the admin API.

They read one database transaction and write nothing, so they work with the service down too.
The audit reads many short ones.
"""

from collections.abc import Callable, Container, Mapping

import orjson

from nwc_service.nip47 import transaction
from nwc_service.nip47.connection import Connection
from nwc_service.store import (
    alarms,
    connections,
    decisions,
    history,
    invoices,
    ledger,
    nodes,
    payments,
    receipts,
    tokens,
    trail,
)
from nwc_service.store.audit import audit_live, last_life
from nwc_service.store.database import Database, Row, Tx
from nwc_service.store.history import Query
from nwc_service.store.ledger import Account
from nwc_service.store.tokens import Token
from nwc_service.wallet.budget import period_start, renews_at
from nwc_service.wallet.errors import NotFound
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import LIVE_STATES, Payment
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    InvoiceId,
    PaymentHash,
    PaymentId,
)

View = dict[str, object]
RelaysOf = Callable[[Connection], tuple[str, ...]]
MAX_PAYMENTS = 1_000_000


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
        "internal_only": connection.internal_only,
        "destinations": list(connection.destinations or ()),
        "lud16": connection.lud16,
        "metadata": orjson.loads(connection.metadata) if connection.metadata else None,
        "parent_id": connection.parent_id,
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


async def payment(tx: Tx, name: str, *, now: int) -> View:
    """All that the books hold about the payment or invoice of this id or payment hash."""
    found = await outgoing(tx, name) or await _incoming(tx, name)
    if found is None:
        raise NotFound(f"there is no payment {name!r}")
    owner = await ledger.account(tx, found.account_id)
    names = {owner.account_id: owner.name} if owner else {}
    shown = _payment_view(found, names=names, now=now)
    if isinstance(found, Invoice):
        return shown | await _history_in(tx, found)
    return shown | await _history_out(tx, found)


async def outgoing(tx: Tx, name: str) -> Payment | None:
    """By its id, or by its payment hash: the live or settled one, else the newest."""
    found = await payments.payment(tx, PaymentId(name))
    of_hash = [] if found else await trail.payments_of(tx, PaymentHash(name))
    return next(iter(of_hash), found)


async def _incoming(tx: Tx, name: str) -> Invoice | None:
    found = await invoices.invoice(tx, InvoiceId(name))
    return found or await trail.invoice_of(tx, PaymentHash(name))


async def _history_out(tx: Tx, payment: Payment) -> View:
    """`final_at` is also when it was released."""
    proof = payment.proof
    return {
        "row_state": payment.state,
        "kind": payment.kind,
        "fee_reserve_msat": payment.fee_reserve_msat,
        "held_msat": payment.held_msat if payment.state in LIVE_STATES else 0,
        "invoice": payment.invoice,
        "dispatched_at": payment.dispatched_at,
        "accepted_at": payment.accepted_at,
        "expires_at": payment.expires_at,
        "unpayable_at": payment.unpayable_at,
        "final_at": payment.settled_at,
        "heard": payment.heard,
        "heard_at": payment.heard_at,
        "preimage": _is_stored(payment),
        "proof": {"kind": proof.kind, "detail": proof.detail} if proof else None,
        "same_hash": await _same_hash(tx, payment),
        "entries": _rows(await trail.entries(tx, payment.payment_id)),
        "requests": _rows(await trail.requests_of(tx, payment.payment_id)),
        **await _attention(tx, payment.payment_id),
    }


async def _history_in(tx: Tx, invoice: Invoice) -> View:
    payment_hash, received, requests = invoice.payment_hash, [], []
    if payment_hash is not None:
        received = await trail.receipts(tx, backend=invoice.backend, payment_hash=payment_hash)
    if invoice.request_id is not None:
        requests = await trail.request(tx, invoice.request_id)
    return {
        "row_state": invoice.state,
        "invoice": invoice.invoice,
        "expires_at": invoice.expires_at,
        "preimage": _is_stored(invoice),
        "same_hash": await _same_hash(tx, invoice),
        "receipts": _rows(received),
        "requests": _rows(requests),
        **await _attention(tx, invoice.invoice_id),
    }


def _is_stored(item: Invoice | Payment) -> str | None:
    """Never the preimage itself: whoever has it can take or claim the money."""
    return None if item.preimage is None else "stored"


async def _same_hash(tx: Tx, item: Invoice | Payment) -> list[str]:
    """What else has this payment hash: earlier attempts, the other side of an internal one."""
    if item.payment_hash is None:
        return []
    invoice = await trail.invoice_of(tx, item.payment_hash)
    found: list[str] = [
        payment.payment_id for payment in await trail.payments_of(tx, item.payment_hash)
    ]
    if invoice is not None:
        found.append(invoice.invoice_id)
    own = item.invoice_id if isinstance(item, Invoice) else item.payment_id
    return [each for each in found if each != own]


async def _attention(tx: Tx, subject: str) -> View:
    return {
        "alarms": _rows(await trail.alarms_about(tx, subject)),
        "decisions": _rows(await decisions.decisions(tx, subject=subject)),
    }


def _rows(rows: list[Row]) -> list[View]:
    return [dict(row) for row in rows]


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


BackendTypes = Mapping[BackendName, str]
Answering = Container[BackendName] | None
"""Which backends do, where anybody knows."""


async def backend_list(
    tx: Tx, *, types: BackendTypes, answering: Answering = None
) -> list[View]:
    return [await backend(tx, name, types=types, answering=answering) for name in sorted(types)]


async def backend(
    tx: Tx, name: str, *, types: BackendTypes, answering: Answering = None
) -> View:
    found = BackendName(name)
    if found not in types:
        raise NotFound(f"there is no backend {name!r}")
    pause = await nodes.paused(tx, found)
    reading = await nodes.last_reading(tx, found)
    return {
        "name": name,
        "type": types[found],
        "answering": None if answering is None else found in answering,
        "spendable_msat": reading["spendable_msat"] if reading else None,
        "read_at": reading["read_at"] if reading else None,
        "paused": pause.reason if pause else None,
        "stops": pause.stops if pause else None,
        "detail": pause.detail if pause else None,
        "paused_at": pause.paused_at if pause else None,
    }


async def suspense_list(tx: Tx) -> list[View]:
    """What arrived and is nobody's yet, oldest first."""
    return [
        {
            "payment_hash": receipt.payment_hash,
            "backend": receipt.backend,
            "htlc_set": receipt.htlc_set,
            "amount_msat": receipt.amount_msat,
            "received_at": receipt.created_at,
            "invoice_id": receipt.invoice_id,
            "account": receipt.account,
        }
        for receipt in await receipts.waiting(tx)
    ]


async def alarm_list(tx: Tx) -> list[View]:
    """What the operator must look at, oldest first."""
    return _rows(await alarms.alarms(tx))


async def decision_list(tx: Tx) -> list[View]:
    """What operators decided and why, newest first."""
    return _rows(await decisions.decisions(tx))


def token_view(token: Token) -> View:
    return {
        "name": token.name,
        "role": token.role,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }


async def token_list(tx: Tx) -> list[View]:
    """All that ever were, oldest first."""
    return [token_view(token) for token in await tokens.tokens(tx)]


async def audit_stopped(database: Database, *, now: int, required_percent: int) -> View:
    """As `audit`, where no service runs: what is overdue is judged by when one last did."""
    ran_at = await database.read(last_life)
    return await audit(database, now=ran_at or now, required_percent=required_percent)


async def audit(database: Database, *, now: int, required_percent: int) -> View:
    """Of each kind of problem the first ones, and how many more there are."""
    found = await audit_live(database, now=now, required_percent=required_percent)
    return {
        "ok": found.ok,
        "accounts": found.accounts,
        "entries": found.entries,
        "payments": found.payments,
        "invoices": found.invoices,
        "problems": list(found.problems),
    }
