"""The service as its own process on a real node; each test ends with its books in order."""

import asyncio
import secrets
from hashlib import sha256
from typing import Any

import pytest

from backends.lnd.options import HOLD_EXPIRY_DELTA
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.hold import MARGIN_BLOCKS
from tests.e2e.conftest import until
from tests.regtest.conftest import FEE_RESERVE_MSAT
from tests.regtest.network import RegtestNetwork
from tests.regtest.outside import LndOutside, an_invoice_of_nobody
from tests.regtest.wallet import AMOUNT_MSAT, CREDIT_MSAT, FEE_MSAT, LOOK_TIMEOUT_S, Wallet

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.real,
    pytest.mark.timeout(300),
]

MOST_AT_THAT_FEE_MSAT = 1_999_999
HOLD_DELTA_BLOCKS = 40


# --- it pays


async def test_it_pays_an_invoice_of_a_node_behind_another(
    wallet: Wallet, carol: LndOutside
) -> None:
    invoice = await carol.make_invoice(AMOUNT_MSAT)

    paid = (await wallet.ask("pay_invoice", invoice=invoice)).result

    payment_hash = bolt11.decode(invoice).payment_hash
    assert sha256(bytes.fromhex(paid["preimage"])).hexdigest() == payment_hash
    assert paid["fees_paid"] == FEE_MSAT
    assert await wallet.figures() == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    there = await carol.invoice(payment_hash)
    assert (there["state"], there["amt_paid_msat"]) == ("SETTLED", str(AMOUNT_MSAT))


async def test_a_keysend_arrives_with_its_tlvs(
    wallet: Wallet, carol: LndOutside, network: RegtestNetwork
) -> None:
    told = b"two teas"
    records = [{"type": 7_629_169, "value": told.hex()}]

    answer = await wallet.ask(
        "pay_keysend", amount=AMOUNT_MSAT, pubkey=carol.node.pubkey, tlv_records=records
    )

    payment_hash = keysend.payment_hash(answer.result["preimage"])
    [htlc] = (await carol.invoice(payment_hash))["htlcs"]
    assert htlc["amt_msat"] == str(AMOUNT_MSAT)
    assert htlc["custom_records"]["7629169"] == "dHdvIHRlYXM="
    assert await wallet.figures() == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)


async def test_an_amountless_invoice_is_paid_with_an_amount(
    wallet: Wallet, carol: LndOutside
) -> None:
    invoice = await carol.make_invoice(0)

    refused = await wallet.ask("pay_invoice", invoice=invoice)
    paid = await wallet.ask("pay_invoice", invoice=invoice, amount=AMOUNT_MSAT)

    assert refused.error_code == "OTHER"
    assert paid.result["fees_paid"] == FEE_MSAT
    there = await carol.invoice(bolt11.decode(invoice).payment_hash)
    assert there["amt_paid_msat"] == str(AMOUNT_MSAT)


async def test_the_fee_reserve_is_used_up_to_the_last_msat_and_no_further(
    wallet: Wallet, carol: LndOutside
) -> None:
    just_msat, above_msat = MOST_AT_THAT_FEE_MSAT, MOST_AT_THAT_FEE_MSAT + 1
    assert carol.fee_msat(just_msat) == FEE_RESERVE_MSAT
    assert carol.fee_msat(above_msat) == FEE_RESERVE_MSAT + 1

    just = await wallet.ask("pay_invoice", invoice=await carol.make_invoice(just_msat))
    above = await wallet.ask("pay_invoice", invoice=await carol.make_invoice(above_msat))

    assert just.result["fees_paid"] == FEE_RESERVE_MSAT
    assert above.payload["error"] == {
        "code": "PAYMENT_FAILED",
        "message": "the fee would exceed the reserve",
    }
    assert await wallet.figures() == (CREDIT_MSAT - just_msat - FEE_RESERVE_MSAT, 0)


async def test_what_cannot_be_paid_is_given_back_and_told(
    wallet: Wallet, carol: LndOutside
) -> None:
    expired = await carol.make_invoice(AMOUNT_MSAT, expiry="1")
    canceled = await carol.make_invoice(AMOUNT_MSAT)
    await carol.cancel(bolt11.decode(canceled).payment_hash)
    await asyncio.sleep(2.1)

    told = [
        (await wallet.ask("pay_invoice", invoice=invoice)).payload["error"]
        for invoice in (expired, canceled, an_invoice_of_nobody(AMOUNT_MSAT))
    ]

    assert [error["code"] for error in told[1:]] == ["PAYMENT_FAILED", "PAYMENT_FAILED"]
    assert [error["message"] for error in told] == [
        "invoice: it has expired",
        "the payee refused the payment",
        "no route to the payee",
    ]
    assert await wallet.figures() == (CREDIT_MSAT, 0)


# --- it is paid


async def test_it_is_paid_by_a_node_behind_another(wallet: Wallet, carol: LndOutside) -> None:
    made = (await wallet.ask("make_invoice", amount=AMOUNT_MSAT)).result

    await carol.pay(made["invoice"])

    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)
    found = (await wallet.ask("lookup_invoice", payment_hash=made["payment_hash"])).result
    assert (found["state"], found["amount"]) == ("settled", AMOUNT_MSAT)
    assert keysend.payment_hash(found["preimage"]) == made["payment_hash"]


async def test_a_keysend_that_names_an_account_is_its(
    wallet: Wallet, carol: LndOutside, network: RegtestNetwork
) -> None:
    account = await wallet.service.account(wallet.account)
    tlvs = {keysend.ACCOUNT_TLV: account["keysend_id"].encode()}

    paid = await carol.keysend(network.nodes["alice"].pubkey, AMOUNT_MSAT, tlvs=tlvs)

    assert paid["status"] == "SUCCEEDED"
    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)


async def a_held_payment(
    wallet: Wallet, carol: LndOutside
) -> tuple[bytes, str, "asyncio.Task[dict[str, Any]]"]:
    """The preimage and the hash of a hold invoice of the wallet's, and carol who pays it."""
    preimage = secrets.token_bytes(32)
    payment_hash = sha256(preimage).hexdigest()
    made = await wallet.ask(
        "make_hold_invoice",
        amount=AMOUNT_MSAT,
        payment_hash=payment_hash,
        min_cltv_expiry_delta=HOLD_DELTA_BLOCKS,
    )
    paying = asyncio.create_task(carol.node.pay(payment_request=made.result["invoice"]))

    async def is_accepted() -> bool:
        found = await wallet.ask("lookup_invoice", payment_hash=payment_hash)
        return bool(found.result["state"] == "accepted")

    await until(is_accepted, timeout_s=LOOK_TIMEOUT_S)
    return preimage, payment_hash, paying


async def test_a_held_payment_is_settled_by_its_owner(
    wallet: Wallet, carol: LndOutside
) -> None:
    preimage, _, paying = await a_held_payment(wallet, carol)
    assert await wallet.figures() == (CREDIT_MSAT, 0)

    await wallet.ask("settle_hold_invoice", preimage=preimage.hex())

    assert (await paying)["status"] == "SUCCEEDED"
    await wallet.has(CREDIT_MSAT + AMOUNT_MSAT)


async def test_a_held_payment_is_canceled_by_its_owner(
    wallet: Wallet, carol: LndOutside
) -> None:
    _, payment_hash, paying = await a_held_payment(wallet, carol)

    await wallet.ask("cancel_hold_invoice", payment_hash=payment_hash)

    assert (await paying)["status"] == "FAILED"
    assert await wallet.figures() == (CREDIT_MSAT, 0)


async def test_a_held_payment_is_given_back_before_its_deadline(
    wallet: Wallet, carol: LndOutside, network: RegtestNetwork
) -> None:
    """While the node would still hold it: at the deadline LND gives it back by itself."""
    alice = LndOutside(network.nodes["alice"])
    preimage, payment_hash, paying = await a_held_payment(wallet, carol)
    [htlc] = (await alice.invoice(payment_hash))["htlcs"]
    height = (await alice.node.rest("GET", "/v1/getinfo"))["block_height"]
    nodes_deadline = htlc["expiry_height"] - HOLD_EXPIRY_DELTA

    await network.mine(nodes_deadline - MARGIN_BLOCKS - height)

    assert (await paying)["status"] == "FAILED"
    told = await wallet.ask("settle_hold_invoice", preimage=preimage.hex())
    assert told.error_code is not None
    info = await alice.node.rest("GET", "/v1/getinfo")
    assert info["block_height"] < nodes_deadline
    assert await wallet.figures() == (CREDIT_MSAT, 0)
