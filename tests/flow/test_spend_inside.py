"""Between two accounts: settled in the ledger, and only for an invoice that is truly ours."""

import pytest

from nwc_service.backend import Failed, FailReason
from nwc_service.wallet import bolt11
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.units import Msat, PaymentHash
from tests.clients.client import JsonObject
from tests.doubles.scripted_backend import (
    OUTSIDE_KEY,
    SERVICE_KEY,
    ScriptedBackend,
    outside_invoice,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import FEE_RESERVE_MSAT, World, until

AMOUNT_MSAT = 100_000
DAY_S = 86_400


def forged(made: JsonObject, *, amount_msat: int | None, key: bytes, created_at: int) -> str:
    """Another invoice with the payment hash of one of ours."""
    return bolt11.encode(
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(made["payment_hash"]),
        payment_secret="66" * 32,
        description="not ours",
        created_at=created_at,
        expiry_s=3600,
        secret_key=key,
    )


async def test_a_payment_inside_moves_the_amount_without_a_fee_and_never_meets_the_node(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)

    answer = await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["result"]["fees_paid"] == 0
    assert await world.money("bob") == (CREDIT_MSAT - AMOUNT_MSAT, 0)
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert [n["notification_type"] for n in world.notifications(alice)] == ["payment_received"]
    assert [n["notification_type"] for n in world.notifications(bob)] == ["payment_sent"]
    assert backend.sent == []
    assert await world.problems() == ()


async def test_the_whole_balance_can_be_paid_inside_since_no_fee_is_reserved(
    world: World, alice: Client, bob: Client
) -> None:
    made = await world.invoice(alice, CREDIT_MSAT)

    await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    assert await world.money("bob") == (0, 0)


async def test_more_than_the_balance_is_not_paid_inside(
    world: World, alice: Client, bob: Client
) -> None:
    made = await world.invoice(alice, CREDIT_MSAT + 1)

    answer = await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["error"]["code"] == "INSUFFICIENT_BALANCE"
    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A2")
async def test_our_invoice_in_capital_letters_is_our_invoice(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)

    await world.call(bob, "pay_invoice", {"invoice": made["invoice"].upper()})

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert backend.sent == []


@pytest.mark.attack("A2")
@pytest.mark.parametrize("amount_msat", [1, AMOUNT_MSAT, 5 * AMOUNT_MSAT, None])
@pytest.mark.parametrize("key", [OUTSIDE_KEY, SERVICE_KEY], ids=["of-another", "of-our-node"])
async def test_another_invoice_with_the_hash_of_ours_credits_nobody(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    amount_msat: int | None,
    key: bytes,
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    invoice = forged(made, amount_msat=amount_msat, key=key, created_at=world.clock())
    backend.pay_script.append(Failed(FailReason.REJECTED))
    amount = {} if amount_msat else {"amount": AMOUNT_MSAT}

    answer = await world.call(bob, "pay_invoice", {"invoice": invoice, **amount})

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert answer["error"]["code"] == "PAYMENT_FAILED"
    looked_up = await world.call(alice, "lookup_invoice", {"invoice": made["invoice"]})
    assert looked_up["result"]["state"] == "pending"


@pytest.mark.attack("A1")
async def test_many_who_pay_one_invoice_at_once_pay_it_once(
    world: World, alice: Client, bob: Client
) -> None:
    await world.account("carol", credit_msat=CREDIT_MSAT)
    carol = await world.connect("carol")
    made = await world.invoice(alice, AMOUNT_MSAT)

    requests = [(client, world.pay(client, made["invoice"])) for client in (bob, carol) * 5]
    await world.tasks.idle()

    won = [name for name in ("bob", "carol") if (await world.money(name))[0] < CREDIT_MSAT]
    results = ["result" in world.answer(client, event) for client, event in requests]
    assert len(won) == 1
    assert sum(results) == 5
    assert await world.money(won[0]) == (CREDIT_MSAT - AMOUNT_MSAT, 0)
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


async def test_a_budget_counts_what_was_paid_inside(world: World, alice: Client) -> None:
    await world.account("carol", credit_msat=CREDIT_MSAT)
    budget = Budget(Msat(AMOUNT_MSAT), Renewal.DAILY)
    carol = await world.connect("carol", budget=budget)
    first, second = [await world.invoice(alice, AMOUNT_MSAT) for _ in range(2)]

    paid = await world.call(carol, "pay_invoice", {"invoice": first["invoice"]})
    refused = await world.call(carol, "pay_invoice", {"invoice": second["invoice"]})
    world.clock.advance(DAY_S)
    third = await world.invoice(alice, AMOUNT_MSAT)
    next_day = await world.call(carol, "pay_invoice", {"invoice": third["invoice"]})

    assert paid["error"] is None
    assert refused["error"]["code"] == "QUOTA_EXCEEDED"
    assert next_day["error"] is None
    assert await world.problems() == ()


async def test_a_payment_that_fails_the_next_day_gives_its_budget_back_to_its_own_day(
    world: World, backend: ScriptedBackend
) -> None:
    await world.account("carol", credit_msat=CREDIT_MSAT)
    limit_msat = AMOUNT_MSAT + FEE_RESERVE_MSAT
    carol = await world.connect("carol", budget=Budget(Msat(limit_msat), Renewal.DAILY))
    backend.expect(1, 2, 3)
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    backend.pay_gate.clear()
    waiting = world.pay(carol, outside(world, 1))
    await until(lambda: len(backend.sent) == 1)
    world.clock.advance(DAY_S)
    await world.flow.solvency.check()
    backend.pay_gate.set()
    await world.tasks.idle()

    next_day = await world.call(carol, "pay_invoice", {"invoice": outside(world, 2)})
    too_much = await world.call(carol, "pay_invoice", {"invoice": outside(world, 3)})

    assert world.answer(carol, waiting)["error"]["code"] == "PAYMENT_FAILED"
    assert next_day["error"] is None
    assert too_much["error"]["code"] == "QUOTA_EXCEEDED"
    assert await world.problems() == ()


def outside(world: World, number: int) -> str:
    return outside_invoice(number, AMOUNT_MSAT, created_at=world.clock())
