"""Every outcome in every state of a payment, through the database: money, answer, alarm."""

from dataclasses import dataclass

import pytest

from nwc_service.backend import Failed, FailReason, InFlight, NotSent, Outcome, Unknown
from nwc_service.wallet.outcome import Settled
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.units import Msat, Preimage
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import FEE_RESERVE_MSAT, World, broken

AMOUNT_MSAT = 100_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
HASH = hash_of(preimage_of(1))
PAID = Settled(preimage_of(1), FEE_MSAT)
FAILED = Failed(FailReason.NO_ROUTE)
NOT_SENT = NotSent(FailReason.UNAVAILABLE)
WRONG = Settled(Preimage("ab" * 32), FEE_MSAT)

LIVE = ("RESERVED", "DISPATCHED", "UNKNOWN")
BEFORE: dict[str, Outcome] = {
    "DISPATCHED": InFlight(),
    "UNKNOWN": Unknown(),
    "SETTLED": PAID,
    "RELEASED": FAILED,
}


@dataclass(frozen=True, slots=True)
class Money:
    available_msat: int
    held_msat: int
    node_msat: int = 0
    loss_msat: int = 0


UNTOUCHED = Money(CREDIT_MSAT, 0)
HELD = Money(CREDIT_MSAT - HELD_MSAT, HELD_MSAT)


def spent(fee_msat: int, *, loss_msat: int = 0) -> Money:
    total_msat = AMOUNT_MSAT + fee_msat
    return Money(CREDIT_MSAT - total_msat, 0, total_msat + loss_msat, -loss_msat)


AFTER_A_LIVE_ONE: dict[str, tuple[Outcome, str | None, Money]] = {
    "settled": (PAID, "SETTLED", spent(FEE_MSAT)),
    "fee-untold": (Settled(PAID.preimage, None), "SETTLED", spent(FEE_RESERVE_MSAT)),
    "no-fee": (Settled(PAID.preimage, Msat(0)), "SETTLED", spent(0)),
    "fee-above-the-cap": (
        Settled(PAID.preimage, Msat(FEE_RESERVE_MSAT + 300)),
        "SETTLED",
        spent(FEE_RESERVE_MSAT, loss_msat=300),
    ),
    "a-fee-below-nothing": (
        Settled(PAID.preimage, Msat(-1)),
        "SETTLED",
        spent(FEE_RESERVE_MSAT),
    ),
    "wrong-preimage": (WRONG, "UNKNOWN", HELD),
    "preimage-not-hex": (Settled(Preimage("no"), Msat(0)), "UNKNOWN", HELD),
    "no-preimage": (Settled(Preimage(""), Msat(0)), "UNKNOWN", HELD),
    "failed": (FAILED, "RELEASED", UNTOUCHED),
    "not-sent": (NOT_SENT, "RELEASED", UNTOUCHED),
    "in-flight": (InFlight(), None, HELD),
    "unknown": (Unknown(), "UNKNOWN", HELD),
}


async def bring_to(state: str, world: World, alice: Client) -> Payment:
    """A payment of alice's in this state."""
    world.backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())
    if state == "RESERVED":
        async with broken(world, "NEW.state = 'DISPATCHED'", table="payment", event="UPDATE"):
            world.pay(alice, invoice)
            await world.tasks.idle()
    else:
        world.backend.pay_script.append(BEFORE[state])
        world.pay(alice, invoice)
        await world.tasks.idle()
    payment = await world.payment(HASH)
    assert payment.state == state
    return payment


async def money(world: World) -> Money:
    return Money(
        *await world.money("alice"), await world.book("node:node"), await world.book("loss")
    )


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize(
    ("outcome", "after", "expected"),
    [pytest.param(*row, id=name) for name, row in AFTER_A_LIVE_ONE.items()],
)
async def test_an_outcome_moves_a_live_payment_and_its_money_together(
    world: World,
    alice: Client,
    state: str,
    outcome: Outcome,
    after: str | None,
    expected: Money,
) -> None:
    payment = await bring_to(state, world, alice)

    await world.spender.recorder.record(payment.payment_id, outcome)
    await world.tasks.idle()

    assert (await world.payment(HASH)).state == (after or state)
    assert await money(world) == expected
    assert ("fee_above_cap" in await world.alarms()) is (expected.loss_msat != 0)
    assert await world.problems() == ()


@pytest.mark.attack("A4")
@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize(
    ("outcome", "answered"),
    [
        pytest.param(PAID, "result", id="settled"),
        pytest.param(FAILED, "error", id="failed"),
        pytest.param(NOT_SENT, "error", id="not-sent"),
        pytest.param(WRONG, None, id="wrong-preimage"),
        pytest.param(InFlight(), None, id="in-flight"),
        pytest.param(Unknown(), None, id="unknown"),
    ],
)
async def test_a_client_is_answered_once_and_only_when_the_payment_is_final(
    world: World, alice: Client, state: str, outcome: Outcome, answered: str | None
) -> None:
    payment = await bring_to(state, world, alice)

    for _ in range(2):
        await world.spender.recorder.record(payment.payment_id, outcome)
    await world.tasks.idle()

    answers = [event for event in world.relay.taken if event.kind == 23195]
    notified = [n["notification_type"] for n in world.notifications(alice)]
    assert len(answers) == (answered is not None)
    assert notified == (["payment_sent"] if answered == "result" else [])
    assert await world.problems() == ()


@pytest.mark.parametrize("state", ["SETTLED", "RELEASED"])
@pytest.mark.parametrize(
    "outcome", [row[0] for row in AFTER_A_LIVE_ONE.values()], ids=[*AFTER_A_LIVE_ONE]
)
async def test_nothing_that_a_backend_says_later_touches_the_user_of_a_final_payment(
    world: World, alice: Client, state: str, outcome: Outcome
) -> None:
    payment = await bring_to(state, world, alice)
    before = await world.money("alice")
    published = len(world.relay.taken)

    await world.spender.recorder.record(payment.payment_id, outcome)
    await world.tasks.idle()

    assert (await world.payment(HASH)).state == state
    assert await world.money("alice") == before
    assert len(world.relay.taken) == published
    assert await world.problems() == ()


@pytest.mark.attack("A4")
async def test_a_success_after_a_release_is_the_operators_loss_and_is_booked_once(
    world: World, alice: Client
) -> None:
    payment = await bring_to("RELEASED", world, alice)

    for _ in range(3):
        await world.spender.recorder.record(payment.payment_id, PAID)

    cost_msat = AMOUNT_MSAT + FEE_MSAT
    assert await money(world) == Money(CREDIT_MSAT, 0, cost_msat, -cost_msat)
    assert await world.alarms() == ["late_success", "backend_paused"]
    assert await world.problems() == ()


@pytest.mark.attack("A4")
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError("odd"), id="a-bug"),
        pytest.param(TimeoutError(), id="timeout"),
        pytest.param(ConnectionResetError(), id="connection-lost"),
        pytest.param(KeyError("status"), id="a-field-is-missing"),
    ],
)
async def test_an_exception_out_of_pay_proves_nothing_so_the_money_stays_held(
    world: World, alice: Client, backend: ScriptedBackend, error: Exception
) -> None:
    backend.expect(1)
    backend.pay_script.append(error)

    request = world.pay(alice, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
    await world.tasks.idle()

    assert (await world.payment(HASH)).state is PaymentState.UNKNOWN
    assert await money(world) == HELD
    assert world.answers_to(alice, request) == []


async def test_a_payment_goes_on_when_the_same_backend_answers_later(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)
    backend.pay_script.append(OSError("cut off"))
    request = world.pay(alice, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
    await world.tasks.idle()
    backend.known[HASH] = PAID

    await world.look_up()

    assert world.answer(alice, request)["result"] == {
        "preimage": PAID.preimage,
        "fees_paid": FEE_MSAT,
    }
    assert await money(world) == spent(FEE_MSAT)
    assert len(backend.sent) == 1


@pytest.mark.attack("A3")
async def test_the_figure_that_is_reserved_is_the_cap_that_the_node_gets(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)

    world.pay(alice, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
    await world.tasks.idle()

    payment = await world.payment(HASH)
    [sent] = backend.sent
    assert sent.max_fee_msat == payment.fee_reserve_msat == FEE_RESERVE_MSAT
    assert (sent.amount_msat, sent.payment_hash) == (AMOUNT_MSAT, HASH)
