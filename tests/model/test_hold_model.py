"""The functions that move hold invoices, broken one at a time: each time the search sees it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nwc_service.wallet import hold
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.units import Msat
from tests.model.hold_rules import HOLD_RULES
from tests.model.hold_world import AMOUNT_MSAT, AtNode, State
from tests.model.holds import HoldModel
from tests.model.search import explore

BY_NAME = {rule.name: rule for rule in HOLD_RULES}

ACCEPT = hold.accept
ACCEPT_INSIDE = hold.accept_inside
SETTLE = hold.settle
CANCEL = hold.cancel
SETTLE_INSIDE = hold.settle_inside
GIVE_BACK = hold.give_back
IS_OVERDUE = hold.is_overdue


def undecided(invoice: Invoice) -> Invoice:
    return replace(invoice, resolution=None)


def accepts_again(invoice: Invoice, **words: Any) -> Any:
    return ACCEPT(replace(invoice, state=InvoiceState.PENDING), **words)


def accepts_inside_what_is_held(payment: Payment, invoice: Invoice, **words: Any) -> Any:
    is_held = invoice.state is InvoiceState.ACCEPTED
    read = replace(invoice, state=InvoiceState.PENDING) if is_held else invoice
    return ACCEPT_INSIDE(payment, read, **words)


def accepts_inside_what_is_cancelled(payment: Payment, invoice: Invoice, **words: Any) -> Any:
    return ACCEPT_INSIDE(payment, undecided(invoice), **words)


def holds_nothing(payment: Payment, invoice: Invoice, **words: Any) -> Any:
    terms = ACCEPT_INSIDE(payment, invoice, **words)
    return terms and (*terms[:2], ())


def holds_a_fee(payment: Payment, invoice: Invoice, **words: Any) -> Any:
    terms = ACCEPT_INSIDE(payment, invoice, **words)
    if terms is None:
        return None
    (entry,) = terms[2]
    return (*terms[:2], (replace(entry, amount_msat=Msat(entry.amount_msat + 1_000)),))


def names_no_payer(payment: Payment, invoice: Invoice, **words: Any) -> Any:
    terms = ACCEPT_INSIDE(payment, invoice, **words)
    return terms and (terms[0], replace(terms[1], payer_payment_id=None), terms[2])


def settles_what_is_cancelled(invoice: Invoice, preimage: Any) -> Invoice:
    return SETTLE(undecided(invoice), preimage)


def settles_what_nobody_paid(invoice: Invoice, preimage: Any) -> Invoice:
    if invoice.state is not InvoiceState.PENDING:
        return SETTLE(invoice, preimage)
    return replace(invoice, resolution=Resolution.SETTLE, preimage=preimage)


def cancels_what_is_settled(invoice: Invoice) -> Invoice:
    return CANCEL(undecided(invoice))


def settles_the_payment_alone(payment: Payment, invoice: Invoice, *, now: int) -> Any:
    paid, _, entries = SETTLE_INSIDE(payment, invoice, now=now)
    return paid, invoice, entries


def books_nothing(payment: Payment, invoice: Invoice, *, now: int) -> Any:
    return (*SETTLE_INSIDE(payment, invoice, now=now)[:2], ())


def gives_nothing_back(payment: Payment, *, why: str, now: int) -> Any:
    return GIVE_BACK(payment, why=why, now=now)[0], ()


def gives_back_again(payment: Payment, *, why: str, now: int) -> Any:
    released, entries = GIVE_BACK(payment, why=why, now=now)
    return replace(released, state=PaymentState.RESERVED), entries


def by_blocks_alone(invoice: Invoice, *, height: int, now: int, longest_s: int) -> bool:
    return IS_OVERDUE(invoice, height=height, now=0, longest_s=longest_s)


def by_time_alone(invoice: Invoice, *, height: int, now: int, longest_s: int) -> bool:
    return IS_OVERDUE(invoice, height=0, now=now, longest_s=longest_s)


BUGS: dict[str, tuple[str, str, Callable[..., Any] | int]] = {
    "each report accepts it again": ("hold", "accept", accepts_again),
    "paid inside while it is held": ("hold", "accept_inside", accepts_inside_what_is_held),
    "paid inside though cancelled": ("hold", "accept_inside", accepts_inside_what_is_cancelled),
    "paid inside for nothing": ("hold", "accept_inside", holds_nothing),
    "paid inside with a fee": ("hold", "accept_inside", holds_a_fee),
    "paid inside by nobody": ("hold", "accept_inside", names_no_payer),
    "settled though cancelled": ("hold", "settle", settles_what_is_cancelled),
    "settled though not paid": ("hold", "settle", settles_what_nobody_paid),
    "any preimage settles": ("hold", "proves", lambda *_: True),
    "cancelled though settled": ("hold", "cancel", cancels_what_is_settled),
    "only the payer's side": ("hold", "settle_inside", settles_the_payment_alone),
    "settled without entries": ("hold", "settle_inside", books_nothing),
    "nothing is given back": ("hold", "give_back", gives_nothing_back),
    "given back, and still held": ("hold", "give_back", gives_back_again),
    "nothing is held inside": ("hold", "is_inside", lambda _: False),
    "no deadline in blocks": ("hold-time", "is_overdue", by_time_alone),
    "no deadline in time": ("hold-time", "is_overdue", by_blocks_alone),
    "overdue without a margin": ("hold-time", "MARGIN_BLOCKS", 0),
    "a margin that is a block short": ("hold-time", "MARGIN_BLOCKS", hold.MARGIN_BLOCKS - 1),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_functions_of_hold_invoices_is_seen(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, name, broken = BUGS[bug]
    monkeypatch.setattr(hold, name, broken)

    result = explore(HoldModel(BY_NAME[rule]))

    assert result.verdict is not None
    assert result.trace


# --- what is safe because it never happens proves nothing

REACHED = "reached"

ENDS: dict[str, Callable[[State], bool]] = {
    "settled at the node": lambda state: (
        state.at_node is AtNode.SETTLED
        and state.books.bob_msat == AMOUNT_MSAT
        and state.invoice.state is InvoiceState.SETTLED
    ),
    "settled inside, and the payment from outside went back": lambda state: (
        state.was_held
        and state.at_node is AtNode.CANCELED
        and state.books == (AMOUNT_MSAT, -AMOUNT_MSAT, 0)
    ),
    "settled inside, and paid from outside too": lambda state: (
        state.books == (2 * AMOUNT_MSAT, -AMOUNT_MSAT, 0)
    ),
    "the payment inside went back for the one outside": lambda state: (
        state.payment is not None
        and state.payment.state is PaymentState.RELEASED
        and state.books == (AMOUNT_MSAT, 0, 0)
    ),
    "cancelled at the node": lambda state: (
        state.was_held
        and state.at_node is AtNode.CANCELED
        and state.invoice.state is InvoiceState.CANCELED
    ),
    "to be settled, and too late": lambda state: (
        state.at_node is AtNode.GIVEN_BACK and state.invoice.resolution is Resolution.SETTLE
    ),
    "cancelled before it was paid": lambda state: (
        state.invoice.state is InvoiceState.CANCELED and not state.was_held
    ),
    "expired": lambda state: state.invoice.state is InvoiceState.EXPIRED,
}


class LooksFor(HoldModel):
    def __init__(self, wanted: Callable[[State], bool]) -> None:
        super().__init__(BY_NAME["hold"])
        self._wanted = wanted

    def broken(self, state: State) -> str | None:
        return REACHED if self._wanted(state) and self.is_done(state) else None


@pytest.mark.parametrize("end", ENDS)
def test_each_end_of_a_hold_invoice_is_reached(end: str) -> None:
    assert explore(LooksFor(ENDS[end])).verdict == REACHED
