"""A second request for what is being paid, or was, is answered with what became of it: as far
as the connection might have paid it, and may see it."""

from dataclasses import replace

import pytest

from nwc_service.backend import NodeInfo
from nwc_service.wallet.keysend import ACCOUNT_TLV
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    SERVICE_PUBKEY,
    ScriptedBackend,
    outside_invoice,
    preimage_of,
)
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000


@pytest.fixture
async def invoice(world: World, alice: Client, backend: ScriptedBackend) -> str:
    """That alice's first connection has paid, outside."""
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())
    world.pay(alice, invoice)
    await world.tasks.idle()
    assert len(backend.sent) == 1
    return invoice


async def test_a_connection_that_sees_its_own_only_is_not_told_of_anothers(
    world: World, invoice: str
) -> None:
    paying_only = await world.connect("alice", scopes=frozenset({"pay_invoice"}))

    answer = await world.call(paying_only, "pay_invoice", {"invoice": invoice})

    assert answer["error"]["code"] == "OTHER"
    assert preimage_of(1) not in str(answer)


async def test_one_that_may_not_pay_it_is_not_told_either(world: World, invoice: str) -> None:
    other = await world.connect("alice")
    world.edges.directory.put(replace(other.connection, internal_only=True))

    answer = await world.call(other, "pay_invoice", {"invoice": invoice})

    assert answer["error"]["code"] == "RESTRICTED"


async def test_one_that_sees_all_is(world: World, alice: Client, invoice: str) -> None:
    other = await world.connect("alice")

    answer = await world.call(other, "pay_invoice", {"invoice": invoice})

    assert answer["result"] == {"preimage": preimage_of(1), "fees_paid": FEE_MSAT}


async def test_what_costs_more_than_max_fee_is_refused(
    world: World, alice: Client, invoice: str
) -> None:
    uri = f"bitcoin:?lightning={invoice}"

    answer = await world.call(alice, "pay", {"payment": uri, "max_fee": FEE_MSAT - 1})
    paid = await world.call(alice, "pay", {"payment": uri, "max_fee": FEE_MSAT})

    assert answer["error"]["code"] == "FEE_LIMIT_EXCEEDED"
    assert paid["result"]["fees_paid"] == FEE_MSAT


async def test_a_keysend_that_names_another_account_is_another(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """I13: success would be told of a payment that was never made."""
    await world.account("carol")
    node = NodeInfo(pubkey=SERVICE_PUBKEY, block_height=800_000)
    world.reconciler.node_info[backend.name] = node
    params = {"amount": AMOUNT_MSAT, "pubkey": SERVICE_PUBKEY, "preimage": preimage_of(1)}
    to_bob = {**params, "tlv_records": await naming(world, "bob")}
    to_carol = {**params, "tlv_records": await naming(world, "carol")}

    first = await world.call(alice, "pay_keysend", to_bob)
    again = await world.call(alice, "pay_keysend", to_bob)
    other = await world.call(alice, "pay_keysend", to_carol)

    assert first["error"] is None
    assert again["result"] == first["result"]
    assert other["error"]["code"] == "OTHER"
    assert await world.money("carol") == (0, 0)


async def naming(world: World, account_name: str) -> list[dict[str, object]]:
    keysend_id = await world.keysend_id(account_name)
    return [{"type": ACCOUNT_TLV, "value": keysend_id.encode().hex()}]
