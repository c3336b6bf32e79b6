"""receive (NWC-321): a BIP-321 URI for a payer, with an invoice of this account in it and,
where the node makes them, an offer."""

import asyncio

import pytest

from nwc_service.backend import Cap
from nwc_service.wallet import bip321
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.bolt12 import Offer
from tests.clients.client import JsonObject
from tests.protocol.wallet import PLENTY_MSAT, Client, WalletInProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def receive(client: Client, **params: object) -> JsonObject:
    return (await client.request("receive", params)).result


def invoice_in(result: JsonObject) -> Bolt11:
    [invoice] = [each for each in instructions(result) if isinstance(each, Bolt11)]
    return invoice


def instructions(result: JsonObject) -> tuple[bip321.Instruction, ...]:
    return bip321.parse(result["bip321"]).instructions


async def test_the_uri_has_an_invoice_as_asked_for(client: Client) -> None:
    """NWC-321: "The `bip321` value MUST contain one or more wallet-selected receive
    instructions. Each instruction MUST use the wallet service Bitcoin network.", and "If
    `description` is present, the wallet service MUST include it in each selected instruction
    that supports descriptions."; "An implementation of `receive` MUST return at least one
    `lightning` or `lno` instruction"."""
    result = await receive(client, amount=123_001, description="tea ☕")

    assert set(result) == {"bip321", "transaction_id"}
    invoice = invoice_in(result)
    assert (invoice.amount_msat, invoice.description) == (123_001, "tea ☕")
    assert invoice.network == "regtest"


async def test_the_uri_has_an_offer_of_the_same_terms_beside_it(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-321: "If `description` is present, the wallet service MUST include it in each
    selected instruction that supports descriptions."; "Each instruction MUST use the wallet
    service Bitcoin network."."""
    result = await receive(client, amount=123_001, description="tea ☕", metadata={"n": 1})

    invoice, offer = instructions(result)
    assert isinstance(offer, Offer)
    assert isinstance(invoice, Bolt11)
    assert (offer.amount_msat, offer.description) == (123_001, "tea ☕")
    assert "regtest" in offer.networks
    assert offer.expires_at == invoice.expires_at

    await wallet.outside("pay-offer", offer=offer.offer)
    while not (rows := await client.transactions(type="incoming")):
        await asyncio.sleep(0.05)

    assert [(row["amount"], row["metadata"]) for row in rows] == [(123_001, {"n": 1})]
    assert await client.balance_msat() == PLENTY_MSAT + 123_001


@pytest.mark.parametrize(
    ("params", "caps"),
    [
        pytest.param({"description": "tea"}, Cap.BOLT12_RECEIVE, id="a-node-without-offers"),
        # "BOLT12 requires an amount-bearing offer to describe the purpose" (NWC-12).
        pytest.param({"amount": 1_000}, Cap(0), id="an-amount-without-a-description"),
    ],
)
async def test_where_there_can_be_no_offer_there_is_an_invoice(
    client: Client,
    wallet: WalletInProcess,
    params: JsonObject,
    caps: Cap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wallet.backend, "caps", wallet.backend.caps & ~caps)

    [instruction] = instructions(await receive(client, **params))

    assert isinstance(instruction, Bolt11)


@pytest.mark.parametrize("params", [{}, {"amount": None}], ids=["absent", "null"])
async def test_without_an_amount_the_payer_chooses_it(
    client: Client, wallet: WalletInProcess, params: JsonObject
) -> None:
    """NWC-321: "If `amount` is absent or null, the returned URI MUST accept an amount from the
    payer.\""""
    result = await receive(client, **params)
    invoice = invoice_in(result)
    assert invoice.amount_msat is None

    await wallet.outside("pay", invoice=invoice.invoice, amount_msat=7_000)
    found = await until_settled(client, result["transaction_id"])

    assert found["amount"] == 7_000
    assert await client.balance_msat() == PLENTY_MSAT + 7_000


async def until_settled(client: Client, transaction_id: str) -> JsonObject:
    while True:
        opened = await client.request("lookup_payment", {"transaction_id": transaction_id})
        if opened.result["state"] == "settled":
            return opened.result
        await asyncio.sleep(0.05)


async def test_another_account_pays_any_amount_inside(
    client: Client, wallet: WalletInProcess
) -> None:
    payer = await wallet.connect()
    result = await receive(client)

    paid = await payer.request("pay", {"payment": result["bip321"], "amount": 5_001})

    assert (paid.result["amount"], paid.result["fees_paid"]) == (5_001, 0)
    assert await client.balance_msat() == PLENTY_MSAT + 5_001
    assert await payer.balance_msat() == PLENTY_MSAT - 5_001


async def test_it_is_found_as_what_it_is_before_and_after(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-321: "The `transaction_id` MUST identify the same transaction in later wallet
    records." NWC-09: "`transaction_id` MUST be stable within the wallet service and MUST
    identify the same payment in responses from other NWC methods"."""
    result = await receive(client, metadata={"comment": "tea"})
    invoice = invoice_in(result).invoice
    one = {"transaction_id": result["transaction_id"]}

    before = (await client.request("lookup_payment", one)).result
    await (await wallet.connect()).request("pay", {"payment": result["bip321"], "amount": 10})
    after = (await client.request("lookup_payment", one)).result

    assert (before["state"], before["amount"], after["state"]) == ("pending", 0, "settled")
    assert before["details"]["invoice"] == after["details"]["invoice"] == invoice
    assert before["metadata"] == after["metadata"] == {"comment": "tea"}


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"amount": 0}, id="zero"),
        pytest.param({"amount": "1"}, id="no-number"),
        pytest.param({"description": "é" * 320}, id="a-long-description"),
        pytest.param({"description": 1}, id="no-text"),
        pytest.param({"metadata": []}, id="no-object"),
    ],
)
async def test_what_is_invalid_is_refused(client: Client, params: JsonObject) -> None:
    """NWC-321: "`BAD_REQUEST`: A parameter is invalid." Section 4, "invalid params":
    "BAD_REQUEST for 09, 12, 321"."""
    opened = await client.request("receive", params)

    assert opened.error_code == "BAD_REQUEST"
    assert opened.payload["error"]["message"].startswith(f"{next(iter(params))}: ")


@pytest.mark.parametrize(
    ("caps", "params"),
    [
        pytest.param(Cap.AMOUNTLESS_CREATE, {}, id="no-amount"),
        pytest.param(Cap.MSAT_INVOICE, {"amount": 1_001}, id="no-whole-sat"),
    ],
)
async def test_what_the_node_cannot_ask_for_is_refused(
    client: Client,
    wallet: WalletInProcess,
    caps: Cap,
    params: JsonObject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wallet.backend, "caps", wallet.backend.caps & ~caps)

    opened = await client.request("receive", params)

    assert opened.error_code == "BAD_REQUEST"


async def test_metadata_that_is_too_long_is_dropped(client: Client) -> None:
    """NWC-06: "The metadata MUST be no more than 4096 characters, otherwise MUST be
    dropped"."""
    result = await receive(client, amount=1_000, metadata={"comment": "x" * 4_096})

    found = await client.request("lookup_payment", {"transaction_id": result["transaction_id"]})
    assert "metadata" not in found.result


async def test_it_needs_its_scope(wallet: WalletInProcess) -> None:
    shop = await wallet.connect(scopes="all")
    reader = await wallet.connect(scopes="read")

    assert "bip321" in await receive(shop)
    assert (await reader.request("receive")).error_code == "RESTRICTED"
