"""What LNbits' rows say about incoming payments."""

from backends.lnbits.wire import PaymentRow
from nwc_service.backend import InvoiceReport, InvoiceStatus
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat


def invoice_report(row: PaymentRow, *, now: int) -> InvoiceReport | None:
    """None for a row that `create_invoice` did not make: outgoing, or somebody else's, as when
    the operator puts money into the wallet.

    Amount and times are read from the invoice itself: LNbits' own are of its time zone.
    """
    if row.amount <= 0 or row.external_id is None:
        return None
    try:
        invoice = bolt11.decode(row.bolt11)
    except bolt11.InvalidInvoice:
        return None
    if invoice.payment_hash != row.hash:
        return None
    settled = row.status == "success"
    return InvoiceReport(
        payment_hash=row.hash,
        invoice=invoice.invoice,
        status=_status(row, expired=now >= invoice.expires_at),
        amount_msat=invoice.amount_msat,
        received_msat=_received_msat(row) if settled else None,
        preimage=row.proven_preimage,
        created_at=invoice.created_at,
        expires_at=invoice.expires_at,
        settled_at=int(row.updated_at.timestamp()) if settled else None,
    )


def _status(row: PaymentRow, *, expired: bool) -> InvoiceStatus:
    """LNbits calls an invoice that expired `failed`, without asking its funding source."""
    if row.status == "success":
        return InvoiceStatus.SETTLED
    if row.status == "pending":
        return InvoiceStatus.OPEN
    return InvoiceStatus.EXPIRED if expired else InvoiceStatus.CANCELED


def _received_msat(row: PaymentRow) -> Msat:
    """LNbits takes what its funding source charged the payee off the wallet's balance."""
    fee_msat = int(-(-abs(row.fee or 0) // 1))
    return Msat(max(0, row.amount - fee_msat))
