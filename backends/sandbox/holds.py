"""What the service's node holds: payments of hold invoices, until they are resolved or due."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.sandbox.books import Books, Tx
from backends.sandbox.sends import hash_of
from nwc_service.backend import BadRequest, FailReason, InvoiceStatus
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash, Preimage

HOLD_BLOCKS = 80  # where the service asks for no more and no less
MAX_HOLD_BLOCKS = 2016


@asynccontextmanager
async def up_to_date(books: Books) -> AsyncIterator[Tx]:
    """A transaction before which the node has given back what was due, as LND does."""
    async with books.transaction() as tx:
        due = await tx.rows(
            """SELECT payment_hash FROM invoice
               WHERE status = 'accepted' AND settle_deadline <= :height""",
            height=books.block_height,
        )
        for row in due:
            await give_back(tx, row["payment_hash"], reason=FailReason.TIMEOUT, now=books.now())
        yield tx


async def settle(tx: Tx, payment_hash: PaymentHash, *, preimage: Preimage, now: int) -> None:
    """Repeating it changes nothing. Raises BadRequest where nothing is held."""
    _check_preimage(preimage, payment_hash)
    status, received_msat = await _held(tx, payment_hash)
    if status is InvoiceStatus.SETTLED:
        return
    if status is not InvoiceStatus.ACCEPTED or received_msat is None:
        raise BadRequest(f"the hold invoice is {status}")
    await tx.rows(
        """UPDATE invoice SET status = 'settled', preimage = :preimage, settled_at = :now,
                              settle_deadline = NULL
           WHERE payment_hash = :hash""",
        preimage=preimage,
        now=now,
        hash=payment_hash,
    )
    await tx.rows(
        """UPDATE payment SET state = 'settled', resolved_at = :now
           WHERE payment_hash = :hash AND direction = 'incoming' AND state = 'pending'""",
        now=now,
        hash=payment_hash,
    )
    await note_update(tx, payment_hash, InvoiceStatus.SETTLED)
    await give(tx, received_msat)


async def cancel(tx: Tx, payment_hash: PaymentHash, *, now: int) -> None:
    """Repeating it changes nothing. Raises BadRequest where it is settled."""
    status, _ = await _held(tx, payment_hash)
    if status is InvoiceStatus.SETTLED:
        raise BadRequest("the hold invoice is settled")
    await give_back(tx, payment_hash, reason=FailReason.REJECTED, now=now)


async def give_back(tx: Tx, payment_hash: PaymentHash, *, reason: FailReason, now: int) -> None:
    """Nobody can pay it any more either."""
    await tx.rows(
        """UPDATE invoice SET status = 'canceled', received_msat = NULL, settle_deadline = NULL
           WHERE payment_hash = :hash AND status IN ('open', 'accepted')""",
        hash=payment_hash,
    )
    await tx.rows(
        """UPDATE payment SET state = 'failed', reason = :reason, resolved_at = :now
           WHERE payment_hash = :hash AND direction = 'incoming' AND state = 'pending'""",
        reason=reason,
        now=now,
        hash=payment_hash,
    )


async def note_update(tx: Tx, payment_hash: PaymentHash, status: InvoiceStatus) -> None:
    """What whoever watches is told, in this order."""
    await tx.rows(
        "INSERT INTO invoice_update (payment_hash, status) VALUES (:hash, :status)",
        hash=payment_hash,
        status=status,
    )


async def give(tx: Tx, amount_msat: Msat) -> None:
    given = await tx.rows(
        """UPDATE node SET available_msat = available_msat + :amount_msat
           WHERE available_msat + :amount_msat <= :most RETURNING 1""",
        amount_msat=amount_msat,
        most=MAX_MSAT,
    )
    if not given:
        raise BadRequest("the service's node would have more than all bitcoin")


async def _held(tx: Tx, payment_hash: PaymentHash) -> tuple[InvoiceStatus, Msat | None]:
    row = await tx.row(
        "SELECT status, received_msat FROM invoice WHERE payment_hash = :hash AND is_hold = 1",
        hash=payment_hash,
    )
    if row is None:
        raise BadRequest("no hold invoice of this node has this payment hash")
    return InvoiceStatus(row["status"]), row["received_msat"]


def _check_preimage(preimage: Preimage, payment_hash: PaymentHash) -> None:
    try:
        if hash_of(preimage) == payment_hash:
            return
    except ValueError:
        pass
    raise BadRequest("the preimage is not that of the payment hash")
