"""kill -9 at every named point of a payment, and at moments that nobody chose.

One payment is killed at point after point, in the order in which it passes them, and the same
request event is delivered again in every life: in the end there is one logical answer and one
send, and every millisatoshi is where it belongs.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import WebSocketException

from nwc_service.nostr.event import Event
from tests.clients.client import JsonObject
from tests.clients.raw import Opened, RawClient, raw_client
from tests.e2e.conftest import rows, until
from tests.e2e.money import (
    FEE_MSAT,
    FEE_RESERVE_MSAT,
    check_books,
    distinct,
    send_without_waiting,
    sends_of,
)
from tests.e2e.service import ServiceProcess, service_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

KILLS = int(os.environ.get("NWC_TEST_KILLS", "8"))
SEED = os.environ.get("NWC_TEST_KILL_SEED") or str(random.SystemRandom().getrandbits(32))
CREDIT_MSAT = 100_000_000
AMOUNT_MSAT = 50_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT

PAY_OUTSIDE = (
    "before_claim",
    "in_reserve",
    "after_reserve",
    "in_dispatch",
    "before_record",
    "in_record",
    "after_record",
    "after_publish",
    "after_mark",
)
PAY_INSIDE = ("in_reserve", "after_reserve", "after_publish", "after_cancel")
MAKE_INVOICE = (
    "in_invoice_claim",
    "after_invoice_claim",
    "after_invoice_created",
    "in_invoice_store",
    "after_invoice_store",
    "after_publish",
)
MAKE_OFFER = (
    "in_offer_claim",
    "after_offer_claim",
    "after_offer_created",
    "in_offer_store",
    "after_offer_store",
    "after_publish",
)
RECEIVE = ("before_credit", "in_credit", "after_credit", "after_publish")

Answers = dict[str, JsonObject]
Act = Callable[[], Awaitable[Answers]]
"""What makes a life meet its end; the answers that came before it."""


@dataclass(frozen=True, slots=True)
class Bank:
    """A service with two accounts, and the URI of an app on each."""

    service: ServiceProcess
    alice: str
    bob: str

    async def check(self) -> None:
        await check_books(self.service, credited_msat=2 * CREDIT_MSAT)

    async def balances(self) -> tuple[int, int]:
        alice, bob = [await self.service.account(name) for name in ("alice", "bob")]
        return alice["available_msat"], bob["available_msat"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bank(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    async with service_process(tmp_path_factory.mktemp("kill") / "data") as service:
        for name in ("alice", "bob"):
            await service.create_account(name, credit_msat=CREDIT_MSAT)
        alice = await service.connect("alice", scopes="all")
        bob = await service.connect("bob", scopes="all")
        yield Bank(service, alice, bob)


# --- one payment, killed again and again


async def die_at_each(service: ServiceProcess, points: Sequence[str], act: Act) -> Answers:
    """Live and die once for each point; then start for good. The answers of all lives."""
    answers: Answers = {}
    await service.kill()
    for point in points:
        # It may die of what it finds to repair, before it is asked anything.
        with suppress(RuntimeError, OSError, WebSocketException, TimeoutError):
            await service.start(NWC_FAILPOINT=point)
            answers |= await act()
        assert await service.wait() == -signal.SIGKILL, point
    await service.start()
    return answers


async def request_over_crashes(
    bank: Bank, uri: str, method: str, params: JsonObject, *, points: Sequence[str]
) -> tuple[Event, JsonObject]:
    """The one answer to a request that is delivered in every life."""
    event = RawClient(uri).build_request(method, params)

    async def ask() -> Answers:
        async with raw_client(uri) as client:
            await send_without_waiting(client, event)
            await bank.service.wait()
            return distinct(client.responses_to(event.id))

    answers = await die_at_each(bank.service, points, ask)
    async with raw_client(uri) as client:
        await client.send_event(event)
        await client.response_to(event.id)
        await asyncio.sleep(0.3)
        answers |= distinct(client.responses_to(event.id))
    [answer] = answers.values()
    return event, answer


@pytest.mark.attack("A25")
async def test_a_payment_to_the_outside_survives_a_kill_at_every_point(bank: Bank) -> None:
    asked = await bank.service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
    before = await bank.balances()

    _, answer = await request_over_crashes(
        bank, bank.alice, "pay_invoice", {"invoice": asked["invoice"]}, points=PAY_OUTSIDE
    )

    assert answer["result"]["fees_paid"] == FEE_MSAT
    assert await sends_of(bank.service, asked["payment_hash"]) == ["settled"]
    assert await bank.balances() == (before[0] - AMOUNT_MSAT - FEE_MSAT, before[1])
    await bank.check()


@pytest.mark.attack("A11")
async def test_a_payment_inside_survives_a_kill_at_every_point(bank: Bank) -> None:
    before = await bank.balances()
    async with raw_client(bank.bob) as bob:
        made = (await bob.request("make_invoice", {"amount": AMOUNT_MSAT})).result
        await asyncio.sleep(0.3)

    _, answer = await request_over_crashes(
        bank, bank.alice, "pay_invoice", {"invoice": made["invoice"]}, points=PAY_INSIDE
    )

    assert answer["result"]["fees_paid"] == 0
    assert await bank.balances() == (before[0] - AMOUNT_MSAT, before[1] + AMOUNT_MSAT)
    assert await sends_of(bank.service, made["payment_hash"]) == []
    await until(lambda: _is_cancelled(bank.service, made["payment_hash"]))
    await bank.check()


async def _is_cancelled(service: ServiceProcess, payment_hash: str) -> bool:
    query = "SELECT done_at IS NOT NULL FROM cancellation WHERE payment_hash = ?"
    return rows(service, query, payment_hash) == [(1,)]


@pytest.mark.attack("A15")
async def test_an_invoice_survives_a_kill_at_every_point_and_so_does_its_payment(
    bank: Bank,
) -> None:
    service, before = bank.service, await bank.balances()
    params = {"amount": AMOUNT_MSAT, "description": "killed"}
    event, answer = await request_over_crashes(
        bank, bank.bob, "make_invoice", params, points=MAKE_INVOICE
    )
    made = answer["result"]

    async def pay_from_outside() -> Answers:
        # In a later life it may have been paid in an earlier one, and be credited meanwhile.
        with suppress(httpx.TransportError, httpx.HTTPStatusError):
            await service.sandbox("pay", invoice=made["invoice"])
        await service.wait()
        return {}

    await die_at_each(service, RECEIVE, pay_from_outside)

    async with raw_client(bank.bob) as bob:
        told = await asyncio.wait_for(bob.notifications.get(), 5)
        looked_up = await bob.request("lookup_invoice", {"invoice": made["invoice"]})
    assert told.payload["notification"]["payment_hash"] == made["payment_hash"]
    assert looked_up.result["state"] == "settled"
    assert await bank.balances() == (before[0], before[1] + AMOUNT_MSAT)
    assert rows(service, "SELECT state FROM invoice WHERE request_id = ?", event.id) == [
        ("SETTLED",)
    ]
    credited = "SELECT amount_msat FROM receipt WHERE payment_hash = ?"
    assert rows(service, credited, made["payment_hash"]) == [(AMOUNT_MSAT,)]
    await bank.check()


@pytest.mark.attack("A15")
async def test_an_offer_survives_a_kill_at_every_point_and_so_does_its_payment(
    bank: Bank,
) -> None:
    service, before = bank.service, await bank.balances()
    event, answer = await request_over_crashes(
        bank, bank.bob, "make_offer", {"description": "killed"}, points=MAKE_OFFER
    )
    orders = [{"offer": answer["result"]["offer"], "amount_msat": AMOUNT_MSAT}]

    async def pay_from_outside() -> Answers:
        with suppress(httpx.TransportError):
            while orders:  # once, for an offer can be paid again
                await service.sandbox("pay-offer", **orders.pop())
        await service.wait()
        return {}

    await die_at_each(service, RECEIVE, pay_from_outside)

    async with raw_client(bank.bob) as bob:
        looked_up = await bob.request(
            "lookup_payment",
            {"payment_type": "bolt12", "lookup": {"offer_id": answer["result"]["offer_id"]}},
        )
    assert looked_up.result["state"] == "settled"
    assert await bank.balances() == (before[0], before[1] + AMOUNT_MSAT)
    made = rows(service, "SELECT state FROM offer WHERE request_id = ?", event.id)
    assert made == [("ACTIVE",)]
    await bank.check()


@pytest.mark.attack("A25")
async def test_a_payment_of_an_offer_survives_a_kill_at_every_point(bank: Bank) -> None:
    service, before = bank.service, await bank.balances()
    offer = (await service.sandbox("offer", amount_msat=AMOUNT_MSAT))["offer"]

    _, answer = await request_over_crashes(
        bank, bank.alice, "pay", {"payment": f"bitcoin:?lno={offer}"}, points=PAY_OUTSIDE
    )

    assert answer["result"]["fees_paid"] == FEE_MSAT
    assert await sends_of(service, answer["result"]["payment_hash"]) == ["settled"]
    assert await bank.balances() == (before[0] - AMOUNT_MSAT - FEE_MSAT, before[1])
    await bank.check()


# --- moments that nobody chose


@dataclass(slots=True)
class Ordered:
    """One payment that a client has asked for."""

    uri: str
    event: Event
    payment_hash: str
    answers: Answers = field(default_factory=dict)

    def hear(self, responses: list[Opened]) -> None:
        self.answers |= distinct(responses)


@pytest.mark.attack("A25")
async def test_kills_at_random_moments_of_a_stream_of_payments_lose_and_double_nothing(
    bank: Bank,
) -> None:
    dice = random.Random(SEED)
    ordered: list[Ordered] = []
    for _ in range(KILLS):
        lives = [
            asyncio.create_task(pay_and_pay(bank.service, uri, ordered, inside=inside))
            for uri in (bank.alice, bank.bob)
            for inside in (True, False)
        ]
        await asyncio.sleep(dice.uniform(0.02, 0.5))
        # A stop in good order is one more way to be interrupted.
        await dice.choice([bank.service.kill, bank.service.kill, bank.service.stop])()
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await bank.service.start()
        await ask_again_for_all(bank.service, ordered)

    assert len(ordered) > KILLS, f"seed {SEED}"
    assert max(len(one.answers) for one in ordered) == 1, f"seed {SEED}"
    for one in ordered:
        if not one.answers:
            assert await sends_of(bank.service, one.payment_hash) == [], f"seed {SEED}"
    unsent = sum(not one.answers for one in ordered)
    await check_books(
        bank.service, credited_msat=2 * CREDIT_MSAT, unsent_msat=unsent * HELD_MSAT
    )


async def pay_and_pay(
    service: ServiceProcess, uri: str, ordered: list[Ordered], *, inside: bool
) -> None:
    """Until the service dies."""
    async with raw_client(uri) as client:
        while True:
            made = await an_invoice(service, client, inside=inside)
            event = client.build_request("pay_invoice", {"invoice": made["invoice"]})
            one = Ordered(uri, event, made["payment_hash"])
            ordered.append(one)
            await send_without_waiting(client, event)
            try:
                await client.response_to(event.id)
            finally:
                one.hear(client.responses_to(event.id))


async def an_invoice(service: ServiceProcess, client: RawClient, *, inside: bool) -> JsonObject:
    if inside:
        return (await client.request("make_invoice", {"amount": AMOUNT_MSAT})).result
    return await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)


async def ask_again_for_all(service: ServiceProcess, ordered: list[Ordered]) -> None:
    """Deliver everything again. What was dispatched and never reached the node stays held
    until its invoice has expired: only that gets no answer."""
    for uri in {one.uri for one in ordered}:
        mine = [one for one in ordered if one.uri == uri]
        async with raw_client(uri) as client:
            for one in mine:
                await client.send_event(one.event)
            for one in mine:
                await until(lambda one=one: _is_over(service, client, one))  # type: ignore[misc]
            await asyncio.sleep(0.3)
            for one in mine:
                one.hear(client.responses_to(one.event.id))


async def _is_over(service: ServiceProcess, client: RawClient, one: Ordered) -> bool:
    if one.answers or client.responses_to(one.event.id):
        return True
    query = "SELECT state FROM payment WHERE payment_hash = ?"
    return rows(service, query, one.payment_hash) == [("UNKNOWN",)]


# --- the one point after which only time helps; last, since its money stays held


@pytest.mark.attack("A4")
async def test_a_payment_killed_before_its_bytes_left_is_never_sent_again_and_stays_held(
    bank: Bank,
) -> None:
    service = bank.service
    asked = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
    held_before = (await service.account("alice"))["held_msat"]
    event = RawClient(bank.alice).build_request("pay_invoice", {"invoice": asked["invoice"]})

    async def ask() -> Answers:
        async with raw_client(bank.alice) as client:
            await send_without_waiting(client, event)
            await service.wait()
            return distinct(client.responses_to(event.id))

    answers = await die_at_each(service, ["after_dispatch"], ask)
    async with raw_client(bank.alice) as client:
        await client.send_event(event)
        query = "SELECT state FROM payment WHERE payment_hash = ?"
        await until(lambda: _gives(service, query, asked["payment_hash"], [("UNKNOWN",)]))
        looked_up = await client.request("lookup_invoice", {"invoice": asked["invoice"]})

    assert (answers, client.responses_to(event.id)) == ({}, [])
    assert looked_up.result["state"] == "pending"
    assert await sends_of(service, asked["payment_hash"]) == []
    assert (await service.account("alice"))["held_msat"] == held_before + HELD_MSAT
    assert (await service.audit())["problems"] == []


async def _gives(
    service: ServiceProcess, query: str, value: str, expected: list[tuple[object, ...]]
) -> bool:
    return rows(service, query, value) == expected
