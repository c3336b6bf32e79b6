"""Receipts of zaps: due once the invoice is paid, signed once, brought to each relay once."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from nwc_service.lnurl.zap import receipt
from nwc_service.nostr.event import Event, is_authentic
from nwc_service.outbound import Outbound
from nwc_service.relay.connection import PublishResult
from nwc_service.zaps import RETRY_AFTER_S, Zaps, publisher
from tests.clients.local_relay import local_relay
from tests.flow.conftest import Open
from tests.flow.parties import Client
from tests.flow.paying import AMOUNT_MSAT, NAME, PAYER, RELAYS, Office, open_office, zap_request
from tests.flow.world import World

TAKEN = PublishResult(accepted=True, message="")
SILENT = PublishResult(accepted=False, message="error: no answer in time")
REFUSED = PublishResult(accepted=False, message="blocked: not here")


@dataclass(slots=True)
class Relays:
    """Takes everything, but for what `answers` has of a relay."""

    answers: dict[str, PublishResult] = field(default_factory=dict)
    heard: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))

    async def publish(self, url: str, event: Event) -> PublishResult:
        await asyncio.sleep(0)
        self.heard[url].append(event)
        return self.answers.get(url, TAKEN)

    @property
    def counts(self) -> dict[str, int]:
        return {url: len(events) for url, events in self.heard.items()}

    @property
    def ids(self) -> set[str]:
        return {event.id for events in self.heard.values() for event in events}


@pytest.fixture
async def office(world: World, alice: Client) -> Office:
    opened = open_office(world)
    await opened.addresses.add(NAME, account="alice")
    return opened


@pytest.fixture
def relays() -> Relays:
    return Relays()


@pytest.fixture
def zaps(world: World, relays: Relays) -> Zaps:
    return zaps_of(world, relays.publish)


def zaps_of(world: World, publish: Callable[[str, Event], Awaitable[PublishResult]]) -> Zaps:
    return Zaps(world.db, keyring=world.edges.keyring, publish=publish, clock=world.clock)


async def zapped(world: World, office: Office) -> str:
    """The invoice of a zap that somebody outside has paid."""
    made = await office.ask_for_zap()
    assert made.payment_hash is not None
    await world.crediter.credit(world.backend.name, world.backend.receive(made.payment_hash))
    return made.invoice


@pytest.mark.attack("A19")
async def test_a_receipt_is_published_once_it_is_paid_and_to_each_relay_once(
    world: World, office: Office, zaps: Zaps, relays: Relays
) -> None:
    await office.ask_for_zap()
    await zaps.publish_due()
    before = relays.counts
    invoice = await zapped(world, office)

    for _ in range(3):
        await zaps.publish_due()
        world.clock.advance(RETRY_AFTER_S[-1])

    assert before == {}
    assert relays.counts == dict.fromkeys(RELAYS, 1)
    [told] = relays.heard[RELAYS[0]]
    assert is_authentic(told)
    assert told.pubkey == (await office.payers.terms(NAME)).nostr_pubkey
    assert told.tag_value("bolt11") == invoice
    assert told.tag_value("description") == zap_request(*RELAYS).to_json()


async def test_a_zap_that_is_paid_inside_has_its_receipt(
    world: World, office: Office, zaps: Zaps, relays: Relays, bob: Client
) -> None:
    made = await office.ask_for_zap()
    await world.call(bob, "pay_invoice", {"invoice": made.invoice})

    await zaps.publish_due()

    assert relays.counts == dict.fromkeys(RELAYS, 1)
    [told] = relays.heard[RELAYS[0]]
    assert told.tag_value("bolt11") == made.invoice


async def test_no_receipt_without_a_zap_request(
    world: World, office: Office, zaps: Zaps, relays: Relays
) -> None:
    made = await office.ask()
    assert made.payment_hash is not None
    await world.crediter.credit(world.backend.name, world.backend.receive(made.payment_hash))

    await zaps.publish_due()

    assert relays.counts == {}


async def test_only_a_relay_that_did_not_answer_is_tried_again(
    world: World, office: Office, zaps: Zaps, relays: Relays
) -> None:
    await zapped(world, office)
    relays.answers[RELAYS[1]] = SILENT
    await zaps.publish_due()
    await zaps.publish_due()
    too_soon = relays.counts

    world.clock.advance(RETRY_AFTER_S[0])
    relays.answers.clear()
    for _ in range(2):
        await zaps.publish_due()
        world.clock.advance(RETRY_AFTER_S[-1])

    assert too_soon == {RELAYS[0]: 1, RELAYS[1]: 1}
    assert relays.counts == {RELAYS[0]: 1, RELAYS[1]: 2}
    assert len(relays.ids) == 1


async def test_a_relay_that_refuses_it_is_left_alone(
    world: World, office: Office, zaps: Zaps, relays: Relays
) -> None:
    await zapped(world, office)
    relays.answers[RELAYS[1]] = REFUSED

    for _ in range(2):
        await zaps.publish_due()
        world.clock.advance(RETRY_AFTER_S[-1])

    assert relays.counts == dict.fromkeys(RELAYS, 1)


async def test_a_relay_that_never_answers_is_given_up(
    world: World, office: Office, zaps: Zaps, relays: Relays
) -> None:
    await zapped(world, office)
    relays.answers |= dict.fromkeys(RELAYS, SILENT)

    for _ in range(len(RETRY_AFTER_S) + 5):
        await zaps.publish_due()
        world.clock.advance(RETRY_AFTER_S[-1])

    assert relays.counts == dict.fromkeys(RELAYS, len(RETRY_AFTER_S) + 1)


async def test_after_a_restart_the_same_receipt_is_published(start: Open) -> None:
    relays = Relays(answers=dict.fromkeys(RELAYS, SILENT))
    async with start() as world:
        await world.account("alice")
        office = open_office(world)
        await office.addresses.add(NAME, account="alice")
        await zapped(world, office)
        await zaps_of(world, relays.publish).publish_due()

    async with start() as world:
        world.clock.advance(RETRY_AFTER_S[0])
        await zaps_of(world, relays.publish).publish_due()

    assert relays.counts == dict.fromkeys(RELAYS, 2)
    assert len(relays.ids) == 1
    assert len({event.sig for events in relays.heard.values() for event in events}) == 1


# --- where a stranger may lead the service


@pytest.mark.attack("A14")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
async def test_no_stranger_leads_the_service_into_a_network_of_its_own(host: str) -> None:
    came: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append("somebody")
        writer.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    result = await publisher(Outbound())(f"ws://{host}:{port}", zap_request("wss://a"))

    listener.close()
    assert result.is_refused
    assert came == []


async def test_a_receipt_reaches_a_real_relay() -> None:
    async with local_relay() as url:
        allowed = Outbound(allowed_hosts=frozenset({"127.0.0.1"}))

        result = await publisher(allowed)(url, receipt_of(zap_request(url)))

    assert result.accepted


def receipt_of(request: Event) -> Event:
    return receipt(
        PAYER, request.to_json(), invoice="lnbcrt1", preimage=None, settled_at=1, aux=bytes(32)
    )


async def test_a_zap_request_that_is_too_long_to_be_shown_is_receipted_all_the_same(
    world: World, office: Office, zaps: Zaps, relays: Relays
) -> None:
    longest = tuple(f"wss://{'r' * 150}{number}.example.org" for number in range(25))
    made = await office.ask_for_zap(relays=longest)
    assert made.payment_hash is not None
    await world.crediter.credit(world.backend.name, world.backend.receive(made.payment_hash))

    await zaps.publish_due()

    assert made.metadata is None
    assert len(relays.counts) == 5
    [told] = relays.heard[longest[0]]
    assert json.loads(told.tag_value("description") or "")["kind"] == 9734
    assert (await world.money("alice"))[0] > AMOUNT_MSAT
