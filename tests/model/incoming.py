"""Money in: one invoice of this service, credited exactly once for each time it was paid.

An outside payer pays it at the node, another user pays it inside the ledger, the stream and
the sweep both tell of the settlement, and the process stops anywhere (A11, A15, A16).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from nwc_service.wallet import payment as machine
from nwc_service.wallet import receipt
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.ledger import Entry, changes
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    InvoiceId,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)
from tests.model.search import STUCK

NOW = 1_700_000_000
NODE = BackendName("node")
BOB = AccountId("bob")  # the invoice is his
PAYERS = (AccountId("alice"), AccountId("carol"))
PREIMAGE = Preimage("11" * 32)
HASH = PaymentHash(sha256(bytes.fromhex(PREIMAGE)).hexdigest())
AMOUNT_MSAT = Msat(100_000)

MADE = "credited more than was paid"
PAID_TWICE = "paid twice inside"

_INVOICE = Invoice(
    invoice_id=InvoiceId("invoice"),
    account_id=BOB,
    connection_id=None,
    request_id=None,
    backend=NODE,
    state=InvoiceState.PENDING,
    payment_hash=HASH,
    invoice="lnbcrt1invoice",
    description="",
    description_hash=None,
    amount_msat=AMOUNT_MSAT,
    received_msat=None,
    preimage=None,
    metadata=None,
    created_at=NOW,
    expires_at=NOW + 3600,
    settled_at=None,
)


def _payment(payer: AccountId) -> Payment:
    return Payment(
        payment_id=PaymentId(payer),
        account_id=payer,
        connection_id=None,
        kind=PaymentKind.BOLT11,
        state=PaymentState.RESERVED,
        backend=NODE,
        payment_hash=HASH,
        invoice=_INVOICE.invoice,
        description="",
        description_hash=None,
        amount_msat=AMOUNT_MSAT,
        amount_is_override=False,
        fee_reserve_msat=Msat(0),
        created_at=NOW,
        expires_at=_INVOICE.expires_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """How settlements are taken in, and the variants that lose or make money."""

    name: str
    words: str
    expected: str | None
    has_unique_receipts: bool = True
    is_one_transaction: bool = True  # the credit, and that the stream is past it
    sweeps: bool = True
    has_gaps: bool = True  # the stream may leave a settlement out
    credits_settled: bool = True  # a receipt of what was settled inside the ledger before
    rereads: bool = True  # an internal payment decides in its own transaction


INTAKES = (
    Intake(name="in", words="one unique credit, stream and sweep", expected=None),
    Intake(
        name="in-key",
        words="a credit without its unique key",
        expected=MADE,
        has_unique_receipts=False,
    ),
    Intake(
        name="in-cursor",
        words="the cursor moves before the credit, and nothing is swept",
        expected=STUCK,
        is_one_transaction=False,
        sweeps=False,
        has_gaps=False,
    ),
    Intake(
        name="in-stream",
        words="the stream alone is believed in",
        expected=STUCK,
        sweeps=False,
    ),
    Intake(
        name="in-second",
        words="a receipt of what was paid inside before is dropped",
        expected=STUCK,
        credits_settled=False,
    ),
    Intake(
        name="in-read",
        words="an internal payment by what was read before its transaction",
        expected=PAID_TWICE,
        rereads=False,
    ),
)


class AtNode(IntEnum):
    OPEN = 0
    SETTLED = 1
    CANCELED = 2


class Stream(IntEnum):
    SILENT = 0
    TOLD = 1  # the settlement was read, nothing is committed
    PAST = 2  # the cursor is past it


class State(NamedTuple):
    invoice: Invoice
    at_node: AtNode = AtNode.OPEN
    has_gap: bool = False  # the stream will never tell of the settlement
    stream: Stream = Stream.SILENT
    owed: bool = False  # the cursor has moved, the credit of this settlement has yet to come
    swept: bool = False  # a sweep has read the settlement, nothing is committed
    payers: tuple[Invoice | None, ...] = (None, None)  # what each has read
    to_cancel: bool = False
    receipts: int = 0
    bob_msat: int = 0
    payers_msat: int = 0


class IncomingModel:
    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._settled_inside = cache(_settled_inside)

    def first(self) -> State:
        return State(_INVOICE)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._outside(state)
        yield from self._stream(state)
        yield from self._sweep(state)
        for number in range(len(PAYERS)):
            yield from self._pay_inside(state, number)
        yield (
            "the service crashes",
            state._replace(
                stream=Stream.SILENT if state.stream is Stream.TOLD else state.stream,
                owed=False,
                swept=False,
                payers=(None, None),
            ),
        )

    def is_done(self, state: State) -> bool:
        is_told = state.receipts > 0 or state.at_node is not AtNode.SETTLED
        return is_told and not state.to_cancel

    def is_at_bound(self, _: State) -> bool:
        return False

    def changed(self, before: State, after: State) -> str | None:
        if after.bob_msat < before.bob_msat:
            return "a credit was taken back"
        was_settled = before.invoice.state is InvoiceState.SETTLED
        is_settled = after.invoice.state is InvoiceState.SETTLED
        return "a settled invoice is open again" if was_settled and not is_settled else None

    def broken(self, state: State) -> str | None:
        from_outside_msat = AMOUNT_MSAT if state.at_node is AtNode.SETTLED else 0
        if state.bob_msat > from_outside_msat - state.payers_msat:
            return MADE
        if state.bob_msat < -state.payers_msat:
            return "a payer was charged, and nobody credited"
        if state.payers_msat < -AMOUNT_MSAT:
            return PAID_TWICE
        return None

    # --- the node

    def _outside(self, state: State) -> Iterator[tuple[str, State]]:
        if state.at_node is AtNode.OPEN:
            settled = state._replace(at_node=AtNode.SETTLED)
            yield "somebody outside pays it", settled
            if self._intake.has_gaps:
                in_gap = settled._replace(has_gap=True)
                yield "somebody outside pays it, in a gap of the stream", in_gap
        if state.at_node is AtNode.OPEN and state.invoice.state is InvoiceState.PENDING:
            # Its clock may be ahead of the node's: it can still be paid there.
            expired = replace(state.invoice, state=InvoiceState.EXPIRED)
            yield "the service calls it expired", state._replace(invoice=expired)
        if state.to_cancel:
            yield "the node is told to cancel it", state._replace(at_node=_canceled(state))
            yield (
                "the node has been told, the queue is empty",
                state._replace(at_node=_canceled(state), to_cancel=False),
            )

    # --- the credit

    def _stream(self, state: State) -> Iterator[tuple[str, State]]:
        may_tell = state.at_node is AtNode.SETTLED and not state.has_gap
        if may_tell and state.stream is Stream.SILENT:
            yield "the stream tells", state._replace(stream=Stream.TOLD)
        if state.stream is Stream.TOLD:
            past = state._replace(stream=Stream.PAST)
            if self._intake.is_one_transaction:
                yield "the stream's settlement is credited", self._credit(past)
            else:
                yield "the cursor moves", past._replace(owed=True)
        if state.owed:
            owed_no_more = state._replace(owed=False)
            yield "the stream's settlement is credited", self._credit(owed_no_more)

    def _sweep(self, state: State) -> Iterator[tuple[str, State]]:
        if state.swept:
            yield "the swept one is credited", self._credit(state._replace(swept=False))
        elif self._intake.sweeps and state.at_node is AtNode.SETTLED:
            yield "the sweep finds it settled", state._replace(swept=True)

    def _credit(self, state: State) -> State:
        if state.receipts and self._intake.has_unique_receipts:
            return state
        if state.invoice.state is InvoiceState.SETTLED and not self._intake.credits_settled:
            return state
        entry = receipt.receive_entry(
            state.invoice, backend=NODE, received_msat=AMOUNT_MSAT, has_room=True
        )
        settled = receipt.settle_invoice(
            state.invoice,
            received_msat=AMOUNT_MSAT,
            preimage=PREIMAGE,
            settled_at=NOW,
            now=NOW,
        )
        is_unsettled = state.invoice.state in receipt.UNSETTLED
        return _booked(state, (entry,))._replace(
            invoice=settled if is_unsettled else state.invoice,
            receipts=min(state.receipts + 1, 2),
        )

    # --- the payment inside the ledger

    def _pay_inside(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        payer, read = PAYERS[number], state.payers[number]
        if self._intake.rereads:
            read = state.invoice
        elif read is None:
            payers = tuple(
                state.invoice if n == number else one for n, one in enumerate(state.payers)
            )
            yield f"{payer} reads the invoice", state._replace(payers=payers)
            return
        settled = self._settled_inside(payer, read)
        if settled is not None:
            _, invoice, entries = settled
            payers = tuple(None if n == number else one for n, one in enumerate(state.payers))
            yield (
                f"{payer} pays it inside the ledger",
                _booked(state, entries)._replace(
                    invoice=invoice, payers=payers, to_cancel=True
                ),
            )


def _settled_inside(
    payer: AccountId, invoice: Invoice
) -> tuple[Payment, Invoice, tuple[Entry, ...]] | None:
    payment = _payment(payer)
    return machine.settle_internally(payment, invoice, preimage=PREIMAGE, now=NOW)


def _canceled(state: State) -> AtNode:
    return AtNode.CANCELED if state.at_node is AtNode.OPEN else state.at_node


def _booked(state: State, entries: tuple[Entry, ...]) -> State:
    users, _ = changes(entries)
    return state._replace(
        bob_msat=state.bob_msat + sum(users[a].available_msat for a in users if a == BOB),
        payers_msat=state.payers_msat
        + sum(users[a].available_msat for a in users if a in PAYERS),
    )
