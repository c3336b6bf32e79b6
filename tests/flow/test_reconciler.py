"""What becomes of a payment whose outcome did not come: only proof gives the money back."""

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    PaymentKind,
    PaymentRef,
    ReleaseRule,
    Settled,
    Unknown,
)
from nwc_service.nostr.event import Event
from nwc_service.reconciler import ALARM_AFTER_S
from nwc_service.wallet.payment import CLOCK_SKEW_S, PaymentState, ProofKind
from nwc_service.wallet.units import BackendName, Preimage
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client
from tests.flow.world import (
    FEE_RESERVE_MSAT,
    PAYMENT_TIMEOUT_S,
    World,
    broken,
    open_world,
    until,
)

AMOUNT_MSAT = 100_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
EXPIRY_S = 900
SAFE_AFTER_S = EXPIRY_S + PAYMENT_TIMEOUT_S + CLOCK_SKEW_S
HASH = hash_of(preimage_of(1))
PAID = {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}
HELD = (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)
UNTOUCHED = (CREDIT_MSAT, 0)
SPENT = (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)


def an_invoice(world: World, number: int = 1) -> str:
    world.backend.expect(number)
    return outside_invoice(number, AMOUNT_MSAT, created_at=world.clock(), expiry_s=EXPIRY_S)


async def a_lost_payment(world: World, client: Client, outcome: Outcome | None = None) -> Event:
    """Sent, and the node's answer proved nothing."""
    invoice = an_invoice(world)
    world.backend.pay_script.append(outcome or Unknown("the reply was lost"))
    request = world.pay(client, invoice)
    await world.tasks.idle()
    return request


@pytest.mark.parametrize(
    ("said", "money", "answered"),
    [
        pytest.param(Settled(preimage_of(1), FEE_MSAT), SPENT, "result", id="settled"),
        pytest.param(Failed(FailReason.NO_ROUTE), UNTOUCHED, "error", id="failed"),
        pytest.param(NotSent(FailReason.REJECTED), UNTOUCHED, "error", id="not-sent"),
        pytest.param(InFlight(), HELD, None, id="in-flight"),
        pytest.param(Unknown(), HELD, None, id="unknown"),
        pytest.param(Settled(Preimage("00" * 32), FEE_MSAT), HELD, None, id="false-proof"),
        pytest.param(None, HELD, None, id="not-known"),
        pytest.param(BackendUnavailable(), HELD, None, id="unreachable"),
        pytest.param(TimeoutError(), HELD, None, id="timeout"),
        pytest.param(AttributeError("status"), HELD, None, id="a-bug"),
    ],
)
async def test_a_lookup_decides_only_by_what_is_final(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    said: Outcome | Exception | None,
    money: tuple[int, int],
    answered: str | None,
) -> None:
    request = await a_lost_payment(world, alice)
    backend.lookup_script.append(said)

    await world.look_up()

    assert await world.money("alice") == money
    answers = world.answers_to(alice, request)
    assert [next(iter(answer.keys() & {"result"}), "error") for answer in answers] == (
        [answered] if answered else []
    )
    assert len(backend.sent) == 1


async def test_one_payment_that_a_node_chokes_on_hides_no_other(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await a_lost_payment(world, alice)
    world.clock.advance(1)  # the older payment is asked about first
    backend.pay_script.append(Unknown())
    request = world.pay(bob, an_invoice(world, 2))
    await world.tasks.idle()
    backend.lookup_script.append(RuntimeError("a bug of the backend's"))
    backend.known[hash_of(preimage_of(2))] = backend.settled(hash_of(preimage_of(2)))

    await world.look_up()

    assert world.answer(bob, request)["result"]["fees_paid"] == FEE_MSAT
    assert await world.money("alice") == HELD


# --- rule H, and rules that never release by themselves


@pytest.mark.attack("A4")
@pytest.mark.parametrize(
    ("rule", "after_s", "state"),
    [
        pytest.param(ReleaseRule.EXPIRY, EXPIRY_S, "UNKNOWN", id="expired-just-now"),
        pytest.param(ReleaseRule.EXPIRY, SAFE_AFTER_S, "UNKNOWN", id="at-the-margin"),
        pytest.param(ReleaseRule.EXPIRY, SAFE_AFTER_S + 1, "RELEASED", id="past-the-margin"),
        pytest.param(ReleaseRule.MANUAL, 10**8, "UNKNOWN", id="manual"),
        pytest.param(ReleaseRule.FENCE, 10**8, "UNKNOWN", id="fence"),
    ],
)
async def test_a_node_that_forgot_gives_money_back_only_when_it_can_never_pay_any_more(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    rule: ReleaseRule,
    after_s: int,
    state: str,
) -> None:
    backend.release_rules = {PaymentKind.BOLT11: rule}
    request = await a_lost_payment(world, alice)

    await world.look_up()
    await world.look_up(after_s=after_s)

    payment = await world.payment(HASH)
    released = state == "RELEASED"
    assert payment.state == state
    by_rule_h = payment.proof is not None and payment.proof.kind is ProofKind.EXPIRY
    assert by_rule_h is released
    assert await world.money("alice") == (UNTOUCHED if released else HELD)
    assert len(world.answers_to(alice, request)) == released
    assert await world.problems() == ()


@pytest.mark.attack("A4")
async def test_a_clock_that_is_set_back_after_the_node_was_asked_puts_rule_h_off(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await a_lost_payment(world, alice)
    await world.look_up()
    lookup, back_s = backend.lookup_payment, [44]

    async def then_the_clock_is_set_back(ref: PaymentRef) -> Outcome | None:
        found = await lookup(ref)
        world.clock.advance(-back_s.pop() if back_s else 0)
        return found

    monkeypatch.setattr(backend, "lookup_payment", then_the_clock_is_set_back)
    await world.look_up(after_s=SAFE_AFTER_S + 1)
    put_off = await world.money("alice"), await world.problems()
    await world.look_up(after_s=1000)  # when it is due again

    assert put_off == (HELD, ())
    assert await world.money("alice") == UNTOUCHED
    assert await world.problems() == ()


async def test_rule_h_needs_a_node_that_answers(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await a_lost_payment(world, alice)
    backend.lookup_script.append(BackendUnavailable())

    await world.look_up(after_s=10 * SAFE_AFTER_S)

    assert await world.money("alice") == HELD


async def test_what_a_node_still_holds_after_the_expiry_stays_held(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await a_lost_payment(world, alice, InFlight())
    backend.known[HASH] = InFlight()

    await world.look_up(after_s=10 * SAFE_AFTER_S)

    assert await world.money("alice") == HELD


@pytest.mark.attack("A4")
async def test_what_a_node_has_held_and_then_forgets_stays_held_for_ever_and_raises_an_alarm(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await a_lost_payment(world, alice, InFlight())

    for _ in range(2):
        await world.look_up(after_s=10 * SAFE_AFTER_S)

    assert await world.money("alice") == HELD
    assert "node_forgot_payment" in await world.alarms()


@pytest.mark.attack("A4")
async def test_a_success_after_rule_h_is_the_operators_loss_and_the_users_money_is_free(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_gate.clear()
    request = world.pay(alice, an_invoice(world))
    await until(lambda: len(backend.sent) == 1)
    backend.known.clear()
    world.clock.advance(SAFE_AFTER_S + 1)
    await world.reconciler.look_up_payments()
    await until(lambda: bool(world.answers_to(alice, request)))
    told = world.answer(alice, request)

    backend.known[HASH] = backend.settled(HASH)
    backend.pay_gate.set()
    await world.tasks.idle()

    cost_msat = AMOUNT_MSAT + FEE_MSAT
    assert told["error"]["code"] == "PAYMENT_FAILED"
    assert world.answer(alice, request) == told
    assert await world.money("alice") == UNTOUCHED
    assert (await world.book("loss"), await world.book("node:node")) == (-cost_msat, cost_msat)
    assert await world.alarms() == ["late_success", "backend_paused"]
    assert await world.problems() == ()


async def test_the_money_of_a_released_payment_can_be_spent_again(
    world: World, alice: Client
) -> None:
    await a_lost_payment(world, alice)
    await world.look_up(after_s=SAFE_AFTER_S + 1)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 2)})

    assert answer["result"]["fees_paid"] == FEE_MSAT
    assert await world.problems() == ()


# --- alarms


@pytest.mark.attack("A7")
@pytest.mark.parametrize(
    "said",
    [InFlight(), Unknown(), None, BackendUnavailable(), TimeoutError(), KeyError("status")],
    ids=["in-flight", "unknown", "not-known", "unreachable", "timeout", "a-bug"],
)
async def test_money_held_for_an_hour_raises_one_alarm_whatever_the_node_says(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    said: Outcome | Exception | None,
) -> None:
    backend.release_rules = {}
    await a_lost_payment(world, alice)
    backend.lookup_script.extend([said] * 3)

    await world.look_up(after_s=ALARM_AFTER_S)
    before = await world.alarms()
    for _ in range(2):
        await world.look_up(after_s=60)

    assert before == []
    assert await world.alarms() == ["payment_stuck"]


async def test_a_payment_that_ends_late_raises_no_alarm(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await a_lost_payment(world, alice)
    backend.known[HASH] = backend.settled(HASH)

    await world.look_up(after_s=2 * ALARM_AFTER_S)

    assert await world.alarms() == []


# --- after a restart


async def test_a_payment_never_sent_is_sent_after_the_restart(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        alice, request = await a_reserved_payment(world)

    async with start() as world:
        await world.look_up()

        assert world.answer(alice, request)["result"] == PAID
        assert await world.money("alice") == SPENT
        assert len(backend.sent) == 1


@pytest.mark.parametrize("after_s", [121, EXPIRY_S])
async def test_a_payment_never_sent_and_too_old_is_released_after_the_restart(
    start: Open, backend: ScriptedBackend, after_s: int
) -> None:
    async with start() as world:
        alice, request = await a_reserved_payment(world)

    async with start() as world:
        await world.look_up(after_s=after_s)

        assert world.answer(alice, request)["error"]["code"] == "PAYMENT_FAILED"
        assert await world.money("alice") == UNTOUCHED
        assert backend.sent == []
        assert await world.problems() == ()


async def test_a_payment_never_sent_whose_node_is_gone_is_released_after_the_restart(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        alice, request = await a_reserved_payment(world)

    other = ScriptedBackend(BackendName("other"))
    async with open_world(
        world.path, backend=other, clock=world.clock, relay=world.relay
    ) as changed:
        await changed.look_up()

        assert changed.answer(alice, request)["error"]["code"] == "PAYMENT_FAILED"
        assert await changed.money("alice") == UNTOUCHED
        assert (other.sent, backend.sent) == ([], [])


async def test_a_payment_sent_through_a_node_that_is_gone_stays_held_and_raises_an_alarm(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        await a_lost_payment(world, await world.connect("alice"))

    other = ScriptedBackend(BackendName("other"))
    async with open_world(world.path, backend=other, clock=world.clock) as changed:
        await changed.look_up(after_s=10 * SAFE_AFTER_S)

        assert await changed.money("alice") == HELD
        assert await changed.alarms() == ["backend_missing"]


async def a_reserved_payment(world: World) -> tuple[Client, Event]:
    """As a crash between TX-A and TX-B leaves it."""
    await world.account("alice", credit_msat=CREDIT_MSAT)
    alice = await world.connect("alice")
    async with broken(world, "NEW.state = 'DISPATCHED'", table="payment", event="UPDATE"):
        request = world.pay(alice, an_invoice(world))
        await world.tasks.idle()
    assert (await world.payment(HASH)).state is PaymentState.RESERVED
    return alice, request


@pytest.mark.attack("A4")
async def test_rule_h_counts_from_when_the_node_was_asked_not_from_when_its_answer_was_read(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may pause between both, and the send may have arrived in the meantime."""
    await a_lost_payment(world, alice)

    async def answered_before_a_long_pause(_ref: PaymentRef) -> None:
        world.clock.advance(10 * SAFE_AFTER_S)

    monkeypatch.setattr(backend, "lookup_payment", answered_before_a_long_pause)
    await world.look_up()

    assert await world.money("alice") == HELD
