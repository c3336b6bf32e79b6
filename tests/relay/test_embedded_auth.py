"""NIP-42 on the embedded relay."""

from collections.abc import AsyncIterator

import pytest

from nwc_service.embedded import EmbeddedRelay, RelayLimits
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from nwc_service.nostr.relay_session import auth_event
from tests.relay.raw import (
    CLIENT,
    NOW,
    OTHER_CLIENT,
    STRANGER,
    WALLET,
    RawClient,
    a_request,
    a_response,
    an_event,
    an_info,
    id_of,
    raw_client,
    relay_of_its_own,
)

PUBLIC_URL = "wss://Relay.example.org/nwc"


@pytest.fixture
async def strict_relay(requests: list[Event]) -> AsyncIterator[EmbeddedRelay]:
    async with relay_of_its_own(
        requests.append, require_auth=True, public_url=PUBLIC_URL
    ) as opened:
        yield opened


async def authenticate(client: RawClient, key: Keypair, *, relay_url: str = PUBLIC_URL) -> bool:
    event = auth_event(
        key, relay_url=relay_url, challenge=client.challenge, created_at=NOW, aux=bytes(32)
    )
    ok = await client.ask("AUTH", event.to_dict())
    assert ok[:2] == ["OK", event.id]
    return ok[2] is True


@pytest.mark.parametrize(
    ("relay_url", "is_accepted"),
    [
        pytest.param("wss://relay.example.org/nwc", True, id="as-advertised"),
        pytest.param("wss://relay.example.org", True, id="no-path"),
        pytest.param("ws://relay.example.org:7447/", True, id="scheme-and-port"),
        pytest.param("ws://127.0.0.1", True, id="its-own-address"),
        pytest.param("ws://localhost:1", True, id="its-own-name"),
        pytest.param("wss://evil.example.org", False, id="another-relay"),
        pytest.param("wss://relay.example.org.evil.org", False, id="longer-name"),
        pytest.param("wss://[", False, id="not-a-url"),
        pytest.param("", False, id="no-url"),
    ],
)
async def test_the_relay_tag_must_name_this_relay(
    strict_relay: EmbeddedRelay, relay_url: str, is_accepted: bool
) -> None:
    async with raw_client(strict_relay.url) as client:
        accepted = await authenticate(client, CLIENT, relay_url=relay_url)

    assert accepted is is_accepted


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"challenge": "another"}, id="challenge"),
        pytest.param({"created_at": NOW - 601}, id="too-old"),
        pytest.param({"created_at": NOW + 601}, id="too-new"),
        pytest.param({"kind": 22243}, id="kind"),
        pytest.param({"sig": "0" * 128}, id="signature"),
        pytest.param({"sig": 1}, id="not-an-event"),
    ],
)
async def test_a_wrong_authentication_is_refused(
    strict_relay: EmbeddedRelay, change: dict[str, object]
) -> None:
    async with raw_client(strict_relay.url) as client:
        values = {"challenge": client.challenge, "created_at": NOW, "kind": 22242} | change
        event = an_event(
            CLIENT,
            int(str(values["kind"])),
            [("relay", PUBLIC_URL), ("challenge", str(values["challenge"]))],
            created_at=int(str(values["created_at"])),
        )
        raw = event.to_dict() | {key: change[key] for key in change.keys() & {"sig"}}
        ok = await client.ask("AUTH", raw)
        verdict = await client.offer(a_request())

    assert ok[2] is False
    assert str(ok[3]).startswith("invalid:")
    assert verdict[1].startswith("auth-required:")


async def test_a_challenge_is_good_for_its_own_connection_only(
    strict_relay: EmbeddedRelay,
) -> None:
    async with raw_client(strict_relay.url) as one, raw_client(strict_relay.url) as other:
        other.challenge = one.challenge
        accepted = await authenticate(other, CLIENT)

    assert not accepted


async def test_writing_needs_the_author(
    strict_relay: EmbeddedRelay, requests: list[Event]
) -> None:
    request = a_request()

    async with raw_client(strict_relay.url) as client:
        before = await client.offer(request)
        await authenticate(client, OTHER_CLIENT)
        as_another = await client.offer(request)
        await authenticate(client, CLIENT)
        with_both_keys = await client.offer(request)

    assert before[1].startswith("auth-required:")
    assert as_another[1].startswith("auth-required:")
    assert with_both_keys == (True, "")
    assert requests == [request]


@pytest.mark.attack("A29")
@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"kinds": [23195], "#p": [CLIENT.public_key]}, id="private-kind"),
        pytest.param({"#p": [CLIENT.public_key]}, id="any-kind"),
    ],
)
async def test_reading_needs_a_key(
    strict_relay: EmbeddedRelay, wanted: dict[str, object]
) -> None:
    async with raw_client(strict_relay.url) as client:
        closed = await client.ask("REQ", "x", wanted)
        await authenticate(client, CLIENT)
        opened = await client.ask("REQ", "x", wanted)

    assert closed[:2] == ["CLOSED", "x"]
    assert str(closed[2]).startswith("auth-required:")
    assert opened == ["EOSE", "x"]


@pytest.mark.attack("A29")
@pytest.mark.parametrize(
    ("reader", "may_read"),
    [
        pytest.param(CLIENT, True, id="addressee"),
        pytest.param(WALLET, True, id="author"),
        pytest.param(STRANGER, False, id="stranger"),
    ],
)
async def test_only_the_parties_of_an_event_get_it(
    strict_relay: EmbeddedRelay, reader: Keypair, may_read: bool
) -> None:
    stored, live = (a_response(a_request(content=text)) for text in ("stored", "live"))
    strict_relay.publish(stored)

    async with raw_client(strict_relay.url) as client:
        await authenticate(client, reader)
        await client.send("REQ", "x", {"#p": [CLIENT.public_key]})
        got = [await client.receive()]
        if may_read:
            got.append(await client.receive())
        strict_relay.publish(live)
        got += [await client.receive()] if may_read else []
        silent = await client.hears_nothing()

    assert [id_of(each) for each in got if each[0] == "EVENT"] == (
        [stored.id, live.id] if may_read else []
    )
    assert silent


async def test_info_events_are_for_everyone(strict_relay: EmbeddedRelay) -> None:
    info = an_info()
    strict_relay.publish(info)

    async with raw_client(strict_relay.url) as client:
        stored = await client.stored({"kinds": [13194], "authors": [WALLET.public_key]})

    assert stored == [info.id]


async def test_a_connection_has_only_so_many_keys() -> None:
    async with (
        relay_of_its_own(limits=RelayLimits(keys_per_socket=1)) as relay,
        raw_client(relay.url) as client,
    ):
        first = await authenticate(client, CLIENT, relay_url=relay.url)
        again = await authenticate(client, CLIENT, relay_url=relay.url)
        second = await authenticate(client, WALLET, relay_url=relay.url)

    assert (first, again, second) == (True, True, False)
