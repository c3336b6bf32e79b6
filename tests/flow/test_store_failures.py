"""The database fails at each transaction in turn: no money is lost, and all ends once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nwc_service.nostr.event import Event
from nwc_service.store.database import Tx
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client
from tests.flow.world import World, broken

AMOUNT_MSAT = 100_000
HASH = hash_of(preimage_of(1))
SPENT = (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
UNTOUCHED = (CREDIT_MSAT, 0)
PAID = {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}

STEPS = {
    "claim": ("request", "INSERT", "1"),
    "reserve": ("payment", "INSERT", "1"),
    "reserve-entry": ("entry", "INSERT", "NEW.kind = 'reserve'"),
    "wait": ("request", "UPDATE", "NEW.payment_id IS NOT NULL AND NEW.answered_at IS NULL"),
    "dispatch": ("payment", "UPDATE", "NEW.state = 'DISPATCHED'"),
    "record": ("payment", "UPDATE", "NEW.state = 'SETTLED'"),
    "record-entry": ("entry", "INSERT", "NEW.kind = 'settle'"),
    "answer": ("outbox", "INSERT", "NEW.request_id IS NOT NULL"),
    "notify": ("outbox", "INSERT", "NEW.request_id IS NULL"),
    "mark": ("outbox", "UPDATE", "NEW.published_at IS NOT NULL"),
}


def an_invoice(world: World, number: int = 1) -> str:
    world.backend.expect(number)
    return outside_invoice(number, AMOUNT_MSAT, created_at=world.clock())


@pytest.mark.attack("A25")
@pytest.mark.parametrize("restarts", [True, False], ids=["restart", "goes-on"])
@pytest.mark.parametrize(("table", "event", "when"), STEPS.values(), ids=[*STEPS])
async def test_a_payment_ends_once_though_one_of_its_transactions_failed(
    start: Open,
    backend: ScriptedBackend,
    table: str,
    event: str,
    when: str,
    *,
    restarts: bool,
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        async with broken(world, when, table=table, event=event):
            request = world.pay(alice, an_invoice(world))
            await world.tasks.idle_for_now()
        if not restarts:
            await ends_once(world, alice, request)

    async with start() as world:
        await ends_once(world, alice, request)


async def ends_once(world: World, alice: Client, request: Event) -> None:
    world.deliver(request, repeated=True)
    await world.tasks.idle()
    await world.look_up()

    sends = len(world.backend.sent)
    answer = world.answer(alice, request)
    assert (sends, answer.get("result")) in ((1, PAID), (0, None))
    assert await world.money("alice") == (SPENT if sends else UNTOUCHED)
    assert await world.problems() == ()


INSIDE_STEPS = {
    "payment": ("payment", "INSERT", "1"),
    "entry": ("entry", "INSERT", "NEW.kind = 'internal'"),
    "invoice": ("invoice", "UPDATE", "NEW.state = 'SETTLED'"),
    "cancellation": ("cancellation", "INSERT", "1"),
    "answer": ("outbox", "INSERT", "NEW.request_id IS NOT NULL"),
    "notify": ("outbox", "INSERT", "NEW.request_id IS NULL"),
}


@pytest.mark.attack("A11")
@pytest.mark.parametrize(("table", "event", "when"), INSIDE_STEPS.values(), ids=[*INSIDE_STEPS])
async def test_a_payment_inside_happens_on_both_sides_or_on_none(
    world: World, alice: Client, bob: Client, table: str, event: str, when: str
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    async with broken(world, when, table=table, event=event):
        request = world.pay(bob, made["invoice"])
        await world.tasks.idle_for_now()
    world.deliver(request, repeated=True)
    await world.tasks.idle()

    paid_msat = AMOUNT_MSAT if "result" in world.answer(bob, request) else 0
    assert await world.money("alice") == (CREDIT_MSAT + paid_msat, 0)
    assert await world.money("bob") == (CREDIT_MSAT - paid_msat, 0)
    assert await world.problems() == ()


RECEIVE_STEPS = {
    "receipt": ("receipt", "INSERT", "1"),
    "entry": ("entry", "INSERT", "NEW.kind = 'receive'"),
    "invoice": ("invoice", "UPDATE", "NEW.state = 'SETTLED'"),
    "notify": ("outbox", "INSERT", "NEW.request_id IS NULL"),
    "cursor": ("stream", "INSERT", "1"),
}


@pytest.mark.attack("A15")
@pytest.mark.parametrize(
    ("table", "event", "when"), RECEIVE_STEPS.values(), ids=[*RECEIVE_STEPS]
)
async def test_a_credit_that_failed_is_made_up_for_once(
    world: World, alice: Client, backend: ScriptedBackend, table: str, event: str, when: str
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    backend.receive(made["payment_hash"])
    async with broken(world, when, table=table, event=event):
        await world.follow_the_stream()
    failed = await world.money("alice")

    for _ in range(2):
        await world.follow_the_stream()

    assert failed == UNTOUCHED
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert len(world.notifications(alice)) == 1
    assert await world.problems() == ()


MAKE_STEPS = {
    "claim": ("invoice", "INSERT", "1"),
    "store": ("invoice", "UPDATE", "NEW.state = 'PENDING'"),
    "answer": ("outbox", "INSERT", "1"),
}


@pytest.mark.parametrize(("table", "event", "when"), MAKE_STEPS.values(), ids=[*MAKE_STEPS])
async def test_an_invoice_is_made_once_and_answered_once_though_a_transaction_failed(
    world: World, alice: Client, backend: ScriptedBackend, table: str, event: str, when: str
) -> None:
    async with broken(world, when, table=table, event=event):
        request = world.ask(alice, "make_invoice", {"amount": AMOUNT_MSAT})
        await world.tasks.idle_for_now()
    world.deliver(request, repeated=True)
    await world.tasks.idle()
    await world.reconciler.sweep_invoices(backend.name)
    await world.tasks.idle()

    answer = world.answer(alice, request)
    made = len(backend.invoices)
    assert ("result" in answer, made) in ((True, 1), (False, 0))
    assert await world.problems() == ()


# --- a full disk


@asynccontextmanager
async def a_full_disk(world: World) -> AsyncIterator[None]:
    """The database file may not grow any more."""

    async def limit(tx: Tx) -> None:
        row = await tx.one("PRAGMA page_count")
        assert row is not None
        await tx.one(f"PRAGMA max_page_count = {row['page_count']}")

    async def lift(tx: Tx) -> None:
        await tx.one("PRAGMA max_page_count = 1000000")

    await world.db.write(limit)
    try:
        yield
    finally:
        await world.db.write(lift)


@pytest.mark.attack("A25")
async def test_a_disk_that_fills_up_in_a_stream_of_payments_loses_and_doubles_nothing(
    start: Open, backend: ScriptedBackend
) -> None:
    count = 40
    async with start() as world:
        await world.account("alice", credit_msat=100 * AMOUNT_MSAT)
        alice = await world.connect("alice")
        world.lift_caps()
        async with a_full_disk(world):
            requests = [world.pay(alice, an_invoice(world, n)) for n in range(count)]
            await world.tasks.idle_for_now()
        sent_when_full = len(backend.sent)

    async with start() as world:
        world.lift_caps()
        for request in requests:
            world.deliver(request)
        await world.tasks.idle()
        await world.look_up()

        results = [world.answer(alice, request).get("result") for request in requests]
        spent_msat = len(backend.sent) * (AMOUNT_MSAT + FEE_MSAT)
        assert sent_when_full < count
        assert len({sent.payment_hash for sent in backend.sent}) == len(backend.sent)
        assert sum(result is not None for result in results) == len(backend.sent)
        assert await world.money("alice") == (100 * AMOUNT_MSAT - spent_msat, 0)
        assert await world.problems() == ()


async def test_a_balance_can_be_read_while_the_disk_is_full(
    world: World, alice: Client
) -> None:
    async with a_full_disk(world):
        world.pay(alice, "lnbcrt" + "q" * 7000)
        answer = await world.call(alice, "get_balance")

    assert answer["result"] == {"balance": CREDIT_MSAT}
