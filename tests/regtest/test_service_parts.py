"""More than any channel carries alone, in a network of its own: whose channels are as they were
opened."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from nwc_service.wallet import bolt11
from tests.regtest.network import CAPACITY_SAT, RegtestNetwork, regtest_network
from tests.regtest.outside import LndOutside
from tests.regtest.wallet import CREDIT_MSAT, Wallet

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.real,
    pytest.mark.timeout(300),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RegtestNetwork]:
    directory = tmp_path_factory.mktemp("network")
    async with regtest_network(directory, nodes=2) as started:
        yield started


async def test_what_no_channel_carries_alone_is_paid_in_parts(
    wallet: Wallet, network: RegtestNetwork
) -> None:
    bob, amount_msat = LndOutside(network.nodes["bob"], forwarders=0), CAPACITY_SAT * 600
    invoice = await bob.make_invoice(amount_msat)
    await wallet.service.call(
        "POST", f"accounts/{wallet.account}/credit", amount_msat=amount_msat, reason="parts"
    )

    paid = (await wallet.ask("pay_invoice", invoice=invoice)).result
    await wallet.has(CREDIT_MSAT)
    made = (await wallet.ask("make_invoice", amount=amount_msat)).result
    await bob.pay(made["invoice"])

    assert paid["fees_paid"] == 0
    await wallet.has(CREDIT_MSAT + amount_msat)
    there = await bob.invoice(bolt11.decode(invoice).payment_hash)
    assert len(there["htlcs"]) > 1
    await wallet.service.call(
        "POST", f"accounts/{wallet.account}/debit", amount_msat=amount_msat, reason="parts"
    )
