"""The contract's part about keysends in both directions, on every backend that has them."""

import asyncio

import pytest

from nwc_service.backend import (
    Cap,
    Failed,
    FailReason,
    InvoiceStatus,
    KeysendRequest,
    NotSent,
    PaymentKind,
    ReleaseRule,
    Settled,
)
from nwc_service.wallet.units import Preimage
from tests.backends.contract import (
    AMOUNT_MSAT,
    MAX_FEE_MSAT,
    STRANGER,
    Rig,
    a_keysend,
    a_request,
    a_spec,
    balance_msat,
    hash_of,
    needs,
    proves,
    ref,
    told,
)

BOOSTAGRAM = 7629169
PREIMAGE_RECORD = 5482373484


async def to_outside(rig: Rig, *, preimage: str | None = None) -> KeysendRequest:
    needs(rig, Cap.KEYSEND)
    return a_keysend(await rig.outside_pubkey(), preimage=preimage)


async def test_money_that_was_kept_for_what_has_no_invoice_is_given_back_by_nobody_alone(
    any_rig: Rig,
) -> None:
    """Without an expiry that the node refuses, there is no rule H."""
    rules = any_rig.backend.release_rules

    for kind in (PaymentKind.KEYSEND, PaymentKind.BOLT12):
        assert rules.get(kind, ReleaseRule.MANUAL) is ReleaseRule.MANUAL


async def test_a_keysend_settles_with_the_preimage_that_was_sent(any_rig: Rig) -> None:
    request = await to_outside(any_rig)

    outcome = await any_rig.backend.pay(request)

    assert isinstance(outcome, Settled)
    assert outcome.preimage == request.preimage
    assert await any_rig.backend.lookup_payment(ref(request)) == outcome


async def test_a_keysend_costs_amount_and_fee(rig: Rig) -> None:
    request = await to_outside(rig)
    before_msat = await balance_msat(rig.backend)

    outcome = await rig.backend.pay(request)

    assert isinstance(outcome, Settled)
    assert (outcome.fee_msat or 0) <= MAX_FEE_MSAT
    spent_msat = before_msat - await balance_msat(rig.backend)
    assert spent_msat == AMOUNT_MSAT + (outcome.fee_msat or 0)


async def test_a_keysend_that_was_never_sent_is_not_found(any_rig: Rig) -> None:
    request = await to_outside(any_rig)

    assert await any_rig.backend.lookup_payment(ref(request)) is None


async def test_a_keysend_is_found_after_another_start(any_rig: Rig) -> None:
    request = await to_outside(any_rig)
    outcome = await any_rig.backend.pay(request)

    await any_rig.reopen()

    assert await any_rig.backend.lookup_payment(ref(request)) == outcome


async def test_the_same_keysend_moves_money_once(rig: Rig) -> None:
    request = await to_outside(rig)
    before_msat = await balance_msat(rig.backend)

    outcomes = await asyncio.gather(*(rig.backend.pay(request) for _ in range(5)))

    [outcome] = set(outcomes)
    assert isinstance(outcome, Settled)
    assert await balance_msat(rig.backend) == before_msat - AMOUNT_MSAT - (
        outcome.fee_msat or 0
    )


async def test_a_preimage_that_was_used_is_sent_to_nobody(rig: Rig) -> None:
    """NWC-04's keysend: the preimage is never reused, whoever forwarded it knows it."""
    first = await to_outside(rig)
    await rig.backend.pay(first)
    before_msat = await balance_msat(rig.backend)

    again = await rig.backend.pay(await to_outside(rig, preimage=first.preimage))

    assert isinstance(again, NotSent)
    assert await balance_msat(rig.backend) == before_msat
    assert isinstance(await rig.backend.lookup_payment(ref(first)), Settled)


async def test_the_preimage_of_an_invoice_is_sent_to_nobody(rig: Rig) -> None:
    needs(rig, Cap.OWN_PREIMAGE)
    request = await to_outside(rig)
    await rig.backend.create_invoice(a_spec(preimage=request.preimage))

    assert isinstance(await rig.backend.pay(request), NotSent)


async def test_the_preimage_of_a_paid_invoice_is_sent_to_nobody(rig: Rig) -> None:
    needs(rig, Cap.KEYSEND)
    paid = await rig.backend.pay(a_request(await rig.make_outside_invoice(AMOUNT_MSAT)))
    assert isinstance(paid, Settled)

    again = await rig.backend.pay(await to_outside(rig, preimage=paid.preimage))

    assert isinstance(again, NotSent)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"destination": STRANGER}, id="nobody"),
        pytest.param({"destination": ""}, id="no-key"),
        pytest.param({"destination": "02" + "ff" * 32}, id="not-on-the-curve"),
        pytest.param({"destination": STRANGER[2:]}, id="x-only"),
        pytest.param({"preimage": "12" * 31}, id="short-preimage"),
        pytest.param({"preimage": "zz" * 32}, id="preimage-not-hex"),
        pytest.param({"amount_msat": 0}, id="nothing"),
        pytest.param({"amount_msat": 10**19}, id="more-than-all-bitcoin"),
        pytest.param({"tlvs": {PREIMAGE_RECORD: b"\1" * 32}}, id="the-preimages-record"),
        pytest.param({"tlvs": {7: b"x"}}, id="a-record-of-the-protocol"),
        pytest.param({"tlvs": {BOOSTAGRAM: b"x" * 2000}}, id="too-long"),
        pytest.param({"max_fee_msat": 0}, id="fee-above-the-limit"),
    ],
)
async def test_what_cannot_be_sent_is_refused_and_costs_nothing(
    rig: Rig, spoil: dict[str, object]
) -> None:
    needs(rig, Cap.KEYSEND_TLV)
    wanted: dict[str, object] = {"destination": await rig.outside_pubkey()}
    request = a_keysend(**(wanted | spoil))  # type: ignore[arg-type]
    before_msat = await balance_msat(rig.backend)

    outcome = await rig.backend.pay(request)

    assert isinstance(outcome, Failed | NotSent)
    assert await balance_msat(rig.backend) == before_msat


async def test_a_fee_above_the_limit_is_the_reason_that_is_told(rig: Rig) -> None:
    needs(rig, Cap.KEYSEND | Cap.FEE_LIMIT)
    request = a_keysend(await rig.outside_pubkey(), max_fee_msat=0)

    outcome = await rig.backend.pay(request)

    assert isinstance(outcome, Failed | NotSent)
    assert outcome.reason is FailReason.FEE_TOO_HIGH


async def test_a_node_sends_itself_no_keysend(rig: Rig) -> None:
    needs(rig, Cap.KEYSEND)
    own = (await rig.backend.start()).pubkey
    assert own is not None

    assert isinstance(await rig.backend.pay(a_keysend(own)), Failed | NotSent)


@pytest.mark.parametrize(
    "tlvs", [{}, {BOOSTAGRAM: b'{"action":"boost"}', 2**64 - 1: b""}], ids=["none", "two"]
)
async def test_a_keysend_that_comes_in_is_told_with_what_it_brought(
    any_rig: Rig, tlvs: dict[int, bytes]
) -> None:
    needs(any_rig, Cap.KEYSEND_IN)

    await any_rig.keysend_from_outside(AMOUNT_MSAT, tlvs)

    [report], _ = await told(any_rig.backend, None, until=lambda each: True)
    assert (report.status, report.received_msat) == (InvoiceStatus.SETTLED, AMOUNT_MSAT)
    assert (report.invoice, report.node_offer_id) == ("", None)
    assert report.tlvs == tlvs
    assert proves(report.preimage, report.payment_hash)
    assert await any_rig.backend.lookup_invoice(report.payment_hash) == report


async def test_a_keysend_that_comes_in_is_money(rig: Rig) -> None:
    needs(rig, Cap.KEYSEND_IN)
    before_msat = await balance_msat(rig.backend)

    await rig.keysend_from_outside(AMOUNT_MSAT, {})

    assert await balance_msat(rig.backend) == before_msat + AMOUNT_MSAT


def test_the_hash_of_a_keysend_is_that_of_its_preimage() -> None:
    request = a_keysend(STRANGER, preimage="12" * 32)

    assert ref(request).payment_hash == hash_of(Preimage("12" * 32))
