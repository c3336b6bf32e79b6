"""Two at once, stale knowledge, and cancelled tasks: never two payments, never two answers."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from nwc_service.backend import Failed, FailReason, InFlight
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.payment import PaymentState
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.interruption import CancelAt
from tests.flow.parties import Client, Clock, Relay
from tests.flow.world import (
    FEE_RESERVE_MSAT,
    MAX_OPEN,
    MAX_OPEN_PER_ACCOUNT,
    PAYMENT_TIMEOUT_S,
    World,
    open_world,
    until,
)

AMOUNT_MSAT = 100_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
HASH = hash_of(preimage_of(1))
EXPIRY_S = 3600
NOWHERE = {"code": "PAYMENT_FAILED", "message": "no route to the payee"}
PAID = {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}


def an_invoice(world: World, number: int = 1, amount_msat: int | None = AMOUNT_MSAT) -> str:
    world.backend.expect(number)
    return outside_invoice(number, amount_msat, created_at=world.clock(), expiry_s=EXPIRY_S)


# --- the same request, or the same invoice, more than once


@pytest.mark.attack("A26")
async def test_one_event_delivered_many_times_at_once_is_one_payment_and_one_answer(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    event = world.pay(alice, an_invoice(world))
    for _ in range(9):
        world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert world.answer(alice, event)["result"] == PAID
    assert len(backend.sent) == 1
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)


async def test_a_repeated_request_gets_the_very_bytes_of_the_first_answer(
    world: World, alice: Client
) -> None:
    event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    first = [e.to_json() for e in world.relay.taken if e.tag_value("e") == event.id]

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    both = [e.to_json() for e in world.relay.taken if e.tag_value("e") == event.id]
    assert both == first * 2


async def test_everyone_of_the_account_who_asks_for_a_payment_in_flight_gets_its_result(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world)
    other_app = await world.connect("alice")
    backend.pay_gate.clear()
    requests = [(app, world.pay(app, invoice)) for app in (alice, alice, other_app)]
    await until(lambda: len(backend.sent) == 1)

    backend.pay_gate.set()
    await world.tasks.idle()

    assert [world.answer(app, event)["result"] for app, event in requests] == [PAID] * 3
    assert len(backend.sent) == 1
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)


async def test_everyone_who_waits_for_a_payment_that_fails_is_told_so_and_may_try_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world)
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    backend.pay_gate.clear()
    waiting = [world.pay(alice, invoice) for _ in range(2)]
    await until(lambda: len(backend.sent) == 1)
    backend.pay_gate.set()
    await world.tasks.idle()

    again = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert [world.answer(alice, event)["error"] for event in waiting] == [NOWHERE] * 2
    assert again["result"] == PAID
    states = [payment.state for payment in await world.payments_of(HASH)]
    assert sorted(states) == [PaymentState.RELEASED, PaymentState.SETTLED]


async def test_an_invoice_that_was_paid_gives_the_stored_success_and_costs_nothing_more(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world)
    await world.call(alice, "pay_invoice", {"invoice": invoice})
    before = await world.money("alice")

    again = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert again["result"] == PAID
    assert await world.money("alice") == before
    assert len(backend.sent) == 1


@pytest.mark.attack("A12", "A32")
@pytest.mark.parametrize("outcome", ["in-flight", "settled"])
async def test_another_account_learns_nothing_of_a_payment_of_the_same_invoice(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, outcome: str
) -> None:
    invoice = an_invoice(world)
    if outcome == "in-flight":
        backend.pay_script.append(InFlight())
    world.pay(alice, invoice)
    await world.tasks.idle()

    answer = await world.call(bob, "pay_invoice", {"invoice": invoice})

    assert answer["error"] == {
        "code": "OTHER",
        "message": "this invoice is being paid or was paid before",
    }
    assert await world.money("bob") == (CREDIT_MSAT, 0)


@pytest.mark.parametrize("outcome", ["in-flight", "settled"])
async def test_another_amount_for_the_same_invoice_is_another_payment_and_is_refused(
    world: World, alice: Client, backend: ScriptedBackend, outcome: str
) -> None:
    invoice = an_invoice(world, amount_msat=None)
    if outcome == "in-flight":
        backend.pay_script.append(InFlight())
    first = {"invoice": invoice, "amount": AMOUNT_MSAT}
    await asyncio.wait_for(_asked(world, alice, first), 5)

    answer = await world.call(
        alice, "pay_invoice", {"invoice": invoice, "amount": 2 * AMOUNT_MSAT}
    )

    assert answer["error"]["code"] == "OTHER"
    assert [sent.amount_msat for sent in backend.sent] == [AMOUNT_MSAT]


@pytest.mark.attack("A2")
async def test_another_invoice_with_the_same_hash_was_not_paid_with_it(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    dearer = an_invoice(world, amount_msat=5 * AMOUNT_MSAT)
    answer = await world.call(alice, "pay_invoice", {"invoice": dearer})

    assert answer["error"]["code"] == "OTHER"
    assert len(backend.sent) == 1


async def _asked(world: World, client: Client, params: dict[str, object]) -> None:
    world.ask(client, "pay_invoice", params)
    await world.tasks.idle()


# --- more at once than there is money, budget or room


@pytest.mark.attack("A1")
async def test_what_is_asked_for_at_once_never_takes_more_than_the_balance(
    world: World, backend: ScriptedBackend
) -> None:
    await world.account("carol", credit_msat=3 * HELD_MSAT + 1)
    carol = await world.connect("carol")
    backend.pay_gate.clear()
    requests = [world.pay(carol, an_invoice(world, number)) for number in range(50)]
    await until(lambda: sum(bool(world.answers_to(carol, r)) for r in requests) == 47)
    held = await world.money("carol")

    backend.pay_gate.set()
    await world.tasks.idle()

    answers = [world.answer(carol, request) for request in requests]
    codes = [answer["error"] and answer["error"]["code"] for answer in answers]
    assert sorted(codes, key=str) == ["INSUFFICIENT_BALANCE"] * 47 + [None] * 3
    assert held == (1, 3 * HELD_MSAT)
    assert await world.money("carol") == (3 * HELD_MSAT + 1 - 3 * (AMOUNT_MSAT + FEE_MSAT), 0)
    assert await world.problems() == ()


@pytest.mark.attack("A1")
async def test_what_is_asked_for_at_once_never_passes_the_budget(world: World) -> None:
    await world.account("carol", credit_msat=50 * HELD_MSAT)
    budget = Budget(Msat(2 * HELD_MSAT), Renewal.DAILY)
    carol = await world.connect("carol", budget=budget)
    free = await world.connect("carol")
    world.backend.pay_gate.clear()

    limited = [world.pay(carol, an_invoice(world, number)) for number in range(10)]
    unlimited = [world.pay(free, an_invoice(world, number)) for number in range(10, 12)]
    await until(lambda: len(world.backend.sent) == 4)
    world.backend.pay_gate.set()
    await world.tasks.idle()

    codes = [(world.answer(carol, e)["error"] or {}).get("code") for e in limited]
    assert sorted(codes, key=str) == [None] * 2 + ["QUOTA_EXCEEDED"] * 8
    assert all("result" in world.answer(free, event) for event in unlimited)
    assert await world.problems() == ()


async def test_a_budget_gets_back_what_a_payment_did_not_take(world: World) -> None:
    await world.account("carol", credit_msat=10 * HELD_MSAT)
    budget = Budget(Msat(HELD_MSAT + FEE_RESERVE_MSAT), Renewal.NEVER)
    carol = await world.connect("carol", budget=budget)
    world.backend.pay_script.append(Failed(FailReason.NO_ROUTE))

    failed = await world.call(carol, "pay_invoice", {"invoice": an_invoice(world, 1)})
    paid = await world.call(carol, "pay_invoice", {"invoice": an_invoice(world, 2)})
    too_much = await world.call(carol, "pay_invoice", {"invoice": an_invoice(world, 3)})

    assert failed["error"] == NOWHERE
    assert paid["result"]["fees_paid"] == FEE_MSAT
    assert too_much["error"]["code"] == "QUOTA_EXCEEDED"
    assert await world.problems() == ()


@pytest.mark.attack("A7")
async def test_open_payments_are_capped_for_one_account_and_for_all(world: World) -> None:
    world.backend.pay_script.extend([InFlight()] * MAX_OPEN)
    apps = []
    for name in ("a", "b", "c", "d", "e"):
        await world.account(name, credit_msat=100 * HELD_MSAT)
        apps.append(await world.connect(name))

    requests = [
        [
            world.pay(app, an_invoice(world, 10 * index + n))
            for n in range(MAX_OPEN_PER_ACCOUNT + 1)
        ]
        for index, app in enumerate(apps)
    ]
    await world.tasks.idle()

    refused = [
        [
            answer["error"]["code"]
            for request in asked
            for answer in world.answers_to(app, request)
        ]
        for app, asked in zip(apps, requests, strict=True)
    ]
    assert len(world.backend.sent) == MAX_OPEN
    assert sum(len(codes) for codes in refused) == 5 * (MAX_OPEN_PER_ACCOUNT + 1) - MAX_OPEN
    assert {code for codes in refused for code in codes} == {"RATE_LIMITED"}
    assert all(codes for codes in refused)


@pytest.mark.attack("A9")
async def test_an_account_cannot_pay_itself_with_money_that_it_does_not_have(
    world: World, alice: Client
) -> None:
    made = await world.invoice(alice, CREDIT_MSAT + 1)

    answer = await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["error"]["code"] == "INSUFFICIENT_BALANCE"
    looked_up = await world.call(alice, "lookup_invoice", {"invoice": made["invoice"]})
    assert looked_up["result"]["state"] == "pending"


@pytest.mark.attack("A9")
async def test_an_account_that_pays_itself_has_afterwards_what_it_had(
    world: World, alice: Client
) -> None:
    made = await world.invoice(alice, CREDIT_MSAT)

    answer = await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["result"]["fees_paid"] == 0
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


# --- what the reconciler knows may be old


@pytest.mark.parametrize("after_s", [0, EXPIRY_S], ids=["in-time", "too-late"])
async def test_a_payment_that_was_sent_meanwhile_is_neither_sent_again_nor_released(
    world: World, alice: Client, backend: ScriptedBackend, after_s: int
) -> None:
    backend.pay_script.append(InFlight())
    world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    sent = await world.payment(HASH)
    stale = replace(sent, state=PaymentState.RESERVED, dispatched_at=None)
    world.clock.advance(after_s)

    world.spender.resume(stale)
    await world.tasks.idle()

    assert len(backend.sent) == 1
    assert (await world.payment(HASH)).state is PaymentState.DISPATCHED
    assert await world.money("alice") == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)


async def test_a_payment_that_is_being_sent_is_neither_sent_nor_asked_about_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_gate.clear()
    world.pay(alice, an_invoice(world))
    await until(lambda: len(backend.sent) == 1)
    stale = replace(await world.payment(HASH), state=PaymentState.RESERVED)

    world.spender.resume(stale)
    await asyncio.sleep(0.05)
    await world.reconciler.look_up_payments()

    assert backend.lookups == []
    backend.pay_gate.set()
    await world.tasks.idle()
    assert len(backend.sent) == 1


async def test_a_backend_that_never_returns_from_pay_is_asked_in_the_end(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_gate.clear()
    request = world.pay(alice, an_invoice(world))
    await until(lambda: len(backend.sent) == 1)
    backend.known[HASH] = backend.settled(HASH)

    world.clock.advance(2 * PAYMENT_TIMEOUT_S)
    await world.reconciler.look_up_payments()
    await until(lambda: bool(world.answers_to(alice, request)))

    assert world.answer(alice, request)["result"] == PAID


# --- cancelled at every await


@pytest.mark.attack("A24")
async def test_a_payment_cancelled_at_any_await_ends_once_and_with_the_money_right(
    tmp_path: Path,
) -> None:
    number = 0
    outcomes = []
    while True:
        number += 1
        interruption = CancelAt(number)
        outcomes.append(await _interrupted(tmp_path / f"{number}.sqlite", interruption))
        if not interruption.has_struck:
            break

    assert number > 8
    assert set(outcomes) == {PaymentState.SETTLED, PaymentState.RELEASED}


async def _interrupted(path: Path, interruption: CancelAt) -> PaymentState:
    """One payment with one cancelled await, and a restart; the state in which it ends."""
    backend, clock, relay = ScriptedBackend(), Clock(), Relay()
    async with open_world(path, backend=backend, clock=clock, relay=relay) as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        invoice = an_invoice(world)
    event = alice.request("pay_invoice", {"invoice": invoice}, created_at=clock())
    async with open_world(
        path, backend=backend, clock=clock, relay=relay, interruption=interruption
    ) as world:
        world.deliver(event)
        await world.tasks.idle()
    async with open_world(path, backend=backend, clock=clock, relay=relay) as world:
        world.deliver(event, repeated=True)
        await world.tasks.idle()
        for _ in range(3):
            await world.look_up(after_s=EXPIRY_S)
        payment = await world.payment(HASH)
        sends = len(backend.sent)
        result = world.answer(alice, event).get("result")
        spent_msat = sends * (AMOUNT_MSAT + FEE_MSAT)
        assert await world.money("alice") == (CREDIT_MSAT - spent_msat, 0)
        assert (payment.state, sends, result) in (
            (PaymentState.SETTLED, 1, PAID),
            (PaymentState.RELEASED, 0, None),
        )
        assert await world.problems() == ()
        return payment.state
