"""Hold invoices: held by the node or inside the ledger, then settled or cancelled, once.

Its owner decides over two connections, the deadline decides, a payer outside and one inside
want the same invoice, calls and replies get lost or arrive late, the process stops anywhere
(A8, A11). What one transaction does is one step, named after what does it in the service. Of
the conditions in its SQL only those are here that guard what was read before.
"""

from collections.abc import Iterator
from dataclasses import replace

from nwc_service.wallet import hold, receipt
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.payment import PaymentState, proves
from tests.model import hold_rules as verdicts
from tests.model.hold_rules import HoldRule
from tests.model.hold_world import (
    AMOUNT_MSAT,
    CLOCKS,
    DEADLINE,
    FINAL_STATES,
    HASH,
    HEIGHTS,
    INVOICE,
    LONGEST_S,
    NODE,
    NOW,
    OVER,
    OVER_HERE,
    PAID,
    PAYMENT,
    PREIMAGE,
    WRONG_PREIMAGE,
    AtNode,
    Memory,
    State,
    booked,
    decision,
    wrong_books,
    wrong_rows,
)

Step = tuple[str, State]


class HoldModel:
    def __init__(self, rule: HoldRule) -> None:
        self._rule = rule

    def first(self) -> State:
        return State(INVOICE)

    def steps(self, state: State) -> Iterator[Step]:
        yield from self._work(state)
        yield from self._owner(state)
        yield from self._outside(state)
        yield from self._pay_inside(state)
        for resolution in sorted(state.calls):
            rest = state._replace(calls=state.calls - {resolution})
            yield f"the call to {resolution} is heard of no more", rest
        if state.memory != Memory():
            yield "the service crashes", state._replace(memory=Memory())

    def _work(self, state: State) -> Iterator[Step]:
        """All that goes on without its owner and its payers."""
        yield from self._reports(state)
        yield from self._sweep(state)
        yield from self._resolve(state)
        yield from self._cancel_queue(state)
        yield from self._overdue(state)

    def is_done(self, state: State) -> bool:
        """Nobody waits for money, and all that was received is credited."""
        if state.at_node is AtNode.HELD or state.is_queued:
            return False
        if state.payment is not None and state.payment.state not in FINAL_STATES:
            return False
        if state.at_node in PAID:
            return state.receipts > 0
        return state.invoice.state in OVER_HERE or (
            state.at_node is AtNode.OPEN and state.invoice == INVOICE
        )

    def is_at_bound(self, _: State) -> bool:
        return False

    # --- what must never be

    def changed(self, before: State, after: State) -> str | None:
        old, new = before.invoice, after.invoice
        was = before.payment.state if before.payment else None
        if was in FINAL_STATES and after.payment != before.payment:
            is_charged = was is PaymentState.SETTLED
            return verdicts.CHARGED_AND_BACK if is_charged else "a final payment changed"
        if old.resolution is not None and new.resolution is not old.resolution:
            return verdicts.TWO_DECISIONS
        if old.state is InvoiceState.SETTLED and new.state is not InvoiceState.SETTLED:
            return "a settled invoice is open again"
        if old.accepted_at is not None and new.accepted_at != old.accepted_at:
            return "accepted twice"
        took_back = before.books.bob_msat > after.books.bob_msat
        return "a credit was taken back" if took_back else None

    def broken(self, state: State) -> str | None:
        return wrong_books(state) or wrong_rows(state) or self._wrong_at_node(state)

    def _wrong_at_node(self, state: State) -> str | None:
        invoice = state.invoice
        is_inside = invoice.payer_payment_id is not None
        is_settled = invoice.resolution is Resolution.SETTLE
        if state.at_node is AtNode.SETTLED and (
            is_inside or invoice.resolution is Resolution.CANCEL
        ):
            return verdicts.CONTRARY
        if state.at_node is AtNode.CANCELED and is_settled and not is_inside:
            return verdicts.CONTRARY
        is_over = invoice.state in OVER_HERE and not is_inside
        if is_over and state.at_node is AtNode.HELD:
            return verdicts.ENDED_EARLY
        if self._rule.is_timely and state.at_node is AtNode.GIVEN_BACK:
            return verdicts.UNSETTLED if is_settled and not is_inside else verdicts.NODE_HAD_TO
        return None

    # --- what the node says

    def _reports(self, state: State) -> Iterator[Step]:
        is_open = state.invoice.state in hold.OPEN
        is_new = self._rule.redelivers or (not state.was_heard and state.at_node not in OVER)
        if state.was_held and is_new:
            heard = self._accept(state)._replace(was_heard=True)
            yield "the stream tells that the node holds it", heard
        if is_open and not state.was_heard and state.was_held:
            yield "the stream has a gap", state._replace(was_heard=True)
        if is_open and state.at_node is AtNode.HELD:
            yield "the sweep finds it held", self._accept(state)
        if state.at_node in PAID:
            yield "the node tells that it is settled", self._credit(state)
        if state.at_node in OVER and (is_open or self._rule.redelivers):
            canceled = self._expire(state, InvoiceState.CANCELED)
            yield "the node tells that it is cancelled", canceled

    def _accept(self, state: State) -> State:
        """`holds.py: _accept`."""
        if self._rule.credits_held:
            return self._credit(state)
        invoice = state.invoice
        if self._rule.accepts_second and hold.is_inside(invoice):
            invoice = INVOICE
        accepted = hold.accept(
            invoice, settle_deadline=DEADLINE, height=self._height(state), now=state.clock
        )
        if accepted is not None:
            return state._replace(invoice=accepted)
        is_over = hold.is_final(invoice) and invoice.state is not InvoiceState.SETTLED
        is_refused = invoice.payer_payment_id is not None or is_over
        return state._replace(
            is_queued=state.is_queued or (is_refused and self._rule.refuses_second)
        )

    def _credit(self, state: State) -> State:
        """`credit.py: _credit`."""
        if state.receipts and self._rule.has_unique_receipts:
            return state
        invoice = state.invoice
        entry = receipt.receive_entry(
            invoice, backend=NODE, received_msat=AMOUNT_MSAT, has_room=True
        )
        settled = receipt.settle_invoice(
            invoice,
            received_msat=AMOUNT_MSAT,
            preimage=PREIMAGE,
            settled_at=NOW,
            now=state.clock,
        )
        credited = booked(state, (entry,))._replace(receipts=min(state.receipts + 1, 2))
        if invoice.state in receipt.UNSETTLED:
            credited = credited._replace(invoice=settled)
        return self._end(credited, invoice)

    def _expire(self, state: State, over: InvoiceState) -> State:
        """`credit.py: expire`."""
        invoice = state.invoice
        is_kept = hold.is_inside(invoice) and not self._rule.believes_cancel
        if is_kept or invoice.state not in hold.OPEN:
            return state
        return self._end(state._replace(invoice=replace(invoice, state=over)), invoice)

    def _end(self, state: State, before: Invoice) -> State:
        """`hold_end.py: end`."""
        payment = state.payment
        if payment is None or not hold.is_inside(before):
            return state
        if payment.state is not PaymentState.RESERVED and self._rule.checks_payer:
            return state
        released, entries = hold.give_back(payment, why="it ended", now=state.clock)
        return booked(state._replace(payment=released), entries)

    def _sweep(self, state: State) -> Iterator[Step]:
        """`reconciler.py: _sweep`. Its answer is at most some minutes old, and the last clock
        is an hour after the expiry: whoever was told then that nobody had paid may say so."""
        is_asked = state.clock == CLOCKS[-1] or self._rule.expires_late
        was_open = state.memory.was_open
        if is_asked and state.at_node is AtNode.OPEN and state.invoice.state in hold.OPEN:
            memory = state.memory._replace(was_open=True)
            yield "the sweep is told that nobody has paid", state._replace(memory=memory)
        if was_open and state.clock == CLOCKS[-1]:
            memory = state.memory._replace(was_open=False)
            swept = self._expire(state, InvoiceState.EXPIRED)._replace(memory=memory)
            yield "the sweep calls it expired", swept

    # --- what the node is told

    def _resolve(self, state: State) -> Iterator[Step]:
        """`holds.py: resolve_decided`, and the call, which may take its time."""
        invoice, resolution = state.invoice, state.invoice.resolution
        is_due = invoice.state in hold.OPEN and self._rule.tells_again
        if resolution is not None and is_due:
            yield f"the node is called to {resolution} it", _called(state, resolution)
        if Resolution.SETTLE in state.calls and state.at_node is AtNode.HELD:
            yield "the node settles it", state._replace(at_node=AtNode.SETTLED)
        if Resolution.CANCEL in state.calls and state.at_node <= AtNode.HELD:
            yield "the node cancels it", state._replace(at_node=AtNode.CANCELED)

    def _cancel_queue(self, state: State) -> Iterator[Step]:
        """`reconciler.py: _cancel`."""
        memory = state.memory
        if state.is_queued and not memory.was_told:
            told = state._replace(memory=memory._replace(was_told=True))
            is_cancelled = state.at_node <= AtNode.HELD
            at_node = AtNode.CANCELED if is_cancelled else state.at_node
            yield "the node cancels what was paid inside", told._replace(at_node=at_node)
            if self._rule.is_lax and state.at_node is AtNode.OPEN:
                yield "the node does not cancel what nobody has paid", told
        if memory.was_told:
            closed = state._replace(is_queued=False, memory=memory._replace(was_told=False))
            yield "the queue of what to cancel is empty", closed

    # --- who decides

    def _overdue(self, state: State) -> Iterator[Step]:
        """`holds.py: end_overdue`: read in one transaction, decided in the next."""
        invoice, read = state.invoice, state.memory.overdue
        is_overdue = self._rule.ends_overdue and hold.is_overdue(
            invoice, height=self._height(state), now=state.clock, longest_s=LONGEST_S
        )
        if is_overdue and read is None:
            memory = state.memory._replace(overdue=invoice)
            yield "it is found overdue", state._replace(memory=memory)
        if read is not None:
            forgot = state._replace(memory=state.memory._replace(overdue=None))
            canceled = replace(read, resolution=Resolution.CANCEL)
            yield (
                "the deadline cancels it",
                self._decided_later(forgot, canceled, expected=InvoiceState.ACCEPTED),
            )

    def _owner(self, state: State) -> Iterator[Step]:
        """`holds.py: _decide`."""
        if state.is_left:
            return
        yield "its owner is not seen again", state._replace(is_left=True)
        for resolution in Resolution:
            if self._rule.decides_at_once:
                after = decision(state.invoice, resolution)
                if after is not None:
                    yield f"its owner decides to {resolution} it", self._decided(state, after)
            else:
                yield from self._decide_later(state, resolution)
        wrong = decision(state.invoice, Resolution.SETTLE, preimage=WRONG_PREIMAGE)
        if wrong is not None:
            yield "its owner settles it with another preimage", self._decided(state, wrong)

    def _decide_later(self, state: State, resolution: Resolution) -> Iterator[Step]:
        read = state.memory.read_by(resolution)
        after = decision(read or state.invoice, resolution)
        if after is None:
            return
        memory = state.memory.reading(resolution, None if read else state.invoice)
        later = state._replace(memory=memory)
        if read is not None:
            decided = self._decided_later(later, after, expected=read.state)
            yield f"its owner decides to {resolution} it", decided
        elif self._rule.tells_early and not hold.is_inside(after):
            yield f"the node is called to {resolution} it at once", _called(later, resolution)
        else:
            yield f"its owner reads it to {resolution} it", later

    def _decided_later(self, state: State, after: Invoice, *, expected: InvoiceState) -> State:
        """With the condition of `store/invoices.py: decide`."""
        current = state.invoice
        is_first = current.state is expected and current.resolution is None
        if self._rule.is_conditional and not is_first:
            return state
        return self._decided(state, after)

    def _decided(self, state: State, after: Invoice) -> State:
        """What is stored, and what the same transaction ends."""
        stored = replace(state.invoice, resolution=after.resolution, preimage=after.preimage)
        decided = state._replace(invoice=stored)
        if hold.is_inside(after):
            return self._end_inside(decided, after)
        if self._rule.tells_again or after.resolution is None:
            return decided
        return _called(decided, after.resolution)

    def _end_inside(self, state: State, decided: Invoice) -> State:
        """`holds.py: _end_inside`."""
        if decided.resolution is Resolution.CANCEL:
            canceled = replace(decided, state=InvoiceState.CANCELED)
            return self._end(state._replace(invoice=canceled), decided)
        assert state.payment is not None
        paid, settled, entries = hold.settle_inside(state.payment, decided, now=state.clock)
        return booked(state._replace(payment=paid, invoice=settled), entries)

    # --- who pays, and the time

    def _pay_inside(self, state: State) -> Iterator[Step]:
        """`inside.py: _pay_hold`."""
        terms = hold.accept_inside(
            PAYMENT, state.invoice, height=self._height(state), now=state.clock
        )
        if terms is not None:
            payment, invoice, entries = terms
            reserved = state._replace(payment=payment, invoice=invoice, is_queued=True)
            yield "Alice pays it inside the ledger", booked(reserved, entries)

    def _outside(self, state: State) -> Iterator[Step]:
        is_held = state.at_node is AtNode.HELD
        if state.at_node is AtNode.OPEN and state.clock != CLOCKS[-1]:
            held = state._replace(at_node=AtNode.HELD, was_held=True)
            yield "somebody outside pays it, and the node holds that", held
        if is_held and self._rule.has_hand:
            by_hand = state._replace(at_node=AtNode.BY_HAND)
            yield "somebody settles it at the node", by_hand
        if is_held and state.height == DEADLINE:
            yield "the node gives it back", state._replace(at_node=AtNode.GIVEN_BACK)
        if is_held and state.height != DEADLINE and self._has_time(state):
            height = HEIGHTS[HEIGHTS.index(state.height) + 1]
            yield f"{DEADLINE - height} blocks are left", state._replace(height=height)
        if state.clock != CLOCKS[-1]:
            clock = CLOCKS[CLOCKS.index(state.clock) + 1]
            yield f"{clock - state.clock} seconds pass", state._replace(clock=clock)

    def _has_time(self, state: State) -> bool:
        """A block may pass: where there is time enough, once there is nothing left to do."""
        return not self._rule.is_timely or all(after == state for _, after in self._work(state))

    def _height(self, state: State) -> int:
        return state.height - self._rule.blocks_behind


def _called(state: State, resolution: Resolution) -> State:
    """A preimage that is of another invoice the node refuses."""
    settles = resolution is Resolution.SETTLE
    if settles and not proves(state.invoice.preimage or PREIMAGE, HASH):
        return state
    return state._replace(calls=state.calls | {resolution})
