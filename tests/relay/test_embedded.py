"""What the embedded relay takes, and what it says of the rest."""

import asyncio
import time
from dataclasses import replace

import pytest

from nwc_service.embedded import EmbeddedRelay
from nwc_service.nostr.event import Event
from tests.relay.raw import (
    CLIENT,
    NOW,
    OTHER_WALLET,
    STRANGER,
    WALLET,
    a_request,
    a_response,
    an_event,
    an_info,
    raw_client,
    relay_of_its_own,
)


async def test_a_request_between_known_parties_reaches_the_service(
    relay: EmbeddedRelay, requests: list[Event]
) -> None:
    request = a_request(content="ciphertext")

    async with raw_client(relay.url) as client:
        verdict = await client.offer(request)

    assert verdict == (True, "")
    assert requests == [request]


async def test_a_duplicate_is_accepted_and_not_routed_again(
    relay: EmbeddedRelay, requests: list[Event]
) -> None:
    request = a_request()

    async with raw_client(relay.url) as first, raw_client(relay.url) as second:
        await first.offer(request)
        accepted, message = await second.offer(request)

    assert accepted
    assert message.startswith("duplicate:")
    assert requests == [request]


@pytest.mark.parametrize(
    ("event", "prefix"),
    [
        pytest.param(a_request(STRANGER), "restricted:", id="unknown-client"),
        pytest.param(a_request(CLIENT, OTHER_WALLET), "restricted:", id="not-its-wallet"),
        pytest.param(a_request(WALLET, CLIENT), "restricted:", id="roles-swapped"),
        pytest.param(an_event(CLIENT, 23194), "invalid:", id="no-p-tag"),
        pytest.param(a_request(tags=[("p", STRANGER.public_key)]), "invalid:", id="two-p-tags"),
        pytest.param(an_info(), "blocked:", id="info-event-from-the-network"),
        pytest.param(a_response(a_request()), "blocked:", id="response-from-the-network"),
        pytest.param(an_event(CLIENT, 1), "blocked:", id="other-kind"),
        pytest.param(an_event(CLIENT, 22242), "blocked:", id="auth-kind-in-event"),
        pytest.param(a_request(created_at=NOW - 310), "invalid:", id="too-old"),
        pytest.param(a_request(created_at=NOW + 90), "invalid:", id="from-the-future"),
        pytest.param(a_request(tags=[("expiration", str(NOW - 1))]), "invalid:", id="expired"),
        pytest.param(
            a_request(tags=[("expiration", "soon")]), "invalid:", id="expiration-not-a-time"
        ),
        pytest.param(replace(a_request(), content="other"), "invalid:", id="id-not-its-own"),
        pytest.param(replace(a_request(), sig="0" * 128), "invalid:", id="bad-signature"),
        pytest.param(replace(a_request(), sig="zz"), "invalid:", id="signature-not-hex"),
        pytest.param(a_request(content="x" * 65_537), "invalid:", id="content-too-long"),
        pytest.param(a_request(tags=[("t", "x")] * 100), "invalid:", id="too-many-tags"),
    ],
)
async def test_what_is_refused(
    relay: EmbeddedRelay, requests: list[Event], event: Event, prefix: str
) -> None:
    async with raw_client(relay.url) as client:
        accepted, message = await client.offer(event)

    assert not accepted
    assert message.startswith(prefix)
    assert requests == []


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(a_request(created_at=NOW - 280), id="old-but-in-the-window"),
        pytest.param(a_request(created_at=NOW + 30), id="clock-a-little-ahead"),
        pytest.param(a_request(tags=[("expiration", str(NOW + 600))]), id="not-yet-expired"),
        pytest.param(a_request(content="x" * 65_536), id="longest-content"),
        pytest.param(a_request(tags=[("t", "x")] * 99), id="most-tags"),
    ],
)
async def test_what_is_just_accepted(relay: EmbeddedRelay, event: Event) -> None:
    async with raw_client(relay.url) as client:
        verdict = await client.offer(event)

    assert verdict == (True, "")


async def test_a_forged_event_does_not_burn_the_id_of_the_real_one(
    relay: EmbeddedRelay, requests: list[Event]
) -> None:
    request = a_request()
    forged = replace(request, sig="0" * 128)

    async with raw_client(relay.url) as client:
        refused, _ = await client.offer(forged)
        accepted, _ = await client.offer(request)

    assert (refused, accepted) == (False, True)
    assert requests == [request]


async def test_a_service_in_trouble_is_told_to_the_client_who_may_try_again() -> None:
    taken: list[Event] = []

    def on_request(event: Event) -> None:
        if not taken:
            taken.append(event)
            raise RuntimeError

    request = a_request()

    async with (
        relay_of_its_own(on_request) as relay,
        raw_client(relay.url) as client,
    ):
        accepted, message = await client.offer(request)
        accepted_then, _ = await client.offer(request)

    assert not accepted
    assert message.startswith("error:")
    assert accepted_then


async def test_a_request_that_the_service_drops_is_not_called_taken() -> None:
    answers = iter([False, True])
    request = a_request()

    async with (
        relay_of_its_own(lambda _: next(answers)) as relay,
        raw_client(relay.url) as client,
        raw_client(relay.url) as reader,
    ):
        dropped = await client.offer(request)
        stored = await reader.stored({"ids": [request.id]})
        taken = await client.offer(request)

    assert dropped == (False, "error: the wallet service does not take this request now")
    assert stored == []
    assert taken == (True, "")


@pytest.mark.parametrize(
    ("age_s", "is_duplicate"),
    [pytest.param(359, True, id="remembered"), pytest.param(361, False, id="too-old-by-then")],
)
async def test_no_request_is_routed_twice_however_late_it_comes_back(
    requests: list[Event], age_s: int, is_duplicate: bool
) -> None:
    clock = [float(NOW)]
    ahead = a_request(created_at=NOW + 60)

    async with (
        relay_of_its_own(requests.append, now=lambda: clock[0]) as relay,
        raw_client(relay.url) as client,
    ):
        await client.offer(ahead)
        clock[0] += age_s
        await client.offer(a_request(created_at=int(clock[0])))  # so that it tidies up
        _, message = await client.offer(ahead)

    assert message.startswith("duplicate:") is is_duplicate
    assert requests.count(ahead) == 1


async def test_only_the_service_s_own_kinds_can_be_published(relay: EmbeddedRelay) -> None:
    with pytest.raises(ValueError, match="23194"):
        relay.publish(a_request())


async def test_it_closes_at_once_with_clients_connected_and_half_connected() -> None:
    async with relay_of_its_own() as relay:
        _, half = await asyncio.open_connection("127.0.0.1", relay.port)
        connection = raw_client(relay.url)
        client = await connection.__aenter__()
        client.socket.transport.pause_reading()  # it will not answer the closing handshake
        began_at = time.monotonic()

    took_s = time.monotonic() - began_at
    half.close()
    client.socket.transport.abort()
    assert took_s < 1


async def test_its_port_can_be_taken_again_at_once() -> None:
    async with relay_of_its_own() as relay:
        port = relay.port
        connection = raw_client(relay.url)
        await connection.__aenter__()

    async with relay_of_its_own(port=port) as again, raw_client(again.url) as client:
        accepted, _ = await client.offer(a_request())

    assert again.port == port
    assert accepted
