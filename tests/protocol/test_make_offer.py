"""make_offer (NWC-12), with a node that has offers of its own."""

import asyncio

import pytest

from nwc_service.backend import BadRequest
from nwc_service.wallet import bolt12
from tests.clients.client import JsonObject
from tests.protocol.wallet import PLENTY_MSAT, Client, WalletInProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def make(client: Client, **params: object) -> JsonObject:
    return (await client.request("make_offer", params)).result


async def pay_outside(wallet: WalletInProcess, offer: JsonObject, amount_msat: int) -> None:
    await wallet.outside("pay-offer", offer=offer["offer"], amount_msat=amount_msat)


async def until_there(client: Client, balance_msat: int) -> None:
    async with asyncio.timeout(10):
        while await client.balance_msat() != balance_msat:
            await asyncio.sleep(0.02)


async def test_a_reusable_offer_is_paid_again_and_again(
    client: Client, wallet: WalletInProcess
) -> None:
    offer = await make(client, description="tips")

    await pay_outside(wallet, offer, 1_000)
    await pay_outside(wallet, offer, 2_500)
    await until_there(client, PLENTY_MSAT + 3_500)

    rows = await client.transactions()
    assert sorted(row["amount"] for row in rows) == [1_000, 2_500]
    assert {row["details"]["offer_id"] for row in rows} == {offer["offer_id"]}
    assert client.notification_types() == ["payment_received"] * 4  # in both encryptions


async def test_a_payment_of_an_offer_is_the_makers_alone(
    client: Client, wallet: WalletInProcess
) -> None:
    other = await wallet.connect()
    mine, theirs = await make(client), await make(other)

    await pay_outside(wallet, theirs, 1_000)
    await until_there(other, PLENTY_MSAT + 1_000)

    assert mine["offer_id"] != theirs["offer_id"]
    assert await client.balance_msat() == PLENTY_MSAT
    assert await client.transactions() == []


async def test_an_offer_for_a_single_use_is_paid_once(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-12: "If `single_use` is true, the wallet MUST enforce that at most one payment
    created from the returned offer settles.\""""
    offer = await make(client, single_use=True)
    await pay_outside(wallet, offer, 1_000)
    await until_there(client, PLENTY_MSAT + 1_000)

    with pytest.raises(BadRequest):
        await pay_outside(wallet, offer, 1_000)
    inside = await (await wallet.connect()).request(
        "pay", {"payment": offer["bip321"], "amount": 1_000}
    )

    assert inside.error_code == "PAYMENT_FAILED"
    assert await client.balance_msat() == PLENTY_MSAT + 1_000


async def test_of_two_payers_of_a_single_use_at_once_one_gets_an_invoice(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-12: "It SHOULD stop issuing new invoices while an earlier invoice from that offer can
    still settle"."""
    offer = await make(client, single_use=True)

    ends = await asyncio.gather(
        *(pay_outside(wallet, offer, 1_000) for _ in range(2)), return_exceptions=True
    )
    await until_there(client, PLENTY_MSAT + 1_000)

    assert [type(end) for end in ends if end is not None] == [BadRequest]


async def test_an_offer_expires_when_it_was_asked_to(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-12: "The wallet MUST encode it as the BOLT12 absolute expiry and MUST stop answering
    invoice requests after it.\""""
    expires_at = wallet.clock() + 60
    offer = await make(client, expires_at=expires_at)
    payer = await wallet.connect()

    wallet.ahead_s += 61
    try:
        with pytest.raises(BadRequest):
            await pay_outside(wallet, offer, 1_000)
        inside = await payer.request("pay", {"payment": offer["bip321"], "amount": 1_000})
    finally:
        wallet.ahead_s -= 61

    assert bolt12.decode(offer["offer"]).expires_at == expires_at
    assert inside.error_code == "BAD_REQUEST"


async def test_issuer_and_description_are_in_the_offer(client: Client) -> None:
    """NWC-12: "`issuer`, when present, MUST be encoded as the BOLT12 issuer.\""""
    offer = await make(client, amount=5_000, description="tea ☕", issuer="example.com")

    read = bolt12.decode(offer["offer"])
    assert (read.amount, read.description, read.issuer) == (5_000, "tea ☕", "example.com")
    assert read.networks == {"regtest"}
    assert bolt12.offer_id(read) == offer["offer_id"]


async def test_it_needs_its_scope(wallet: WalletInProcess) -> None:
    shop = await wallet.connect(scopes="all")
    reader = await wallet.connect(scopes="read")

    assert "offer" in await make(shop)
    assert (await reader.request("make_offer")).error_code == "RESTRICTED"


async def test_what_can_be_done_is_told(client: Client) -> None:
    """NWC-12: "advertise `make_offer` and `lookup_payment` as supported methods in its NWC info
    event and `get_info` response"; "advertise `09` and `12`". NWC-321: "A wallet service
    advertises each supported method in its NWC info event and `get_info` response"."""
    info = (await client.request("get_info")).result

    assert {"pay", "receive", "lookup_payment", "make_offer"} <= set(info["methods"])
    assert {"09", "12", "321"} <= set(info["extensions"])
