"""What a node may say of a held payment: nothing of it stops the others, or is told as more."""

from dataclasses import replace

import pytest

from nwc_service.backend import InvoiceStatus
from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.keysend import ACCOUNT_TLV
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import (
    HELD_BLOCKS,
    ScriptedBackend,
    hash_of,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.holding import AMOUNT_MSAT, HASH, accepted, made, reconcile, row, told
from tests.flow.parties import Client
from tests.flow.world import World, broken


@pytest.mark.attack("A17")
async def test_a_deadline_that_cannot_be_stored_keeps_nobody_else_from_his_money(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    tlvs = {ACCOUNT_TLV: (await world.keysend_id("bob")).encode()}
    await made(world, alice)

    backend.accept(HASH, settle_deadline=2**64)
    backend.receive_keysend(5, AMOUNT_MSAT, tlvs)
    await world.follow_the_stream()

    assert (await row(world)).state is InvoiceState.ACCEPTED
    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


@pytest.mark.attack("A17")
async def test_nor_does_a_notification_that_cannot_be_stored(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)
    made_by_bob = await made(world, bob, number=2)
    backend.accept(HASH)
    backend.accept(hash_of(preimage_of(2)))

    alices = f"NEW.connection_id = '{alice.connection.connection_id}'"
    async with broken(world, alices, table="outbox", event="INSERT"):
        for _ in range(5):
            await world.follow_the_stream()

    assert (await row(world)).state is InvoiceState.ACCEPTED
    shown = await world.call(bob, "lookup_invoice", {"invoice": made_by_bob})
    assert shown["result"]["state"] == "accepted"


@pytest.mark.attack("A8")
async def test_trouble_with_one_keeps_no_other_from_being_given_back_in_time(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend, number=1)
    await accepted(world, alice, backend, number=2)
    first = (await row(world)).invoice_id
    backend.block_height = (backend.block_height or 0) + HELD_BLOCKS - 3

    async with broken(world, f"OLD.invoice_id = '{first}'", table="invoice", event="UPDATE"):
        await reconcile(world)

    assert (await row(world, hash_of(preimage_of(2)))).state is InvoiceState.CANCELED


async def test_without_the_height_of_the_chain_no_deadline_is_made_up(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """It is taken by the sweep when the node can be asked again."""
    await made(world, alice)
    held = replace(
        backend.invoices[HASH],
        status=InvoiceStatus.ACCEPTED,
        received_msat=Msat(AMOUNT_MSAT),
    )
    backend._tell(held)
    world.reconciler.node_info.clear()
    await world.follow_the_stream()
    assert (await row(world)).state is InvoiceState.PENDING

    await reconcile(world)

    accepted_row = await row(world)
    assert (accepted_row.state, accepted_row.resolution) == (InvoiceState.ACCEPTED, None)
    assert (accepted_row.settle_deadline or 0) > (backend.block_height or 0)
    assert await world.problems() == ()


@pytest.mark.attack("A18")
async def test_less_than_was_asked_for_is_given_back_and_told_to_nobody(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)

    backend.accept(HASH, AMOUNT_MSAT - 1)
    await world.follow_the_stream()
    await reconcile(world)

    assert (await row(world)).state is InvoiceState.CANCELED
    assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
    assert "hold_invoice_accepted" not in told(world, alice)
