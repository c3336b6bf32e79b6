"""What is refused before CLN hears of it."""

from nwc_service.backend import Decoded, FailReason, NotSent, PayRequest
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MAX_MSAT

BOLT12_PREFIX = "lni1"


def is_bolt12(invoice: str) -> bool:
    return invoice.lower().startswith(BOLT12_PREFIX)


def refused_here(request: PayRequest, *, now: float) -> NotSent | None:
    if not 0 < request.amount_msat <= MAX_MSAT or not 0 <= request.max_fee_msat <= MAX_MSAT:
        return _bad("the amount or the fee limit is out of range")
    if is_bolt12(request.invoice):
        # only the node can read it, and is asked
        return _bad("it names its amount") if request.amount_is_override else None
    try:
        invoice = bolt11.decode(request.invoice)
    except bolt11.InvalidInvoice as wrong:
        return _bad(str(wrong))
    read = Decoded(invoice.payment_hash, invoice.amount_msat, invoice.expires_at, invoice.payee)
    return refused_by(read, request, now=now)


def refused_by(read: Decoded, request: PayRequest, *, now: float) -> NotSent | None:
    """Whether the invoice, as it is read, is another than was meant."""
    if read.payment_hash != request.payment_hash:
        return _bad("the invoice has another hash")
    asked_msat = None if request.amount_is_override else request.amount_msat
    if read.amount_msat != asked_msat:
        return _bad("the invoice has another amount")
    if read.expires_at <= now:
        return NotSent(FailReason.EXPIRED, "the invoice has expired")
    return None


def _bad(detail: str) -> NotSent:
    return NotSent(FailReason.BAD_REQUEST, detail)
