"""After a reconnect the gap is fetched: protocol.md 3.4, "a reconnect within 5 min with
`since = last_seen - margin` recovers missed requests", and 3.6, "use `since` only to bound
backfill"."""

import asyncio
from typing import Any

import pytest

from nwc_service.config import LONGEST_EXPIRATION_S
from nwc_service.relay import connection as connection_module
from nwc_service.relay.connection import SINCE_MARGIN_S
from tests.relay.raw import NOW
from tests.relay.scripted import Peer, Service, do_nothing, scripted_relay, until


class Turned:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


async def since_of(peer: Peer) -> int:
    """Of the next REQ, which gets its EOSE."""
    message: list[Any] = await peer.receive()
    assert message[0] == "REQ"
    await peer.send("EOSE", message[1])
    since = message[2]["since"]
    assert isinstance(since, int)
    return since


async def sinces_over(*away_s: float, is_live: bool = True) -> list[int]:
    """The `since` of the first connect, and after each time that the relay was away."""
    clock, service, found = Turned(), Service(), list[int]()
    absences = iter(away_s)

    async def play(peer: Peer) -> None:
        found.append(await since_of(peer))
        if len(found) <= len(away_s):
            if is_live:
                await until(lambda: connection.is_subscribed)
            peer.socket.transport.abort()
            await until(lambda: not connection.is_connected)
            clock.now += next(absences)

    async with (
        scripted_relay(play) as url,
        service.connected_to(url, keeps_up=True, now=clock) as connection,
    ):
        await until(lambda: len(found) == len(away_s) + 1)
    return found


async def test_the_gap_is_fetched_from_the_time_when_all_was_heard_last() -> None:
    _, after_10_s, after_10_min = await sinces_over(10, 600)

    assert after_10_s == NOW - SINCE_MARGIN_S
    assert after_10_min == NOW + 10 - SINCE_MARGIN_S


async def test_after_a_long_absence_all_that_may_still_be_valid_is_fetched() -> None:
    """A request with an `expiration` may be executed for a day."""
    first, after_5_h, after_days = await sinces_over(5 * 3600, 3 * 86_400)

    assert first == NOW - LONGEST_EXPIRATION_S
    assert after_5_h == NOW - SINCE_MARGIN_S
    assert after_days == NOW + 5 * 3600 + 3 * 86_400 - LONGEST_EXPIRATION_S


async def test_a_clock_that_is_set_back_asks_for_nothing_that_is_to_come() -> None:
    _, set_back = await sinces_over(-7_200)

    assert set_back <= NOW - 7_200 - SINCE_MARGIN_S


async def test_after_closed_the_gap_since_then_is_fetched() -> None:
    clock, service, found = Turned(), Service(), list[int]()

    async def play(peer: Peer) -> None:
        found.append(await since_of(peer))
        await until(lambda: connection.is_subscribed)
        clock.now += 86_400
        await peer.send("CLOSED", "requests", "error: idle")
        found.append(await since_of(peer))

    async with (
        scripted_relay(play) as url,
        service.connected_to(url, keeps_up=True, now=clock) as connection,
    ):
        await until(lambda: len(found) == 2)

    assert found[1] == NOW + 86_400 - SINCE_MARGIN_S


async def test_an_unchanged_subscription_is_not_sent_again_for_its_date() -> None:
    clock, service, seen = Turned(), Service(), list[object]()

    async def play(peer: Peer) -> None:
        while True:
            seen.append(await peer.receive())

    async with (
        scripted_relay(play) as url,
        service.connected_to(url, keeps_up=True, now=clock) as connection,
    ):
        await until(lambda: len(seen) == 1)
        clock.now += 5_000
        await connection.refresh()
        service.wanted = {}
        await connection.refresh()
        await until(lambda: len(seen) == 2)

    assert seen[1] == ["CLOSE", "requests"]


async def test_a_half_open_socket_is_found_by_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    """protocol.md 3.6: "ping/pong or dummy REQ to detect half-open sockets (proxies drop idle
    sockets at ~60 s)"."""
    assert connection_module.PING_INTERVAL_S + connection_module.PING_TIMEOUT_S < 60
    monkeypatch.setattr(connection_module, "PING_INTERVAL_S", 0.05)
    monkeypatch.setattr(connection_module, "PING_TIMEOUT_S", 0.05)
    service = Service()
    async with (
        scripted_relay(do_nothing) as url,
        Cable(url) as cable,
        service.connected_to(cable.url) as connection,
    ):
        await service.next_open()
        await asyncio.sleep(0.3)
        held = connection.is_connected
        cable.is_cut = True
        await until(lambda: not connection.is_connected)

    assert held


class Cable:
    """The way to a relay. Cut, it swallows everything and closes nothing."""

    def __init__(self, relay_url: str) -> None:
        self._port = int(relay_url.rpartition(":")[2])
        self._tasks: list[asyncio.Task[None]] = []
        self.is_cut = False
        self.url = ""

    async def __aenter__(self) -> "Cable":
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for one, other in ((reader, far_writer), (far_reader, writer)):
            self._tasks.append(asyncio.create_task(self._pass_on(one, other)))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.is_cut:
                    writer.write(data)
        finally:
            writer.transport.abort()
