"""What the search finds: the protocol safe, each broken variant broken, and the shortest way.

The rows of the model are moved by the functions of the service: the second half breaks those,
one at a time, and each time the search must see it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nwc_service.wallet import payment as machine
from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.outcome import Failed, InFlight, Outcome, Unknown
from nwc_service.wallet.payment import LIVE_STATES, Payment, PaymentState, Proof, ProofKind
from tests.model import __main__ as command
from tests.model.hold_rules import HOLD_RULES, HoldRule
from tests.model.holds import HoldModel
from tests.model.incoming import INTAKES, IncomingModel, Intake
from tests.model.payments import PaymentModel
from tests.model.rules import EPOCHS, RELEASED_AND_PAID, RULES, NotFound, Rule
from tests.model.search import STUCK, Model, explore, replay

BY_NAME = {rule.name: rule for rule in RULES}
H = BY_NAME["H"]
J = BY_NAME["J"]
ANY_PROOF = Proof(ProofKind.FINAL_STATUS, "none")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_search_finds_of_each_rule_what_it_is(rule: Rule) -> None:
    check(PaymentModel(rule), expected=rule.expected, at_bound=rule is J)


@pytest.mark.parametrize("intake", INTAKES, ids=lambda intake: intake.name)
def test_the_search_finds_of_each_way_to_take_in_money_what_it_is(intake: Intake) -> None:
    check(IncomingModel(intake), expected=intake.expected)


@pytest.mark.parametrize("rule", HOLD_RULES, ids=lambda rule: rule.name)
def test_the_search_finds_of_each_way_to_keep_hold_invoices_what_it_is(rule: HoldRule) -> None:
    check(HoldModel(rule), expected=rule.expected)


def check(model: Model[Any], *, expected: str | None, at_bound: bool = False) -> None:
    result = explore(model, wanted=expected)

    assert result.verdict == expected, "\n".join(result.trace)
    assert bool(result.at_bound) == at_bound
    if expected is None:
        assert result.trace == ()
    else:
        at_the_end = None if expected == STUCK else expected
        assert replay(model, result.trace) == at_the_end


def test_rule_j_is_stuck_only_where_the_model_has_no_further_epoch() -> None:
    """`explore` calls any other state that cannot end STUCK."""
    model = PaymentModel(J)
    first = model.first()

    assert not any(model.is_at_bound(first._replace(epoch=n)) for n in range(1, EPOCHS))
    assert model.is_at_bound(first._replace(epoch=EPOCHS))


# --- the functions of the service, broken


def releases_unknown(payment: Payment, outcome: Outcome, *, now: int) -> Any:
    if isinstance(outcome, Unknown) and payment.state in LIVE_STATES:
        return machine.release(payment, proof=ANY_PROOF, now=now)
    return APPLY(payment, outcome, now=now)


def releases_in_flight(payment: Payment, outcome: Outcome, *, now: int) -> Any:
    if isinstance(outcome, InFlight) and payment.state in LIVE_STATES:
        return machine.release(payment, proof=ANY_PROOF, now=now)
    return APPLY(payment, outcome, now=now)


def settles_again(payment: Payment, outcome: Outcome, *, now: int) -> Any:
    if payment.state is PaymentState.SETTLED:
        payment = replace(payment, state=PaymentState.UNKNOWN)
    return APPLY(payment, outcome, now=now)


def revives_what_was_released(payment: Payment, outcome: Outcome, *, now: int) -> Any:
    if payment.state is PaymentState.RELEASED and not isinstance(outcome, Failed):
        return replace(payment, state=PaymentState.UNKNOWN), ()
    return APPLY(payment, outcome, now=now)


def proves_anything(_preimage: str, _payment_hash: str) -> bool:
    return True


def gives_back_the_amount_alone(payment: Payment, *, proof: Proof, now: int) -> Any:
    released, (entry,) = RELEASE(payment, proof=proof, now=now)
    return released, (replace(entry, amount_msat=payment.amount_msat),)


def holds_the_amount_alone(payment: Payment) -> Any:
    (entry,) = RESERVE(payment)
    return (replace(entry, amount_msat=payment.amount_msat),)


def is_unpayable_though_accepted(payment: Payment, now: int) -> bool:
    return payment.unpayable_at is not None and now > payment.unpayable_at


def is_unpayable_at_once(payment: Payment, _now: int) -> bool:
    return payment.accepted_at is None


def dispatched_with(margin_s: int) -> Callable[..., Payment]:
    def dispatched(payment: Payment, *, now: int, timeout_s: float) -> Payment:
        sent = DISPATCHED(payment, now=now, timeout_s=timeout_s)
        return replace(sent, unpayable_at=payment.expires_at + margin_s)

    return dispatched


APPLY = machine.apply_outcome
RELEASE = machine.release
RESERVE = machine.reserve_entries
DISPATCHED = Payment.dispatched

BUGS = {
    "a timeout releases": (machine, "apply_outcome", releases_unknown),
    "in flight releases": (machine, "apply_outcome", releases_in_flight),
    "a settled payment settles again": (machine, "apply_outcome", settles_again),
    "a released payment lives again": (machine, "apply_outcome", revives_what_was_released),
    "any preimage proves": (machine, "proves", proves_anything),
    "the fee reserve stays held": (machine, "release", gives_back_the_amount_alone),
    "the fee reserve is not held": (machine, "reserve_entries", holds_the_amount_alone),
    "rule H for an accepted one": (Payment, "is_unpayable", is_unpayable_though_accepted),
    "rule H before the expiry": (Payment, "is_unpayable", is_unpayable_at_once),
    "no margin": (Payment, "dispatched", dispatched_with(0)),
    "no margin for the clocks": (Payment, "dispatched", dispatched_with(60)),
    "no margin for the timeout": (Payment, "dispatched", dispatched_with(120)),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_functions_of_the_service_breaks_rule_h(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*BUGS[bug])

    result = explore(PaymentModel(H))

    assert result.verdict is not None
    assert result.trace


def test_rule_h_frees_nothing_that_has_no_invoice_unless_it_is_dated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even where a backend claims rule H for keysends, by the functions of the service."""
    keysend = replace(BY_NAME["keysend"], not_found=NotFound.RULE_H, payments=1)

    assert explore(PaymentModel(keysend)).verdict is None

    monkeypatch.setattr(Payment, "dispatched", dispatched_with(180))
    assert explore(PaymentModel(keysend)).verdict == RELEASED_AND_PAID


def test_an_internal_payment_of_what_is_not_open_makes_money(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle = machine.settle_internally

    def settles_anything(payment: Payment, invoice: Any, **words: Any) -> Any:
        open_again = replace(invoice, state=InvoiceState.PENDING)
        return settle(payment, open_again, **words)

    monkeypatch.setattr(machine, "settle_internally", settles_anything)

    assert explore(IncomingModel(INTAKES[0])).verdict is not None


# --- the command


def test_the_command_shows_a_line_and_the_way_for_each_variant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "RULES", (BY_NAME["B"],))
    monkeypatch.setattr(command, "INTAKES", INTAKES[:1])
    monkeypatch.setattr(command, "HOLD_RULES", ())
    monkeypatch.setattr("sys.argv", ["model", "-v"])

    assert command.main() == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["B", "released", "AND", "paid", "8"]
    assert "1. replica 1 reserves payment 1 for node 1 (TX-A)" in lines[2]
    assert lines[-2].split()[:2] == ["in", "safe"]
    assert lines[-1] == "all as expected"


def test_the_command_fails_when_something_else_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "RULES", (replace(BY_NAME["B"], expected=None),))
    monkeypatch.setattr(command, "INTAKES", ())
    monkeypatch.setattr(command, "HOLD_RULES", ())
    monkeypatch.setattr("sys.argv", ["model"])

    assert command.main() == 1
    assert "NOT AS EXPECTED" in capsys.readouterr().out
