"""Attacks on money that comes in, and of one tenant on another."""

import json
from dataclasses import replace

import pytest

from nwc_service.backend import Cap
from nwc_service.methods import METHODS
from tests.doubles.scripted_backend import CAPS, ScriptedBackend, hash_of
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000
PREIMAGE = "77" * 32


@pytest.mark.attack("A2", "A19")
async def test_an_invoice_or_a_hash_that_a_caller_brings_is_never_a_deposit_of_his(
    world: World, alice: Client, bob: Client
) -> None:
    others = await world.invoice(alice, AMOUNT_MSAT)
    brought = {
        "invoice": others["invoice"],
        "payment_hash": others["payment_hash"],
        "preimage": PREIMAGE,
    }

    made = await world.invoice(bob, AMOUNT_MSAT, **brought)
    world.backend.receive(others["payment_hash"])
    await world.follow_the_stream()

    assert made["payment_hash"] not in (others["payment_hash"], hash_of(PREIMAGE))
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A2", "A15")
async def test_an_invoice_that_a_node_hands_out_twice_stays_its_first_owners(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    backend.caps = CAPS & ~Cap.OWN_PREIMAGE
    first = await world.invoice(alice, AMOUNT_MSAT)
    backend.specs.clear()  # the node begins its preimages anew

    second = await world.call(bob, "make_invoice", {"amount": AMOUNT_MSAT})
    backend.receive(first["payment_hash"])
    await world.follow_the_stream()

    assert second["error"]["code"] == "INTERNAL"
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A20")
@pytest.mark.parametrize("method", METHODS)
async def test_no_parameter_of_any_method_chooses_whose_money_or_rows_they_are(
    world: World, alice: Client, method: str
) -> None:
    await world.account("mallory")
    mallory = await world.connect("mallory")
    hers = await world.invoice(alice, AMOUNT_MSAT, description="hers alone")
    connection = alice.connection
    others = {
        name: value
        for names, value in (
            (("account", "account_name", "user"), "alice"),
            (("account_id", "sub_account", "696969"), connection.account_id),
            (("connection_id", "app_id", "app"), connection.connection_id),
            (("pubkey", "client_pubkey"), connection.client_pubkey),
            (("wallet_pubkey",), connection.wallet_pubkey),
        )
        for name in names
    }
    asked = {
        "pay_invoice": {"invoice": hers["invoice"]},
        "make_invoice": {"amount": AMOUNT_MSAT},
        "lookup_invoice": {"payment_hash": hers["payment_hash"]},
        "list_transactions": {"unpaid": True},
    }.get(method, {})

    answer = await world.call(mallory, method, {**others, **asked, "metadata": others})

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.money("mallory") == (0, 0)
    assert "hers alone" not in json.dumps(answer)
    rows = await world.call(alice, "list_transactions", {"unpaid": True})
    assert [row["description"] for row in rows["result"]["transactions"]] == ["hers alone"]


@pytest.mark.attack("A20", "A22")
async def test_a_settlement_is_credited_to_who_owns_its_hash_whatever_else_it_claims(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    hers = await world.invoice(alice, AMOUNT_MSAT)
    his = await world.invoice(bob, AMOUNT_MSAT)
    told = backend.receive(hers["payment_hash"])
    backend.stream[-1] = replace(told, invoice=his["invoice"], preimage=None)

    await world.follow_the_stream()

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)
