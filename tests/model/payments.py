"""The outgoing payment as a model: the service and the world, and what must never be."""

from collections.abc import Iterator

from nwc_service.wallet.payment import LIVE_STATES, PaymentState, proves
from nwc_service.wallet.units import Preimage
from tests.model import nodes
from tests.model.rules import EPOCHS, PAID_TWICE, RELEASED_AND_PAID, Rule
from tests.model.service import Service
from tests.model.world import (
    NODES,
    NOW,
    START_MSAT,
    Replica,
    Rows,
    State,
    Status,
    Stored,
)

FINAL_STATES = (PaymentState.SETTLED, PaymentState.RELEASED)
NOT_PAYABLE_STATES = (PaymentState.RESERVED, PaymentState.RELEASED)


class PaymentModel:
    """One user, one payment hash of an outside payee who takes whatever he can get."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._service = Service(rule, Rows(rule.kind, dates_all=rule.dates_all))

    def first(self) -> State:
        epoch = 1 if self._rule.has_leases else 0
        others = (Replica(),) * (self._rule.replicas - 1)
        return State(
            clock=NOW,
            payments=(),
            calls=(),
            nodes=(None,) * len(NODES),
            revoked_below=epoch,
            epoch=epoch,
            replicas=(Replica(epoch=epoch), *others),
        )

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield from self._service.steps(state)
        yield from nodes.steps(state, expires=self._rule.expires)

    def is_done(self, state: State) -> bool:
        return all(one.row.payment.state in FINAL_STATES for one in state.payments)

    def is_at_bound(self, state: State) -> bool:
        """The last epoch has begun: a lost send or a dead owner needs one more."""
        return self._rule.has_leases and state.epoch == EPOCHS

    def changed(self, before: State, after: State) -> str | None:
        """I7. Only variant A forgets payments, live ones."""
        if before.payments is after.payments:
            return None
        for old, new in zip(before.payments, after.payments, strict=False):
            if old.row.payment.state in FINAL_STATES and new.row is not old.row:
                return "a final payment changed"
        return None

    def broken(self, state: State) -> str | None:
        paid = [
            known.payment
            for known in state.nodes
            if known is not None and known.status is Status.SETTLED
        ]
        if len(paid) > 1:
            return PAID_TWICE
        for number in paid:
            if number >= len(state.payments) or _is_not_payable(state.payments[number]):
                return RELEASED_AND_PAID
        for number, stored in enumerate(state.payments):
            wrong = self._wrong(stored, is_paid=number in paid)
            if wrong:
                return wrong
        return _wrong_books(state)

    def _wrong(self, stored: Stored, *, is_paid: bool) -> str | None:
        payment = stored.row.payment
        if stored.sends > self._rule.sends:
            return "sent more often than allowed"
        if payment.state is not PaymentState.SETTLED:
            return None
        if not proves(payment.preimage or Preimage(""), payment.payment_hash):
            return "settled without its proof"
        return None if is_paid else "settled, and not paid"


def _is_not_payable(stored: Stored) -> bool:
    return stored.row.payment.state in NOT_PAYABLE_STATES


def _wrong_books(state: State) -> str | None:
    available_msat, held_msat, operator_msat = START_MSAT, 0, 0
    live_msat = charged_msat = 0
    for stored in state.payments:
        payment, moved = stored.row.payment, stored.row.moved
        available_msat += moved.available_msat
        held_msat += moved.held_msat
        operator_msat += moved.operator_msat
        if payment.state in LIVE_STATES:
            live_msat += payment.held_msat
        elif payment.state is PaymentState.SETTLED:
            charged_msat += payment.amount_msat + (payment.fee_msat or 0)
    if available_msat < 0 or held_msat < 0:
        return "the user's balance is negative"
    if held_msat != live_msat:
        return "held is not what the live payments need"
    if available_msat + held_msat + operator_msat != START_MSAT:
        return "the books do not balance"
    if available_msat + held_msat != START_MSAT - charged_msat:
        return "the user was charged something else than the amount and the fee"
    return None
