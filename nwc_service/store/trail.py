"""What the books hold about one payment or invoice, for an operator who looks into it."""

from nwc_service.store import invoices, payments
from nwc_service.store.database import Row, Tx
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import BackendName, PaymentHash, PaymentId


async def payments_of(tx: Tx, payment_hash: PaymentHash) -> list[Payment]:
    """Every payment of this hash, of whatever account: the live or settled one, then those that
    were given back, newest first."""
    # By account, since that is how the index goes: what was given back is in no other.
    rows = await tx.all(
        f"SELECT {payments.COLUMNS} FROM payment"
        " WHERE account_id IN (SELECT account_id FROM account) AND payment_hash = :payment_hash"
        " ORDER BY state = 'RELEASED', created_at DESC, payment_id DESC",
        payment_hash=payment_hash,
    )
    return [payments.from_row(row) for row in rows]


async def invoice_of(tx: Tx, payment_hash: PaymentHash) -> Invoice | None:
    row = await tx.one(
        f"SELECT {invoices.COLUMNS} FROM invoice WHERE payment_hash = :payment_hash",
        payment_hash=payment_hash,
    )
    return invoices.from_row(row) if row else None


async def entries(tx: Tx, payment_id: PaymentId) -> list[Row]:
    return await tx.all(
        "SELECT kind, amount_msat, source, destination, created_at FROM entry"
        " WHERE payment_id = :payment_id ORDER BY entry_id",
        payment_id=payment_id,
    )


async def receipts(tx: Tx, *, backend: BackendName, payment_hash: PaymentHash) -> list[Row]:
    return await tx.all(
        "SELECT receipt.amount_msat, receipt.htlc_set, receipt.created_at,"
        " CASE receipt.assigned_to WHEN 'equity' THEN 'operator' ELSE account.name"
        " END AS assigned_to, receipt.assigned_at FROM receipt"
        " LEFT JOIN account ON 'available:' || account.account_id = receipt.assigned_to"
        " WHERE receipt.backend = :backend AND receipt.payment_hash = :payment_hash"
        " ORDER BY receipt.created_at",
        backend=backend,
        payment_hash=payment_hash,
    )


_REQUEST = (
    "SELECT request_id, connection_id, method, created_at, claimed_at, answered_at FROM request"
)


async def requests_of(tx: Tx, payment_id: PaymentId) -> list[Row]:
    """Who asked for it, the first and those who joined."""
    return await tx.all(
        f"{_REQUEST} WHERE payment_id = :payment_id ORDER BY claimed_at, request_id",
        payment_id=payment_id,
    )


async def request(tx: Tx, request_id: str) -> list[Row]:
    return await tx.all(f"{_REQUEST} WHERE request_id = :request_id", request_id=request_id)


async def alarms_about(tx: Tx, subject: str) -> list[Row]:
    return await tx.all(
        "SELECT kind, detail, raised_at FROM alarm WHERE subject = :subject ORDER BY raised_at",
        subject=subject,
    )
