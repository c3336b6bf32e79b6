"""What the libraries build upon their requests, for which the wallet must be as they expect."""

import asyncio

import pytest

from nwc_service.wallet import bolt11
from tests.clients.apps import CREDIT_MSAT, App, Apps
from tests.clients.checks import AMOUNT_MSAT, COST_MSAT, has
from tests.clients.conversation import NIP04
from tests.clients.libraries import ALBY, APPLESAUCE, BOTH, NDK
from tests.clients.node import NodeClient
from tests.e2e.conftest import proves

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.real]

WAIT_S = 15
MSAT_IN_SAT = 1000


@pytest.mark.parametrize("encryption", BOTH)
async def test_alby_s_lnclient_pays_and_is_told_when_it_is_paid(
    encryption: str, apps: Apps
) -> None:
    app = await apps.open(ALBY, encryption)
    client = node(app)
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)

    paid = await client.call("pay", {"invoice": invoice})
    asked = await client.call("requestPayment", {"satoshi": AMOUNT_MSAT // MSAT_IN_SAT})
    waiting = asyncio.create_task(client.call("onPaid"))
    await app.client.info()  # behind what `onPaid` asks for and subscribes to
    await app.outside.pay(asked["invoice"])
    received = await asyncio.wait_for(waiting, WAIT_S)

    assert proves(paid["preimage"], bolt11.decode(invoice).payment_hash)
    assert (received["payment_hash"], received["state"]) == (asked["payment_hash"], "settled")
    assert await app.balance_msat() == CREDIT_MSAT - COST_MSAT + AMOUNT_MSAT


@pytest.mark.parametrize("encryption", BOTH)
async def test_applesauce_waits_until_an_invoice_is_paid(encryption: str, apps: Apps) -> None:
    app = await apps.open(APPLESAUCE, encryption)
    made = await app.client.make_invoice(AMOUNT_MSAT)

    waiting = asyncio.create_task(node(app).call("waitForPaid", made))
    await app.client.balance()  # asked after it has begun to listen
    await app.outside.pay(made["invoice"])
    received = await asyncio.wait_for(waiting, WAIT_S)

    assert (received["payment_hash"], received["state"]) == (made["payment_hash"], "settled")


async def test_ndk_tells_the_wallet_in_its_own_words(apps: Apps) -> None:
    app = await apps.open(NDK, NIP04)
    client = node(app)

    before = await client.call("balance")
    made = await client.call("makeInvoice", {"amount": AMOUNT_MSAT, "description": "tea"})
    await app.outside.pay(made["invoice"])
    await has(app, CREDIT_MSAT + AMOUNT_MSAT)
    after = await client.call("balance")
    listed = await client.call("fetchTransactions")
    info = await client.call("getInfo")

    assert before == {"amount": CREDIT_MSAT // MSAT_IN_SAT}
    assert after == {"amount": (CREDIT_MSAT + AMOUNT_MSAT) // MSAT_IN_SAT}
    assert bolt11.decode(made["invoice"]).description == "tea"
    assert [one["id"] for one in listed["transactions"]] == [made["payment_hash"]]
    assert "pay_invoice" in info["methods"]


def node(app: App) -> NodeClient:
    assert isinstance(app.client, NodeClient)
    return app.client
