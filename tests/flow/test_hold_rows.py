"""The statements that decide about a hold invoice's row: the last wall, whoever comes late."""

from dataclasses import replace

import pytest

from nwc_service.store import invoices
from nwc_service.wallet import hold
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.units import AccountId
from tests.doubles.scripted_backend import BLOCK_HEIGHT, ScriptedBackend
from tests.flow.holding import PREIMAGE, accepted, cancel, made, row, settle
from tests.flow.parties import Client
from tests.flow.world import World


async def decide(world: World, invoice: Invoice, expected: InvoiceState) -> bool:
    return await world.db.write(lambda tx: invoices.decide(tx, invoice, expected=expected))


async def accept(world: World, invoice: Invoice) -> bool:
    later = hold.accept(invoice, settle_deadline=None, height=BLOCK_HEIGHT, now=world.clock())
    assert later is not None
    return await world.db.write(lambda tx: invoices.accept(tx, later))


async def test_what_was_decided_stays_decided(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    held = await row(world)
    settling, canceling = hold.settle(held, PREIMAGE), hold.cancel(held)

    first = await decide(world, settling, InvoiceState.ACCEPTED)
    second = await decide(world, canceling, InvoiceState.ACCEPTED)

    assert (first, second) == (True, False)
    assert (await row(world)).resolution is Resolution.SETTLE
    assert (await row(world)).preimage == PREIMAGE


async def test_a_decision_about_another_state_is_none(world: World, alice: Client) -> None:
    await made(world, alice)

    decided = await decide(world, hold.cancel(await row(world)), InvoiceState.ACCEPTED)

    assert not decided
    assert (await row(world)).resolution is None


@pytest.mark.attack("A8", "A20")
async def test_another_account_decides_and_accepts_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)
    foreign = replace(await row(world), account_id=AccountId("another"))

    decided = await decide(world, hold.cancel(foreign), InvoiceState.PENDING)
    was_accepted = await accept(world, foreign)

    assert (decided, was_accepted) == (False, False)
    assert (await row(world)).state is InvoiceState.PENDING


async def test_nothing_is_held_twice_nor_after_a_decision(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)
    before = await row(world)

    first, second = await accept(world, before), await accept(world, before)
    await cancel(world, alice)
    third = await accept(world, before)

    assert (first, second, third) == (True, False, False)


async def test_one_that_is_being_cancelled_unpaid_is_not_held(
    world: World, alice: Client
) -> None:
    await made(world, alice)
    before = await row(world)
    await decide(world, hold.cancel(before), InvoiceState.PENDING)

    assert not await accept(world, before)


async def test_a_deadline_that_comes_after_the_owner_undoes_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """As it saw the invoice, nobody had decided yet."""
    await accepted(world, alice, backend)
    before = await row(world)
    await decide(world, hold.settle(before, PREIMAGE), InvoiceState.ACCEPTED)

    await world.flow.holds._end_overdue(before)

    assert (await row(world)).resolution is Resolution.SETTLE
    assert (await settle(world, alice))["result"] == {}
