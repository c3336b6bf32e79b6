"""One connection to a relay, against relays that do as they are told."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.relay.connection import PublishResult, RelayConnection
from tests.relay.raw import CLIENT, a_request, a_response
from tests.relay.scripted import (
    REQUESTS,
    Peer,
    Service,
    answer_everything,
    do_nothing,
    scripted_relay,
    until,
)

REQUEST = a_request()
RESPONSE = a_response(REQUEST)


async def test_events_come_as_they_are_with_the_url_of_their_relay() -> None:
    async def play(peer: Peer) -> None:
        name = await peer.subscribed()
        await peer.send("EVENT", name, {"id": "not even an event"})

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url):
        event = await service.next_event()

    assert event == {"id": "not even an event"}
    assert service.heard_from == {url}


async def test_it_is_subscribed_only_after_the_stored_events() -> None:
    may_end = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.receive()
        await may_end.wait()
        await peer.send("EOSE", "requests")

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        before = connection.is_subscribed
        await service.next_open()
        opened = connection.is_connected, connection.is_subscribed
        may_end.set()
        await until(lambda: connection.is_subscribed)

    assert not before
    assert opened == (True, False)
    assert not connection.is_connected


async def test_with_nothing_to_subscribe_to_it_is_ready_once_connected() -> None:
    service = Service()
    service.wanted = {}
    async with scripted_relay(do_nothing) as url, service.connected_to(url) as connection:
        await service.next_open()
        is_subscribed = connection.is_subscribed

    assert is_subscribed


@pytest.mark.attack("A28")
@pytest.mark.parametrize(
    ("size", "is_read"), [(128 * 1024, True), (128 * 1024 + 1, False)], ids=["128-KB", "more"]
)
async def test_a_frame_is_read_up_to_128_kb(size: int, is_read: bool) -> None:
    """The order of A28 begins with "frame size (128 kB)"."""
    start, end = '["EVENT","requests",{"content":"', '"}]'

    async def play(peer: Peer) -> None:
        await peer.subscribed()
        await peer.socket.send(start + "x" * (size - len(start + end)) + end)

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: not service.events.empty() or bool(service.waits_s))
        was_kept = connection.is_connected and not service.waits_s

    assert was_kept is is_read
    assert service.events.empty() is not is_read


@pytest.mark.parametrize(
    ("ok", "result"),
    [
        pytest.param((True, ""), PublishResult(True, ""), id="accepted"),
        pytest.param(
            (True, "duplicate: have it"), PublishResult(True, "duplicate: have it"), id="known"
        ),
        pytest.param(
            (False, "duplicate: have it"),
            PublishResult(True, "duplicate: have it"),
            id="known-said-wrongly",
        ),
        pytest.param((False, "blocked: no"), PublishResult(False, "blocked: no"), id="refused"),
    ],
)
async def test_an_ok_is_matched_by_the_event_id(
    ok: tuple[bool, str], result: PublishResult
) -> None:
    async def play(peer: Peer) -> None:
        await peer.subscribed()
        published = await peer.receive()
        assert published == ["EVENT", RESPONSE.to_dict()]
        await peer.send("OK", REQUEST.id, not ok[0], "error: of another event")
        await peer.send("OK", RESPONSE.id, *ok)

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        got = await connection.publish(RESPONSE, timeout_s=5)

    assert got == result


async def test_two_who_publish_one_event_both_get_the_answer() -> None:
    async def play(peer: Peer) -> None:
        await peer.subscribed()
        await peer.receive()
        await peer.receive()
        await peer.send("OK", RESPONSE.id, True, "")

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        got = await asyncio.gather(
            connection.publish(RESPONSE, timeout_s=5), connection.publish(RESPONSE, timeout_s=5)
        )

    assert [each.accepted for each in got] == [True, True]


async def test_no_answer_in_time_is_not_accepted() -> None:
    service = Service()
    async with scripted_relay(do_nothing) as url, service.connected_to(url) as connection:
        got = await connection.publish(RESPONSE, timeout_s=0.05)

    assert not got.accepted


async def test_publishing_without_a_connection_waits_no_longer_than_told() -> None:
    service = Service()
    async with service.connected_to("ws://127.0.0.1:1") as connection:
        got = await connection.publish(RESPONSE, timeout_s=0.05)

    assert not got.accepted


async def test_a_lost_socket_is_not_accepted_at_once() -> None:
    async def play(peer: Peer) -> None:
        await peer.subscribed()
        await peer.receive()
        peer.socket.transport.abort()

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        async with asyncio.timeout(2):
            got = await connection.publish(RESPONSE, timeout_s=60)

    assert got == PublishResult(False, "error: the connection was lost")


async def test_after_closed_it_subscribes_again_later_and_later() -> None:
    names = []

    async def play(peer: Peer) -> None:
        for _ in range(4):
            names.append((await peer.receive())[1])
            await peer.send("CLOSED", names[-1], "error: idle")
        await peer.subscribed()

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: connection.is_subscribed)

    assert names == ["requests"] * 4
    assert service.waits_s == [1, 2, 4, 8]


async def test_only_the_closed_subscription_is_sent_again() -> None:
    seen: list[list[object]] = []

    async def play(peer: Peer) -> None:
        await peer.subscribed()
        await peer.subscribed()
        await peer.send("CLOSED", "b", "error: idle")
        seen.append(await peer.receive())
        await peer.send("EOSE", "b")

    service = Service()
    service.wanted = {"a": [REQUESTS], "b": [REQUESTS]}
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: bool(seen) and connection.is_subscribed)

    assert seen == [["REQ", "b", REQUESTS.to_dict()]]


async def test_refresh_sends_what_has_changed_and_nothing_else() -> None:
    seen: list[list[object]] = []
    changed = Filter(kinds=frozenset({23194}), authors=frozenset({CLIENT.public_key}))

    async def play(peer: Peer) -> None:
        while True:
            seen.append(await peer.receive())

    service = Service()
    service.wanted = {"same": [REQUESTS], "changed": [REQUESTS], "gone": [REQUESTS]}
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: len(seen) == 3)
        seen.clear()
        await connection.refresh()
        service.wanted = {"same": [REQUESTS], "changed": [changed], "new": [REQUESTS]}
        await connection.refresh()
        await connection.refresh()
        await connection.publish(RESPONSE, timeout_s=0.05)
        await until(lambda: len(seen) == 4)

    assert seen == [
        ["CLOSE", "gone"],
        ["REQ", "changed", changed.to_dict()],
        ["REQ", "new", REQUESTS.to_dict()],
        ["EVENT", RESPONSE.to_dict()],
    ]


async def test_refresh_without_a_connection_does_nothing() -> None:
    service = Service()
    connection = RelayConnection(
        "ws://127.0.0.1:1",
        subscriptions=lambda: service.wanted,
        on_event=service.on_event,
        on_open=lambda: None,
    )

    await connection.refresh()

    assert not connection.is_subscribed


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("", id="empty"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('["EVENT"]', id="no-event"),
        pytest.param('["EVENT","requests",[]]', id="event-is-a-list"),
        pytest.param('["OK","x"]', id="short-ok"),
        pytest.param('["OK",1,true,""]', id="ok-without-id"),
        pytest.param('["EOSE","never asked for"]', id="unknown-subscription"),
        pytest.param('["CLOSED","never asked for",""]', id="unknown-subscription-closed"),
        pytest.param('["NOTICE","hello"]', id="notice"),
        pytest.param(b"\xff\x00", id="binary"),
    ],
)
async def test_nothing_a_relay_sends_stops_the_reading(frame: str | bytes) -> None:
    async def play(peer: Peer) -> None:
        name = await peer.subscribed()
        await peer.socket.send(frame)
        await peer.send("EVENT", name, {"id": "after"})

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url):
        event = await service.next_event()

    assert event == {"id": "after"}


class Breaking(Service):
    """Its callback of the given name raises the first time."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.has_broken = False

    def subscriptions(self) -> dict[str, Sequence[Filter]]:
        self._break("subscriptions")
        return super().subscriptions()

    def on_event(self, url: str, raw: Mapping[str, object]) -> None:
        self._break("on_event")
        super().on_event(url, raw)

    def on_open(self) -> None:
        self._break("on_open")
        super().on_open()

    def auth_keys(self) -> Sequence[Keypair]:
        self._break("auth_keys")
        return super().auth_keys()

    def _break(self, name: str) -> None:
        if name == self._name and not self.has_broken:
            self.has_broken = True
            raise RuntimeError(name)


@pytest.mark.parametrize("name", ["subscriptions", "on_event", "on_open", "auth_keys"])
async def test_a_callback_that_raises_is_logged_and_costs_nothing_else(name: str) -> None:
    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        await peer.send("EVENT", "requests", {"id": "first"})
        await peer.send("EVENT", "requests", {"id": "second"})
        await answer_everything(peer)

    service = Breaking(name)
    with capture_logs() as logs:
        async with scripted_relay(play) as url, service.connected_to(url) as connection:
            await until(lambda: service.has_broken and not service.events.empty())
            await connection.refresh()
            got = await connection.publish(RESPONSE, timeout_s=5)
            await until(lambda: connection.is_subscribed)

    assert got.accepted
    assert [log["event"] for log in logs].count("relay.callback_failed") == 1


async def test_a_wrong_subscription_id_is_logged_and_costs_nothing_else() -> None:
    service = Service()
    service.wanted = {"x" * 65: [REQUESTS]}
    with capture_logs() as logs:
        async with (
            scripted_relay(answer_everything) as url,
            service.connected_to(url) as connection,
        ):
            await service.next_open()
            got = await connection.publish(RESPONSE, timeout_s=5)

    assert got.accepted
    assert "relay.callback_failed" in [log["event"] for log in logs]


async def test_it_comes_back_later_and_later_until_it_held_for_a_minute() -> None:
    rounds: list[None] = []

    async def play(peer: Peer) -> None:
        rounds.append(None)
        if len(rounds) == 4:
            service.clock_s += 60
        await peer.socket.close()

    service = Service()
    async with scripted_relay(play) as url, service.connected_to(url):
        await until(lambda: len(service.waits_s) >= 6)

    assert service.waits_s[:6] == [1, 2, 4, 1, 2, 4]


async def test_an_url_that_cannot_be_is_logged_and_tried_again() -> None:
    service = Service()

    with capture_logs() as logs:
        async with service.connected_to("wss://" + "x" * 70 + ".example"):
            await until(lambda: len(service.waits_s) >= 12)

    assert max(service.waits_s) == 300
    assert {log["event"] for log in logs} == {"relay.unreachable"}


async def test_it_comes_back_whatever_goes_wrong_inside() -> None:
    rounds: list[None] = []

    def now() -> float:
        rounds.append(None)
        if len(rounds) < 3:
            raise RuntimeError
        return 0

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        await answer_everything(peer)

    service = Service()
    service.keys = [CLIENT]
    with capture_logs() as logs:
        async with (
            scripted_relay(play) as url,
            service.connected_to(url, now=now) as connection,
        ):
            await until(lambda: len(rounds) == 3 and connection.is_subscribed)
            got = await connection.publish(RESPONSE, timeout_s=5)

    assert got.accepted
    assert service.waits_s[:2] == [1, 2]
    assert [log["event"] for log in logs].count("relay.failed") == 2
