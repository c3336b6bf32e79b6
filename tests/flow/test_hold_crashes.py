"""The crash matrix of hold invoices (docs/money.md): at each place the service dies, starts
again on what is durable, and ends as if nothing had happened: once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from nwc_service.backend import InvoiceStatus
from nwc_service.config import InvoiceSettings
from nwc_service.failpoint import FailpointName
from nwc_service.nostr.event import Event
from nwc_service.wallet.invoice import InvoiceState
from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.holding import (
    AMOUNT_MSAT,
    HASH,
    PREIMAGE,
    Died,
    accepted,
    dying_at,
    held_inside,
    lookup,
    made,
    make,
    reconcile,
    row,
    settle,
    told,
)
from tests.flow.parties import Client, Clock
from tests.flow.world import World

LONGEST_HOLD_S = InvoiceSettings().longest_hold_s
AT_START = (CREDIT_MSAT, 0)
HOLDING = (CREDIT_MSAT - AMOUNT_MSAT, AMOUNT_MSAT)
PAID = (CREDIT_MSAT - AMOUNT_MSAT, 0)
RECEIVED = (CREDIT_MSAT + AMOUNT_MSAT, 0)

SETTLE = ("settle_hold_invoice", {"preimage": PREIMAGE})
CANCEL = ("cancel_hold_invoice", {"payment_hash": HASH})


@dataclass(slots=True)
class Life:
    """Two accounts, and the service on one database file."""

    start: Open
    payee: Client
    payer: Client

    @asynccontextmanager
    async def again(self, *requests: Event) -> AsyncIterator[World]:
        """After a restart: the relay delivers again, and the reconciler has had its turns."""
        async with self.start() as world:
            for request in requests:
                world.deliver(request)
            for _ in range(2):
                await world.tasks.idle()
                await world.follow_the_stream()
                await reconcile(world)
            yield world
            assert world.tasks.failures == []
            assert await world.problems() == ()


@pytest.fixture
async def life(start: Open) -> Life:
    async with start() as world:
        for name in ("payee", "payer"):
            await world.account(name, credit_msat=CREDIT_MSAT)
        return Life(start, await world.connect("payee"), await world.connect("payer"))


def at(*names: FailpointName) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", names)


async def ask(world: World, client: Client, request: tuple[str, Mapping[str, object]]) -> Event:
    event = world.ask(client, *request)
    await world.tasks.idle()
    return event


@at(
    "before_claim",
    "in_invoice_claim",
    "after_invoice_claim",
    "after_invoice_created",
    "in_invoice_store",
    "after_invoice_store",
)
async def test_made(
    life: Life,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    name: FailpointName,
) -> None:
    params = {"amount": AMOUNT_MSAT, "payment_hash": HASH}
    async with life.start() as world:
        with dying_at(name, monkeypatch):
            event = world.ask(life.payee, "make_hold_invoice", params)
            await world.tasks.idle()

    async with life.again(event) as world:
        answer = world.answer(life.payee, event)
        assert answer["result"]["payment_hash"] == HASH
        assert answer["result"]["invoice"] == backend.invoices[HASH].invoice
        assert (await row(world)).state is InvoiceState.PENDING
        again = await make(world, life.payee)
        assert again["error"]["code"] == "OTHER"


@at("in_accept", "after_accept")
async def test_accepted(
    life: Life,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    name: FailpointName,
) -> None:
    async with life.start() as world:
        await made(world, life.payee)
        backend.accept(HASH)
        with dying_at(name, monkeypatch):
            await world.follow_the_stream()

    async with life.again() as world:
        assert told(world, life.payee) == ["hold_invoice_accepted"]
        assert (await settle(world, life.payee))["result"] == {}
        assert await world.money("payee") == RECEIVED


@at(
    "before_claim",
    "in_hold_decision",
    "after_hold_decision",
    "after_hold_resolved",
    "before_credit",
    "in_credit",
    "after_credit",
)
async def test_settled_at_the_node(
    life: Life,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    name: FailpointName,
) -> None:
    """money-safety 3.2: "hold: crash between settle RPC and TX: node SETTLED: reconcile ->
    credit"."""
    async with life.start() as world:
        await accepted(world, life.payee, backend)
        with dying_at(name, monkeypatch):
            event = await ask(world, life.payee, SETTLE)

    async with life.again(event) as world:
        assert world.answer(life.payee, event)["result"] == {}
        assert backend.invoices[HASH].status is InvoiceStatus.SETTLED
        assert await world.money("payee") == RECEIVED
        assert told(world, life.payee) == ["hold_invoice_accepted", "payment_received"]
        assert (await lookup(world, life.payee))["preimage"] == PREIMAGE


@at("before_claim", "in_hold_decision", "after_hold_decision", "after_hold_resolved")
async def test_cancelled_at_the_node(
    life: Life,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    name: FailpointName,
) -> None:
    async with life.start() as world:
        await accepted(world, life.payee, backend)
        with dying_at(name, monkeypatch):
            event = await ask(world, life.payee, CANCEL)

    async with life.again(event) as world:
        assert world.answer(life.payee, event)["result"] == {}
        assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
        assert await world.money("payee") == AT_START
        assert (await row(world)).state is InvoiceState.CANCELED


@at("in_hold_decision", "after_hold_decision", "after_hold_resolved")
async def test_overdue_at_the_node(
    life: Life,
    backend: ScriptedBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    name: FailpointName,
) -> None:
    """money-safety 3.2: "hold: r4' ACCEPTED: before deadline: settle on client's word or
    cancel"."""
    async with life.start() as world:
        await accepted(world, life.payee, backend)
        clock.advance(LONGEST_HOLD_S)
        with dying_at(name, monkeypatch):
            await swallow(world.flow.holds.end_overdue)
            await swallow(world.flow.holds.resolve_decided)

    async with life.again() as world:
        assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
        assert (await row(world)).state is InvoiceState.CANCELED
        assert await world.money("payee") == AT_START


@at("before_claim", "in_reserve", "after_reserve")
async def test_held_inside(
    life: Life,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    name: FailpointName,
) -> None:
    """money-safety 3.2: "Internal hold: payer held, receiver ACCEPTED, durable deadline
    job"."""
    async with life.start() as world:
        invoice = await made(world, life.payee)
        with dying_at(name, monkeypatch):
            event = world.pay(life.payer, invoice)
            await world.tasks.idle()

    async with life.again(event) as world:
        assert await world.money("payer") == HOLDING
        assert world.answers_to(life.payer, event) == []
        assert told(world, life.payee) == ["hold_invoice_accepted"]
        assert backend.canceled == [HASH]
        await settle(world, life.payee)
        assert world.answer(life.payer, event)["result"]["preimage"] == PREIMAGE
        assert await world.money("payee") == RECEIVED


@at("before_claim", "in_record", "in_hold_decision", "after_hold_decision")
async def test_settled_inside(
    life: Life, monkeypatch: pytest.MonkeyPatch, name: FailpointName
) -> None:
    async with life.start() as world:
        _, paying = await held_inside(world, life.payee, life.payer)
        with dying_at(name, monkeypatch):
            event = await ask(world, life.payee, SETTLE)

    async with life.again(event, paying) as world:
        assert world.answer(life.payee, event)["result"] == {}
        assert world.answer(life.payer, paying)["result"]["preimage"] == PREIMAGE
        assert (await world.money("payee"), await world.money("payer")) == (RECEIVED, PAID)
        assert told(world, life.payer) == ["payment_sent"]
        assert told(world, life.payee) == ["hold_invoice_accepted", "payment_received"]


@at("before_claim", "in_record", "in_hold_decision", "after_hold_decision")
async def test_cancelled_inside(
    life: Life, monkeypatch: pytest.MonkeyPatch, name: FailpointName
) -> None:
    async with life.start() as world:
        _, paying = await held_inside(world, life.payee, life.payer)
        with dying_at(name, monkeypatch):
            event = await ask(world, life.payee, CANCEL)

    async with life.again(event, paying) as world:
        assert world.answer(life.payee, event)["result"] == {}
        assert world.answer(life.payer, paying)["error"]["code"] == "PAYMENT_FAILED"
        assert (await world.money("payee"), await world.money("payer")) == (
            AT_START,
            AT_START,
        )


@at("in_record", "in_hold_decision", "after_hold_decision")
async def test_overdue_inside(
    life: Life, clock: Clock, monkeypatch: pytest.MonkeyPatch, name: FailpointName
) -> None:
    async with life.start() as world:
        _, paying = await held_inside(world, life.payee, life.payer)
        clock.advance(LONGEST_HOLD_S)
        with dying_at(name, monkeypatch):
            await swallow(world.flow.holds.end_overdue)

    async with life.again() as world:
        assert world.answer(life.payer, paying)["error"]["code"] == "PAYMENT_FAILED"
        assert await world.money("payer") == AT_START
        assert (await row(world)).state is InvoiceState.CANCELED


async def swallow(step: Callable[[], Awaitable[None]]) -> None:
    """As the reconciler's task, which is gone with the process."""
    with suppress(Died):
        await step()
