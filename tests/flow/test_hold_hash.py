"""The owner of a hold invoice chooses its payment hash, maybe that of what others get."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nwc_service.backend import BadRequest, InvoiceReport, InvoiceSpec, InvoiceStatus
from nwc_service.wallet.keysend import ACCOUNT_TLV
from nwc_service.wallet.units import Msat, PaymentHash
from tests.doubles.scripted_backend import (
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.holding import AMOUNT_MSAT, dying_at, reconcile
from tests.flow.parties import Client
from tests.flow.world import World

OFFER = "offer-1"
OFFERED_HASH = hash_of(preimage_of(10_001))  # of the first payment of an offer


@asynccontextmanager
async def being_made(
    world: World, client: Client, payment_hash: PaymentHash
) -> AsyncIterator[None]:
    """A hold invoice of this hash, which the node thinks about, and then refuses to make."""
    asked, refuse = asyncio.Event(), asyncio.Event()

    async def create_invoice(spec: InvoiceSpec) -> InvoiceReport:
        asked.set()
        await refuse.wait()
        raise BadRequest(f"another invoice has the hash of {spec.our_id}")

    world.backend.create_invoice = create_invoice  # type: ignore[method-assign]
    params = {"amount": 1, "payment_hash": payment_hash}
    world.ask(client, "make_hold_invoice", params)
    await asked.wait()
    yield
    refuse.set()
    await world.tasks.idle()


async def hear(world: World) -> None:
    """As `follow_the_stream`, which waits for all that goes on."""
    watching = asyncio.create_task(world.reconciler._watch(world.backend.name))
    before = world.backend.streams_ended
    while world.backend.streams_ended == before:
        await asyncio.sleep(0)
    watching.cancel()


@pytest.mark.attack("A2", "A20")
async def test_what_an_offer_is_paid_is_not_his_who_asks_for_its_hash(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await world.call(alice, "make_offer", {})

    async with being_made(world, bob, OFFERED_HASH):
        backend.receive_offer(OFFER, AMOUNT_MSAT)
        await hear(world)

    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A2", "A20")
async def test_nor_is_a_keysend(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    tlvs = {ACCOUNT_TLV: (await world.keysend_id("alice")).encode()}

    async with being_made(world, bob, hash_of(preimage_of(1))):
        backend.receive_keysend(1, AMOUNT_MSAT, tlvs)
        await hear(world)

    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A2", "A20")
async def test_nor_what_the_node_is_paid_for_somebody_who_has_no_account(
    world: World, bob: Client, backend: ScriptedBackend
) -> None:
    async with being_made(world, bob, hash_of(preimage_of(7))):
        backend._tell(replace(backend._unasked(7, AMOUNT_MSAT), invoice="lnbcrt-of-a-shop"))
        await hear(world)

    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.book("suspense") == AMOUNT_MSAT
    assert "unattributed" in str(await world.alarms())
    assert await world.problems() == ()


@pytest.mark.attack("A2", "A20")
async def test_nor_once_the_service_has_died_between_the_claim_and_the_node(
    start: Open, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as world:
        await world.account("alice")
        await world.account("bob")
        alice, bob = await world.connect("alice"), await world.connect("bob")
        await world.call(alice, "make_offer", {})
        with dying_at("after_invoice_claim", monkeypatch):
            params = {"amount": 1, "payment_hash": OFFERED_HASH}
            world.ask(bob, "make_hold_invoice", params)
            await world.tasks.idle()

    async with start() as world:
        backend.receive_offer(OFFER, AMOUNT_MSAT)
        await world.follow_the_stream()

        assert await world.money("alice") == (AMOUNT_MSAT, 0)
        assert await world.money("bob") == (0, 0)


@pytest.mark.attack("A2", "A20")
async def test_nor_where_the_node_lets_a_hold_invoice_stand_beside_its_own(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await world.call(alice, "make_offer", {})
    params = {"amount": AMOUNT_MSAT, "payment_hash": OFFERED_HASH}
    made = await world.call(bob, "make_hold_invoice", params)
    assert made["error"] is None

    backend.receive_offer(OFFER, AMOUNT_MSAT)
    await world.follow_the_stream()

    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.book("suspense") == AMOUNT_MSAT
    assert await world.problems() == ()


@pytest.mark.attack("A2", "A20")
async def test_nor_is_it_held_or_canceled_for_him(
    world: World, bob: Client, backend: ScriptedBackend
) -> None:
    payment_hash = hash_of(preimage_of(7))
    params = {"amount": AMOUNT_MSAT, "payment_hash": payment_hash}
    answer = await world.call(bob, "make_hold_invoice", params)

    for status in (InvoiceStatus.ACCEPTED, InvoiceStatus.CANCELED):
        report = replace(backend._unasked(7, AMOUNT_MSAT), invoice="lnbcrt-of-a-shop")
        await world.flow.holds.follow(backend.name, replace(report, status=status))

    invoice = answer["result"]["invoice"]
    shown = await world.call(bob, "lookup_invoice", {"invoice": invoice})
    assert shown["result"]["state"] == "pending"


@pytest.mark.attack("A2", "A20")
@pytest.mark.parametrize("status", [InvoiceStatus.OPEN, InvoiceStatus.SETTLED])
async def test_an_invoice_that_the_node_had_before_is_nobodys_hold_invoice(
    world: World, bob: Client, backend: ScriptedBackend, status: InvoiceStatus
) -> None:
    """The node answers a hash that it knows with the invoice that it has."""
    payment_hash = hash_of(preimage_of(7))
    made_at = world.clock() - 500
    is_settled = status is InvoiceStatus.SETTLED
    backend.invoices[payment_hash] = InvoiceReport(
        payment_hash=payment_hash,
        invoice=outside_invoice(7, AMOUNT_MSAT, created_at=made_at),
        status=status,
        amount_msat=Msat(AMOUNT_MSAT),
        received_msat=Msat(AMOUNT_MSAT) if is_settled else None,
        preimage=None,
        created_at=made_at,
        expires_at=made_at + 3600,
        settled_at=world.clock() - 10 if is_settled else None,
    )

    params = {"amount": AMOUNT_MSAT, "payment_hash": payment_hash}
    answer = await world.call(bob, "make_hold_invoice", params)
    if not is_settled:
        backend.receive(payment_hash)
        await world.follow_the_stream()
    await reconcile(world)

    assert answer["error"] is not None
    assert await world.money("bob") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A2", "A20")
async def test_what_was_received_with_its_hash_is_not_to_be_held_for(
    world: World, bob: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second receipt of the hash would be taken for a copy of the first."""
    payment_hash = hash_of(preimage_of(7))
    create = backend.create_invoice

    async def create_invoice(spec: InvoiceSpec) -> InvoiceReport:
        backend._tell(replace(backend._unasked(7, AMOUNT_MSAT), invoice="lnbcrt-of-a-shop"))
        await hear(world)
        del backend.invoices[payment_hash]
        return await create(spec)

    monkeypatch.setattr(backend, "create_invoice", create_invoice)
    params = {"amount": AMOUNT_MSAT, "payment_hash": payment_hash}
    answer = await world.call(bob, "make_hold_invoice", params)

    assert answer["error"] is not None
    assert await world.book("suspense") == AMOUNT_MSAT
