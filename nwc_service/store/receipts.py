"""Receipts that wait in suspense, until the operator says whose they are."""

from dataclasses import dataclass

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.ledger import LedgerAccount
from nwc_service.wallet.units import BackendName, InvoiceId, Msat, PaymentHash


@dataclass(frozen=True, slots=True)
class Receipt:
    """`account` names whose invoice it paid; None where nobody here asked for the money."""

    backend: BackendName
    payment_hash: PaymentHash
    htlc_set: str
    amount_msat: Msat
    invoice_id: InvoiceId | None
    account: str | None
    created_at: int


# A receipt and its entry are of one transaction. Looked for from the few in suspense, since
# entries have no index by invoice.
_WAITING = (
    "SELECT receipt.backend, receipt.payment_hash, receipt.htlc_set, receipt.amount_msat,"
    " receipt.invoice_id, account.name AS account, receipt.created_at FROM receipt"
    " LEFT JOIN invoice ON invoice.invoice_id = receipt.invoice_id"
    " LEFT JOIN account ON account.account_id = invoice.account_id"
    " WHERE receipt.assigned_to IS NULL AND (receipt.invoice_id IS NULL"
    " OR (receipt.invoice_id, 'node:' || receipt.backend, receipt.amount_msat,"
    " receipt.created_at) IN (SELECT entry.invoice_id, entry.source, entry.amount_msat,"
    " entry.created_at FROM entry WHERE entry.kind = 'receive'"
    " AND entry.destination = 'suspense'))"
)
_OLDEST_FIRST = " ORDER BY receipt.created_at, receipt.payment_hash, receipt.htlc_set"


async def waiting(tx: Tx) -> list[Receipt]:
    """All that nobody has yet, the oldest first."""
    return [_receipt(row) for row in await tx.all(_WAITING + _OLDEST_FIRST)]


async def waiting_of(tx: Tx, payment_hash: PaymentHash) -> list[Receipt]:
    rows = await tx.all(
        f"{_WAITING} AND receipt.payment_hash = :payment_hash{_OLDEST_FIRST}",
        payment_hash=payment_hash,
    )
    return [_receipt(row) for row in rows]


async def is_received(tx: Tx, payment_hash: PaymentHash) -> bool:
    row = await tx.one(
        "SELECT 1 AS found FROM receipt WHERE payment_hash = :payment_hash",
        payment_hash=payment_hash,
    )
    return row is not None


async def is_unattributed(tx: Tx, payment_hash: PaymentHash) -> bool:
    """Whether anything waits under this hash that nobody here asked for."""
    row = await tx.one(
        "SELECT 1 AS found FROM receipt WHERE payment_hash = :payment_hash"
        " AND invoice_id IS NULL AND assigned_to IS NULL",
        payment_hash=payment_hash,
    )
    return row is not None


async def claim(tx: Tx, receipt: Receipt, *, assigned_to: LedgerAccount, now: int) -> bool:
    """False when it was assigned before."""
    row = await tx.one(
        "UPDATE receipt SET assigned_to = :assigned_to, assigned_at = :now"
        " WHERE backend = :backend AND payment_hash = :payment_hash"
        " AND htlc_set = :htlc_set AND assigned_to IS NULL RETURNING backend",
        assigned_to=assigned_to,
        now=now,
        backend=receipt.backend,
        payment_hash=receipt.payment_hash,
        htlc_set=receipt.htlc_set,
    )
    return row is not None


def _receipt(row: Row) -> Receipt:
    invoice_id = row["invoice_id"]
    return Receipt(
        backend=BackendName(row["backend"]),
        payment_hash=PaymentHash(row["payment_hash"]),
        htlc_set=row["htlc_set"],
        amount_msat=Msat(row["amount_msat"]),
        invoice_id=None if invoice_id is None else InvoiceId(invoice_id),
        account=row["account"],
        created_at=row["created_at"],
    )
