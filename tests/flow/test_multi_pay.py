"""multi_pay_invoice and multi_pay_keysend: each item is paid once at most and answered once."""

import asyncio
from dataclasses import replace

import pytest

from nwc_service.backend import Decoded
from nwc_service.methods.multi_pay import MAX_ITEMS
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.outbox import REDATE_AFTER_S
from tests.doubles.scripted_backend import (
    OUTSIDE_PUBKEY,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, Clock, JsonObject
from tests.flow.world import World, until

AMOUNT_MSAT = 100_000
FEE_MSAT = 1_000


def items(world: World, *numbers: int, **others: object) -> list[JsonObject]:
    """Invoices of outside payees, who are there to be paid."""
    world.backend.expect(*numbers)
    return [
        {
            "id": f"item {number}",
            "invoice": outside_invoice(number, AMOUNT_MSAT, created_at=world.clock()),
            **others,
        }
        for number in numbers
    ]


def answers(world: World, client: Client, request: Event) -> dict[str, JsonObject]:
    """By `d` tag; each of them once."""
    found: dict[str, set[str]] = {}
    payloads: dict[str, JsonObject] = {}
    for event in world.relay.taken:
        if event.kind == kinds.RESPONSE and event.tag_value("e") == request.id:
            name = event.tag_value("d") or ""
            found.setdefault(name, set()).add(event.id)
            payloads[name] = client.open(event)
    assert all(len(ids) == 1 for ids in found.values()), found
    return payloads


async def multi_pay(world: World, client: Client, invoices: list[JsonObject]) -> Event:
    request = world.ask(client, "multi_pay_invoice", {"invoices": invoices})
    await world.tasks.idle()
    return request


async def test_every_item_has_a_response_of_its_own_with_its_id_as_d_tag(
    world: World, alice: Client
) -> None:
    """NIP-47 of 2025: "one response event per invoice ... `d` tag: id"."""
    request = await multi_pay(world, alice, items(world, 1, 2, 3))

    told = answers(world, alice, request)
    assert set(told) == {"item 1", "item 2", "item 3"}
    assert told["item 2"] == {
        "result_type": "multi_pay_invoice",
        "error": None,
        "result": {"preimage": preimage_of(2), "fees_paid": FEE_MSAT},
    }
    assert await world.money("alice") == (CREDIT_MSAT - 3 * (AMOUNT_MSAT + FEE_MSAT), 0)
    assert await world.problems() == ()


async def test_an_item_without_an_id_is_named_by_its_payment_hash(
    world: World, alice: Client
) -> None:
    [item] = items(world, 1)
    del item["id"]

    request = await multi_pay(world, alice, [item])

    assert set(answers(world, alice, request)) == {hash_of(preimage_of(1))}


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        pytest.param("é" * 512, True, id="1024-bytes"),
        pytest.param("é" * 512 + "x", False, id="1025-bytes"),
        pytest.param("x" * 1024, True, id="1024-characters"),
        pytest.param("x" * 1025, False, id="1025-characters"),
    ],
)
async def test_an_id_that_no_relay_takes_as_a_tag_is_none(
    world: World, alice: Client, name: str, is_kept: bool
) -> None:
    """strfry takes tag values of up to 1024 bytes, whatever their characters are."""
    [item] = items(world, 1, id=name)

    request = await multi_pay(world, alice, [item])

    assert set(answers(world, alice, request)) == {name if is_kept else hash_of(preimage_of(1))}


async def test_the_trouble_of_one_item_is_its_own(world: World, alice: Client) -> None:
    good, twice = items(world, 1, 2)
    bad = [
        {"id": "garbage", "invoice": "lnbc1garbage"},
        {"id": "no invoice"},
        {"id": "amount", "invoice": good["invoice"], "amount": 1},
        {"id": "float", "invoice": good["invoice"], "amount": 1.5},
    ]

    request = await multi_pay(world, alice, [*bad, good, twice])

    told = answers(world, alice, request)
    assert told["item 1"]["result"]["preimage"] == preimage_of(1)
    assert told["item 2"]["result"]["preimage"] == preimage_of(2)
    assert {told[str(item["id"])]["error"]["code"] for item in bad} == {"OTHER"}
    assert "invoice" in told["no invoice"]["error"]["message"]


async def test_items_are_paid_in_their_order_as_far_as_the_money_goes(
    world: World, alice: Client
) -> None:
    request = await multi_pay(world, alice, items(world, *range(1, 6)))
    assert len(answers(world, alice, request)) == 5

    rest = await multi_pay(world, alice, items(world, *range(6, 12)))

    told = answers(world, alice, rest)
    paid = [name for name, payload in told.items() if payload.get("result")]
    assert len(told) == 6
    refused = [told[name]["error"]["code"] for name in told if name not in paid]
    assert set(refused) == {"INSUFFICIENT_BALANCE"}
    assert sorted(paid) == [f"item {number}" for number in range(6, 6 + len(paid))]
    assert (await world.money("alice"))[0] >= 0


@pytest.mark.attack("A12")
async def test_one_invoice_in_two_items_is_paid_once(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    [item] = items(world, 1)

    request = await multi_pay(world, alice, [item, {**item, "id": "again"}])

    told = answers(world, alice, request)
    assert {payload["result"]["preimage"] for payload in told.values()} == {preimage_of(1)}
    assert len(told) == 2
    assert len(backend.sent) == 1


@pytest.mark.attack("A26")
async def test_a_copy_of_the_request_brings_the_same_answers_byte_for_byte(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    request = await multi_pay(world, alice, items(world, 1, 2))
    before = {event.to_json() for event in world.relay.taken if event.tag_value("d")}

    world.relay.taken.clear()
    world.deliver(request, repeated=True)
    await world.tasks.idle()

    assert {event.to_json() for event in world.relay.taken} == before
    assert len(backend.sent) == 2


@pytest.mark.parametrize(
    "invoices",
    [
        pytest.param([], id="none"),
        pytest.param([{}] * (MAX_ITEMS + 1), id="too-many"),
        pytest.param("lnbc1", id="no-list"),
        pytest.param(["lnbc1"], id="no-objects"),
    ],
)
async def test_a_list_that_is_none_is_refused_as_a_whole(
    world: World, alice: Client, invoices: object
) -> None:
    request = world.ask(alice, "multi_pay_invoice", {"invoices": invoices})
    await world.tasks.idle()

    [(name, payload)] = answers(world, alice, request).items()
    assert name == ""
    assert "invoices" in payload["error"]["message"]


async def test_what_was_refused_as_a_whole_is_never_paid_by_a_copy(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """The refusal has the event's own claim, and so has the first item."""
    poor = await world.connect("alice", scopes=frozenset({"get_info"}))
    request = await multi_pay(world, poor, items(world, 1, 2))
    assert answers(world, poor, request)[""]["error"]["code"] == "RESTRICTED"
    world.edges.directory.put(replace(poor.connection, scopes=alice.connection.scopes))

    world.deliver(request)
    await world.tasks.idle()

    assert backend.sent == []


async def test_after_a_crash_each_item_is_answered_and_none_is_paid_twice(
    start: Open, backend: ScriptedBackend, clock: Clock
) -> None:
    """Those that were begun go on; those that were only claimed are refused: nothing of them
    was done."""
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        asked = items(world, 1, 2, 3)
        decode = backend.decode

        async def hang_at_the_second(invoice: str) -> Decoded:
            if backend.decoded:
                await asyncio.Event().wait()
            return await decode(invoice)

        backend.decode = hang_at_the_second  # type: ignore[method-assign]
        request = world.ask(alice, "multi_pay_invoice", {"invoices": asked})
        await until(lambda: len(backend.sent) == 1)
        await world.tasks.cancel()
    backend.decode = decode  # type: ignore[method-assign]
    async with start() as world:
        await world.flow.dispatcher.recover()
        await world.flow.outbox.recover()
        await world.look_up(after_s=5)

        told = answers(world, alice, request)
        assert set(told) == {"item 1", "item 2", "item 3"}
        assert len({sent.payment_hash for sent in backend.sent}) == len(backend.sent)
        refused = [name for name, payload in told.items() if payload.get("error")]
        assert refused == ["item 2", "item 3"]
        assert all("interrupted" in told[name]["error"]["message"] for name in refused)
        assert await world.problems() == ()


async def test_keysends_too(world: World, alice: Client, backend: ScriptedBackend) -> None:
    keysends = [
        {"id": "named", "pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT},
        {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT},
        {"pubkey": OUTSIDE_PUBKEY.upper(), "amount": AMOUNT_MSAT},
        {"id": "wrong", "pubkey": "02", "amount": AMOUNT_MSAT},
    ]

    request = world.ask(alice, "multi_pay_keysend", {"keysends": keysends})
    await world.tasks.idle()

    told = answers(world, alice, request)
    assert set(told) == {"named", OUTSIDE_PUBKEY, OUTSIDE_PUBKEY.upper(), "wrong"}
    assert told["wrong"]["error"]["code"] == "OTHER"
    assert [sent.destination for sent in backend.keysent] == [OUTSIDE_PUBKEY] * 3
    assert await world.money("alice") == (CREDIT_MSAT - 3 * (AMOUNT_MSAT + FEE_MSAT), 0)


@pytest.mark.attack("A26")
async def test_a_copy_of_keysends_sends_nothing_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Each has a preimage of the service's own choice, so no payment hash gives a copy away."""
    keysends = [{"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT}] * 2
    request = world.ask(alice, "multi_pay_keysend", {"keysends": keysends})
    await world.tasks.idle()

    world.deliver(request, repeated=True)
    await world.tasks.idle()

    assert len(backend.keysent) == 2
    assert await world.money("alice") == (CREDIT_MSAT - 2 * (AMOUNT_MSAT + FEE_MSAT), 0)


async def test_an_answer_to_one_item_is_never_dated_anew(start: Open) -> None:
    """ "never for multi_pay where a second id corrupts js-sdk", which counts events."""
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        world.relay.is_up = False
        request = world.ask(alice, "multi_pay_invoice", {"invoices": items(world, 1)})
        await until(lambda: bool(offered(world, request)))
    world.clock.advance(REDATE_AFTER_S + 1)

    async with start() as world:
        await until(lambda: len(offered(world, request)) > 1)
        world.relay.is_up = True
        await world.tasks.idle()

        assert {event.id for event in offered(world, request)} == {
            event.id for event in world.relay.taken if event.tag_value("e") == request.id
        }


def offered(world: World, request: Event) -> list[Event]:
    return [event for event in world.relay.refused if event.tag_value("e") == request.id]


async def test_trouble_with_one_item_keeps_no_other_waiting(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.decode_script.append(RuntimeError("the node breaks its word"))
    request = world.ask(alice, "multi_pay_invoice", {"invoices": items(world, 1, 2)})
    await world.tasks.idle()
    assert len(backend.sent) == 1

    world.flow.outbox.push(await world.flow.dispatcher.recover())
    await world.tasks.idle()

    errors = [answer["error"] for answer in world.answers_to(alice, request)]
    assert [error and error["code"] for error in errors] in (
        [None, "INTERNAL"],
        ["INTERNAL", None],
    )
