"""A reply through a pool with two relays, of which one is down or will not take it yet."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from nwc_service.app import running
from nwc_service.config import load_settings
from nwc_service.keyring import Keyring
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.ratelimit import Rate
from nwc_service.relay.pool import RelayPool
from nwc_service.relays import Relays
from nwc_service.wishes import Wish
from tests.backends.lnbits_server import free_port
from tests.clients.raw import raw_client
from tests.relay.raw import CLIENT, NOW, WALLET, a_request, a_response
from tests.relay.scripted import until
from tests.relay.small_relay import Answer, SmallRelay, small_relay
from tests.relay.test_announcer import a_connection

ANSWER = a_response(a_request())


@asynccontextmanager
async def pool_on(*urls: str) -> AsyncIterator[RelayPool]:
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.add(asyncio.create_task(work))

    pool = RelayPool(
        client_of=lambda _: CLIENT.public_key,
        keypair_of=lambda _: WALLET,
        on_request=lambda event, _: True,
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


async def test_a_relay_that_was_down_until_a_restart_gets_what_the_other_had(
    tmp_path: Path,
) -> None:
    """What is still to be brought to a relay outlives the process: the same bytes."""
    port = free_port()
    back = SmallRelay()
    async with small_relay(SmallRelay()) as up:
        relays = f"{up.url},ws://127.0.0.1:{port}"
        settings = load_settings(data_dir=tmp_path, environment={"NWC_RELAYS": relays})
        async with running(settings) as service:
            await service.accounts.create("main")
            created = await service.connections.create(Wish(account="main", app="app"))
            async with raw_client(str(created.uri), relay=up.url) as app:
                await app.request("make_invoice", {"amount": 1_000})
        answers = [event for event in up.offered if event.kind == kinds.RESPONSE]
        async with small_relay(back, port=port), running(settings):
            await until_soon(
                lambda: any(event.kind == kinds.RESPONSE for event in back.offered)
            )

    assert len(answers) == 1
    assert [event for event in back.offered if event.kind == kinds.RESPONSE] == answers


@pytest.mark.parametrize(
    ("urls", "is_brought"), [(("ws://1",), False), (("ws://1", "ws://2"), True)]
)
def test_a_single_relay_is_the_one_that_took_it(
    urls: tuple[str, ...], is_brought: bool
) -> None:
    pool = Brought()
    relays = Relays(cast("RelayPool", pool))
    relays.own(urls=urls, advertised_urls=urls)

    relays.bring(a_connection(Keyring(b"\x55" * 32), "c"), ANSWER)

    assert pool.to == ([urls] if is_brought else [])


class Brought:
    """In the place of a pool."""

    def __init__(self) -> None:
        self.to: list[Sequence[str]] = []

    def bring(self, _: Event, *, relays: Sequence[str]) -> None:
        self.to.append(relays)


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
