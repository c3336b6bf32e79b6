"""What the service's node refuses by reading it; nothing is on its books then."""

from collections.abc import Mapping

from coincurve import PublicKey

from backends.sandbox.books import Books
from backends.sandbox.sends import is_hex32
from nwc_service.backend import Decoded, FailReason, KeysendRequest, NotSent, PayRequest
from nwc_service.wallet.units import MAX_MSAT, Msat

PREIMAGE_RECORD = 5482373484  # the node writes it itself
FIRST_CUSTOM_RECORD = 65536
MAX_RECORDS_BYTES = 1000  # what is left for them in an onion


def of_invoice(read: Decoded, request: PayRequest, *, books: Books) -> NotSent | None:
    if read.payment_hash != request.payment_hash:
        return NotSent(FailReason.BAD_REQUEST, "the invoice has another payment hash")
    if not _asks_for(read.amount_msat, request):
        return NotSent(FailReason.BAD_REQUEST, "the invoice asks for another amount")
    if read.payee == books.service_pubkey:
        return NotSent(FailReason.REJECTED, "the node does not pay itself")
    if books.now() >= read.expires_at:
        return NotSent(FailReason.EXPIRED, "the invoice has expired")
    return None


def of_keysend(request: KeysendRequest, *, books: Books) -> NotSent | None:
    if not is_hex32(request.preimage):
        return NotSent(FailReason.BAD_REQUEST, "the preimage is not 32 bytes as hex")
    if not 1 <= request.amount_msat <= MAX_MSAT:
        return NotSent(FailReason.BAD_REQUEST, "no such amount")
    if not _is_node_key(request.destination):
        return NotSent(FailReason.BAD_REQUEST, "the destination is no key of a node")
    if request.destination == books.service_pubkey:
        return NotSent(FailReason.REJECTED, "the node does not pay itself")
    if problem := records_problem(request.tlvs):
        return NotSent(FailReason.BAD_REQUEST, problem)
    return None


def records_problem(tlvs: Mapping[int, bytes]) -> str | None:
    """Why a payment cannot bring these records with it."""
    if PREIMAGE_RECORD in tlvs:
        return f"record {PREIMAGE_RECORD} is the node's own"
    if any(not FIRST_CUSTOM_RECORD <= type_ < 2**64 for type_ in tlvs):
        return f"custom records are of type {FIRST_CUSTOM_RECORD} or higher"
    if sum(map(len, tlvs.values())) > MAX_RECORDS_BYTES:
        return "the records are too long"
    return None


def _asks_for(amount_msat: Msat | None, request: PayRequest) -> bool:
    if amount_msat is None:
        return request.amount_is_override and request.amount_msat >= 1
    return amount_msat == request.amount_msat and not request.amount_is_override


def _is_node_key(text: str) -> bool:
    try:
        return len(text) == 66 and text == text.lower() and bool(PublicKey(bytes.fromhex(text)))
    except ValueError:
        return False
