"""What a connection can ask about itself, get_budget and get_info, and sign_message."""

from dataclasses import replace
from typing import Any

import pytest

from nwc_service.backend import BackendUnavailable, BadRequest, Cap
from nwc_service.methods import METHODS, announced, resolve_scopes
from nwc_service.nip47.connection import Connection
from nwc_service.wallet.budget import Budget, Renewal, renews_at
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    outside_invoice,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client, JsonObject
from tests.flow.world import FEE_RESERVE_MSAT, World

AMOUNT_MSAT = 100_000
LIMIT_MSAT = Msat(500_000)
# The method names of nostr-sdk 0.44.8.
KNOWN_TO_ALL = {
    "pay_invoice",
    "multi_pay_invoice",
    "pay_keysend",
    "multi_pay_keysend",
    "make_invoice",
    "lookup_invoice",
    "list_transactions",
    "get_balance",
    "get_info",
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
}


async def ask_budget(world: World, client: Client) -> JsonObject:
    answer = await world.call(client, "get_budget")
    assert list(answer) == ["result_type", "error", "result"], answer
    result: JsonObject = answer["result"]
    return result


async def connect(world: World, renewal: Renewal = Renewal.DAILY, **how: Any) -> Client:
    await world.account("alice", credit_msat=CREDIT_MSAT)
    return await world.connect("alice", budget=Budget(LIMIT_MSAT, renewal), **how)


# --- get_budget


async def test_a_connection_without_a_budget_is_told_an_empty_object(
    world: World, alice: Client
) -> None:
    """protocol.md 1.5: "`{}` when no budget"."""
    assert await ask_budget(world, alice) == {}


@pytest.mark.parametrize("renewal", [r for r in Renewal if r is not Renewal.NEVER])
async def test_a_budget_is_told_in_msat_with_its_next_period(
    renewal: Renewal, world: World
) -> None:
    client = await connect(world, renewal)

    assert await ask_budget(world, client) == {
        "used_budget": 0,
        "total_budget": LIMIT_MSAT,
        "renewal_period": renewal,
        "renews_at": renews_at(renewal, world.clock()),
    }


async def test_a_budget_that_never_renews_has_no_such_date(world: World) -> None:
    """protocol.md 1.5: "`renews_at?` sec (absent for never)"."""
    client = await connect(world, Renewal.NEVER)

    told = await ask_budget(world, client)

    assert set(told) == {"used_budget", "total_budget", "renewal_period"}


async def test_what_is_in_flight_counts_with_its_fee_reserve_and_then_as_it_cost(
    world: World, backend: ScriptedBackend
) -> None:
    client = await connect(world)
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())

    backend.pay_gate.clear()
    world.pay(client, invoice)
    await world.tasks.idle_for_now()
    in_flight = await ask_for_now(world, client)
    backend.pay_gate.set()
    await world.tasks.idle()
    after = await ask_budget(world, client)

    assert in_flight["used_budget"] == AMOUNT_MSAT + FEE_RESERVE_MSAT
    assert after["used_budget"] == AMOUNT_MSAT + FEE_MSAT


async def ask_for_now(world: World, client: Client) -> JsonObject:
    event = world.ask(client, "get_budget")
    await world.tasks.idle_for_now()
    result: JsonObject = world.answer(client, event)["result"]
    return result


async def test_another_connections_use_does_not_show(
    world: World, backend: ScriptedBackend
) -> None:
    payer = await connect(world)
    other = await world.connect("alice", budget=Budget(LIMIT_MSAT, Renewal.DAILY))
    backend.expect(1)
    world.pay(payer, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
    await world.tasks.idle()

    assert (await ask_budget(world, payer))["used_budget"] == AMOUNT_MSAT + FEE_MSAT
    assert (await ask_budget(world, other))["used_budget"] == 0


async def test_it_is_answered_without_the_scope_too(world: World) -> None:
    client = await connect(world, scopes=frozenset({"pay_invoice"}))

    assert (await ask_budget(world, client))["total_budget"] == LIMIT_MSAT


@pytest.mark.parametrize("name", sorted(METHODS.keys() - KNOWN_TO_ALL))
def test_a_method_that_nostr_sdk_stumbles_over_is_announced_only_where_it_was_asked_for(
    name: str,
) -> None:
    """protocol.md 2.6: "nostr-sdk 0.44.8 rejects a whole get_info whose `methods` names
    get_budget, sign_message or create_connection": any that it does not know."""
    every_cap = ~Cap(0)

    assert name not in announced(resolve_scopes("full"), every_cap)
    assert name in announced(resolve_scopes(f"full,{name}"), every_cap)


# --- sign_message


async def test_a_message_is_signed_by_the_node_and_repeated(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """protocol.md 1.5: "`message` (must equal request), `signature`"."""
    answer = await world.call(alice, "sign_message", {"message": "zwei Tee ☕"})

    signature = await backend.sign_message("zwei Tee ☕")
    assert answer["result"] == {"message": "zwei Tee ☕", "signature": signature}


async def test_a_message_may_be_so_long_and_no_longer(world: World, alice: Client) -> None:
    longest = await world.call(alice, "sign_message", {"message": "x" * 4096})
    longer = await world.call(alice, "sign_message", {"message": "x" * 4097})

    assert longest["error"] is None
    assert longer["error"]["code"] == "OTHER"
    assert longer["error"]["message"].startswith("message: ")


async def test_a_connection_without_the_scope_signs_nothing(
    world: World, alice: Client
) -> None:
    plain = await world.connect("alice", scopes=frozenset({"get_info"}))

    answer = await world.call(plain, "sign_message", {"message": "hello"})

    assert answer["error"]["code"] == "RESTRICTED"


async def test_a_node_that_cannot_sign_is_said_so(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.caps = ~Cap.SIGN & backend.caps

    answer = await world.call(alice, "sign_message", {"message": "hello"})
    info = await world.call(alice, "get_info")

    assert answer["error"]["code"] == "NOT_IMPLEMENTED"
    assert "sign_message" not in info["result"]["methods"]


@pytest.mark.parametrize(
    ("problem", "code"),
    [(BackendUnavailable("away"), "INTERNAL"), (BadRequest("not that"), "OTHER")],
)
async def test_a_node_that_does_not_sign_gives_an_error(
    problem: Exception,
    code: str,
    world: World,
    alice: Client,
    backend: ScriptedBackend,
) -> None:
    backend.signature_script.append(problem)

    answer = await world.call(alice, "sign_message", {"message": "hello"})

    assert answer["error"]["code"] == code


# --- get_info


async def test_get_info_has_the_connections_address_and_metadata(world: World) -> None:
    """NWC-08: "the client MAY look for the presence of the `lud16` parameter in the response to
    a `get_info` request"."""
    await world.account("alice")
    client = await connected_with(world, lud16="alice@example.org", metadata='{"a":{"b":[1]}}')

    result = (await world.call(client, "get_info"))["result"]

    assert result["lud16"] == "alice@example.org"
    assert result["metadata"] == {"a": {"b": [1]}}


async def test_get_info_has_neither_where_there_is_none(world: World, alice: Client) -> None:
    result = (await world.call(alice, "get_info"))["result"]

    assert {"lud16", "metadata"}.isdisjoint(result)


async def connected_with(world: World, **changes: Any) -> Client:
    client = await world.connect("alice")
    changed: Connection = replace(client.connection, **changes)
    world.edges.directory.put(changed)
    return replace(client, connection=changed)
