"""Requests that change something: each claimed once for ever, each with one answer."""

from dataclasses import dataclass

from nwc_service.nip47.kinds import Encryption
from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import ConnectionId, InvoiceId, PaymentId


@dataclass(frozen=True, slots=True)
class Claim:
    """What is needed to answer a request, now or after a crash.

    `request_id` is the id of the request event, with the item's number behind a colon where
    one event asks for several things; `created_at` is the client's own time. `d_tag` tells the
    answers to one event apart. `is_taken`: claimed before with the event's other items.
    """

    request_id: str
    connection_id: ConnectionId
    method: str
    encryption: Encryption
    created_at: int
    d_tag: str | None = None
    is_taken: bool = False

    @property
    def event_id(self) -> str:
        return self.request_id.partition(":")[0]


class AlreadyClaimed(Exception):
    """This request event has had its effects; its answer is stored or still to come."""


class BeforeRestore(AlreadyClaimed):
    """It is older than the restored database: its effects may have been lost with the rest."""


NOT_BEFORE = "not_before"
"""In `meta`: when the database was restored; no older request is ever executed (A21)."""


async def claim(tx: Tx, claim: Claim, *, now: int) -> None:
    """Raises AlreadyClaimed and BeforeRestore; the claim stands or falls with the effects of
    its transaction."""
    if claim.is_taken:
        await _still_open(tx, claim.request_id)
        return
    row = await tx.one(
        "INSERT INTO request (request_id, connection_id, method, encryption, created_at,"
        " claimed_at, d_tag) SELECT :request_id, :connection_id, :method, :encryption,"
        " :created_at, :now, :d_tag"
        " WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = :not_before"
        " AND CAST(value AS BIGINT) > :created_at)"
        " ON CONFLICT DO NOTHING RETURNING request_id",
        request_id=claim.request_id,
        connection_id=claim.connection_id,
        method=claim.method,
        encryption=claim.encryption,
        created_at=claim.created_at,
        now=now,
        d_tag=claim.d_tag,
        not_before=NOT_BEFORE,
    )
    if row is None and await claimed(tx, claim.request_id) is None:
        raise BeforeRestore(claim.request_id)
    if row is None:
        raise AlreadyClaimed(claim.request_id)


async def _still_open(tx: Tx, request_id: str) -> None:
    row = await tx.one(
        "SELECT 1 AS found FROM request WHERE request_id = :request_id"
        " AND answered_at IS NULL AND payment_id IS NULL",
        request_id=request_id,
    )
    if row is None:
        raise AlreadyClaimed(request_id)


async def wait_for(tx: Tx, request_id: str, payment_id: PaymentId) -> None:
    """The request is answered when the payment is final."""
    await tx.run(
        "UPDATE request SET payment_id = :payment_id WHERE request_id = :request_id",
        request_id=request_id,
        payment_id=payment_id,
    )


async def waiting_for(tx: Tx, payment_id: PaymentId) -> list[Claim]:
    rows = await tx.all(
        "SELECT request_id, connection_id, method, encryption, created_at, d_tag FROM request"
        " WHERE payment_id = :payment_id AND answered_at IS NULL",
        payment_id=payment_id,
    )
    return [_claim(row) for row in rows]


async def wait_for_invoice(tx: Tx, request_id: str, invoice_id: InvoiceId) -> None:
    """The request is answered when the invoice is final."""
    await tx.run(
        "UPDATE request SET invoice_id = :invoice_id WHERE request_id = :request_id",
        request_id=request_id,
        invoice_id=invoice_id,
    )


async def waiting_for_invoice(tx: Tx, invoice_id: InvoiceId) -> list[Claim]:
    rows = await tx.all(
        "SELECT request_id, connection_id, method, encryption, created_at, d_tag FROM request"
        " WHERE invoice_id = :invoice_id AND answered_at IS NULL",
        invoice_id=invoice_id,
    )
    return [_claim(row) for row in rows]


async def claimed(tx: Tx, request_id: str) -> Claim | None:
    row = await tx.one(
        "SELECT request_id, connection_id, method, encryption, created_at, d_tag FROM request"
        " WHERE request_id = :request_id",
        request_id=request_id,
    )
    return _claim(row) if row else None


async def orphans(tx: Tx) -> list[Claim]:
    """Claimed, and nothing was begun for them that could still answer them."""
    rows = await tx.all(
        "SELECT request_id, connection_id, method, encryption, created_at, d_tag FROM request"
        " WHERE answered_at IS NULL AND payment_id IS NULL AND invoice_id IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM invoice"
        " WHERE invoice.request_id = request.request_id AND invoice.state = 'REQUESTED')"
        " AND NOT EXISTS (SELECT 1 FROM offer"
        " WHERE offer.request_id = request.request_id AND offer.state = 'REQUESTED')"
    )
    return [_claim(row) for row in rows]


async def mark_answered(tx: Tx, request_id: str, *, now: int) -> bool:
    """False when it has its answer already."""
    row = await tx.one(
        "UPDATE request SET answered_at = :now"
        " WHERE request_id = :request_id AND answered_at IS NULL RETURNING request_id",
        request_id=request_id,
        now=now,
    )
    return row is not None


def _claim(row: Row) -> Claim:
    return Claim(
        request_id=row["request_id"],
        connection_id=ConnectionId(row["connection_id"]),
        method=row["method"],
        encryption=Encryption(row["encryption"]),
        created_at=row["created_at"],
        d_tag=row["d_tag"],
    )
