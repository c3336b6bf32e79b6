"""Zaps that were asked for, and their receipts on the way to the relays."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import InvoiceId, Preimage


@dataclass(frozen=True, slots=True, kw_only=True)
class Zap:
    """One that is paid; `receipt` is a signed event as JSON, `relays` are still to be told."""

    invoice_id: InvoiceId
    request: str
    relays: tuple[str, ...]
    receipt: str | None
    attempts: int
    invoice: str
    preimage: Preimage | None
    settled_at: int


async def insert(
    tx: Tx, invoice_id: InvoiceId, *, request: str, relays: Sequence[str], now: int
) -> None:
    await tx.run(
        "INSERT INTO zap (invoice_id, request, relays, next_at)"
        " VALUES (:invoice_id, :request, :relays, :now)",
        invoice_id=invoice_id,
        request=request,
        relays=json.dumps(list(relays)),
        now=now,
    )


async def due(tx: Tx, *, now: int, limit: int) -> list[Zap]:
    """Paid, and their receipt is to be published now: it is the invoice's own state that makes
    a receipt due, so a crash loses none."""
    rows = await tx.all(
        "SELECT zap.invoice_id, request, relays, receipt, attempts, invoice, preimage,"
        " settled_at FROM zap JOIN invoice ON invoice.invoice_id = zap.invoice_id"
        " WHERE done_at IS NULL AND next_at <= :now AND state = 'SETTLED'"
        " ORDER BY next_at, zap.invoice_id LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [_from_row(row) for row in rows]


async def keep_receipt(tx: Tx, invoice_id: InvoiceId, receipt: str) -> str:
    """The receipt of this zap from now on: the first one that was ever kept."""
    row = await tx.one(
        "UPDATE zap SET receipt = coalesce(receipt, :receipt)"
        " WHERE invoice_id = :invoice_id RETURNING receipt",
        invoice_id=invoice_id,
        receipt=receipt,
    )
    return str(row["receipt"]) if row else receipt


async def tried(
    tx: Tx,
    invoice_id: InvoiceId,
    *,
    relays: Sequence[str],
    next_at: int,
    done_at: int | None,
) -> None:
    """`relays` are those that have not taken it."""
    await tx.run(
        "UPDATE zap SET attempts = attempts + 1, relays = :relays, next_at = :next_at,"
        " done_at = :done_at WHERE invoice_id = :invoice_id AND done_at IS NULL",
        invoice_id=invoice_id,
        relays=json.dumps(list(relays)),
        next_at=next_at,
        done_at=done_at,
    )


def _from_row(row: Row) -> Zap:
    return Zap(
        invoice_id=InvoiceId(row["invoice_id"]),
        request=row["request"],
        relays=tuple(json.loads(row["relays"])),
        receipt=row["receipt"],
        attempts=row["attempts"],
        invoice=row["invoice"],
        preimage=None if row["preimage"] is None else Preimage(row["preimage"]),
        settled_at=row["settled_at"],
    )
