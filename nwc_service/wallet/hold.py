"""A hold invoice (NWC-03): paid in two steps, of which its owner decides the second.

The node, or the ledger between two of its accounts, keeps a payment of it until the owner
settles it with the preimage or cancels it: once, for good. What is accepted is not spendable.
"""

from dataclasses import replace
from hashlib import sha256

from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.ledger import Entry, EntryKind, available, held
from nwc_service.wallet.payment import (
    Payment,
    PaymentKind,
    PaymentState,
    Proof,
    ProofKind,
    proves,
    release,
)
from nwc_service.wallet.units import Msat, PaymentHash, Preimage

DEFAULT_CLTV_EXPIRY_BLOCKS = 18
"""BOLT11's own, where neither the node nor the invoice says what a payer leaves at least."""

MARGIN_BLOCKS = 6
"""So many blocks before the settle deadline the service itself gives the payment back: the
node would close the channel to get its money in time (A8)."""

MAX_HEIGHT = 2**31
"""More than ten thousand years of blocks, and any database can store it."""

LONGEST_HOLD_S = 86_400
"""The most that may be configured; "within a few minutes" is what NWC-03 asks for."""

SETTLED = "this hold invoice was settled"
NOT_HELD = "no payment of this hold invoice is held"

OPEN = (InvoiceState.PENDING, InvoiceState.ACCEPTED)


def hash_of(preimage: Preimage) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def is_final(invoice: Invoice) -> bool:
    """Nothing is held any more. The node may still settle it: its word counts (I17)."""
    return invoice.state not in (InvoiceState.REQUESTED, *OPEN)


def is_inside(invoice: Invoice) -> bool:
    """A payment of it is held inside the ledger, where no node has a say."""
    return invoice.state is InvoiceState.ACCEPTED and invoice.payer_payment_id is not None


def is_meant(invoice: Invoice, told: str) -> bool:
    """Whether what a node says of `told`, an invoice of the same hash, is said of this one.

    The owner of a hold invoice chose its hash, which may be that of what a stranger pays: the
    hash alone gives him nothing, and nobody can pay what the node has not made yet.
    """
    if not invoice.is_hold:
        return True
    return invoice.state is not InvoiceState.REQUESTED and told == invoice.invoice


# --- a payment is held


def accept(
    invoice: Invoice, *, settle_deadline: int | None, height: int | None, now: int
) -> Invoice | None:
    """The node holds a payment of it. None where it is no news, or comes too late."""
    if not _is_waiting(invoice):
        return None
    return replace(
        invoice,
        state=InvoiceState.ACCEPTED,
        accepted_at=now,
        settle_deadline=told_height(settle_deadline) or _deadline(invoice, height=height),
    )


def told_height(told: int | None) -> int | None:
    """What a backend says, where that can be the height of a block at all."""
    return told if told is not None and 0 < told < MAX_HEIGHT else None


def is_short(invoice: Invoice, received_msat: Msat | None) -> bool:
    """Less is held than was asked for, which no node may accept: it is not to be settled."""
    asked_msat = invoice.amount_msat
    return None not in (asked_msat, received_msat) and (received_msat or 0) < (asked_msat or 0)


def accept_inside(
    payment: Payment, invoice: Invoice, *, height: int | None, now: int
) -> tuple[Payment, Invoice, tuple[Entry, ...]] | None:
    """Another account, or the same, pays it inside the ledger: the payer's money is held, and
    no fee. None where it cannot be paid any more."""
    if not _is_waiting(invoice) or now >= invoice.expires_at:
        return None
    amount_msat = invoice.amount_msat or payment.amount_msat
    reserved = replace(
        payment,
        kind=PaymentKind.INTERNAL_HOLD,
        state=PaymentState.RESERVED,
        backend=None,
        amount_msat=amount_msat,
        fee_reserve_msat=Msat(0),
    )
    accepted = replace(
        invoice,
        state=InvoiceState.ACCEPTED,
        accepted_at=now,
        # NWC-03 wants one; where nobody tells the height, no node has its channel at stake.
        settle_deadline=_deadline(invoice, height=height or 0),
        payer_payment_id=payment.payment_id,
    )
    payer = payment.account_id
    entry = Entry(EntryKind.RESERVE, available(payer), held(payer), amount_msat)
    return reserved, accepted, (entry,)


def _is_waiting(invoice: Invoice) -> bool:
    is_open = invoice.is_hold and invoice.state is InvoiceState.PENDING
    return is_open and invoice.resolution is None


def _deadline(invoice: Invoice, *, height: int | None) -> int | None:
    if height is None:
        return None
    return height + (invoice.min_cltv_expiry_delta or DEFAULT_CLTV_EXPIRY_BLOCKS)


def is_overdue(invoice: Invoice, *, height: int | None, now: int, longest_s: int) -> bool:
    """Its owner has not decided in time. Inside the ledger there is no node whose channel is
    at stake, so only the time counts there."""
    if invoice.state is not InvoiceState.ACCEPTED or invoice.resolution is not None:
        return False
    if now >= (invoice.accepted_at or 0) + longest_s:
        return True
    deadline = invoice.settle_deadline
    if is_inside(invoice) or deadline is None or height is None:
        return False
    return height >= deadline - MARGIN_BLOCKS


# --- the owner decides


def settle(invoice: Invoice, preimage: Preimage) -> Invoice:
    """As its owner wants it to end; unchanged where that is how it ended or will end.

    Raises RequestError.
    """
    if invoice.state is InvoiceState.SETTLED or invoice.resolution is Resolution.SETTLE:
        return invoice
    is_held = invoice.state is InvoiceState.ACCEPTED and invoice.resolution is None
    if not is_held or not _proves(preimage, invoice):
        raise RequestError(ErrorCode.OTHER, NOT_HELD)
    return replace(invoice, resolution=Resolution.SETTLE, preimage=preimage)


def cancel(invoice: Invoice) -> Invoice:
    """As `settle`, for an invoice that waits for a payment, too."""
    if invoice.state is InvoiceState.SETTLED:
        raise RequestError(ErrorCode.OTHER, SETTLED)
    if is_final(invoice) or invoice.resolution is Resolution.CANCEL:
        return invoice
    if invoice.resolution is Resolution.SETTLE:
        raise RequestError(ErrorCode.OTHER, "this hold invoice is being settled")
    return replace(invoice, resolution=Resolution.CANCEL)


def _proves(preimage: Preimage, invoice: Invoice) -> bool:
    return invoice.payment_hash is not None and proves(preimage, invoice.payment_hash)


# --- what becomes of a payment that is held inside the ledger


def settle_inside(
    payment: Payment, invoice: Invoice, *, now: int
) -> tuple[Payment, Invoice, tuple[Entry, ...]]:
    """Both sides at once; the invoice has the preimage of its owner's decision."""
    paid = replace(
        payment,
        state=PaymentState.SETTLED,
        fee_msat=Msat(0),
        preimage=invoice.preimage,
        settled_at=now,
    )
    received = replace(
        invoice,
        state=InvoiceState.SETTLED,
        received_msat=payment.amount_msat,
        settled_at=now,
    )
    entry = Entry(
        EntryKind.INTERNAL,
        held(payment.account_id),
        available(invoice.account_id),
        payment.amount_msat,
    )
    return paid, received, (entry,)


def give_back(payment: Payment, *, why: str, now: int) -> tuple[Payment, tuple[Entry, ...]]:
    """It was held inside the ledger, which is the proof that nothing was sent."""
    return release(payment, proof=Proof(ProofKind.NOT_SENT, f"held inside: {why}"), now=now)
