"""The database fails for a moment, and the service goes on without a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from nwc_service import dispatcher, reconciler
from nwc_service.backend import Decoded
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.store.database import Work
from nwc_service.wallet.errors import ErrorCode
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    outside_invoice,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import World, broken, reconciling, until

AMOUNT_MSAT = 100_000


async def test_the_reconciler_outlives_a_database_that_fails_as_it_starts(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "STREAM_RETRY_S", 0.01)
    answer = await world.call(alice, "make_invoice", {"amount": AMOUNT_MSAT})
    backend.receive(answer["result"]["payment_hash"])
    tried = 0

    async def fail(_work: Work[object]) -> object:
        nonlocal tried
        tried += 1
        raise OSError("the disk is on fire")

    read = world.db.read
    monkeypatch.setattr(world.db, "read", fail)
    async with reconciling(world) as running:
        await until(lambda: tried >= 5)
        monkeypatch.setattr(world.db, "read", read)

        async def credited() -> bool:
            return await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)

        for _ in range(200):
            if running.done() or await credited():
                break
            await asyncio.sleep(0.01)

        assert not running.done()
        assert await credited()


# --- several items in one request


def several(world: World, client: Client) -> Event:
    world.backend.expect(1, 2, 3)
    items = [
        {
            "id": str(number),
            "invoice": outside_invoice(number, AMOUNT_MSAT, created_at=world.clock()),
        }
        for number in (1, 2, 3)
    ]
    return world.ask(client, "multi_pay_invoice", {"invoices": items})


def told(world: World, client: Client, request: Event) -> dict[str, str]:
    """By item: the code of its error, or "paid"; each is answered by one event."""
    found: dict[str, tuple[str, str]] = {}
    for event in world.relay.taken:
        if event.kind != kinds.RESPONSE or event.tag_value("e") != request.id:
            continue
        error = client.open(event)["error"]
        answer = event.id, error["code"] if error else "paid"
        assert found.setdefault(event.tag_value("d") or "", answer) == answer
    return {name: code for name, (_, code) in found.items()}


@asynccontextmanager
async def dispatching(world: World) -> AsyncIterator[None]:
    running = asyncio.create_task(world.flow.dispatcher.run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.fixture(autouse=True)
def recovered_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "RECOVER_EVERY_S", 0.01)


@pytest.mark.parametrize("second_only", [False, True], ids=["first", "second"])
async def test_items_that_were_claimed_and_never_begun_are_refused_without_a_restart(
    world: World, alice: Client, backend: ScriptedBackend, *, second_only: bool
) -> None:
    when = "(SELECT count(*) FROM payment) >= 1" if second_only else "1"
    async with dispatching(world):
        async with broken(world, when, table="payment", event="INSERT"):
            request = several(world, alice)
            await world.tasks.idle()
        await until(lambda: len(told(world, alice, request)) == 3)

    paid = {"1": "paid"} if second_only else {}
    refused = {name: str(ErrorCode.INTERNAL) for name in ("1", "2", "3")}
    assert told(world, alice, request) == refused | paid
    assert len(backend.sent) == len(paid)
    assert await world.problems() == ()


async def test_what_somebody_is_still_at_is_not_refused(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """The node takes its time to read the first invoice, and the others wait for that."""
    decode, go_on = backend.decode, asyncio.Event()

    async def slowly(invoice: str) -> Decoded:
        await go_on.wait()
        return await decode(invoice)

    backend.decode = slowly  # type: ignore[method-assign]
    async with dispatching(world):
        request = several(world, alice)
        await asyncio.sleep(0.1)
        go_on.set()
        await world.tasks.idle()
        await until(lambda: len(told(world, alice, request)) == 3)

    assert set(told(world, alice, request).values()) == {"paid"}
    spent_msat = 3 * (AMOUNT_MSAT + FEE_MSAT)
    assert await world.money("alice") == (CREDIT_MSAT - spent_msat, 0)
