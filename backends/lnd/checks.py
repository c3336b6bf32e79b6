"""What is refused before LND hears of it."""

from nwc_service.backend import FailReason, KeysendRequest, NotSent, PayRequest
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import MAX_MSAT, PaymentHash, Preimage


def hash_of(request: PayRequest | KeysendRequest) -> PaymentHash:
    if isinstance(request, KeysendRequest):
        return keysend.payment_hash(request.preimage)
    return request.payment_hash


def refused_here(request: PayRequest | KeysendRequest, *, now: float) -> NotSent | None:
    if not 0 < request.amount_msat <= MAX_MSAT or not 0 <= request.max_fee_msat <= MAX_MSAT:
        return _bad("the amount or the fee limit is out of range")
    if isinstance(request, KeysendRequest):
        return _refused_keysend(request)
    return _refused_by_its_invoice(request, now=now)


def _refused_by_its_invoice(request: PayRequest, *, now: float) -> NotSent | None:
    try:
        invoice = bolt11.decode(request.invoice)
    except bolt11.InvalidInvoice as wrong:
        return _bad(str(wrong))
    if invoice.payment_hash != request.payment_hash:
        return _bad("the invoice has another hash")
    asked_msat = None if request.amount_is_override else request.amount_msat
    if invoice.amount_msat != asked_msat:
        return _bad("the invoice has another amount")
    if invoice.expires_at <= now:
        return NotSent(FailReason.EXPIRED, "the invoice has expired")
    return None


def _refused_keysend(request: KeysendRequest) -> NotSent | None:
    destination, preimage = _unhexed(request.destination), _unhexed(request.preimage)
    if len(destination) != 33 or destination[0] not in (2, 3):
        return _bad("the destination is no node's key")
    if len(preimage) != 32 or request.preimage != Preimage(preimage.hex()):
        return _bad("the preimage is not 32 bytes as lowercase hex")
    if not all(keysend.FIRST_CUSTOM_TLV <= type_ <= keysend.MAX_TLV for type_ in request.tlvs):
        return _bad("a TLV record is not a custom one")
    if keysend.PREIMAGE_TLV in request.tlvs:
        return _bad("the preimage's own record is among the TLV records")
    if sum(map(len, request.tlvs.values())) > keysend.MAX_TLV_BYTES:
        return _bad("the TLV records are too long")
    return None


def _unhexed(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _bad(detail: str) -> NotSent:
    return NotSent(FailReason.BAD_REQUEST, detail)
