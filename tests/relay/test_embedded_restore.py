"""What the embedded relay holds again after a restart, and that a closed one takes nothing."""

import pytest

from nwc_service.embedded import EmbeddedRelay
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr.event import Event
from nwc_service.ratelimit import Rate
from nwc_service.relay.pool import RelayPool
from nwc_service.relays import Relays
from nwc_service.wallet.units import AccountId, BackendName, ConnectionId
from tests.relay.raw import (
    CLIENT,
    NOW,
    WALLET,
    a_request,
    a_response,
    an_event,
    an_info,
    id_of,
    raw_client,
    relay_of_its_own,
)

TO_CLIENT = {"#p": [CLIENT.public_key]}


def published(kind: int = 23195, *, created_at: int = NOW) -> Event:
    return an_event(WALLET, kind, [("p", CLIENT.public_key)], created_at=created_at)


async def test_a_restored_event_is_the_same_bytes(relay: EmbeddedRelay) -> None:
    response = a_response(a_request())

    relay.restore([response])
    async with raw_client(relay.url) as client:
        await client.send("REQ", "x", TO_CLIENT)
        frame = await client.socket.recv()

    assert frame == f'["EVENT","x",{response.to_json()}]'


@pytest.mark.parametrize(
    ("event", "is_held"),
    [
        pytest.param(published(23195), True, id="response"),
        pytest.param(published(23196), True, id="notification"),
        pytest.param(published(23197), True, id="notification-of-nip44"),
        pytest.param(an_info(), False, id="info"),
        pytest.param(a_request(), False, id="request"),
        pytest.param(published(1), False, id="other-kind"),
        pytest.param(published(created_at=NOW - 359), True, id="almost-too-old"),
        pytest.param(published(created_at=NOW - 360), False, id="too-old"),
        pytest.param(published(created_at=NOW + 30), True, id="dated-ahead"),
    ],
)
async def test_only_what_would_be_held_still_is_restored(
    relay: EmbeddedRelay, event: Event, is_held: bool
) -> None:
    relay.restore([event])

    async with raw_client(relay.url) as client:
        stored = await client.stored({"ids": [event.id]})

    assert stored == ([event.id] if is_held else [])


async def test_a_restored_event_is_forgotten_when_it_would_have_been() -> None:
    now = [float(NOW)]
    events = [published(created_at=NOW - age_s) for age_s in (10, 300, 200)]

    async with relay_of_its_own(now=lambda: now[0]) as relay, raw_client(relay.url) as client:
        relay.restore(events)
        now[0] += 100
        stored = await client.stored(TO_CLIENT)

    assert stored == [events[0].id, events[2].id]


async def test_who_has_subscribed_already_gets_it_once(relay: EmbeddedRelay) -> None:
    response = a_response(a_request())

    async with raw_client(relay.url) as client:
        await client.stored(TO_CLIENT)
        relay.restore([response])
        got = await client.receive()
        relay.restore([response])
        relay.publish(response)
        silent = await client.hears_nothing()

    assert id_of(got) == response.id
    assert silent


CONNECTION = Connection(
    connection_id=ConnectionId("c"),
    account_id=AccountId("a"),
    backend=BackendName("node"),
    app="app",
    wallet_pubkey=WALLET.public_key,
    client_pubkey=CLIENT.public_key,
    scopes=frozenset(),
    notifications=frozenset(),
    encryption=(Encryption.NIP44_V2,),
    relays=(),
    budget=None,
    max_payment_msat=None,
    created_at=NOW,
    expires_at=None,
)


def relays_with(embedded: EmbeddedRelay) -> Relays:
    relays = Relays(
        RelayPool(
            client_of=lambda _: None,
            keypair_of=lambda _: WALLET,
            on_request=lambda event, repeated: True,
            spawn=lambda work: work.close(),
            clock=lambda: NOW,
            rate=Rate(per_s=1, burst=1),
            on_open=lambda _: None,
        )
    )
    relays.own(urls=[embedded.url], advertised_urls=[embedded.url], embedded=embedded)
    return relays


async def test_what_a_closed_relay_is_given_does_not_count_as_published() -> None:
    event = published()

    async with relay_of_its_own() as relay:
        relays = relays_with(relay)
        while_open = relay.publish(event), await relays.publish(CONNECTION, event)
    once_closed = relay.publish(event), await relays.publish(CONNECTION, event)

    assert while_open == (True, True)
    assert once_closed == (False, False)
