"""One request event, one answer, whenever and however often it is delivered."""

import asyncio
from dataclasses import replace

import pytest

from nwc_service.backend import Failed, FailReason
from nwc_service.nostr.event import Event
from nwc_service.store import connections
from nwc_service.wallet.errors import ErrorCode, RequestError
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client
from tests.flow.world import World, until

AMOUNT_MSAT = 100_000
HASH = hash_of(preimage_of(1))
PAID = {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}


def an_invoice(world: World, amount_msat: int = AMOUNT_MSAT) -> str:
    world.backend.expect(1)
    return outside_invoice(1, amount_msat, created_at=world.clock())


async def revoke(world: World, client: Client) -> None:
    connection = client.connection
    now = world.clock()
    await world.db.write(lambda tx: connections.revoke(tx, connection.connection_id, now=now))
    world.edges.directory.put(replace(connection, revoked_at=now))


async def pause(world: World, client: Client, *, paused_at: int | None) -> None:
    connection = client.connection
    name = connection.connection_id
    await world.db.write(lambda tx: connections.set_paused(tx, name, paused_at=paused_at))
    world.edges.directory.put(replace(connection, paused_at=paused_at))


# --- refusals are answers too


@pytest.mark.attack("A26")
async def test_a_refused_payment_is_not_made_when_the_same_event_finds_money_later(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    event = world.pay(alice, an_invoice(world, 2 * CREDIT_MSAT))
    await world.tasks.idle()
    await world.accounts.credit("alice", 10 * CREDIT_MSAT, reason="it came in")

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert world.answer(alice, event)["error"]["code"] == ErrorCode.INSUFFICIENT_BALANCE
    assert backend.sent == []
    assert await world.money("alice") == (11 * CREDIT_MSAT, 0)


async def test_a_failed_payment_is_not_tried_again_by_a_copy_of_its_event(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()

    for _ in range(3):
        world.deliver(event, repeated=True)
        await world.tasks.idle()

    assert world.answer(alice, event)["error"]["code"] == ErrorCode.PAYMENT_FAILED
    assert len(backend.sent) == 1


async def test_an_invoice_request_delivered_twice_makes_one_invoice(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    event = world.ask(alice, "make_invoice", {"amount": AMOUNT_MSAT})
    world.deliver(event, repeated=True)
    await world.tasks.idle()
    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert world.answer(alice, event)["result"]["amount"] == AMOUNT_MSAT
    assert len(backend.specs) == 1


async def test_the_service_itself_failing_is_an_answer_and_changes_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    event = world.ask(alice, "make_invoice", {"amount": AMOUNT_MSAT})
    backend.invoice_script.append(ZeroDivisionError("a bug of the backend's"))
    await world.tasks.idle()

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert world.answer(alice, event)["error"]["code"] == ErrorCode.INTERNAL
    assert len(backend.specs) == 1


# --- a connection that ends meanwhile


async def test_a_revoked_connection_is_refused(world: World, alice: Client) -> None:
    await revoke(world, alice)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert answer["error"]["code"] == ErrorCode.UNAUTHORIZED
    assert await world.count("request") == 0


async def test_a_connection_revoked_behind_the_services_back_is_refused_by_the_database(
    world: World, alice: Client
) -> None:
    await revoke(world, alice)
    world.edges.directory.put(alice.connection)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert answer["error"]["code"] == ErrorCode.UNAUTHORIZED
    assert await world.money("alice") == (CREDIT_MSAT, 0)


async def test_a_connection_paused_behind_the_services_back_is_refused_by_the_database(
    world: World, alice: Client
) -> None:
    await pause(world, alice, paused_at=world.clock())
    world.edges.directory.put(alice.connection)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert answer["error"]["code"] == ErrorCode.RESTRICTED
    assert await world.money("alice") == (CREDIT_MSAT, 0)


async def test_what_was_refused_during_a_pause_is_not_done_after_it(
    world: World, alice: Client
) -> None:
    await pause(world, alice, paused_at=world.clock())
    event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    await pause(world, alice, paused_at=None)

    world.deliver(event)
    await world.tasks.idle()

    assert world.answer(alice, event)["error"]["code"] == ErrorCode.RESTRICTED
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.count("payment") == 0


async def test_a_request_that_is_refused_while_its_connection_ends_is_told_one_thing(
    world: World, alice: Client
) -> None:
    """Another refusal was found before the end, and is stored after it. A copy that comes
    meanwhile is answered by what becomes of the first, so that there is one answer."""
    revoked = asyncio.Event()

    async def refuse_late(*_: object) -> None:
        await revoked.wait()
        raise RequestError(ErrorCode.QUOTA_EXCEEDED, "this would exceed the budget")

    world.spender.spend = refuse_late  # type: ignore[method-assign, assignment]
    event = world.pay(alice, an_invoice(world))
    await asyncio.sleep(0)
    await revoke(world, alice)
    world.deliver(event, repeated=True)
    await asyncio.sleep(0.05)
    while_in_hand = world.answers_to(alice, event)
    revoked.set()
    await world.tasks.idle()

    codes = [answer["error"]["code"] for answer in world.answers_to(alice, event)]
    assert (while_in_hand, codes) == ([], ["UNAUTHORIZED"])


async def test_copies_that_come_together_after_the_end_are_answered_once(
    world: World, alice: Client
) -> None:
    """Whoever waits for another copy must not be waited for by it."""
    await revoke(world, alice)
    event = world.pay(alice, an_invoice(world))
    world.deliver(event, repeated=True)
    await world.tasks.idle()

    codes = [answer["error"]["code"] for answer in world.answers_to(alice, event)]
    assert codes == ["UNAUTHORIZED"]


@pytest.mark.parametrize("ends", ["revoked", "expired"])
async def test_a_payment_in_flight_is_not_called_refused_once_its_connection_ends(
    world: World, backend: ScriptedBackend, ends: str
) -> None:
    await world.account("carol", credit_msat=CREDIT_MSAT)
    expires_at = world.clock() + 60 if ends == "expired" else None
    carol = await world.connect("carol", expires_at=expires_at)
    backend.pay_gate.clear()
    event = world.pay(carol, an_invoice(world))
    await until(lambda: len(backend.sent) == 1)
    if ends == "revoked":
        await revoke(world, carol)
    world.clock.advance(61)

    world.deliver(event, repeated=True)
    await asyncio.sleep(0.05)

    assert world.answers_to(carol, event) == []
    backend.pay_gate.set()
    await world.tasks.idle()
    assert world.answer(carol, event)["result"] == PAID


async def test_a_payment_made_is_not_called_refused_once_its_connection_ends(
    world: World, alice: Client
) -> None:
    event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    await revoke(world, alice)

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert world.answer(alice, event)["result"] == PAID


# --- time


def answers(world: World, request: Event) -> list[Event]:
    """As often as they were published."""
    return [event for event in world.relay.taken if event.tag_value("e") == request.id]


@pytest.mark.attack("A26")
@pytest.mark.parametrize(
    ("age_s", "expiration_s", "executed"),
    [
        pytest.param(0, None, True, id="now"),
        pytest.param(120, None, True, id="two-minutes-old"),
        pytest.param(121, None, False, id="older-than-two-minutes"),
        pytest.param(-60, None, True, id="a-minute-ahead"),
        pytest.param(-61, None, False, id="more-than-a-minute-ahead"),
        pytest.param(0, 0, True, id="expires-now"),
        pytest.param(0, -1, False, id="has-expired"),
        pytest.param(10, -1, False, id="has-expired-though-young"),
        pytest.param(-61, 3600, False, id="ahead-though-not-expired"),
    ],
)
async def test_a_payment_is_made_only_within_its_time(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    age_s: int,
    expiration_s: int | None,
    executed: bool,
) -> None:
    now = world.clock()
    tags = () if expiration_s is None else (("expiration", str(now + expiration_s)),)
    event = alice.request(
        "pay_invoice", {"invoice": an_invoice(world)}, created_at=now - age_s, tags=tags
    )

    world.deliver(event)
    await world.tasks.idle()

    assert len(backend.sent) == executed
    assert len(world.answers_to(alice, event)) == executed
    assert await world.count("request") == executed


@pytest.mark.parametrize(
    ("age_s", "is_told"), [(120, True), (121, True), (300, True), (301, False)]
)
async def test_a_copy_too_old_to_be_executed_is_told_what_became_of_it(
    world: World, alice: Client, backend: ScriptedBackend, age_s: int, is_told: bool
) -> None:
    """protocol.md 3.5: "on redelivery of a completed id re-publish the stored response event".
    Staleness stops execution; an answer that exists is given for as long as a read would be."""
    event = world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    [answer] = answers(world, event)
    world.clock.advance(age_s)

    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert answers(world, event) == [answer] * (2 if is_told else 1)
    assert len(backend.sent) == 1


@pytest.mark.parametrize("expiration", ["", "-1", "1e12", "９９９９９９９９９９", "soon"])
async def test_an_expiration_that_is_no_time_has_passed(
    world: World, alice: Client, backend: ScriptedBackend, expiration: str
) -> None:
    event = alice.request(
        "pay_invoice",
        {"invoice": an_invoice(world)},
        created_at=world.clock(),
        tags=(("expiration", expiration),),
    )

    world.deliver(event)
    await world.tasks.idle()

    assert backend.sent == []
    assert world.answers_to(alice, event) == []


# --- after a restart


async def test_after_a_restart_the_same_event_gets_the_same_bytes(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        event = world.pay(alice, an_invoice(world))
        await world.tasks.idle()

    async with start() as world:
        world.deliver(event)
        await world.tasks.idle()
        texts = [answer.to_json() for answer in answers(world, event)]

    assert len(texts) == 2
    assert len(set(texts)) == 1
    assert len(backend.sent) == 1


@pytest.mark.attack("A27")
async def test_an_answer_that_may_be_out_already_is_published_again_as_it_was(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        event = world.pay(alice, an_invoice(world))
        await world.tasks.idle()
        await world.forget_publishing()

    world.clock.advance(600)
    async with start() as world:
        await world.tasks.idle()

    assert world.answer(alice, event)["result"] == PAID
    assert len(backend.sent) == 1
