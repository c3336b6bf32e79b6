"""receive (NWC-321) where the node makes offers too: an invoice and an offer in one URI, each
made once, and the invoice alone where there can be no offer just then."""

import asyncio
from itertools import repeat

import pytest

from nwc_service import offers as maker
from nwc_service import receive as receiver
from nwc_service.backend import BackendUnavailable, BadRequest, OfferReport
from nwc_service.store.database import Tx
from nwc_service.wallet import bip321
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.bolt12 import Offer
from tests.doubles.scripted_backend import ScriptedBackend, outside_offer
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, Clock, JsonObject
from tests.flow.world import World, reconciling, until

AMOUNT_MSAT = 100_000
PARAMS = {"amount": AMOUNT_MSAT, "description": "tea", "metadata": {"order": 5}}
NODE_OFFER = "offer-1"
"""What the double calls the first offer that it makes."""


def kinds_in(answer: JsonObject) -> list[type]:
    return [type(each) for each in bip321.parse(answer["result"]["bip321"]).instructions]


async def offers_made(world: World) -> list[tuple[str, str, str]]:
    async def read(tx: Tx) -> list[tuple[str, str, str]]:
        rows = await tx.all(
            "SELECT account.name, offer.connection_id, offer.state FROM offer"
            " JOIN account ON account.account_id = offer.account_id"
        )
        return [(row["name"], row["connection_id"], row["state"]) for row in rows]

    return await world.db.read(read)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "CREATE_RETRY_S", 0)
    monkeypatch.setattr(receiver, "CREATE_RETRY_S", 0)


async def test_an_invoice_and_an_offer_are_made_for_who_asked(
    world: World, backend: ScriptedBackend
) -> None:
    """The scope of `receive` is enough."""
    await world.account("alice", credit_msat=CREDIT_MSAT)
    alice = await world.connect("alice", scopes=frozenset({"receive"}))

    answer = await world.call(alice, "receive", PARAMS)

    assert kinds_in(answer) == [Bolt11, Offer]
    [spec] = backend.offer_specs
    assert (spec.amount_msat, spec.description, spec.single_use) == (AMOUNT_MSAT, "tea", False)
    connection_id = alice.connection.connection_id
    assert await offers_made(world) == [("alice", connection_id, "ACTIVE")]
    assert await world.problems() == ()


async def test_what_is_paid_through_the_offer_is_its_accounts_once(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await world.call(alice, "receive", PARAMS)
    report = backend.receive_offer(NODE_OFFER, AMOUNT_MSAT)

    for _ in range(2):
        await world.crediter.credit(backend.name, report)
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    [told] = world.notifications(alice)
    assert told["notification"]["amount"] == AMOUNT_MSAT
    assert told["notification"]["metadata"] == {"order": 5}
    assert await world.problems() == ()


async def test_another_account_pays_either_inside(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """A note of the payer goes with an offer only."""
    uri = (await world.call(alice, "receive", PARAMS))["result"]["bip321"]

    by_invoice = await world.call(bob, "pay", {"payment": uri})
    by_offer = await world.call(bob, "pay", {"payment": uri, "payer_note": "hi"})

    assert by_invoice["result"]["instruction_type"] == "bolt11"
    assert by_offer["result"]["instruction_type"] == "bolt12"
    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)
    assert backend.sent == []
    assert await world.problems() == ()


@pytest.mark.parametrize(
    "error",
    [BackendUnavailable("gone"), BadRequest("no"), ValueError("a bug")],
    ids=["node-away", "refused", "a-bug"],
)
async def test_without_an_offer_the_invoice_stands_alone(
    world: World, alice: Client, backend: ScriptedBackend, error: Exception
) -> None:
    backend.offer_script.extend(repeat(error, maker.CREATE_ATTEMPTS))

    answer = await world.call(alice, "receive", PARAMS)

    assert kinds_in(answer) == [Bolt11]
    assert [state for *_, state in await offers_made(world)] == ["FAILED"]
    assert await world.problems() == ()


async def test_the_invoice_does_not_wait_for_an_offer_that_does_not_come(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_spec: object) -> OfferReport:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(backend, "create_offer", hang)
    monkeypatch.setattr(maker, "BESIDE_TIMEOUT_S", 0.01)

    answer = await world.call(alice, "receive", PARAMS)

    assert kinds_in(answer) == [Bolt11]
    assert [state for *_, state in await offers_made(world)] == ["FAILED"]


async def test_an_offer_that_is_not_what_was_asked_is_not_in_the_uri(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def another(_spec: object) -> OfferReport:
        return OfferReport(NODE_OFFER, outside_offer(5, description="tea"))

    monkeypatch.setattr(backend, "create_offer", another)

    answer = await world.call(alice, "receive", PARAMS)

    assert kinds_in(answer) == [Bolt11]


async def test_an_offer_counts_until_it_expires_and_one_too_many_is_left_out(
    world: World, alice: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.flow.offers, "_max_open_offers", 1)

    first = await world.call(alice, "receive", PARAMS)
    second = await world.call(alice, "receive", PARAMS)
    clock.advance(3600)
    third = await world.call(alice, "receive", PARAMS)

    assert [len(kinds_in(each)) for each in (first, second, third)] == [2, 1, 2]


@pytest.mark.attack("A26")
async def test_a_copy_of_the_request_makes_nothing_and_gets_the_same_answer(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    request = world.ask(alice, "receive", PARAMS)
    world.deliver(request)
    await world.tasks.idle()
    world.deliver(request, repeated=True)
    await world.tasks.idle()

    assert kinds_in(world.answer(alice, request)) == [Bolt11, Offer]
    assert len(backend.offer_specs) == 1
    assert await world.count("invoice") == await world.count("offer") == 1


class Killed(BaseException):
    """As a power cut: nothing after it happens."""


@pytest.mark.parametrize(
    ("point", "has_offer"),
    [
        ("after_invoice_claim", False),
        ("after_offer_claim", False),
        ("after_offer_created", False),
        ("after_offer_store", True),
        ("after_invoice_created", True),
        ("after_invoice_store", True),
    ],
)
async def test_after_a_crash_there_is_one_invoice_one_answer_and_no_offer_in_vain(
    start: Open,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    has_offer: bool,
) -> None:
    def die(name: str) -> None:
        if name == point:
            raise Killed

    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        request = alice.request("receive", PARAMS, created_at=world.clock())
        with monkeypatch.context() as patched:
            patched.setattr(maker, "failpoint", die)
            patched.setattr(receiver, "failpoint", die)
            try:
                world.deliver(request)
                await world.tasks.idle()
            except Killed:
                pass
        assert world.answers_to(alice, request) == []

    async with start() as world:
        async with reconciling(world):
            await until(lambda: bool(world.answers_to(alice, request)))
            await until(lambda: _all_offers_are_final(world))
        await world.tasks.idle()

        answer = world.answer(alice, request)
        assert kinds_in(answer) == [Bolt11, Offer][: 1 + has_offer]
        states = [state for *_, state in await offers_made(world)]
        assert states.count("ACTIVE") == has_offer
        assert await world.count("invoice") == 1
        assert await world.problems() == ()


async def _all_offers_are_final(world: World) -> bool:
    return "REQUESTED" not in [state for *_, state in await offers_made(world)]
