"""The info event (13194): on every relay before a URI is shown, read back, and gone with its
connection."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nwc_service import announcer
from nwc_service.announcer import FRESH_EVERY_S, Announcer
from nwc_service.directory import Directory
from nwc_service.keyring import Keyring
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr.event import Event
from nwc_service.ratelimit import Rate
from nwc_service.relay.pool import RelayPool
from nwc_service.relays import Relays
from nwc_service.wallet.units import AccountId, BackendName, ConnectionId
from tests.relay.raw import CLIENT, NOW
from tests.relay.scripted import until
from tests.relay.small_relay import Answer, SmallRelay, small_relay

METHODS = ["pay_invoice", "get_balance"]


class Side:
    """The service as far as relays are concerned, on a clock that a test turns."""

    def __init__(self, *connections: Connection, now: int = NOW, newest: int = 0) -> None:
        self.now = now
        self.keyring = Keyring(b"\x55" * 32)
        self.directory = Directory(connections)
        self.remembered: list[int] = []
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.pool = RelayPool(
            client_of=lambda _: CLIENT.public_key,
            keypair_of=self._keypair_of,
            on_request=lambda event, _: True,
            spawn=self.spawn,
            clock=lambda: self.now,
            rate=Rate(per_s=100, burst=100),
            on_open=lambda url: self.spawn(self.announcer.tend(url)),
        )
        self.relays = Relays(self.pool)
        self.announcer = Announcer(
            self.relays,
            directory=self.directory,
            keyring=self.keyring,
            methods=lambda _: METHODS,
            entropy=os.urandom,
            spawn=self.spawn,
            clock=lambda: self.now,
            newest=newest,
            remember=self._keep,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def connection(self, name: str = "c", *, expires_at: int | None = None) -> Connection:
        connection = a_connection(self.keyring, name, expires_at=expires_at)
        self.directory.put(connection)
        return connection

    async def revoke(self, connection: Connection) -> Connection:
        revoked = replace(connection, revoked_at=self.now)
        self.directory.put(revoked)
        await self.announcer.announce(revoked)
        return revoked

    async def stop(self) -> None:
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.wait(tuple(self._tasks))
        assert self.failures == []

    async def _keep(self, date: int) -> None:
        self.remembered.append(date)

    def _keypair_of(self, pubkey: str) -> Any:
        connection = self.directory.by_wallet(pubkey)
        assert connection is not None
        return self.keyring.wallet_keypair(connection.connection_id)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.append(error)


def a_connection(
    keyring: Keyring,
    name: str,
    *,
    expires_at: int | None = None,
    relays: tuple[str, ...] = (),
    relays_by_user: bool = False,
) -> Connection:
    connection_id = ConnectionId(name)
    return Connection(
        connection_id=connection_id,
        account_id=AccountId("a"),
        backend=BackendName("node"),
        app="app",
        wallet_pubkey=keyring.wallet_pubkey(connection_id),
        client_pubkey=CLIENT.public_key,
        scopes=frozenset(METHODS),
        notifications=frozenset(),
        encryption=(Encryption.NIP44_V2,),
        relays=relays,
        relays_by_user=relays_by_user,
        budget=None,
        max_payment_msat=None,
        created_at=NOW,
        expires_at=expires_at,
    )


@asynccontextmanager
async def service(
    *relays: SmallRelay | str, before: Side | None = None, newest: int = 0
) -> AsyncIterator[Side]:
    """`before` is the service that ran until now, with the same connections."""
    if before is None:
        side = Side(newest=newest)
    else:
        side = Side(*before.directory, now=before.now, newest=newest)
    urls = [relay if isinstance(relay, str) else relay.url for relay in relays]
    side.relays.own(urls=urls, advertised_urls=urls)
    side.announcer.listen_all()
    try:
        yield side
    finally:
        await side.stop()


def shown(relay: SmallRelay, connection: Connection) -> str | None:
    info = relay.infos.get(connection.wallet_pubkey)
    return None if info is None else info.content


def infos_offered(relay: SmallRelay) -> list[Event]:
    """Each once, however often it was offered."""
    return list({event.id: event for event in relay.offered if event.kind == 13194}.values())


def times_read(relay: SmallRelay) -> int:
    return sum(13194 in (wanted.kinds or ()) for filters in relay.asked for wanted in filters)


async def test_it_is_on_every_relay_before_a_uri_is_shown() -> None:
    """ "The info event is on every relay before a URI is shown": the client "takes the first
    event to arrive from any relay; a stale copy on one relay can win"."""
    async with (
        small_relay(SmallRelay()) as one,
        small_relay(SmallRelay()) as other,
        service(one, other) as side,
    ):
        connection = side.connection()
        await side.announcer.announce(connection)
        found = [relay.infos.get(connection.wallet_pubkey) for relay in (one, other)]

    assert found[0] is not None
    assert found[0] == found[1]
    assert found[0].content == "pay_invoice get_balance"


async def test_a_dead_relay_delays_it_for_a_moment_only() -> None:
    async with small_relay(SmallRelay()) as live, service("ws://127.0.0.1:1", live) as side:
        connection = side.connection()
        async with asyncio.timeout(3):
            await side.announcer.announce(connection)

        assert shown(live, connection) == "pay_invoice get_balance"


async def test_what_no_relay_has_taken_is_told_until_one_has() -> None:
    refuses = SmallRelay(says=lambda event: (False, "rate-limited: slow down"))
    async with small_relay(refuses) as relay, service(relay) as side:
        connection, other = side.connection(), side.connection("other")
        await side.announcer.announce(connection)
        untaken = side.announcer.warnings(connection)
        relay.says = lambda _: None
        await side.announcer.announce(other)
        told = side.announcer.warnings(other)
        await until(lambda: side.announcer.warnings(connection) == [])

        assert untaken == [announcer.UNTAKEN]
        assert told == []


async def test_every_connect_shows_them_all_the_same_events() -> None:
    """protocol.md 3.6: "republish 13194 (on connect, ...)"."""
    async with (
        small_relay(SmallRelay()) as stays,
        small_relay(SmallRelay()) as comes_back,
        service(stays, comes_back) as side,
    ):
        connections = [side.connection(str(number)) for number in range(60)]
        for connection in connections:
            await side.announcer.announce(connection)
        await until(lambda: times_read(comes_back) >= 60 and times_read(stays) >= 60)
        comes_back.infos.clear()
        for subscriber in tuple(comes_back.subscribers):
            subscriber.socket.transport.abort()
        await until(lambda: len(comes_back.infos) == 60)

    assert comes_back.infos == stays.infos


@pytest.mark.parametrize("times", [1, 3])
async def test_a_relay_that_limits_the_rate_gets_them_later(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcer, "RETRIES_S", (0, 0.01, 0.01, 0.01))
    refusals: dict[str, int] = {}

    def limits(event: Event) -> Answer | None:
        refusals[event.pubkey] = refusals.get(event.pubkey, 0) + 1
        if refusals[event.pubkey] <= times:
            return False, "rate-limited: slow down"
        return None

    relay = SmallRelay(says=limits)
    before = Side()
    connections = [before.connection(str(number)) for number in range(3)]
    async with small_relay(relay), service(relay, before=before):
        await until(lambda: len(relay.infos) == len(connections))


async def test_what_is_gone_when_read_back_is_published_anew() -> None:
    """protocol.md 1.9: "relays silently drop 13194 after days: rebroadcast", and 3.6: "verify
    by reading it back"."""
    async with small_relay(SmallRelay()) as relay, service(relay) as side:
        gone, there = side.connection("gone"), side.connection("there")
        for connection in (gone, there):
            await side.announcer.announce(connection)
        await until(lambda: times_read(relay) >= 3 and not side.announcer._tending)
        first = dict(relay.infos)
        del relay.infos[gone.wallet_pubkey]
        relay.says = lambda event: (True, "duplicate:") if event in first.values() else None

        await side.announcer.look_at_all()
        await until(lambda: gone.wallet_pubkey in relay.infos)

        assert relay.infos[gone.wallet_pubkey].created_at > first[gone.wallet_pubkey].created_at
        assert relay.infos[there.wallet_pubkey] == first[there.wallet_pubkey]


async def test_a_relay_that_shows_few_unless_asked_for_more_is_asked_for_all() -> None:
    """NIP-11's `default_limit`: what it holds back is not gone, and is not signed again."""
    async with small_relay(SmallRelay(default_limit=5)) as relay, service(relay) as side:
        for number in range(12):
            await side.announcer.announce(side.connection(str(number)))
        await until(lambda: times_read(relay) >= 13 and not side.announcer._tending)
        first = dict(relay.infos)

        await side.announcer.look_at_all()

        assert relay.infos == first


async def test_what_is_newer_on_the_relay_is_outdone() -> None:
    """As after a database of yesterday was put in place: "never go backwards (an older event
    is silently discarded as OK true)"."""
    relay = SmallRelay()
    async with small_relay(relay):
        async with service(relay) as of_the_future:
            of_the_future.now += 500
            connection = of_the_future.connection()
            await of_the_future.announcer.announce(connection)
            old = relay.infos[connection.wallet_pubkey]
        relay.infos[connection.wallet_pubkey] = replaced = old
        async with service(relay) as side:
            side.connection()
            await side.announcer.tend(relay.url)
            await until(lambda: relay.infos[connection.wallet_pubkey] != replaced)

    assert relay.infos[connection.wallet_pubkey].created_at == old.created_at + 1


async def test_it_is_read_back_after_it_was_published() -> None:
    relay = SmallRelay(forgets=True)
    async with small_relay(relay), service(relay) as side:
        connection = side.connection()
        await side.announcer.announce(connection)
        await until(lambda: len(infos_offered(relay)) >= 2)

    dates = [event.created_at for event in infos_offered(relay)]
    assert dates == sorted(set(dates))


async def test_each_is_dated_later_than_the_last() -> None:
    """protocol.md 3.1: "Replaceable ties: same created_at => lowest id wins: bump `created_at`
    by >= 1 s when republishing 13194, and never go backwards"."""
    async with small_relay(SmallRelay()) as relay, service(relay) as side:
        connection = side.connection()
        for turn_s in (0, 0, -3600, 10):
            side.now += turn_s
            await side.announcer.announce(connection)
        dates = [event.created_at for event in infos_offered(relay)]

    assert len(dates) >= 4
    assert all(later > earlier for earlier, later in pairwise(dates))
    assert max(side.remembered) == max(dates)


async def test_a_clock_set_back_across_a_restart_dates_nothing_earlier() -> None:
    async with small_relay(SmallRelay()) as relay:
        async with service(relay) as before:
            connection = before.connection()
            await before.announcer.announce(connection)
            newest = max(before.remembered)
        before.now -= 86_400
        async with service(relay, before=before, newest=newest) as side:
            await side.announcer.announce(connection)
            dates = [event.created_at for event in infos_offered(relay)]

    assert dates == sorted(dates)
    assert dates[-1] > newest
    assert relay.infos[connection.wallet_pubkey].created_at == dates[-1]


async def test_it_is_dated_anew_now_and_then() -> None:
    """protocol.md 3.6: "and at least daily"."""
    async with small_relay(SmallRelay()) as relay, service(relay) as side:
        connection = side.connection()
        await side.announcer.announce(connection)
        for _ in range(3):
            side.now += FRESH_EVERY_S // 2
            await side.announcer.look_at_all()
        await until(lambda: len(infos_offered(relay)) == 2)

    assert FRESH_EVERY_S < 86_400
    assert infos_offered(relay)[1].created_at == NOW + FRESH_EVERY_S


# --- the end of a connection


def is_deleted(relay: SmallRelay, connection: Connection) -> bool:
    return any(
        event.kind == 5
        and event.pubkey == connection.wallet_pubkey
        and event.tags == (("a", f"13194:{connection.wallet_pubkey}:"), ("k", "13194"))
        and event.created_at >= relay.infos[connection.wallet_pubkey].created_at
        for event in relay.offered
    )


async def test_a_revoked_connection_s_is_emptied_and_deleted() -> None:
    """ "A revoked connection's info event is removed": by an empty one in its place and by a
    deletion (NIP-09)."""
    async with small_relay(SmallRelay()) as relay, service(relay) as side:
        connection, other = side.connection(), side.connection("other")
        await side.announcer.announce(connection)
        await side.announcer.announce(other)

        await side.revoke(connection)

        assert shown(relay, connection) == ""
        assert is_deleted(relay, connection)
        assert shown(relay, other) == "pay_invoice get_balance"
        assert not is_deleted(relay, other)


async def test_an_expired_connection_s_is_removed_once() -> None:
    async with small_relay(SmallRelay()) as relay, service(relay) as side:
        connection = side.connection(expires_at=NOW + 100)
        await side.announcer.announce(connection)
        await side.announcer.retire_expired()
        before = shown(relay, connection)
        side.now += 100

        await side.announcer.retire_expired()
        offered = len(relay.offered)
        await side.announcer.retire_expired()

        assert before == "pay_invoice get_balance"
        assert shown(relay, connection) == ""
        assert is_deleted(relay, connection)
        assert len(relay.offered) == offered


async def test_a_relay_that_was_away_at_the_end_is_told_when_it_is_back() -> None:
    relay = SmallRelay()
    async with small_relay(relay):
        async with service(relay) as before:
            connection = before.connection()
            expiring = before.connection("expiring", expires_at=NOW + 100)
            await before.announcer.announce(connection)
            await before.announcer.announce(expiring)
        async with service("ws://127.0.0.1:1", before=before) as without:
            await without.revoke(connection)
        assert shown(relay, connection) == "pay_invoice get_balance"
        without.now += 100

        async with service(relay, before=without):
            await until(lambda: shown(relay, connection) == shown(relay, expiring) == "")
            await until(lambda: is_deleted(relay, connection) and is_deleted(relay, expiring))


async def test_at_a_restart_the_dead_cost_a_look_and_no_more() -> None:
    relay = SmallRelay()
    async with small_relay(relay):
        async with service(relay) as before:
            connection = before.connection()
            await before.announcer.announce(connection)
            await before.revoke(connection)
        offered, read = len(relay.offered), times_read(relay)
        async with service(relay, before=before) as side:
            await until(lambda: times_read(relay) > read)
            await side.announcer.retire_expired()

    assert len(relay.offered) == offered
