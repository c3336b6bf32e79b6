"""LND itself, where the contract says nothing: its words, its crashes, its rights."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import cast

import pytest

from backends.lnd import LndBackend, bake_command
from backends.lnd.payments import refusal
from backends.lnd.rights import NEEDED
from backends.lnd.sender import SAME_MOMENT_S, SEND
from nwc_service.backend import (
    BackendUnavailable,
    Cursor,
    Failed,
    FailReason,
    InFlight,
    InvoiceReport,
    NotSent,
    Outcome,
    PaymentRef,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import BackendName, PaymentHash
from tests.backends.contract import (
    AMOUNT_MSAT,
    a_request,
    a_spec,
    proves,
    ref,
    settled_report,
    watch_until,
)
from tests.backends.lnd_rig import a_backend, b64, configured
from tests.backends.lnd_rows import an_invoice, shape
from tests.regtest.lnd import LndNode
from tests.regtest.network import RegtestNetwork, shared_network

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture
async def network() -> RegtestNetwork:
    return await shared_network()


@pytest.fixture
async def backend(network: RegtestNetwork) -> AsyncIterator[LndBackend]:
    """Of alice, who has two channels."""
    opened = await a_backend(network.nodes["alice"])
    await opened.start()
    yield opened
    await opened.close()


async def an_outside_invoice(node: LndNode, amount_msat: int = AMOUNT_MSAT) -> str:
    return str((await node.make_invoice(amount_msat))["payment_request"])


async def a_held_invoice(node: LndNode) -> tuple[bytes, str]:
    """One that is paid until it is settled with this preimage."""
    preimage = secrets.token_bytes(32)
    body = {"hash": b64(sha256(preimage).digest()), "value_msat": str(AMOUNT_MSAT)}
    made = await node.rest("POST", "/v2/invoices/hodl", json=body)
    return preimage, str(made["payment_request"])


# --- rights


async def test_the_command_bakes_a_macaroon_that_is_taken(network: RegtestNetwork) -> None:
    """What `lncli` asks LND for, which refuses a right that it does not know."""
    alice = network.nodes["alice"]
    pairs = [right.split(":", 1) for right in bake_command("x").split()[3:]]
    body = {"permissions": [{"entity": entity, "action": action} for entity, action in pairs]}
    baked = await alice.rest("POST", "/v1/macaroon", json=body)
    options = configured(alice, str(baked["macaroon"]))
    backend = LndBackend(BackendName("lnd"), options, data_dir=alice.certificate.parent)

    assert (await backend.start()).pubkey == alice.pubkey
    await backend.close()


async def test_the_admins_macaroon_is_refused(network: RegtestNetwork) -> None:
    alice = network.nodes["alice"]
    options = configured(alice, alice.macaroon)
    admin = LndBackend(BackendName("lnd"), options, data_dir=alice.certificate.parent)

    with pytest.raises(BackendUnavailable, match="more than is needed: address:read"):
        await admin.start()


async def test_a_revoked_macaroon_sends_nothing(network: RegtestNetwork) -> None:
    alice, carol = network.nodes["alice"], network.nodes["carol"]
    macaroon = await alice.bake(*(f"uri:{uri}" for uri in NEEDED), root_key_id=77)
    options = configured(alice, macaroon)
    fenced = LndBackend(BackendName("lnd"), options, data_dir=alice.certificate.parent)
    await fenced.start()
    await alice.rest("DELETE", "/v1/macaroon/77")

    outcome = await fenced.pay(a_request(await an_outside_invoice(carol)))
    answers = await answers_to(fenced, await an_outside_invoice(carol))

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    assert shape(answers) == (NotSent, FailReason.UNAVAILABLE)
    await fenced.close()


# --- words


async def answers_to(backend: LndBackend, invoice: str, **more: object) -> Outcome:
    """What LND itself answers, without this backend's own checks."""
    body = {"payment_request": invoice, "fee_limit_msat": "0", "timeout_seconds": 1, **more}
    async with backend._api.send(SEND, body, connect_s=5) as lines:
        async for reply in lines:
            return refusal(reply)
    raise AssertionError("LND said nothing")


async def test_lnds_own_refusals_are_known_to_send_nothing(
    network: RegtestNetwork, backend: LndBackend
) -> None:
    carol = network.nodes["carol"]
    expired = await carol.make_invoice(1_000, expiry="1")
    own = await backend.create_invoice(a_spec())
    await asyncio.sleep(2.1)

    said = [
        await answers_to(backend, str(expired["payment_request"])),
        await answers_to(backend, own.invoice),
        await answers_to(backend, await an_outside_invoice(carol), amt_msat="7"),
        await answers_to(backend, await an_outside_invoice(carol, 0)),
        await answers_to(backend, an_invoice(network="mainnet")),
    ]

    assert [shape(outcome) for outcome in said] == [
        (NotSent, FailReason.EXPIRED),
        (NotSent, FailReason.REJECTED),
        (NotSent, FailReason.BAD_REQUEST),
        (NotSent, FailReason.BAD_REQUEST),
        (NotSent, FailReason.BAD_REQUEST),
    ]


# --- payments


async def test_what_no_channel_carries_alone_is_paid_in_parts(
    network: RegtestNetwork, backend: LndBackend
) -> None:
    bob = network.nodes["bob"]
    request = a_request(await an_outside_invoice(bob, 600_000_000))

    outcome = await backend.pay(request)

    assert isinstance(outcome, Settled)
    assert proves(outcome.preimage, request.payment_hash)
    assert await backend.lookup_payment(ref(request)) == outcome
    back = await backend.create_invoice(a_spec(600_000_000))
    paid = await bob.pay(payment_request=back.invoice)
    assert paid["status"] == "SUCCEEDED"


@pytest.mark.attack("A3")
async def test_the_fee_limit_is_obeyed_to_the_msat(
    network: RegtestNetwork, backend: LndBackend
) -> None:
    carol = network.nodes["carol"]
    fee_msat = 1_000 + AMOUNT_MSAT // 1_000_000  # LND's default of one hop

    below = a_request(await an_outside_invoice(carol), max_fee_msat=fee_msat - 1)
    just = a_request(await an_outside_invoice(carol), max_fee_msat=fee_msat)

    assert shape(await backend.pay(below)) == (Failed, FailReason.FEE_TOO_HIGH)
    outcome = await backend.pay(just)
    assert isinstance(outcome, Settled)
    assert outcome.fee_msat == fee_msat


@pytest.mark.attack("A4")
async def test_an_earlier_failure_proves_nothing_about_a_later_send(
    network: RegtestNetwork, backend: LndBackend
) -> None:
    request = a_request(await an_outside_invoice(network.nodes["carol"]), max_fee_msat=0)
    dispatched_at = int(time.time())
    assert isinstance(await backend.pay(request), Failed)

    at_once = await backend.pay(replace(request, our_id="two"))
    found = await backend.lookup_payment(replace(ref(request), dispatched_at=dispatched_at))
    await asyncio.sleep(SAME_MOMENT_S + 1.1)
    later = ref(request)
    unsent = await backend.lookup_payment(later)
    again = await backend.pay(replace(request, our_id="three"))

    assert shape(at_once) == (NotSent, FailReason.REJECTED)
    assert isinstance(found, Failed)
    assert unsent is None
    assert isinstance(again, Failed)
    assert isinstance(await backend.lookup_payment(later), Failed)


@pytest.mark.attack("A4")
async def test_a_payment_survives_the_death_of_lnd(
    network: RegtestNetwork, backend: LndBackend
) -> None:
    alice, carol = network.nodes["alice"], network.nodes["carol"]
    preimage, invoice = await a_held_invoice(carol)
    request = a_request(invoice, timeout_s=6)
    paying = asyncio.create_task(backend.pay(request))
    payment_hash = sha256(preimage).digest()
    while await state_of(carol, payment_hash) != "ACCEPTED":
        await asyncio.sleep(0.05)

    alice.kill()
    during = await paying
    await network.heal()
    waiting = await backend.lookup_payment(ref(request))
    await carol.rest("POST", "/v2/invoices/settle", json={"preimage": b64(preimage)})
    after = await ended(backend, request.payment_hash)

    assert isinstance(during, InFlight | Unknown)
    assert isinstance(waiting, InFlight)
    assert isinstance(after, Settled)
    assert after.preimage == preimage.hex()


async def state_of(node: LndNode, payment_hash: bytes) -> str:
    return str((await node.rest("GET", f"/v1/invoice/{payment_hash.hex()}"))["state"])


async def ended(backend: LndBackend, payment_hash: PaymentHash) -> Outcome | None:
    async with asyncio.timeout(60):
        while True:
            payment = await backend._payments.find(payment_hash, operation="test")
            if payment is not None and payment.status != "IN_FLIGHT":
                return await backend.lookup_payment(ref_of(payment_hash))
            await asyncio.sleep(0.1)


def ref_of(payment_hash: PaymentHash) -> PaymentRef:
    return PaymentRef("our_id", payment_hash, dispatched_at=0)


async def test_a_frozen_lnd_is_sent_nothing(
    network: RegtestNetwork, backend: LndBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shakes no hands, so no request lies in its socket to be read when it is thawed."""
    alice, carol = network.nodes["alice"], network.nodes["carol"]
    request = a_request(await an_outside_invoice(carol), timeout_s=1)
    with monkeypatch.context() as before_it_froze:
        before_it_froze.setattr(backend._payments, "find", nothing_known)
        alice.pause()
        outcome = await backend.pay(request)
        alice.resume()

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    await asyncio.sleep(1)
    assert await backend.lookup_payment(ref(request)) is None
    await network.heal()


async def nothing_known(_hash: PaymentHash, *, operation: str) -> None:
    """As LND would have said."""


# --- receipts


async def test_what_was_settled_while_nobody_listened_is_told(
    network: RegtestNetwork, backend: LndBackend
) -> None:
    alice, bob = network.nodes["alice"], network.nodes["bob"]
    first = await backend.create_invoice(a_spec())
    await bob.pay(payment_request=first.invoice)
    _, cursor = await watch_until(backend, None, payment_hash=first.payment_hash)
    updates = cast(
        "AsyncGenerator[tuple[InvoiceReport, Cursor | None], None]",
        backend.watch_invoices(cursor),
    )
    second = await backend.create_invoice(a_spec())
    third = await backend.create_invoice(a_spec())

    async with aclosing(updates):
        listening = asyncio.create_task(anext(updates))
        await asyncio.sleep(0.5)
        alice.kill()
        with pytest.raises(BackendUnavailable):
            await listening
    await network.heal()
    for report in (third, second):
        await bob.pay(payment_request=report.invoice)
        await settled_report(backend, report.payment_hash)
    seen, _ = await watch_until(backend, cursor, payment_hash=second.payment_hash)

    assert seen == [third.payment_hash, second.payment_hash]


async def test_its_counters_only_rise(network: RegtestNetwork, backend: LndBackend) -> None:
    before = await backend.counters()
    await backend.pay(a_request(await an_outside_invoice(network.nodes["carol"])))
    await backend.create_invoice(a_spec())

    after = await backend.counters()

    assert after.keys() == before.keys()
    assert len(after) == 4  # with one for each channel
    rising = {name for name in before if after[name] > before[name]}
    assert {"payment_index", "add_index"} < rising
    assert all(after[name] >= before[name] for name in before)
