"""Who gives way when every socket of the embedded relay is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from nwc_service.embedded import EmbeddedRelay, RelayLimits
from tests.relay.raw import (
    CLIENT,
    STRANGER,
    WALLET,
    RawClient,
    a_request,
    a_response,
    an_info,
    id_of,
    raw_client,
    relay_of_its_own,
)

TO_CLIENT = {"kinds": [23195], "#p": [CLIENT.public_key]}


@pytest.fixture
async def relay() -> AsyncIterator[EmbeddedRelay]:
    """It has room for two."""
    async with relay_of_its_own(limits=RelayLimits(sockets=2)) as opened:
        yield opened


@pytest.fixture
async def clients() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def join(relay: EmbeddedRelay, clients: AsyncExitStack) -> RawClient:
    return await clients.enter_async_context(raw_client(relay.url))


async def is_gone(client: RawClient) -> bool:
    try:
        return not await client.hears_nothing()
    except ConnectionClosed:
        return True


async def test_the_oldest_stranger_gives_way_to_a_newcomer(
    relay: EmbeddedRelay, clients: AsyncExitStack
) -> None:
    idle = [await join(relay, clients) for _ in range(2)]

    newcomer = await join(relay, clients)
    accepted, _ = await newcomer.offer(a_request())

    assert accepted
    assert [await is_gone(client) for client in idle] == [True, False]


async def test_a_client_that_has_signed_stays(
    relay: EmbeddedRelay, clients: AsyncExitStack
) -> None:
    client = await join(relay, clients)
    await client.offer(a_request())
    idle = await join(relay, clients)

    await join(relay, clients)

    assert not await is_gone(client)
    assert await is_gone(idle)


async def test_a_socket_that_never_becomes_a_websocket_gives_way(
    relay: EmbeddedRelay, clients: AsyncExitStack
) -> None:
    halves = [await asyncio.open_connection("127.0.0.1", relay.port) for _ in range(2)]

    newcomer = await join(relay, clients)
    at_end = await halves[0][0].read()

    assert at_end == b""
    assert not await is_gone(newcomer)
    for _, writer in halves:
        writer.close()


@pytest.mark.parametrize(
    ("wanted", "stays"),
    [
        pytest.param(TO_CLIENT, True, id="to-a-known-client"),
        pytest.param({"authors": [WALLET.public_key]}, True, id="by-a-known-service"),
        pytest.param({"authors": [CLIENT.public_key]}, True, id="by-a-known-client"),
        pytest.param({"kinds": [23195], "#p": [STRANGER.public_key]}, False, id="unknown-key"),
        pytest.param({"#e": [a_request().id]}, False, id="an-event-only"),
    ],
)
@pytest.mark.parametrize("info_comes", ["before", "after"])
async def test_a_listener_stays_if_it_names_a_known_key(
    relay: EmbeddedRelay,
    clients: AsyncExitStack,
    wanted: dict[str, object],
    stays: bool,
    info_comes: str,
) -> None:
    listener = await join(relay, clients)
    if info_comes == "before":
        relay.publish(an_info())
    await listener.stored(wanted)
    if info_comes == "after":
        relay.publish(an_info())
    idle = await join(relay, clients)

    await join(relay, clients)

    assert await is_gone(idle) is stays
    assert (listener.socket.close_code is None) is stays


async def test_a_listener_that_stays_goes_on_listening(
    relay: EmbeddedRelay, clients: AsyncExitStack
) -> None:
    relay.publish(an_info())
    listener = await join(relay, clients)
    await listener.stored(TO_CLIENT)
    response = a_response(a_request())

    for _ in range(3):
        await join(relay, clients)
    relay.publish(response)
    heard = await listener.receive()

    assert id_of(heard) == response.id


async def test_known_keys_in_filters_do_not_keep_out_those_who_would_sign(
    relay: EmbeddedRelay, clients: AsyncExitStack
) -> None:
    relay.publish(an_info())
    listeners = [await join(relay, clients) for _ in range(2)]
    for listener in listeners:
        await listener.stored(TO_CLIENT)

    newcomer = await join(relay, clients)
    accepted, _ = await newcomer.offer(a_request())

    assert accepted
    assert [await is_gone(listener) for listener in listeners] == [True, False]


async def test_among_those_who_have_signed_one_too_many_is_turned_away(
    relay: EmbeddedRelay, clients: AsyncExitStack
) -> None:
    first = await join(relay, clients)
    await first.offer(a_request(content="first"))
    async with raw_client(relay.url) as second:
        await second.offer(a_request(content="second"))
        with pytest.raises((OSError, InvalidMessage)):
            await connect(relay.url, proxy=None)
    after_one_left = await join(relay, clients)

    assert not await is_gone(first)
    assert not await is_gone(after_one_left)
