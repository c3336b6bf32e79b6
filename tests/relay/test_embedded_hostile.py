"""What strangers and broken clients may do to the embedded relay: nothing to the others."""

import asyncio
import json
import logging
import time

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from nwc_service.embedded import EmbeddedRelay, RelayLimits
from nwc_service.embedded.hub import Hub
from nwc_service.embedded.limits import SocketCount, TokenBucket
from nwc_service.embedded.session import Session
from nwc_service.nostr.event import Event
from tests.relay.raw import (
    CLIENT,
    NOW,
    STRANGER,
    WALLET,
    RawClient,
    a_request,
    an_event,
    an_info,
    id_of,
    is_party,
    raw_client,
    relay_of_its_own,
)

DEEP = 100_000


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="not-json"),
        pytest.param("{}", id="object"),
        pytest.param("[]", id="empty-list"),
        pytest.param("null", id="null"),
        pytest.param('["EVENT"]', id="event-without-event"),
        pytest.param('["EVENT",{}]', id="event-without-id"),
        pytest.param('["EVENT",{"id":1}]', id="id-not-text"),
        pytest.param('["EVENT",[]]', id="event-is-a-list"),
        pytest.param('["REQ"]', id="req-without-id"),
        pytest.param('["REQ",""]', id="empty-subscription-id"),
        pytest.param(json.dumps(["REQ", "x" * 65, {}]), id="long-subscription-id"),
        pytest.param('["REQ",1,{}]', id="subscription-id-not-text"),
        pytest.param('["AUTH","challenge"]', id="auth-of-a-relay"),
        pytest.param('["COUNT","x",{}]', id="unknown-verb"),
        pytest.param("[" * DEEP, id="deep-and-open"),
        pytest.param("[" * 60_000 + "]" * 60_000, id="deep"),
        pytest.param(
            '["EVENT",' + '{"id":' * 10_000 + "1" + "}" * 10_000 + "]", id="deep-event"
        ),
        pytest.param('["EVENT",{"id":"\\ud800"}]', id="half-a-surrogate"),
        pytest.param("[1e999]", id="too-large-a-number"),
        pytest.param(b'["CLOSE","x"]', id="binary"),
        pytest.param(b"\xff\x00", id="binary-garbage"),
    ],
)
async def test_garbage_gets_a_notice_and_the_connection_goes_on(
    relay: EmbeddedRelay, frame: str | bytes
) -> None:
    async with raw_client(relay.url) as client:
        await client.socket.send(frame)
        notice = await client.receive()
        accepted, _ = await client.offer(a_request())

    assert notice[0] == "NOTICE"
    assert accepted


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kind": "23194"}, id="kind-is-text"),
        pytest.param({"kind": 23194.0}, id="kind-is-a-float"),
        pytest.param({"tags": None}, id="no-tags"),
        pytest.param({"tags": [[1]]}, id="tag-is-a-number"),
        pytest.param({"tags": [[]]}, id="empty-tag"),
        pytest.param({"tags": [["p"]]}, id="p-tag-without-value"),
        pytest.param({"content": None}, id="no-content"),
        pytest.param({"content": {"a": 1}}, id="content-is-an-object"),
        pytest.param({"pubkey": CLIENT.public_key.upper()}, id="upper-case-key"),
        pytest.param({"pubkey": "0" * 64}, id="not-a-point"),
        pytest.param({"created_at": 2**63}, id="endless-time"),
        pytest.param({"created_at": -1}, id="negative-time"),
        pytest.param({"id": "é" * 64}, id="id-not-hex"),
    ],
)
async def test_a_malformed_event_is_refused_by_its_id(
    relay: EmbeddedRelay, requests: list[Event], change: dict[str, object]
) -> None:
    raw = a_request().to_dict() | change

    async with raw_client(relay.url) as client:
        ok = await client.ask("EVENT", raw)

    assert ok[:3] == ["OK", raw["id"], False]
    assert requests == []


@pytest.mark.attack("A28")
async def test_too_large_a_frame_ends_that_connection_only(relay: EmbeddedRelay) -> None:
    async with raw_client(relay.url) as other, raw_client(relay.url) as client:
        await client.socket.send("x" * (128 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await client.receive()
        accepted, _ = await other.offer(a_request())

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert accepted


async def test_the_largest_frame_is_read(relay: EmbeddedRelay) -> None:
    async with raw_client(relay.url) as client:
        await client.socket.send("x" * (128 * 1024))
        notice = await client.receive()

    assert notice[0] == "NOTICE"


@pytest.mark.attack("A28")
async def test_ten_thousand_events_of_unknown_keys_do_not_stop_the_others(
    relay: EmbeddedRelay, requests: list[Event]
) -> None:
    frame = json.dumps(["EVENT", a_request(STRANGER).to_dict()])
    waits_s = []

    async with raw_client(relay.url) as client, raw_client(relay.url) as stranger:
        flood = asyncio.create_task(send_often(stranger, frame, count=10_000))
        first_answer = await stranger.receive()
        for number in range(20):
            began_at = time.monotonic()
            await client.offer(a_request(content=str(number)))
            waits_s.append(time.monotonic() - began_at)
        flood.cancel()
        stranger.socket.transport.abort()

    assert str(first_answer[3]).startswith("restricted:")
    assert len(requests) == 20
    assert max(waits_s) < 1


async def send_often(client: RawClient, frame: str, *, count: int) -> None:
    for _ in range(count):
        await client.socket.send(frame)


async def test_an_unknown_key_costs_no_log_line(
    relay: EmbeddedRelay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    with capture_logs() as logs:
        async with raw_client(relay.url) as client:
            accepted, _ = await client.offer(a_request(STRANGER))
            await client.ask("garbage")

    assert not accepted
    assert logs == []
    assert caplog.records == []


async def count_until_cut_off(client: RawClient) -> int:
    received = 0
    try:
        while True:
            await client.receive()
            received += 1
    except ConnectionClosed:
        return received


async def test_who_does_not_read_is_cut_off_and_holds_up_nobody() -> None:
    limits = RelayLimits(unsent_bytes=256 * 1024, stored_bytes=1)
    event_count = 400
    big = "x" * 60_000

    async with (
        relay_of_its_own(limits=limits) as relay,
        raw_client(relay.url) as slow,
        raw_client(relay.url) as quick,
    ):
        for client in (slow, quick):
            await client.ask("REQ", "live", {"#p": [CLIENT.public_key]})
        slow.socket.transport.pause_reading()
        for number in range(event_count):
            response = an_event(
                WALLET, 23195, [("p", CLIENT.public_key)], content=f"{number} {big}"
            )
            relay.publish(response)
            assert id_of(await quick.receive()) == response.id
        slow.socket.transport.resume_reading()
        received = await count_until_cut_off(slow)

    assert received < event_count


async def test_who_asks_and_does_not_read_is_cut_off_too() -> None:
    limits = RelayLimits(unsent_bytes=256 * 1024, unread_s=0.1, stored_bytes=2**30)
    event_count = 400
    big = "x" * 60_000

    async with relay_of_its_own(limits=limits) as relay, raw_client(relay.url) as slow:
        for number in range(event_count):
            relay.publish(
                an_event(WALLET, 23195, [("p", CLIENT.public_key)], content=f"{number} {big}")
            )
        await slow.send("REQ", "all", {"#p": [CLIENT.public_key]})
        slow.socket.transport.pause_reading()
        await asyncio.sleep(0.5)
        slow.socket.transport.resume_reading()
        received = await count_until_cut_off(slow)

    assert received < event_count


async def test_who_asks_for_much_and_reads_gets_it_all() -> None:
    limits = RelayLimits(unsent_bytes=256 * 1024)
    event_count = 100
    big = "x" * 60_000

    async with relay_of_its_own(limits=limits) as relay, raw_client(relay.url) as client:
        for number in range(event_count):
            relay.publish(
                an_event(WALLET, 23195, [("p", CLIENT.public_key)], content=f"{number} {big}")
            )
        stored = await client.stored({"#p": [CLIENT.public_key]})

    assert len(stored) == event_count


async def test_who_sends_too_much_is_read_more_slowly() -> None:
    limits = RelayLimits(tokens_per_s=100, token_burst=10)

    async with relay_of_its_own(limits=limits) as relay, raw_client(relay.url) as client:
        began_at = time.monotonic()
        for number in range(30):
            await client.ask("REQ", str(number % 2), {"ids": []})
        took_s = time.monotonic() - began_at

    assert took_s > 0.15


@pytest.mark.parametrize(
    ("ip", "has_room"),
    [
        pytest.param("8.8.8.8", False, id="public"),
        pytest.param("2001:4860:4860::8888", False, id="public-v6"),
        pytest.param("127.0.0.1", True, id="a-proxy-on-this-machine"),
        pytest.param("172.18.0.2", True, id="a-proxy-in-the-next-container"),
    ],
)
def test_one_public_address_has_only_so_many_sockets(ip: str, has_room: bool) -> None:
    count = SocketCount(RelayLimits(sockets_per_ip=2))

    first_two = [count.enter(ip), count.enter(ip)]
    third = count.enter(ip)
    other = count.enter("9.9.9.9")
    count.leave(ip)
    count.leave(ip)
    after_two_left = count.enter(ip)

    assert first_two == [True, True]
    assert third is has_room
    assert other
    assert after_two_left


def test_a_bucket_tells_how_long_its_debt_lasts() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5, now=0)

    bucket.take(7)
    in_debt, later, full = bucket.wait_s(0), bucket.wait_s(0.1), bucket.wait_s(100)
    bucket.take(6)

    assert in_debt == pytest.approx(0.2)
    assert later == pytest.approx(0.1)
    assert full == 0
    assert bucket.wait_s(100) == pytest.approx(0.1), "it never holds more than the burst"


def test_a_client_that_leaves_is_forgotten() -> None:
    hub = Hub(
        RelayLimits(),
        is_party=is_party,
        on_request=lambda _: True,
        require_auth=False,
        now=lambda: NOW,
    )
    delivered: list[str] = []
    session = Session(
        hub, challenge="", hosts=(), deliver=delivered.append, shared=(), clock=lambda: 0
    )
    list(session.receive(json.dumps(["REQ", "x", {"authors": [WALLET.public_key]}])))

    hub.publish(an_info(created_at=NOW - 1))
    session.close()
    hub.publish(an_info(created_at=NOW))

    assert len(delivered) == 1
