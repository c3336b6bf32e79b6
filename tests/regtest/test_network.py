"""The network itself: what its nodes do for each other before anything of ours is there."""

import asyncio
import base64
import secrets
from hashlib import sha256
from typing import Any

import pytest

from tests.regtest.lnd import LndNode, RestError
from tests.regtest.network import CAPACITY_SAT, RegtestNetwork, shared_network

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KEYSEND_PREIMAGE = "5482373484"  # the TLV type in which a keysend carries its preimage


@pytest.fixture
async def network() -> RegtestNetwork:
    return await shared_network()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


async def invoice_of(node: LndNode, payment_hash: bytes) -> dict[str, Any]:
    return await node.rest("GET", f"/v1/invoice/{payment_hash.hex()}")


async def test_alice_pays_carol_over_bob(network: RegtestNetwork) -> None:
    alice, carol = network.nodes["alice"], network.nodes["carol"]
    invoice = await carol.make_invoice(25_000_001)

    paid = await alice.pay(payment_request=invoice["payment_request"])

    assert paid["status"] == "SUCCEEDED"
    preimage = bytes.fromhex(paid["payment_preimage"])
    assert sha256(preimage).digest() == base64.b64decode(invoice["r_hash"])
    (attempt,) = [htlc for htlc in paid["htlcs"] if htlc["status"] == "SUCCEEDED"]
    assert len(attempt["route"]["hops"]) == 2
    assert int(paid["fee_msat"]) > 0


async def test_what_one_channel_cannot_carry_is_split(network: RegtestNetwork) -> None:
    alice, bob = network.nodes["alice"], network.nodes["bob"]
    amount_msat = CAPACITY_SAT * 600  # a channel has half of its money on either side
    invoice = await bob.make_invoice(amount_msat)

    paid = await alice.pay(payment_request=invoice["payment_request"])

    assert paid["status"] == "SUCCEEDED"
    assert sum(htlc["status"] == "SUCCEEDED" for htlc in paid["htlcs"]) > 1
    back = await alice.make_invoice(amount_msat)
    assert (await bob.pay(payment_request=back["payment_request"]))["status"] == "SUCCEEDED"


async def test_a_keysend_arrives_with_its_tlvs(network: RegtestNetwork) -> None:
    alice, carol = network.nodes["alice"], network.nodes["carol"]
    preimage = secrets.token_bytes(32)
    payment_hash = sha256(preimage).digest()

    paid = await alice.pay(
        dest=b64(bytes.fromhex(carol.pubkey)),
        amt_msat="12345",
        payment_hash=b64(payment_hash),
        dest_custom_records={KEYSEND_PREIMAGE: b64(preimage), "696969": b64(b"hello")},
    )

    assert paid["status"] == "SUCCEEDED"
    received = await invoice_of(carol, payment_hash)
    assert received["amt_paid_msat"] == "12345"
    assert received["htlcs"][0]["custom_records"]["696969"] == b64(b"hello")


@pytest.mark.parametrize(
    ("end", "invoice_state", "payment_status"),
    [("settle", "SETTLED", "SUCCEEDED"), ("cancel", "CANCELED", "FAILED")],
)
async def test_a_hold_invoice_is_accepted_and_then_settled_or_canceled(
    network: RegtestNetwork, end: str, invoice_state: str, payment_status: str
) -> None:
    alice, carol = network.nodes["alice"], network.nodes["carol"]
    preimage = secrets.token_bytes(32)
    payment_hash = sha256(preimage).digest()
    body = {"hash": b64(payment_hash), "value_msat": "50000"}
    held = await carol.rest("POST", "/v2/invoices/hodl", json=body)
    paying = asyncio.create_task(alice.pay(payment_request=held["payment_request"]))

    async for invoice in carol.stream("GET", f"/v2/invoices/subscribe/{b64url(payment_hash)}"):
        if invoice["state"] == "ACCEPTED":
            break
    assert not paying.done()
    how = (
        {"preimage": b64(preimage)} if end == "settle" else {"payment_hash": b64(payment_hash)}
    )
    await carol.rest("POST", f"/v2/invoices/{end}", json=how)

    assert (await paying)["status"] == payment_status
    assert (await invoice_of(carol, payment_hash))["state"] == invoice_state


async def test_a_killed_node_comes_back_with_its_channels(network: RegtestNetwork) -> None:
    bob, carol = network.nodes["bob"], network.nodes["carol"]
    identity, before = bob.pubkey, await bob.rest("GET", "/v1/balance/channels")

    bob.kill()
    await network.heal()

    assert bob.pubkey == identity
    assert await bob.rest("GET", "/v1/balance/channels") == before
    invoice = await carol.make_invoice(1_000)
    paid = await network.nodes["alice"].pay(payment_request=invoice["payment_request"])
    assert paid["status"] == "SUCCEEDED"


async def test_a_frozen_node_answers_when_it_is_thawed(network: RegtestNetwork) -> None:
    bob = network.nodes["bob"]
    bob.pause()
    asking = asyncio.create_task(bob.rest("GET", "/v1/getinfo"))
    done, _ = await asyncio.wait([asking], timeout=1)
    assert not done

    bob.resume()

    assert (await asking)["identity_pubkey"] == bob.pubkey
    await network.heal()


async def test_a_baked_macaroon_has_the_rights_it_names(network: RegtestNetwork) -> None:
    alice = network.nodes["alice"]
    macaroon = await alice.bake("info:read")

    info = await alice.rest("GET", "/v1/getinfo", macaroon=macaroon)
    assert info["identity_pubkey"] == alice.pubkey
    with pytest.raises(RestError, match="permission denied"):
        await alice.rest("GET", "/v1/balance/channels", macaroon=macaroon)
