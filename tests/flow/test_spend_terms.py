"""What the node is told of a payment, how long it may take, and what it costs the budget."""

import asyncio
from dataclasses import replace

import pytest

from nwc_service.backend import Failed, FailReason
from nwc_service.store import connections
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.units import ConnectionId, Msat
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import FEE_RESERVE_MSAT, World, broken, until

AMOUNT_MSAT = 100_000
HELD = (CREDIT_MSAT - AMOUNT_MSAT - FEE_RESERVE_MSAT, AMOUNT_MSAT + FEE_RESERVE_MSAT)
PAID = {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}


def an_invoice(world: World, number: int = 1, amount_msat: int | None = AMOUNT_MSAT) -> str:
    world.backend.expect(number)
    return outside_invoice(number, amount_msat, created_at=world.clock())


@pytest.mark.attack("A6")
async def test_the_node_is_told_the_amount_where_the_invoice_names_none(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    without = an_invoice(world, 1, None)
    await world.call(alice, "pay_invoice", {"invoice": without, "amount": AMOUNT_MSAT})
    await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 2)})

    told = [(sent.amount_msat, sent.amount_is_override) for sent in backend.sent]
    assert told == [(AMOUNT_MSAT, True), (AMOUNT_MSAT, False)]


@pytest.mark.attack("A4", "A24")
async def test_a_send_that_outlasts_its_timeout_is_neither_cut_off_nor_given_back(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    timeout_s = 0.02
    world.spender.policy = replace(world.spender.policy, payment_timeout_s=timeout_s)
    backend.pay_gate.clear()
    request = world.pay(alice, an_invoice(world))
    await until(lambda: len(backend.sent) == 1)

    await asyncio.sleep(5 * timeout_s)
    meanwhile = await world.money("alice")
    backend.pay_gate.set()
    await world.tasks.idle()

    assert meanwhile == HELD
    assert world.answer(alice, request)["result"] == PAID


@pytest.mark.attack("A25")
async def test_nothing_is_sent_before_the_database_has_said_that_it_may_be_sent(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    async with broken(world, "NEW.state = 'DISPATCHED'", table="payment", event="UPDATE"):
        world.pay(alice, an_invoice(world))
        await world.tasks.idle()

    assert backend.sent == []
    assert await world.money("alice") == HELD


@pytest.mark.attack("A13")
async def test_a_failed_payment_gives_its_own_share_of_the_budget_back_and_no_more(
    world: World,
) -> None:
    await world.account("carol", credit_msat=CREDIT_MSAT)
    budget = Budget(Msat(CREDIT_MSAT), Renewal.NEVER)
    carol = await world.connect("carol", budget=budget)
    connection_id = carol.connection.connection_id
    dear = an_invoice(world, 1, 3 * AMOUNT_MSAT)
    await world.call(carol, "pay_invoice", {"invoice": dear})
    world.backend.pay_script.append(Failed(FailReason.NO_ROUTE))

    await world.call(carol, "pay_invoice", {"invoice": an_invoice(world, 2)})

    assert await used_msat(world, connection_id) == 3 * AMOUNT_MSAT + FEE_MSAT


async def used_msat(world: World, connection_id: ConnectionId) -> int:
    return await world.db.read(
        lambda tx: connections.budget_used_msat(tx, connection_id, period_start=0)
    )


@pytest.mark.attack("A1")
async def test_what_is_debited_at_once_never_takes_more_than_the_balance(world: World) -> None:
    await world.account("carol", credit_msat=3 * AMOUNT_MSAT + 1)

    debits = [world.accounts.debit("carol", AMOUNT_MSAT, reason="a test") for _ in range(10)]
    results = await asyncio.gather(*debits, return_exceptions=True)

    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(error) for error in refused] == [Refused] * 7
    assert await world.money("carol") == (1, 0)
    assert await world.problems() == ()
