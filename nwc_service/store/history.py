"""Incoming and outgoing together, newest first: for list_transactions and the operator."""

from dataclasses import dataclass

from nwc_service.store import invoices, payments
from nwc_service.store.database import Tx, Value
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import AccountId, ConnectionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`since` and `until` are inclusive and on creation time; None means all."""

    account_id: AccountId | None = None
    connection_id: ConnectionId | None = None
    since: int = 0
    until: int | None = None
    incoming: bool = True
    outgoing: bool = True
    unpaid_incoming: bool = True
    unpaid_outgoing: bool = True
    limit: int = 1000
    offset: int = 0


_SETTLED = "state = 'SETTLED'"


async def search(tx: Tx, query: Query) -> list[Invoice | Payment]:
    # Each side is cut to the page before the two are merged, so that a page costs the same
    # however long the history is.
    rows = await tx.all(
        "SELECT side, id FROM (SELECT * FROM ("
        "SELECT 'in' AS side, invoice_id AS id, created_at FROM invoice"
        f" WHERE {_in(query)} ORDER BY created_at DESC, invoice_id DESC LIMIT :window"
        ") AS incoming UNION ALL SELECT * FROM ("
        "SELECT 'out' AS side, payment_id AS id, created_at FROM payment"
        f" WHERE {_out(query)} ORDER BY created_at DESC, payment_id DESC LIMIT :window"
        ") AS outgoing) AS found"
        " ORDER BY created_at DESC, side, id DESC LIMIT :limit OFFSET :offset",
        limit=query.limit,
        offset=query.offset,
        window=query.limit + query.offset,
        **_values(query),
    )
    found: list[Invoice | Payment] = []
    for row in rows:
        if row["side"] == "in":
            item: Invoice | Payment | None = await invoices.invoice(tx, row["id"])
        else:
            item = await payments.payment(tx, row["id"])
        if item is not None:
            found.append(item)
    return found


async def count(tx: Tx, query: Query) -> int:
    """All matches, ignoring limit and offset."""
    row = await tx.one(
        f"SELECT (SELECT count(*) FROM invoice WHERE {_in(query)})"
        f" + (SELECT count(*) FROM payment WHERE {_out(query)}) AS matches",
        **_values(query),
    )
    return int(row["matches"]) if row else 0


def _in(query: Query) -> str:
    if not query.incoming:
        return "1 = 0"
    # A row without an invoice is one that the node never made.
    shown = "invoice <> ''" if query.unpaid_incoming else _SETTLED
    return f"{_scope(query)} AND {shown}"


def _out(query: Query) -> str:
    if not query.outgoing:
        return "1 = 0"
    return f"{_scope(query)} AND {'1 = 1' if query.unpaid_outgoing else _SETTLED}"


def _scope(query: Query) -> str:
    parts = ["created_at >= :since"]
    if query.account_id is not None:
        parts.append("account_id = :account_id")
    if query.connection_id is not None:
        parts.append("connection_id = :connection_id")
    if query.until is not None:
        parts.append("created_at <= :until")
    return " AND ".join(parts)


def _values(query: Query) -> dict[str, Value]:
    return {
        "account_id": query.account_id,
        "connection_id": query.connection_id,
        "since": query.since,
        "until": query.until,
    }
