"""An outcome that is not known yet: no answer, the money held, everyone else served at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import TypeVar

import pytest
import pytest_asyncio

from nwc_service.nostr.event import Event
from tests.clients.client import JsonObject
from tests.clients.raw import Opened, RawClient, raw_client
from tests.e2e.conftest import until
from tests.e2e.money import FEE_MSAT, FEE_RESERVE_MSAT, sends_of
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREDIT_MSAT = 100_000_000
AMOUNT_MSAT = 50_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
SPENT_MSAT = AMOUNT_MSAT + FEE_MSAT
MAX_OPEN_PER_ACCOUNT = 50
AT_ONCE_S = 1.0
QUIET_S = 0.3

T = TypeVar("T")


class User:
    """An account of its own, and a raw client on it."""

    def __init__(self, service: ServiceProcess, name: str, uri: str) -> None:
        self.service = service
        self.name = name
        self.uri = uri
        self.client = RawClient(uri)

    async def open(self, stack: AsyncExitStack) -> "User":
        self.client = await stack.enter_async_context(raw_client(self.uri))
        return self

    async def pay(self, invoice: JsonObject) -> Event:
        event = self.client.build_request("pay_invoice", {"invoice": invoice["invoice"]})
        await self.client.send_event(event)
        return event

    async def money(self) -> tuple[int, int]:
        account = await self.service.account(self.name)
        return account["available_msat"], account["held_msat"]

    async def lookup(self, invoice: JsonObject) -> str:
        answer = await self.client.request("lookup_invoice", {"invoice": invoice["invoice"]})
        return str(answer.result["state"])

    def answers(self, *events: Event) -> list[Opened]:
        return [answer for event in events for answer in self.client.responses_to(event.id)]


@pytest_asyncio.fixture(loop_scope="module")
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def alice(service: ServiceProcess, stack: AsyncExitStack) -> User:
    return await a_user(service, stack)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def normal_mode(service: ServiceProcess) -> AsyncIterator[None]:
    yield
    await service.sandbox("mode", mode="normal")


async def a_user(service: ServiceProcess, stack: AsyncExitStack) -> User:
    name = f"user-{token_hex(4)}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    return await User(service, name, await service.connect(name)).open(stack)


async def an_invoice(service: ServiceProcess, *, hold: bool = False) -> JsonObject:
    return await service.sandbox("invoice", amount_msat=AMOUNT_MSAT, hold=hold)


async def are_held(service: ServiceProcess, *invoices: JsonObject) -> None:
    """Wait until the payments of all these have reached the payee."""

    async def arrived() -> bool:
        books = await service.sandbox("show")
        pending = {p["payment_hash"] for p in books["payments"] if p["state"] == "pending"}
        return {invoice["payment_hash"] for invoice in invoices} <= pending

    await until(arrived)


async def at_once(work: Awaitable[T]) -> T:
    """Raises TimeoutError when another's trouble has slowed this."""
    return await asyncio.wait_for(work, AT_ONCE_S)


# --- the reply is lost


@pytest.mark.attack("A4")
async def test_a_payment_whose_reply_is_lost_is_answered_with_the_truth_a_little_later(
    service: ServiceProcess, alice: User
) -> None:
    invoice = await an_invoice(service)
    await service.sandbox("mode", mode="lose-reply")

    event = await alice.pay(invoice)
    answer = await alice.client.response_to(event.id)

    told = await asyncio.wait_for(alice.client.notifications.get(), 5)
    assert answer.result["fees_paid"] == FEE_MSAT
    assert told.payload["notification_type"] == "payment_sent"
    assert told.payload["notification"]["payment_hash"] == invoice["payment_hash"]
    assert await sends_of(service, invoice["payment_hash"]) == ["settled"]
    assert await alice.money() == (CREDIT_MSAT - SPENT_MSAT, 0)


@pytest.mark.attack("A4")
@pytest.mark.parametrize(
    ("command", "state", "spent_msat"),
    [("settle", "settled", SPENT_MSAT), ("cancel", "failed", 0)],
)
async def test_while_the_outcome_is_unknown_the_money_is_held_and_nobody_is_told_anything(
    service: ServiceProcess, alice: User, command: str, state: str, spent_msat: int
) -> None:
    invoice = await an_invoice(service, hold=True)
    await service.sandbox("mode", mode="lose-reply")

    event = await alice.pay(invoice)
    await are_held(service, invoice)
    await asyncio.sleep(QUIET_S)
    meanwhile = (alice.answers(event), await alice.money(), await alice.lookup(invoice))
    await service.sandbox(command, payment_hash=invoice["payment_hash"])
    answer = await alice.client.response_to(event.id)

    assert meanwhile == ([], (CREDIT_MSAT - HELD_MSAT, HELD_MSAT), "pending")
    assert (answer.error_code is None) is (state == "settled")
    assert await alice.lookup(invoice) == state
    assert await alice.money() == (CREDIT_MSAT - spent_msat, 0)
    assert await sends_of(service, invoice["payment_hash"]) == [state]


async def test_a_node_that_goes_away_in_the_middle_leaves_the_money_held_until_it_answers(
    service: ServiceProcess, alice: User
) -> None:
    invoice = await an_invoice(service, hold=True)
    event = await alice.pay(invoice)
    await are_held(service, invoice)
    await service.sandbox("mode", mode="unreachable")
    await asyncio.sleep(1 + QUIET_S)
    meanwhile = (alice.answers(event), await alice.money())

    await service.sandbox("mode", mode="normal")
    await service.sandbox("settle", payment_hash=invoice["payment_hash"])

    assert meanwhile == ([], (CREDIT_MSAT - HELD_MSAT, HELD_MSAT))
    assert (await alice.client.response_to(event.id)).result["fees_paid"] == FEE_MSAT
    assert await alice.money() == (CREDIT_MSAT - SPENT_MSAT, 0)


# --- the node cannot be reached at all: proof that nothing was sent


async def test_a_node_that_cannot_be_reached_gives_an_error_and_the_money_back(
    service: ServiceProcess, alice: User
) -> None:
    invoice = await an_invoice(service)
    await service.sandbox("mode", mode="unreachable")

    event = await alice.pay(invoice)
    answer = await at_once(alice.client.response_to(event.id))

    assert answer.error_code == "INTERNAL"
    assert await alice.money() == (CREDIT_MSAT, 0)
    assert await sends_of(service, invoice["payment_hash"]) == []


async def test_what_was_refused_while_the_node_was_away_can_be_paid_when_it_is_back(
    service: ServiceProcess, alice: User
) -> None:
    invoice = await an_invoice(service)
    await service.sandbox("mode", mode="unreachable")
    refused = await alice.pay(invoice)
    await alice.client.response_to(refused.id)
    await service.sandbox("mode", mode="normal")

    again = await alice.pay(invoice)
    answer = await alice.client.response_to(again.id)

    assert answer.result["fees_paid"] == FEE_MSAT
    assert await alice.money() == (CREDIT_MSAT - SPENT_MSAT, 0)


# --- the payee holds the payment


@pytest.mark.attack("A7")
async def test_payments_that_hang_delay_nobody_and_each_gets_its_own_answer_in_the_end(
    service: ServiceProcess, stack: AsyncExitStack
) -> None:
    hangers = [await a_user(service, stack) for _ in range(6)]
    held = [
        (user, invoice, await user.pay(invoice))
        for user in hangers
        for invoice in [await an_invoice(service, hold=True) for _ in range(5)]
    ]
    await are_held(service, *(invoice for _, invoice, _ in held))
    dave, erin = await a_user(service, stack), await a_user(service, stack)

    slowest_s = 0.0
    for user in (dave, erin, *hangers):
        slowest_s = max(slowest_s, await everything_works(user, other=erin))

    assert slowest_s < AT_ONCE_S
    assert [answer for user, _, event in held for answer in user.answers(event)] == []
    for number, (_, invoice, _) in enumerate(held):
        command = "settle" if number % 2 else "cancel"
        await service.sandbox(command, payment_hash=invoice["payment_hash"])
    answers = [await user.client.response_to(event.id) for user, _, event in held]
    codes = [answer.error_code for answer in answers]
    assert codes == ["PAYMENT_FAILED", None] * 15
    assert {(await user.money())[1] for user in hangers} == {0}


async def everything_works(user: User, *, other: User) -> float:
    """Each kind of request once; how long the slowest took."""
    service, client = user.service, user.client
    outside = await an_invoice(service)
    inside = (await other.client.request("make_invoice", {"amount": AMOUNT_MSAT})).result
    slowest_s = 0.0
    for method, params in (
        ("get_info", {}),
        ("get_balance", {}),
        ("list_transactions", {}),
        ("make_invoice", {"amount": AMOUNT_MSAT}),
        ("pay_invoice", {"invoice": inside["invoice"]}),
        ("pay_invoice", {"invoice": outside["invoice"]}),
        ("lookup_invoice", {"invoice": outside["invoice"]}),
    ):
        started = time.monotonic()
        answer = await client.request(method, params)
        slowest_s = max(slowest_s, time.monotonic() - started)
        assert answer.error_code is None, method
    return slowest_s


async def test_a_slow_node_slows_only_those_who_need_it(
    service: ServiceProcess, stack: AsyncExitStack, alice: User
) -> None:
    bob = await a_user(service, stack)
    inside = (await bob.client.request("make_invoice", {"amount": AMOUNT_MSAT})).result
    outside = await an_invoice(service)
    await service.sandbox("mode", mode="slow")

    waiting = await alice.pay(outside)
    balance = await at_once(alice.client.request("get_balance"))
    paid = await at_once(bob.client.request("pay_invoice", {"invoice": inside["invoice"]}))

    assert balance.error_code is None
    assert paid.result["fees_paid"] == 0
    assert (await alice.client.response_to(waiting.id)).result["fees_paid"] == FEE_MSAT


@pytest.mark.attack("A7")
async def test_an_account_may_have_only_so_many_payments_open(
    service: ServiceProcess, stack: AsyncExitStack, alice: User
) -> None:
    invoices = [await an_invoice(service, hold=True) for _ in range(MAX_OPEN_PER_ACCOUNT)]
    events = [await alice.pay(invoice) for invoice in invoices]
    await are_held(service, *invoices)
    one_more = await an_invoice(service, hold=True)
    bob = await a_user(service, stack)

    refused = await at_once(
        alice.client.request("pay_invoice", {"invoice": one_more["invoice"]})
    )
    others = await at_once(
        bob.client.request("pay_invoice", {"invoice": (await an_invoice(service))["invoice"]})
    )

    assert refused.error_code == "RATE_LIMITED"
    assert others.error_code is None
    assert await sends_of(service, one_more["payment_hash"]) == []
    for invoice in invoices:
        await service.sandbox("cancel", payment_hash=invoice["payment_hash"])
    for event in events:
        await alice.client.response_to(event.id)
    assert await alice.money() == (CREDIT_MSAT, 0)


# --- over a kill; last, since it cuts every client off


@pytest.mark.parametrize("command", ["settle", "cancel"])
async def test_a_payment_that_is_held_over_a_kill_is_answered_once_when_it_ends(
    service: ServiceProcess, stack: AsyncExitStack, command: str
) -> None:
    user = await a_user(service, stack)
    invoice = await an_invoice(service, hold=True)
    event = await user.pay(invoice)
    await are_held(service, invoice)
    await service.kill()
    await service.start()
    await user.open(stack)
    await user.client.send_event(event)
    await asyncio.sleep(QUIET_S)
    meanwhile = (user.answers(event), await user.money(), await user.lookup(invoice))

    await service.sandbox(command, payment_hash=invoice["payment_hash"])
    await user.client.response_to(event.id)
    await asyncio.sleep(QUIET_S)

    assert meanwhile == ([], (CREDIT_MSAT - HELD_MSAT, HELD_MSAT), "pending")
    [answer] = user.answers(event)
    settled = command == "settle"
    assert (answer.error_code is None) is settled
    assert await user.money() == (CREDIT_MSAT - (SPENT_MSAT if settled else 0), 0)
    assert len(await sends_of(service, invoice["payment_hash"])) == 1
