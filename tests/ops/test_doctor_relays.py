"""Each way in which a relay can be wrong is found and told with its remedy."""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from nwc_service.backend import Finding
from nwc_service.doctor import relays
from tests.backends.lnd_tls import a_certificate
from tests.relay.small_relay import Answer, SmallRelay, small_relay
from tests.relays.khatru import khatru_relay

DOCUMENT = {"name": "small", "limitation": {"max_message_length": 70_000}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "ANSWER_S", 1.0)
    monkeypatch.setattr(relays, "REACH_S", 2.0)


async def examined(url: str, *, now: Callable[[], float] = time.time) -> list[Finding]:
    return [
        Finding(each.subject.rpartition(" ")[2], each.says, each.remedy)
        for each in await relays.look([url], now=now)
    ]


def wrong(found: list[Finding]) -> list[str]:
    return [each.subject for each in found if each.remedy is not None]


async def test_a_good_relay_has_nothing_wrong() -> None:
    async with small_relay(SmallRelay(document=DOCUMENT)) as relay:
        found = await examined(relay.url)

        [offered] = relay.offered
    assert wrong(found) == []
    assert [each.subject for each in found] == ["NIP-11", "write"]
    assert found[-1].says == "an answer came back as it was sent"
    assert offered.kind == 23195


@pytest.mark.parametrize(
    ("answer", "subject", "is_wrong"),
    [
        ((False, "restricted: members only"), "write", False),
        ((False, "blocked: who are you"), "write", False),
        ((False, "pow: 28 bits needed"), "write", True),
        ((False, "rate-limited: slow down"), "write", True),
        ((True, ""), "read", True),
    ],
)
async def test_what_it_says_of_an_answer(answer: Answer, subject: str, is_wrong: bool) -> None:
    async with small_relay(SmallRelay(document=DOCUMENT, says=lambda _: answer)) as relay:
        found = await examined(relay.url)

    assert found[-1].subject == subject
    assert answer[1] in found[-1].says
    assert wrong(found) == ([subject] if is_wrong else [])


async def test_a_relay_that_allows_no_subscription() -> None:
    async with small_relay(SmallRelay(document=DOCUMENT, max_subscriptions=0)) as relay:
        found = await examined(relay.url)

    assert wrong(found) == ["read"]
    assert "too many subscriptions" in found[-1].says


async def test_a_relay_that_says_nothing() -> None:
    async def mute(socket: ServerConnection) -> None:
        async for _ in socket:
            pass

    async with serve(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await examined(f"ws://127.0.0.1:{port}")

    assert wrong(found) == ["write"]
    assert "no OK" in found[-1].says


@pytest.mark.parametrize("demand", ["payment_required", "min_pow_difficulty"])
async def test_a_relay_that_wants_to_be_paid(demand: str) -> None:
    document = {"limitation": {demand: True}}
    async with small_relay(SmallRelay(document=document)) as relay:
        found = await examined(relay.url)

    assert wrong(found) == ["NIP-11"]
    assert demand in found[0].says


@pytest.mark.parametrize("document", [None, 5, [], {"limitation": 3}])
async def test_a_document_that_tells_nothing_is_no_fault(document: object) -> None:
    async with small_relay(SmallRelay(document=document)) as relay:
        assert wrong(await examined(relay.url)) == []


# --- reaching it


async def test_nothing_listens() -> None:
    async with small_relay(SmallRelay()) as relay:
        url = relay.url

    [found] = await examined(url)

    assert (found.subject, found.says) == ("reach", "nothing listens there")
    assert found.remedy


async def test_a_name_without_an_address() -> None:
    [found] = await examined("ws://no-such-host.invalid")

    assert (found.subject, found.says) == ("reach", "its name has no address")


async def test_a_website_that_is_no_relay() -> None:
    def page(socket: ServerConnection, _: Request) -> Response:
        return socket.respond(HTTPStatus.NOT_FOUND, "not here\n")

    async def never(_: ServerConnection) -> None:
        raise AssertionError

    async with serve(never, "127.0.0.1", 0, process_request=page) as server:
        port = server.sockets[0].getsockname()[1]
        [found] = await examined(f"ws://127.0.0.1:{port}/x")

    assert found.says == "it answers 404 instead of a websocket"


async def test_the_secrets_of_its_url_are_not_told() -> None:
    [found] = await relays.look(["ws://me:pass@no.invalid/x?token=abc"], now=time.time)

    assert found.subject == "ws://no.invalid/x reach"
    assert "pass" not in str(found)
    assert "abc" not in str(found)


# --- TLS


async def over_tls(certificate: Path, *, now: Callable[[], float] = time.time) -> list[Finding]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    relay = SmallRelay(document=DOCUMENT)
    async with serve(
        relay, "127.0.0.1", 0, ssl=context, process_request=relay.tell, compression=None
    ) as server:
        port = server.sockets[0].getsockname()[1]
        return await examined(f"wss://127.0.0.1:{port}", now=now)


async def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    [found] = await over_tls(a_certificate(tmp_path, "unknown"))

    assert found.subject == "reach"
    assert "its certificate does not hold: self" in found.says
    assert found.remedy
    assert "authority" in found.remedy


async def test_a_certificate_that_is_about_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = a_certificate(tmp_path, "known")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    found = await over_tls(certificate)

    assert wrong(found) == ["TLS"]
    assert "good for 1 days" in next(each.says for each in found if each.subject == "TLS")


async def test_a_certificate_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = a_certificate(tmp_path, "old", begin_in=timedelta(days=-9))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    [found] = await over_tls(certificate)

    assert "expired" in found.says


async def test_a_relay_without_tls_under_a_name_that_wants_it() -> None:
    async with small_relay(SmallRelay()) as relay:
        [found] = await examined(relay.url.replace("ws://", "wss://"))

    assert found.subject == "reach"
    assert "TLS" in str(found.remedy)


# --- its clock


@pytest.mark.parametrize(("ahead_s", "is_wrong"), [(0, False), (50, False), (300, True)])
async def test_a_clock_that_is_not_ours(ahead_s: int, is_wrong: bool) -> None:
    class Late(SmallRelay):
        def tell(self, socket: ServerConnection, request: Request) -> Response | None:
            response = super().tell(socket, request)
            if response is not None:
                date = datetime.now(UTC) + timedelta(seconds=ahead_s)
                response.headers = Headers(response.headers)
                response.headers["Date"] = format_datetime(date, usegmt=True)
            return response

    async with small_relay(Late(document=DOCUMENT)) as relay:
        found = await examined(relay.url)

    assert wrong(found) == (["clock"] if is_wrong else [])
    [clock] = [each for each in found if each.subject == "clock"]
    assert "the relay's" in clock.says


# --- NIP-42


@pytest.mark.real
async def test_a_relay_that_authenticates_whoever_asks() -> None:
    async with khatru_relay() as relay:
        found = await examined(relay.url)

    assert wrong(found) == []
    assert "NIP-42" in [each.subject for each in found]
