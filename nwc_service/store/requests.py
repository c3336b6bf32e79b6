"""Requests that change something: each claimed once for ever, each with one answer."""

from dataclasses import dataclass

from nwc_service.nip47.kinds import Encryption
from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import ConnectionId, PaymentId


@dataclass(frozen=True, slots=True)
class Claim:
    """What is needed to answer a request, now or after a crash.

    `request_id` is the id of the request event, `created_at` the client's own time.
    """

    request_id: str
    connection_id: ConnectionId
    method: str
    encryption: Encryption
    created_at: int


class AlreadyClaimed(Exception):
    """This request event has had its effects; its answer is stored or still to come."""


class BeforeRestore(AlreadyClaimed):
    """It is older than the restored database: its effects may have been lost with the rest."""


NOT_BEFORE = "not_before"
"""In `meta`: when the database was restored; no older request is ever executed (A21)."""


async def claim(tx: Tx, claim: Claim, *, now: int) -> None:
    """Raises AlreadyClaimed and BeforeRestore; the claim stands or falls with the effects of
    its transaction."""
    row = await tx.one(
        "INSERT INTO request (request_id, connection_id, method, encryption, created_at,"
        " claimed_at) SELECT :request_id, :connection_id, :method, :encryption, :created_at,"
        " :now WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = :not_before"
        " AND CAST(value AS BIGINT) > :created_at)"
        " ON CONFLICT DO NOTHING RETURNING request_id",
        request_id=claim.request_id,
        connection_id=claim.connection_id,
        method=claim.method,
        encryption=claim.encryption,
        created_at=claim.created_at,
        now=now,
        not_before=NOT_BEFORE,
    )
    if row is None and await claimed(tx, claim.request_id) is None:
        raise BeforeRestore(claim.request_id)
    if row is None:
        raise AlreadyClaimed(claim.request_id)


async def wait_for(tx: Tx, request_id: str, payment_id: PaymentId) -> None:
    """The request is answered when the payment is final."""
    await tx.run(
        "UPDATE request SET payment_id = :payment_id WHERE request_id = :request_id",
        request_id=request_id,
        payment_id=payment_id,
    )


async def waiting_for(tx: Tx, payment_id: PaymentId) -> list[Claim]:
    rows = await tx.all(
        "SELECT request_id, connection_id, method, encryption, created_at FROM request"
        " WHERE payment_id = :payment_id AND answered_at IS NULL",
        payment_id=payment_id,
    )
    return [_claim(row) for row in rows]


async def claimed(tx: Tx, request_id: str) -> Claim | None:
    row = await tx.one(
        "SELECT request_id, connection_id, method, encryption, created_at FROM request"
        " WHERE request_id = :request_id",
        request_id=request_id,
    )
    return _claim(row) if row else None


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
    )
