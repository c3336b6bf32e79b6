"""`RelayConnection` with relays that are real: nostr-sdk's LocalRelay and our own."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nostr_sdk
import pytest

from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter
from tests.relay.raw import (
    CLIENT,
    STRANGER,
    WALLET,
    a_request,
    a_response,
    an_info,
    relay_of_its_own,
)
from tests.relay.scripted import Service, until

RESPONSES = Filter(kinds=frozenset({23195}), tags={"p": frozenset({CLIENT.public_key})})


@asynccontextmanager
async def local_relay(
    port: int, *, auth: nostr_sdk.LocalRelayBuilderNip42Mode | None = None
) -> AsyncIterator[str]:
    builder = nostr_sdk.LocalRelayBuilder().addr("127.0.0.1").port(port)
    if auth is not None:
        builder = builder.nip42(nostr_sdk.LocalRelayBuilderNip42(mode=auth))
    relay = builder.build()
    await relay.run()
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        relay.shutdown()


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


async def test_a_request_and_its_response_through_an_independent_relay() -> None:
    request = a_request(created_at=int(time.time()))
    response = a_response(request, created_at=int(time.time()))
    wallet, client = Service(), Service()
    client.wanted = {"responses": [RESPONSES]}

    async with (
        local_relay(a_free_port()) as url,
        wallet.connected_to(url) as of_the_wallet,
        client.connected_to(url) as of_the_client,
    ):
        await until(lambda: of_the_wallet.is_subscribed and of_the_client.is_subscribed)
        sent = await of_the_client.publish(request, timeout_s=5)
        received = await wallet.next_event()
        answered = await of_the_wallet.publish(response, timeout_s=5)
        got = await client.next_event()

    assert (sent.accepted, answered.accepted) == (True, True)
    assert received == request.to_dict()
    assert got == response.to_dict()


async def test_an_event_that_an_independent_relay_has_counts_as_accepted() -> None:
    info = an_info(created_at=int(time.time()))
    service = Service()

    async with local_relay(a_free_port()) as url, service.connected_to(url) as connection:
        first = await connection.publish(info, timeout_s=5)
        second = await connection.publish(info, timeout_s=5)

    assert (first.accepted, second.accepted) == (True, True)


async def test_an_independent_relay_s_refusal_is_told() -> None:
    expired = a_request(created_at=int(time.time()), tags=[("expiration", "1")])
    service = Service()

    async with local_relay(a_free_port()) as url, service.connected_to(url) as connection:
        result = await connection.publish(expired, timeout_s=5)

    assert not result.accepted
    assert result.message


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(nostr_sdk.LocalRelayBuilderNip42Mode.READ, id="to-read"),
        pytest.param(nostr_sdk.LocalRelayBuilderNip42Mode.BOTH, id="to-read-and-write"),
    ],
)
async def test_it_authenticates_with_an_independent_relay(
    mode: nostr_sdk.LocalRelayBuilderNip42Mode,
) -> None:
    request = a_request(created_at=int(time.time()))
    wallet, client = Service(), Service()
    wallet.keys, client.keys = [WALLET], [CLIENT]

    async with (
        local_relay(a_free_port(), auth=mode) as url,
        wallet.connected_to(url) as of_the_wallet,
        client.connected_to(url) as of_the_client,
    ):
        await until(lambda: of_the_wallet.is_subscribed)
        sent = await of_the_client.publish(request, timeout_s=5)
        received = await wallet.next_event()

    assert sent.accepted
    assert received == request.to_dict()


async def test_it_comes_back_to_an_independent_relay_that_starts_again() -> None:
    port = a_free_port()
    service = Service()
    request = a_request(created_at=int(time.time()))

    async with service.connected_to(f"ws://127.0.0.1:{port}") as connection:
        async with local_relay(port):
            await until(lambda: connection.is_subscribed)
        await until(lambda: not connection.is_connected)
        async with local_relay(port) as url:
            await until(lambda: connection.is_subscribed)
            async with Service().connected_to(url) as client:
                await client.publish(request, timeout_s=5)
            received = await service.next_event()

    assert service.opened.qsize() == 2
    assert received == request.to_dict()


async def test_it_comes_back_to_the_embedded_relay_and_misses_nothing() -> None:
    port = a_free_port()
    service = Service()
    service.wanted = {"responses": [RESPONSES]}
    before, missed, after = (
        a_response(a_request(content=text)) for text in ("before", "missed", "after")
    )

    async with service.connected_to(f"ws://127.0.0.1:{port}") as connection:
        async with relay_of_its_own(port=port) as relay:
            await until(lambda: connection.is_subscribed)
            relay.publish(before)
            received = [await service.next_event()]
        await until(lambda: not connection.is_connected)
        async with relay_of_its_own(port=port) as relay:
            relay.publish(missed)
            await until(lambda: connection.is_subscribed)
            relay.publish(after)
            received += [await service.next_event(), await service.next_event()]

    assert received == [event.to_dict() for event in (before, missed, after)]


@pytest.mark.parametrize("require_auth", [False, True])
async def test_a_request_and_its_response_through_the_embedded_relay(
    require_auth: bool, requests: list[Event]
) -> None:
    client = Service()
    client.wanted = {"responses": [RESPONSES]}
    client.keys = [CLIENT]
    request = a_request(created_at=int(time.time()))
    response = a_response(request)

    async with (
        relay_of_its_own(requests.append, require_auth=require_auth, now=time.time) as relay,
        client.connected_to(relay.url) as connection,
    ):
        sent = await connection.publish(request, timeout_s=5)
        again = await connection.publish(request, timeout_s=5)
        await until(lambda: connection.is_subscribed)
        relay.publish(response)
        received = await client.next_event()

    assert (sent.accepted, again.accepted) == (True, True)
    assert requests == [request]
    assert received == response.to_dict()


async def test_the_embedded_relay_s_refusal_is_told() -> None:
    service = Service()

    async with (
        relay_of_its_own() as relay,
        service.connected_to(relay.url) as connection,
    ):
        result = await connection.publish(a_request(STRANGER), timeout_s=5)

    assert not result.accepted
    assert result.message.startswith("restricted:")
