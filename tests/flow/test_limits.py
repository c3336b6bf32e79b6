"""What a connection may pay: judged where the money is reserved, for every paying method."""

import asyncio
from dataclasses import replace

import pytest

from nwc_service.backend import Failed, FailReason
from nwc_service.nip47.connection import Connection
from nwc_service.store import connections
from nwc_service.wallet import bolt11
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.units import ConnectionId, Msat
from tests.doubles.scripted_backend import (
    OUTSIDE_PUBKEY,
    SERVICE_PUBKEY,
    ScriptedBackend,
    outside_invoice,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import FEE_RESERVE_MSAT, World

AMOUNT_MSAT = 100_000
FEE_MSAT = 1_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT


async def limited(world: World, client: Client, **limits: object) -> Client:
    """Another connection on the client's account, with these limits."""
    made = await world.connect("alice")
    connection: Connection = replace(made.connection, **limits)  # type: ignore[arg-type]

    async def work(tx: object) -> None:
        await tx.run(  # type: ignore[attr-defined]
            "DELETE FROM connection WHERE connection_id = :connection_id",
            connection_id=connection.connection_id,
        )
        await connections.insert(tx, connection)  # type: ignore[arg-type]

    await world.db.write(work)
    world.edges.directory.put(connection)
    return replace(made, connection=connection)


async def used_msat(world: World, client: Client) -> int:
    found = await world.db.read(
        lambda tx: connections.budget_used_msat(
            tx, ConnectionId(client.connection.connection_id), period_start=0
        )
    )
    return int(found)


def outside(world: World, number: int, amount_msat: int = AMOUNT_MSAT) -> str:
    world.backend.expect(number)
    return outside_invoice(number, amount_msat, created_at=world.clock())


def budget(limit_msat: int) -> Budget:
    return Budget(Msat(limit_msat), Renewal.NEVER)


# --- whom it may pay


async def test_a_connection_for_payments_inside_pays_nobody_outside(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    inside = await limited(world, alice, internal_only=True)
    made = await world.invoice(bob, AMOUNT_MSAT)

    for method, params in (
        ("pay_invoice", {"invoice": outside(world, 1)}),
        ("pay_keysend", {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT}),
    ):
        answer = await world.call(inside, method, params)
        assert answer["error"]["code"] == "RESTRICTED", method
    paid = await world.call(inside, "pay_invoice", {"invoice": made["invoice"]})

    assert paid["result"]["fees_paid"] == 0
    assert (backend.sent, backend.keysent) == ([], [])
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT, 0)


async def test_a_connection_with_a_list_of_destinations_pays_them_alone(
    world: World, alice: Client, bob: Client
) -> None:
    payee = bolt11.decode(outside(world, 1)).payee
    picky = await limited(world, alice, destinations=(payee,))
    made = await world.invoice(bob, AMOUNT_MSAT)

    paid = await world.call(picky, "pay_invoice", {"invoice": outside(world, 1)})
    sent = await world.call(
        picky, "pay_keysend", {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT}
    )
    refused = [
        await world.call(picky, "pay_invoice", {"invoice": made["invoice"]}),
        await world.call(
            picky, "pay_keysend", {"pubkey": SERVICE_PUBKEY, "amount": AMOUNT_MSAT}
        ),
    ]

    assert paid["result"]
    assert sent["result"]
    assert [answer["error"]["code"] for answer in refused] == ["RESTRICTED"] * 2


async def test_the_own_node_can_be_among_the_destinations(
    world: World, alice: Client, bob: Client
) -> None:
    made = await world.invoice(bob, AMOUNT_MSAT)
    payee = bolt11.decode(made["invoice"]).payee
    picky = await limited(world, alice, destinations=(payee,))

    answer = await world.call(picky, "pay_invoice", {"invoice": made["invoice"]})

    assert answer["result"]["fees_paid"] == 0


async def test_no_payment_passes_the_cap_whatever_its_method(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    capped = await limited(world, alice, max_payment_msat=Msat(AMOUNT_MSAT - 1))

    for method, params in (
        ("pay_invoice", {"invoice": outside(world, 1)}),
        ("pay_keysend", {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT}),
    ):
        answer = await world.call(capped, method, params)
        assert answer["error"]["code"] == "QUOTA_EXCEEDED", method
    assert (backend.sent, backend.keysent) == ([], [])


# --- budgets


@pytest.mark.attack("A13")
async def test_keysends_count_in_the_budget_with_their_fees(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """ "a budgeted connection = full drain through pay_keysend"."""
    tight = await limited(world, alice, budget=budget(HELD_MSAT))
    keysend = {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT}

    first = await world.call(tight, "pay_keysend", keysend)
    second = await world.call(tight, "pay_keysend", keysend)

    assert first["result"]
    assert second["error"]["code"] == "QUOTA_EXCEEDED"
    assert await used_msat(world, tight) == AMOUNT_MSAT + FEE_MSAT
    assert len(backend.keysent) == 1


@pytest.mark.attack("A1")
async def test_requests_at_once_never_pass_the_budget(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-08: "MUST make concurrent payments unable to exceed it"."""
    world.lift_caps()
    tight = await limited(world, alice, budget=budget(3 * HELD_MSAT))
    backend.pay_gate.clear()

    requests = [
        world.ask(tight, "pay_keysend", {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT})
        for _ in range(8)
    ]
    await asyncio.sleep(0.2)
    assert await used_msat(world, tight) == 3 * HELD_MSAT
    backend.pay_gate.set()
    await world.tasks.idle()

    answers = [world.answer(tight, request) for request in requests]
    assert sum(answer.get("result") is not None for answer in answers) == 3
    assert await used_msat(world, tight) == 3 * (AMOUNT_MSAT + FEE_MSAT)


async def test_a_connection_counts_in_the_budget_of_the_one_that_made_it(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "create_connection `isolated`": "limits never above the creator's own, and
    counted in it"."""
    parent = await limited(world, alice, budget=budget(2 * HELD_MSAT))
    child = await limited(
        world,
        alice,
        parent_id=parent.connection.connection_id,
        budget=budget(10 * HELD_MSAT),
    )
    keysend = {"pubkey": OUTSIDE_PUBKEY, "amount": AMOUNT_MSAT}

    assert (await world.call(child, "pay_keysend", keysend))["result"]
    assert await used_msat(world, parent) == await used_msat(world, child)
    assert (await world.call(parent, "pay_invoice", {"invoice": outside(world, 1)}))["result"]
    refused = await world.call(child, "pay_keysend", keysend)

    assert refused["error"]["code"] == "QUOTA_EXCEEDED"
    assert await used_msat(world, parent) == 2 * (AMOUNT_MSAT + FEE_MSAT)
    assert await used_msat(world, child) == AMOUNT_MSAT + FEE_MSAT
    assert await world.problems() == ()


async def test_a_failure_gives_both_budgets_back(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    parent = await limited(world, alice, budget=budget(2 * HELD_MSAT))
    child = await limited(
        world, alice, parent_id=parent.connection.connection_id, budget=budget(HELD_MSAT)
    )
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))

    await world.call(child, "pay_invoice", {"invoice": outside(world, 1)})

    assert await used_msat(world, parent) == await used_msat(world, child) == 0


async def test_a_connection_of_a_revoked_one_pays_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    parent = await limited(world, alice)
    child = await limited(world, alice, parent_id=parent.connection.connection_id)
    await world.db.write(
        lambda tx: connections.revoke(tx, parent.connection.connection_id, now=world.clock())
    )

    answer = await world.call(child, "pay_invoice", {"invoice": outside(world, 1)})

    assert answer["error"]["code"] == "UNAUTHORIZED"
    assert backend.sent == []


async def test_a_connection_of_an_expired_one_pays_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """It ends with its maker, whatever end of its own its row has."""
    parent = await limited(world, alice, expires_at=world.clock() + 60)
    child = await limited(world, alice, parent_id=parent.connection.connection_id)
    world.clock.advance(60)

    answer = await world.call(child, "pay_invoice", {"invoice": outside(world, 1)})

    assert answer["error"]["code"] == "UNAUTHORIZED"
    assert backend.sent == []
    assert await world.money("alice") == (CREDIT_MSAT, 0)
