"""What phoenixd's rows say about incoming payments."""

from backends.phoenixd.wire import IncomingRow, proven
from nwc_service.backend import InvoiceReport, InvoiceStatus
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MSAT_PER_SAT, Msat


def invoice_report(row: IncomingRow, *, now: int) -> InvoiceReport | None:
    """None for a row that `create_invoice` did not make: of an offer, or of somebody else who
    uses this phoenixd.

    What new liquidity cost is the receiver's to bear: `receivedSat` is what is left.
    """
    if row.external_id is None or row.invoice is None:
        return None
    try:
        invoice = bolt11.decode(row.invoice)
    except bolt11.InvalidInvoice:
        return None
    if invoice.payment_hash != row.hash:
        return None
    return InvoiceReport(
        payment_hash=row.hash,
        invoice=invoice.invoice,
        status=_status(row, expired=now >= invoice.expires_at),
        amount_msat=invoice.amount_msat,
        received_msat=Msat(row.received_sat * MSAT_PER_SAT) if row.is_paid else None,
        preimage=proven(row.preimage, row.payment_hash) if row.is_paid else None,
        created_at=invoice.created_at,
        expires_at=invoice.expires_at,
        settled_at=row.settled_at if row.is_paid else None,
    )


def _status(row: IncomingRow, *, expired: bool) -> InvoiceStatus:
    if row.is_paid:
        return InvoiceStatus.SETTLED
    return InvoiceStatus.EXPIRED if expired else InvoiceStatus.OPEN
