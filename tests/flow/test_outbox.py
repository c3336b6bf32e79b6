"""A stored answer is published until a relay has taken it; then its bytes are final."""

import asyncio

import pytest

from nwc_service.nostr.event import Event
from nwc_service.outbox import GIVE_UP_STORED_S, REDATE_AFTER_S
from tests.flow.conftest import Open
from tests.flow.parties import Client
from tests.flow.world import World, broken, until

QUIET_S = 0.1


def tried(world: World, request: Event) -> list[Event]:
    """What the relay was offered as an answer while it was down."""
    return [event for event in world.relay.refused if event.tag_value("e") == request.id]


def taken(world: World, request: Event) -> list[Event]:
    return [event for event in world.relay.taken if event.tag_value("e") == request.id]


async def an_answer_that_no_relay_takes(world: World, client: Client) -> Event:
    world.relay.is_up = False
    request = world.ask(client, "make_invoice", {"amount": 1_000})
    await until(lambda: bool(tried(world, request)))
    return request


@pytest.mark.attack("A27")
async def test_an_answer_waits_for_a_relay_and_is_then_published_as_it_was_signed(
    world: World, alice: Client
) -> None:
    request = await an_answer_that_no_relay_takes(world, alice)
    [first] = tried(world, request)

    world.relay.is_up = True
    await world.tasks.idle()

    assert taken(world, request) == [first]


async def test_an_answer_that_has_grown_old_meanwhile_is_dated_anew_with_the_same_content(
    start: Open,
) -> None:
    async with start() as world:
        await world.account("alice")
        alice = await world.connect("alice")
        request = await an_answer_that_no_relay_takes(world, alice)
        [old] = tried(world, request)
    world.clock.advance(REDATE_AFTER_S + 1)

    async with start() as world:
        await until(lambda: len(tried(world, request)) == 2)
        world.relay.is_up = True
        await world.tasks.idle()
        world.deliver(request, repeated=True)
        await world.tasks.idle()

        first, again = taken(world, request)
        assert first.to_json() == again.to_json()
        assert (first.content, first.tags) == (old.content, old.tags)
        assert first.created_at >= old.created_at + REDATE_AFTER_S
        assert await world.problems() == ()


async def test_an_answer_that_no_relay_takes_for_a_day_is_given_up(start: Open) -> None:
    async with start() as world:
        await world.account("alice")
        request = await an_answer_that_no_relay_takes(world, await world.connect("alice"))
    world.clock.advance(GIVE_UP_STORED_S + 1)
    async with start() as world:
        await world.tasks.idle()

    world.relay.is_up = True
    async with start() as world:
        await world.tasks.idle()

        assert taken(world, request) == []


async def test_an_answer_that_could_not_be_marked_is_marked_later_and_keeps_its_bytes(
    world: World, alice: Client
) -> None:
    async with broken(world, "1", table="outbox", event="UPDATE"):
        request = world.ask(alice, "make_invoice", {"amount": 1_000})
        await until(lambda: bool(taken(world, request)))
        await asyncio.sleep(QUIET_S)
    await world.tasks.idle()

    first, *others = taken(world, request)
    assert others
    assert {event.to_json() for event in others} == {first.to_json()}
    assert await world.count("outbox WHERE published_at IS NULL") == 0


@pytest.mark.parametrize("method", ["get_balance", "list_transactions"])
async def test_a_read_is_answered_without_a_row(
    world: World, alice: Client, method: str
) -> None:
    answer = await world.call(alice, method)

    assert answer["error"] is None
    assert (await world.count("request"), await world.count("outbox")) == (0, 0)
