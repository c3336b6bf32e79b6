"""What every node is not even asked for: a request that is not what its invoice says, a keysend
that is none."""

from nwc_service.backend import Decoded, FailReason, KeysendRequest, NotSent, PayRequest
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import MAX_MSAT, PaymentHash, Preimage


def hash_of(request: PayRequest | KeysendRequest) -> PaymentHash:
    if isinstance(request, KeysendRequest):
        return keysend.payment_hash(request.preimage)
    return request.payment_hash


def refused_amounts(request: PayRequest | KeysendRequest) -> NotSent | None:
    if not 0 < request.amount_msat <= MAX_MSAT or not 0 <= request.max_fee_msat <= MAX_MSAT:
        return bad("the amount or the fee limit is out of range")
    return None


def refused_bolt11(request: PayRequest, *, now: float) -> NotSent | None:
    """Nodes pay invoices that have expired, and read some that they should not."""
    try:
        invoice = bolt11.decode(request.invoice)
    except bolt11.InvalidInvoice as wrong:
        return bad(str(wrong))
    read = Decoded(invoice.payment_hash, invoice.amount_msat, invoice.expires_at, invoice.payee)
    return refused_by(read, request, now=now)


def refused_by(read: Decoded, request: PayRequest, *, now: float) -> NotSent | None:
    """Whether the invoice, as it is read, is another than was meant."""
    if read.payment_hash != request.payment_hash:
        return bad("the invoice has another hash")
    asked_msat = None if request.amount_is_override else request.amount_msat
    if read.amount_msat != asked_msat:
        return bad("the invoice has another amount")
    if read.expires_at <= now:
        return NotSent(FailReason.EXPIRED, "the invoice has expired")
    return None


def refused_keysend(request: KeysendRequest) -> NotSent | None:
    destination, preimage = _unhexed(request.destination), _unhexed(request.preimage)
    if len(destination) != 33 or destination[0] not in (2, 3):
        return bad("the destination is no node's key")
    if len(preimage) != 32 or request.preimage != Preimage(preimage.hex()):
        return bad("the preimage is not 32 bytes as lowercase hex")
    if not all(keysend.FIRST_CUSTOM_TLV <= type_ <= keysend.MAX_TLV for type_ in request.tlvs):
        return bad("a TLV record is not a custom one")
    if keysend.PREIMAGE_TLV in request.tlvs:
        return bad("the preimage's own record is among the TLV records")
    if sum(map(len, request.tlvs.values())) > keysend.MAX_TLV_BYTES:
        return bad("the TLV records are too long")
    return None


def used_before() -> NotSent:
    """NWC-04: whoever forwarded a keysend knows its preimage, so it serves once."""
    return NotSent(FailReason.REJECTED, "the preimage was used before")


def _unhexed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def bad(detail: str) -> NotSent:
    return NotSent(FailReason.BAD_REQUEST, detail)
