"""A reply through a pool with two relays, of which one is down or will not take it yet."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nwc_service.nostr.event import Event
from nwc_service.ratelimit import Rate
from nwc_service.relay.pool import RelayPool
from tests.backends.lnbits_server import free_port
from tests.relay.raw import CLIENT, NOW, WALLET, a_request, a_response
from tests.relay.scripted import until
from tests.relay.small_relay import Answer, SmallRelay, small_relay

ANSWER = a_response(a_request())


@asynccontextmanager
async def pool_on(*urls: str) -> AsyncIterator[RelayPool]:
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.add(asyncio.create_task(work))

    pool = RelayPool(
        client_of=lambda _: CLIENT.public_key,
        keypair_of=lambda _: WALLET,
        on_request=lambda event, _: None,
        spawn=spawn,
        clock=lambda: NOW,
        rate=Rate(per_s=100, burst=100),
        on_open=lambda _: None,
    )
    pool.listen([WALLET.public_key], relays=urls)
    try:
        yield pool
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_relay_that_is_down_gets_the_same_bytes_when_it_is_back() -> None:
    """ "A reply is published to all relays of its connection until one OK each or its age
    limit"."""
    port = free_port()
    back = SmallRelay()
    async with (
        small_relay(SmallRelay()) as up,
        pool_on(up.url, f"ws://127.0.0.1:{port}") as pool,
    ):
        taken = await pool.publish(ANSWER, relays=(up.url, f"ws://127.0.0.1:{port}"))
        async with small_relay(back, port=port):
            await until_soon(lambda: bool(back.offered))

    assert taken
    assert up.offered == back.offered == [ANSWER]


async def until_soon(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("refusal", ["rate-limited: slow down", "mute: nobody listens"])
async def test_a_relay_that_will_not_take_it_yet_gets_it_later(refusal: str) -> None:
    refused: list[Event] = []

    def once(event: Event) -> Answer | None:
        if refused:
            return None
        refused.append(event)
        return False, refusal

    async with (
        small_relay(SmallRelay()) as quick,
        small_relay(SmallRelay(says=once)) as slow,
        pool_on(quick.url, slow.url) as pool,
    ):
        await until(lambda: len(quick.listeners()) == len(slow.listeners()) == 1)
        taken = await pool.publish(ANSWER, relays=(quick.url, slow.url))
        await until(lambda: bool(slow.offered))

    assert taken
    assert quick.offered == slow.offered == refused == [ANSWER]


async def test_an_event_that_a_relay_says_it_will_not_take_is_not_sent_there() -> None:
    """NIP-11 limits are respected."""
    document = {"limitation": {"max_content_length": 1, "created_at_lower_limit": 60}}
    async with (
        small_relay(SmallRelay(document=document)) as small,
        pool_on(small.url) as pool,
    ):
        await until(lambda: bool(small.listeners()))
        fits = await pool.publish(ANSWER, relays=(small.url,))
        old = a_response(a_request(), created_at=NOW - 61)
        too_old = await pool.publish(old, relays=(small.url,))

    assert (fits, too_old) == (True, False)
    assert small.offered == [ANSWER]
