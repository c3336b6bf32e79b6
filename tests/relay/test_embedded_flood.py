"""A flood costs the embedded relay a part of one processor, and delays no one who signs."""

import asyncio
import base64
import heapq
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from nwc_service.embedded import EmbeddedRelay, RelayLimits
from nwc_service.embedded.hub import Hub
from nwc_service.embedded.limits import Strangers
from nwc_service.embedded.session import Session
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from nwc_service.nostr.relay_session import auth_event
from tests.relay.raw import (
    CLIENT,
    NOW,
    STRANGER,
    WALLET,
    RawClient,
    a_request,
    an_event,
    an_info,
    is_party,
    raw_client,
    relay_of_its_own,
)

LIMITS = RelayLimits()
FRAME_TAKES_S = 0.0001
SECONDS = 5
HOST = "relay.example"
CHALLENGE = "prove it"
PUBLIC_IP = "8.8.8.8"
PROXY_IP = "172.18.0.2"


def frame_of(event: Event, *, verb: str = "EVENT") -> str:
    return json.dumps([verb, event.to_dict()])


# Only a look at the signature tells this one.
FORGED = frame_of(replace(a_request(content="forged"), sig=an_event(CLIENT, 1).sig))


class Crowd:
    """Sessions of one relay, at a time that passes only while they work or wait."""

    def __init__(self, *, on_request: Callable[[Event], bool] = lambda _: True) -> None:
        self.now_s = 0.0
        self.hub = Hub(
            LIMITS,
            is_party=is_party,
            on_request=on_request,
            require_auth=False,
            now=lambda: NOW,
        )
        self.strangers = Strangers(LIMITS, clock=lambda: self.now_s)

    def session(self, ip: str = PUBLIC_IP) -> Session:
        return Session(
            self.hub,
            challenge=CHALLENGE,
            hosts=[HOST],
            deliver=lambda _: None,
            shared=self.strangers.buckets(ip),
            clock=lambda: self.now_s,
        )

    def flood(self, sessions: Sequence[Session], frame: str, *, seconds: float) -> int:
        """How many frames are read when each session is sent the next as soon as it reads."""
        ends_at = self.now_s + seconds
        turns = [(self.now_s, number) for number in range(len(sessions))]
        read = 0
        while turns[0][0] < ends_at:
            at, number = heapq.heappop(turns)
            self.now_s = max(self.now_s, at) + FRAME_TAKES_S
            list(sessions[number].receive(frame))
            read += 1
            heapq.heappush(turns, (self.now_s + sessions[number].wait_s(), number))
        return read


def say(session: Session, frame: str) -> list[object]:
    (reply,) = session.receive(frame)
    message = json.loads(reply)
    assert isinstance(message, list)
    return message


def sessions_of(crowd: Crowd, count: int, *, ips: Sequence[str]) -> list[Session]:
    return [crowd.session(ips[number % len(ips)]) for number in range(count)]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(FORGED, id="forged"),
        pytest.param(frame_of(a_request(STRANGER)), id="of-an-unknown-key"),
        pytest.param("garbage", id="garbage"),
        pytest.param('["CLOSE","x"]', id="nothing-to-refuse"),
    ],
)
@pytest.mark.parametrize(
    ("count", "ips", "per_s", "burst"),
    [
        pytest.param(
            100,
            [PUBLIC_IP],
            LIMITS.address_frames_per_s,
            LIMITS.address_frame_burst,
            id="one-address",
        ),
        pytest.param(
            800,
            [f"8.8.8.{number}" for number in range(8)],
            LIMITS.stranger_frames_per_s,
            LIMITS.stranger_frame_burst,
            id="all-addresses",
        ),
        pytest.param(
            800,
            [PROXY_IP],
            LIMITS.stranger_frames_per_s,
            LIMITS.stranger_frame_burst,
            id="one-proxy",
        ),
    ],
)
def test_all_sockets_of_a_flood_together_are_read_no_faster_than_their_budget(
    count: int, ips: Sequence[str], per_s: float, burst: float, frame: str
) -> None:
    crowd = Crowd()

    read = crowd.flood(sessions_of(crowd, count, ips=ips), frame, seconds=SECONDS)

    assert read <= burst + per_s * SECONDS + count


@pytest.mark.attack("A28")
@pytest.mark.parametrize("ip", [PUBLIC_IP, PROXY_IP])
def test_who_has_signed_goes_on_at_once_in_the_middle_of_a_flood(ip: str) -> None:
    crowd = Crowd()
    client = crowd.session(ip)
    say(client, frame_of(a_request()))

    crowd.flood(sessions_of(crowd, 100, ips=[ip]), FORGED, seconds=SECONDS)
    answers = []
    for number in range(100):
        answers.append(say(client, frame_of(a_request(content=str(number))))[2])
        waited_s = client.wait_s()

    assert answers == [True] * 100
    assert waited_s == 0


@pytest.mark.parametrize("ip", [PUBLIC_IP, PROXY_IP])
def test_a_newcomer_in_the_middle_of_a_flood_waits_a_turn_and_no_more(ip: str) -> None:
    crowd = Crowd()
    crowd.flood(sessions_of(crowd, 100, ips=[ip]), FORGED, seconds=SECONDS)
    newcomer = crowd.session(ip)

    say(newcomer, json.dumps(["REQ", "x", {"#p": [CLIENT.public_key]}]))
    waits_s = newcomer.wait_s()
    accepted = say(newcomer, frame_of(a_request()))[2]

    assert 0 < waits_s < 1
    assert accepted
    assert newcomer.wait_s() == 0


def test_other_addresses_do_not_wait_for_one_that_forges() -> None:
    crowd = Crowd()
    crowd.flood(sessions_of(crowd, 100, ips=[PUBLIC_IP]), FORGED, seconds=SECONDS)
    neighbour = crowd.session("9.9.9.9")

    say(neighbour, "garbage")

    assert neighbour.wait_s() == 0


def auth_frame(key: Keypair, *, challenge: str = CHALLENGE) -> str:
    event = auth_event(
        key, relay_url=f"wss://{HOST}", challenge=challenge, created_at=NOW, aux=bytes(32)
    )
    return frame_of(event, verb="AUTH")


REQUEST = frame_of(a_request())
SEEN = a_request(content="seen")


@pytest.mark.parametrize(
    ("frames", "is_trusted"),
    [
        pytest.param([REQUEST], True, id="a-signed-request"),
        pytest.param([REQUEST, '["CLOSE","x"]'], True, id="then-something-harmless"),
        pytest.param([REQUEST, FORGED], False, id="then-a-forged-one"),
        pytest.param([REQUEST, FORGED, REQUEST], False, id="then-the-first-once-more"),
        pytest.param(
            [REQUEST, FORGED, frame_of(a_request(content="new"))], True, id="then-a-new-one"
        ),
        pytest.param([REQUEST, "garbage"], False, id="then-garbage"),
        pytest.param([REQUEST, '["REQ","x",{"no":1}]'], False, id="then-a-wrong-filter"),
        pytest.param([frame_of(SEEN)], False, id="what-another-has-sent-before"),
        pytest.param(
            [frame_of(replace(SEEN, sig="0" * 128))], False, id="a-known-id-with-no-signature"
        ),
        pytest.param([auth_frame(CLIENT)], True, id="a-known-client-authenticated"),
        pytest.param([auth_frame(WALLET)], True, id="a-known-service-authenticated"),
        pytest.param([auth_frame(STRANGER)], False, id="anyone-authenticated"),
        pytest.param(
            [REQUEST, auth_frame(CLIENT, challenge="x")], False, id="a-wrong-authentication"
        ),
    ],
)
def test_trust_comes_with_a_known_signature_and_goes_with_a_refusal(
    frames: Sequence[str], is_trusted: bool
) -> None:
    crowd = Crowd()
    crowd.hub.publish(an_info())
    say(crowd.session(), frame_of(SEEN))
    session = crowd.session()

    for frame in frames:
        list(session.receive(frame))

    assert session.is_trusted is is_trusted


def test_a_service_in_trouble_takes_nobody_s_trust() -> None:
    def on_request(_: Event) -> bool:
        raise RuntimeError

    crowd = Crowd(on_request=on_request)
    session = crowd.session()

    accepted = say(session, frame_of(a_request()))[2]

    assert not accepted
    assert session.is_trusted


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [
        pytest.param("8.8.8.8", "8.8.8.8", True, id="same"),
        pytest.param("8.8.8.8", "8.8.8.9", False, id="another"),
        pytest.param("2001:4860::1", "2001:4860::2:0:0:1", True, id="same-v6-network"),
        pytest.param("2001:4860::1", "2001:4860:0:1::1", False, id="another-v6-network"),
    ],
)
def test_an_owner_of_addresses_has_one_budget(one: str, other: str, is_shared: bool) -> None:
    strangers = Strangers(LIMITS, clock=lambda: 0)

    relay_s, of_one = strangers.buckets(one)
    _, of_other = strangers.buckets(other)

    assert (of_one is of_other) is is_shared
    assert relay_s is not of_one


@pytest.mark.parametrize("ip", ["127.0.0.1", "172.18.0.2", "fd00::1", "fe80::1%eth0", ""])
def test_an_address_that_may_be_a_proxy_has_none_of_its_own(ip: str) -> None:
    strangers = Strangers(LIMITS, clock=lambda: 0)

    (relay_s,) = strangers.buckets(ip)

    assert relay_s is strangers.buckets(PUBLIC_IP)[0]


def test_an_address_that_comes_back_has_the_same_budget_until_many_others_came() -> None:
    strangers = Strangers(replace(LIMITS, addresses=2), clock=lambda: 0)

    first = strangers.buckets("8.8.8.1")
    strangers.buckets("8.8.8.2")
    again = strangers.buckets("8.8.8.1")
    strangers.buckets("8.8.8.3")
    still = strangers.buckets("8.8.8.1")
    strangers.buckets("8.8.8.2")
    strangers.buckets("8.8.8.3")
    at_last = strangers.buckets("8.8.8.1")

    assert first == again == still
    assert at_last != first


async def forge(forger: RawClient) -> None:
    for _ in range(300):
        await forger.socket.send(FORGED)


async def test_forgers_on_many_sockets_are_read_slowly_and_a_client_is_not() -> None:
    limits = replace(LIMITS, stranger_frames_per_s=100, stranger_frame_burst=20)
    sockets = 10

    async with relay_of_its_own(limits=limits) as relay, raw_client(relay.url) as client:
        await client.offer(a_request())
        forgers = [raw_client(relay.url) for _ in range(sockets)]
        opened = [await forger.__aenter__() for forger in forgers]
        began_at = time.monotonic()
        floods = [asyncio.create_task(forge(forger)) for forger in opened]
        await asyncio.sleep(0.3)
        verdicts = [await client.offer(a_request(content=str(number))) for number in range(20)]
        took_s = time.monotonic() - began_at
        for flood, forger in zip(floods, opened, strict=True):
            flood.cancel()
            forger.socket.transport.abort()
        refused = sum(len(forger.socket.recv_messages.frames) for forger in opened)

    assert verdicts == [(True, "")] * 20
    assert took_s < 2
    assert 0 < refused <= 20 + 100 * took_s + sockets


PING = b"\x89\x80" + bytes(4)
PONG = b"\x8a\x00"


async def raw_websocket(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Past the handshake, and past the greeting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(bytes(16)).decode()
    writer.write(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b'["AUTH","')
    await reader.readuntil(b'"]')
    return reader, writer


async def test_who_sends_nothing_but_pings_is_cut_off_before_many_are_answered(
    relay: EmbeddedRelay,
) -> None:
    reader, writer = await raw_websocket(relay.port)
    received = b""

    writer.write(PING * 40_000)
    try:
        async with asyncio.timeout(5):
            while chunk := await reader.read(65_536):
                received += chunk
    except ConnectionResetError:
        pass
    writer.close()

    assert received.count(PONG) <= LIMITS.read_bytes / len(PING) + LIMITS.ping_burst


async def test_who_pings_as_clients_do_is_answered(relay: EmbeddedRelay) -> None:
    async with raw_client(relay.url) as client:
        for _ in range(30):
            async with asyncio.timeout(5):
                await (await client.socket.ping())
        accepted, _ = await client.offer(a_request())

    assert accepted
