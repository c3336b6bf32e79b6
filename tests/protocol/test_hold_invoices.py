"""Hold invoices over the whole flow, with the simulated node."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import pytest

from nwc_service.wallet.hold import hash_of
from nwc_service.wallet.units import BackendName, Preimage
from tests.clients.client import JsonObject
from tests.clients.raw import Opened
from tests.protocol.wallet import IDLE_TIMEOUT_S, Client, WalletInProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")

AMOUNT_MSAT = 50_000
BLOCKS = 144
FIELDS = {
    "type": "incoming",
    "state": "accepted",
    "amount": AMOUNT_MSAT,
    "description": "tea",
    "preimage": "",
    "fees_paid": 0,
}


class Deal:
    """A hold invoice of the client, and the preimage that only he knows."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.preimage = Preimage(secrets.token_hex(32))
        self.payment_hash = hash_of(self.preimage)

    async def made(self) -> str:
        opened = await self.client.request(
            "make_hold_invoice",
            {
                "amount": AMOUNT_MSAT,
                "payment_hash": self.payment_hash,
                "description": "tea",
                "min_cltv_expiry_delta": BLOCKS,
            },
        )
        return str(opened.result["invoice"])

    async def held(self) -> None:
        """Somebody outside pays it, and the node holds that."""
        await self.client.wallet.outside("pay", invoice=await self.made())
        await self.until("accepted")

    async def until(self, state: str) -> JsonObject:
        async def is_there() -> bool:
            return bool((await self.looked_up())["state"] == state)

        await until(is_there)
        return await self.looked_up()

    async def looked_up(self) -> JsonObject:
        found = await self.client.request("lookup_invoice", {"payment_hash": self.payment_hash})
        result: JsonObject = found.result
        return result


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(IDLE_TIMEOUT_S):
        while not await condition():
            await asyncio.sleep(0.1)


@pytest.fixture
def deal(client: Client) -> Deal:
    return Deal(client)


async def test_it_is_announced_with_its_extension(client: Client) -> None:
    """NIP-47: `extensions`; NWC-03 defines the methods and the notification."""
    info = (await client.request("get_info")).result

    assert {"make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice"} <= set(
        info["methods"]
    )
    assert "hold_invoice_accepted" in info["notifications"]
    assert "03" in info["extensions"]


async def test_held_told_and_settled(client: Client, deal: Deal) -> None:
    """NWC-03: "Upon receiving notification ... Calls `settle_hold_invoice` with the original
    preimage to release funds"."""
    before_msat = await client.balance_msat()
    await deal.held()
    held_msat = await client.balance_msat()
    [body] = [
        found.payload["notification"]
        for found in _told(client)
        if found.payload["notification_type"] == "hold_invoice_accepted"
    ][:1]

    opened = await client.request("settle_hold_invoice", {"preimage": deal.preimage})

    assert {name: body[name] for name in FIELDS} == FIELDS
    assert body["payment_hash"] == deal.payment_hash
    assert type(body["settle_deadline"]) is int
    assert opened.result == {}
    assert (held_msat, await client.balance_msat()) == (
        before_msat,
        before_msat + AMOUNT_MSAT,
    )
    assert (await deal.looked_up())["preimage"] == deal.preimage
    assert (await client.wallet.audit()).problems == ()


async def test_held_and_cancelled(client: Client, deal: Deal) -> None:
    """NWC-03: "Calls `cancel_hold_invoice` with payment hash to abort"."""
    before_msat = await client.balance_msat()
    await deal.held()

    opened = await client.request("cancel_hold_invoice", {"payment_hash": deal.payment_hash})

    assert opened.result == {}
    assert (await deal.looked_up())["state"] == "failed"
    assert await client.balance_msat() == before_msat


@pytest.mark.attack("A8")
async def test_the_chain_grows_towards_the_deadline_and_it_is_given_back(
    client: Client, wallet: WalletInProcess, deal: Deal
) -> None:
    """NWC-03: `settle_deadline`, "invoice can only be safely settled or canceled before this
    block number"."""
    await deal.held()

    await wallet.outside("mine", blocks=BLOCKS - 5)
    await wallet._flow.reconciler.ask_node(BackendName("sandbox"))

    await deal.until("failed")
    opened = await client.request("settle_hold_invoice", {"preimage": deal.preimage})
    assert opened.error_code == "OTHER"
    assert (await wallet.audit()).problems == ()


async def test_paid_by_another_account_it_is_settled_in_the_ledger(
    client: Client, wallet: WalletInProcess, deal: Deal
) -> None:
    payer = await wallet.connect()
    before_msat = await client.balance_msat(), await payer.balance_msat()
    request = payer.build_request("pay_invoice", {"invoice": await deal.made()})
    await payer.send_event(request)
    await deal.until("accepted")
    waiting = payer.responses_to(request.id)

    await client.request("settle_hold_invoice", {"preimage": deal.preimage})

    [answer] = payer.responses_to(request.id)
    assert waiting == []
    assert answer.result == {"preimage": deal.preimage, "fees_paid": 0}
    assert (await client.balance_msat(), await payer.balance_msat()) == (
        before_msat[0] + AMOUNT_MSAT,
        before_msat[1] - AMOUNT_MSAT,
    )
    assert (await wallet.audit()).problems == ()


def _told(client: Client) -> list[Opened]:
    return [client.notifications.get_nowait() for _ in range(client.notifications.qsize())]
