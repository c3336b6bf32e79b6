"""What a state of a hold invoice is made of, and what must hold in each of them.

Invoice and payment are real ones, and only the functions of `wallet/hold.py` and
`wallet/receipt.py` change them.
"""

from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from nwc_service.wallet import hold
from nwc_service.wallet.errors import RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.ledger import Entry, changes
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState, proves
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    InvoiceId,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)
from tests.model.hold_rules import HELD_FOR_NOBODY, MADE, UNDECIDED

NODE = BackendName("node")
BOB, ALICE = AccountId("bob"), AccountId("alice")  # it is Bob's, Alice pays inside
PREIMAGE, WRONG_PREIMAGE = Preimage("11" * 32), Preimage("22" * 32)
HASH = PaymentHash(sha256(bytes.fromhex(PREIMAGE)).hexdigest())
AMOUNT_MSAT = Msat(100_000)

LONGEST_S = 300
NOW = 1_700_000_000
EXPIRY = NOW + 3600
CLOCKS = (NOW, NOW + LONGEST_S, EXPIRY + 3601)
"""The last is when no node takes a payment any more."""

HEIGHT = 800_000
DEADLINE = HEIGHT + 40
HEIGHTS = (HEIGHT, DEADLINE - hold.MARGIN_BLOCKS, DEADLINE - 1, DEADLINE)

INVOICE = Invoice(
    invoice_id=InvoiceId("invoice"),
    account_id=BOB,
    connection_id=None,
    request_id=None,
    backend=NODE,
    state=InvoiceState.PENDING,
    payment_hash=HASH,
    invoice="lnbcrt1hold",
    description="",
    description_hash=None,
    amount_msat=AMOUNT_MSAT,
    received_msat=None,
    preimage=None,
    metadata=None,
    created_at=NOW,
    expires_at=EXPIRY,
    settled_at=None,
    is_hold=True,
)
PAYMENT = Payment(
    payment_id=PaymentId("payment"),
    account_id=ALICE,
    connection_id=None,
    kind=PaymentKind.BOLT11,
    state=PaymentState.RESERVED,
    backend=NODE,
    payment_hash=HASH,
    invoice=INVOICE.invoice,
    description="",
    description_hash=None,
    amount_msat=AMOUNT_MSAT,
    amount_is_override=False,
    fee_reserve_msat=Msat(1_000),
    created_at=NOW,
    expires_at=EXPIRY,
)


class AtNode(IntEnum):
    OPEN = 0
    HELD = 1
    SETTLED = 2
    BY_HAND = 3  # settled, and not because the service said so
    CANCELED = 4
    GIVEN_BACK = 5  # by the node itself, at its deadline


PAID = (AtNode.SETTLED, AtNode.BY_HAND)
OVER = (AtNode.CANCELED, AtNode.GIVEN_BACK)
OVER_HERE = (InvoiceState.SETTLED, InvoiceState.CANCELED, InvoiceState.EXPIRED)
FINAL_STATES = (PaymentState.SETTLED, PaymentState.RELEASED)


class Books(NamedTuple):
    bob_msat: int = 0
    alice_msat: int = 0
    held_msat: int = 0  # of Alice


class Memory(NamedTuple):
    """What a crash forgets: rows as they were read, what is still to be written."""

    overdue: Invoice | None = None  # by the job that ends what is overdue
    to_settle: Invoice | None = None  # by one connection of its owner
    to_cancel: Invoice | None = None  # by the other
    was_open: bool = False  # the sweep was told so
    was_told: bool = False  # the node, to cancel what was paid inside

    def read_by(self, resolution: Resolution) -> Invoice | None:
        return self.to_settle if resolution is Resolution.SETTLE else self.to_cancel

    def reading(self, resolution: Resolution, invoice: Invoice | None) -> "Memory":
        if resolution is Resolution.SETTLE:
            return self._replace(to_settle=invoice)
        return self._replace(to_cancel=invoice)


class State(NamedTuple):
    invoice: Invoice
    payment: Payment | None = None  # inside
    at_node: AtNode = AtNode.OPEN
    was_held: bool = False  # by the node
    was_heard: bool = False  # the stream is past that
    clock: int = NOW
    height: int = HEIGHT
    calls: frozenset[Resolution] = frozenset()  # on their way to the node
    is_queued: bool = False  # the node is to cancel what was paid inside
    is_left: bool = False  # its owner will not be seen again
    receipts: int = 0
    books: Books = Books()
    memory: Memory = Memory()


def booked(state: State, entries: tuple[Entry, ...]) -> State:
    users, _ = changes(entries)
    books = state.books
    for account, change in users.items():
        if account == BOB:
            books = books._replace(bob_msat=books.bob_msat + change.available_msat)
        else:
            books = books._replace(
                alice_msat=books.alice_msat + change.available_msat,
                held_msat=books.held_msat + change.held_msat,
            )
    return state._replace(books=books)


def decision(
    invoice: Invoice, resolution: Resolution, *, preimage: Preimage = PREIMAGE
) -> Invoice | None:
    """None where it is refused, or changes nothing."""
    try:
        settles = resolution is Resolution.SETTLE
        after = hold.settle(invoice, preimage) if settles else hold.cancel(invoice)
    except RequestError:
        return None
    is_news = not hold.is_final(invoice) and after.resolution is not invoice.resolution
    return after if is_news else None


def wrong_books(state: State) -> str | None:
    bob_msat, alice_msat, held_msat = state.books
    paid_msat = AMOUNT_MSAT if state.at_node in PAID else 0
    inside = state.payment.state if state.payment else None
    charged_msat = AMOUNT_MSAT if inside is PaymentState.SETTLED else 0
    reserved_msat = AMOUNT_MSAT if inside is PaymentState.RESERVED else 0
    if bob_msat > paid_msat + charged_msat:
        return MADE
    if bob_msat != state.receipts * AMOUNT_MSAT + charged_msat:
        return "its owner has something else than what was received"
    if (alice_msat, held_msat) != (-charged_msat - reserved_msat, reserved_msat):
        return "the payer's balance is not what became of her payment"
    return None


def wrong_rows(state: State) -> str | None:
    invoice, payment = state.invoice, state.payment
    inside = payment.state if payment else None
    is_paid = state.receipts > 0 or inside is PaymentState.SETTLED
    names_payer = invoice.payer_payment_id is not None
    if inside is PaymentState.RESERVED and not (
        names_payer and invoice.state is InvoiceState.ACCEPTED
    ):
        return HELD_FOR_NOBODY
    if inside is PaymentState.RELEASED and not (
        state.receipts or invoice.resolution is Resolution.CANCEL
    ):
        return UNDECIDED
    if invoice.state is InvoiceState.SETTLED and not (is_paid and _proves(invoice.preimage)):
        return "settled without a payment or its proof"
    if payment and inside is PaymentState.SETTLED and not _proves(payment.preimage):
        return "paid without its proof"
    if invoice.resolution is Resolution.SETTLE and invoice.accepted_at is None:
        return "decided to settle what nobody has paid"
    return None


def _proves(preimage: Preimage | None) -> bool:
    return preimage is not None and proves(preimage, HASH)
