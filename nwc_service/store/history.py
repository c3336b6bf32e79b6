"""Incoming and outgoing together, newest first: for list_transactions and the operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nwc_service.store import invoices, payments
from nwc_service.store.database import Tx, Value
from nwc_service.store.payments import made_by
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import AccountId, ConnectionId


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in the order of all: the next page begins after it."""

    created_at: int
    side: Literal["in", "out"]
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`since` and `until` are inclusive and on creation time; None means all. With `after` a
    page costs the same wherever it is; an `offset` is walked over."""

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
    after: Place | None = None


_SETTLED = "state = 'SETTLED'"
# Without an invoice, and not paid by keysend either: the node has not made it, or never did.
_MADE = f"(invoice <> '' OR {_SETTLED})"
# What strangers asked for to pay an address is shown once they have paid.
_ASKED_BY_US = f"(address IS NULL OR {_SETTLED})"


def place_of(item: Invoice | Payment) -> Place:
    if isinstance(item, Invoice):
        return Place(item.created_at, "in", item.invoice_id)
    return Place(item.created_at, "out", item.payment_id)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """What lookup_payment may name; `is_bolt12` None: whatever its type."""

    transaction_id: str | None = None
    payment_hash: str | None = None
    invoice: str | None = None
    bolt12_id: str | None = None
    is_bolt12: bool | None = None


async def matches(
    tx: Tx,
    selector: Selector,
    *,
    account_id: AccountId,
    connection_id: ConnectionId | None,
    limit: int,
) -> list[Invoice | Payment]:
    """Of the account's rows, or of one connection's where given, those that are selected."""
    values = {
        "account_id": account_id,
        "connection_id": connection_id,
        "transaction_id": selector.transaction_id,
        "payment_hash": selector.payment_hash,
        "invoice": selector.invoice,
        "bolt12_id": selector.bolt12_id,
        "limit": limit,
    }
    incoming = await tx.all(
        f"SELECT {invoices.COLUMNS} FROM invoice WHERE account_id = :account_id"
        f" AND {_MADE}{made_by(connection_id)}"
        f"{_selected(selector, _IN)} LIMIT :limit",
        **values,
    )
    outgoing = await tx.all(
        f"SELECT {payments.COLUMNS} FROM payment WHERE account_id = :account_id"
        f"{made_by(connection_id)}{_selected(selector, _OUT)} LIMIT :limit",
        **values,
    )
    return [*map(invoices.from_row, incoming), *map(payments.from_row, outgoing)]


# How each side has what a selector names.
_IN = {
    "transaction_id": "invoice_id",
    "offer": "offer_id",
    "bolt12_id": "offer_id IN (SELECT offer_id FROM offer"
    " WHERE account_id = :account_id AND bolt12_id = :bolt12_id)",
}
_OUT = {
    "transaction_id": "payment_id",
    "offer": "bolt12_id",
    "bolt12_id": "bolt12_id = :bolt12_id",
}


def _selected(selector: Selector, side: Mapping[str, str]) -> str:
    parts = []
    if selector.transaction_id is not None:
        parts.append(f"{side['transaction_id']} = :transaction_id")
    if selector.payment_hash is not None:
        parts.append("payment_hash = :payment_hash")
    if selector.invoice is not None:
        parts.append("invoice = :invoice")
    if selector.bolt12_id is not None:
        parts.append(side["bolt12_id"])
    if selector.is_bolt12 is not None:
        parts.append(f"{side['offer']} IS {'NOT ' if selector.is_bolt12 else ''}NULL")
    return "".join(f" AND {part}" for part in parts)


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
    shown = f"{_MADE} AND {_ASKED_BY_US}" if query.unpaid_incoming else _SETTLED
    return f"{_scope(query)} AND {shown}{_after(query, 'in')}"


def _out(query: Query) -> str:
    if not query.outgoing:
        return "1 = 0"
    shown = "1 = 1" if query.unpaid_outgoing else _SETTLED
    return f"{_scope(query)} AND {shown}{_after(query, 'out')}"


def _after(query: Query, side: Literal["in", "out"]) -> str:
    """In the order of `search`: newest first, of one second what came in before what left."""
    place = query.after
    if place is None:
        return ""
    if side == place.side:
        key = "invoice_id" if side == "in" else "payment_id"
        return (
            f" AND (created_at < :after_at OR (created_at = :after_at AND {key} < :after_id))"
        )
    return f" AND created_at {'<' if side == 'in' else '<='} :after_at"


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
        "after_at": query.after.created_at if query.after else None,
        "after_id": query.after.id if query.after else None,
    }
