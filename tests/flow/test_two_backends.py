"""Several nodes behind one ledger: each account has one of them, for whatever it asks."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from nwc_service.backend import LightningBackend, NodeInfo
from nwc_service.store import connections, ledger
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.keysend import ACCOUNT_TLV
from nwc_service.wallet.units import BackendName
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, Clock
from tests.flow.world import World, open_world

AMOUNT_MSAT = 100_000
SECOND = BackendName("second")
SECOND_PUBKEY = "02" + "ab" * 32


@pytest.fixture
def second() -> ScriptedBackend:
    return ScriptedBackend(SECOND)


@pytest.fixture
async def world(
    tmp_path: Path, backend: ScriptedBackend, second: ScriptedBackend, clock: Clock
) -> AsyncIterator[World]:
    path = tmp_path / "nwc.sqlite"
    async with open_world(path, backend=backend, clock=clock, others=(second,)) as world:
        await world.reconciler.ask_node(SECOND)
        world.reconciler.node_info[SECOND] = NodeInfo(alias="second", pubkey=SECOND_PUBKEY)
        yield world


@pytest.fixture
async def carol(world: World, second: ScriptedBackend) -> Client:
    await world.accounts.create("carol", backend=second.name)
    await world.flow.solvency.check()
    await world.accounts.credit("carol", CREDIT_MSAT, reason="a test", force=True)
    return await world.connect("carol")


async def test_its_own_node_makes_its_invoices_and_pays_for_it(
    world: World,
    alice: Client,
    carol: Client,
    backend: ScriptedBackend,
    second: ScriptedBackend,
) -> None:
    second.expect(1)

    made = await world.call(carol, "make_invoice", {"amount": AMOUNT_MSAT})
    world.pay(carol, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
    await world.tasks.idle()

    assert (len(backend.specs), len(second.specs)) == (0, 1)
    assert (len(backend.sent), len(second.sent)) == (0, 1)
    assert await world.money("carol") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    info = await world.call(carol, "get_info", {})
    assert (info["result"]["alias"], info["result"]["pubkey"]) == ("second", SECOND_PUBKEY)

    # What stays inside needs neither.
    paid = await world.call(alice, "pay_invoice", {"invoice": made["result"]["invoice"]})

    assert paid["result"]["fees_paid"] == 0
    assert backend.sent == []
    assert await world.problems() == ()


async def test_a_keysend_to_any_of_the_nodes_stays_inside(
    world: World, alice: Client, carol: Client, backend: ScriptedBackend
) -> None:
    value = (await world.keysend_id("carol")).encode().hex()
    params = {
        "pubkey": SECOND_PUBKEY,
        "amount": AMOUNT_MSAT,
        "preimage": preimage_of(1),
        "tlv_records": [{"type": ACCOUNT_TLV, "value": value}],
    }

    answer = await world.call(alice, "pay_keysend", params)

    assert answer["error"] is None
    assert backend.keysent == []
    assert await world.money("carol") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_what_comes_in_at_its_node_is_its_own(
    world: World, carol: Client, second: ScriptedBackend
) -> None:
    made = await world.call(carol, "make_invoice", {"amount": AMOUNT_MSAT})

    report = second.receive(made["result"]["payment_hash"])
    await world.flow.holds.follow(SECOND, report)

    assert await world.money("carol") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_an_account_whose_node_is_gone_keeps_its_money_and_is_told_so(
    world: World, carol: Client
) -> None:
    del cast("dict[BackendName, LightningBackend]", world.edges.backends)[SECOND]

    balance = await world.call(carol, "get_balance", {})
    made = await world.call(carol, "make_invoice", {"amount": AMOUNT_MSAT})
    paid = await world.call(
        carol,
        "pay_invoice",
        {"invoice": outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())},
    )

    assert balance["result"] == {"balance": CREDIT_MSAT}
    for answer in (made, paid):
        assert answer["error"]["code"] == "INTERNAL"
        assert "is not there any more" in answer["error"]["message"]
    assert await world.money("carol") == (CREDIT_MSAT, 0)


async def test_an_account_is_made_on_a_backend_that_is_there(world: World) -> None:
    with pytest.raises(Refused, match="there is no backend 'third'; choose one of node"):
        await world.accounts.create("carol", backend="third")


async def test_older_accounts_are_given_the_default_backend(start: Open) -> None:
    async with start() as world:
        await world.account("alice")
        alice = await world.connect("alice")
        await world.db.write(lambda tx: tx.run("UPDATE account SET backend = NULL"))
        await world.db.write(lambda tx: ledger.pin_accounts(tx, BackendName("node")))
        await world.db.write(lambda tx: ledger.pin_accounts(tx, BackendName("other")))

        [known] = await world.db.read(connections.connections)

    assert known == replace(alice.connection, backend=BackendName("node"))
