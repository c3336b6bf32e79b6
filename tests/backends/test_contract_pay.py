"""The contract's half about payments, on every installed backend."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nwc_service.backend import (
    BadRequest,
    Cap,
    Failed,
    FailReason,
    InFlight,
    NotSent,
    PaymentKind,
    ReleaseRule,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat
from tests.backends.contract import (
    AMOUNT_MSAT,
    MAX_FEE_MSAT,
    NOBODYS_HASH,
    Rig,
    a_request,
    a_spec,
    balance_msat,
    needs,
    proves,
    ref,
)

MAINNET_INVOICE = bolt11.encode(
    network="mainnet",
    amount_msat=Msat(AMOUNT_MSAT),
    payment_hash=NOBODYS_HASH,
    payment_secret="11" * 32,
    description="",
    created_at=1_700_000_000,
    expiry_s=365 * 24 * 3600,
    secret_key=b"\x07" * 32,
)


@pytest.mark.attack("A5")
async def test_the_nodes_own_reading_of_an_outside_invoice_is_the_invoice(rig: Rig) -> None:
    needs(rig, Cap.DECODE)
    invoice = await rig.make_outside_invoice(AMOUNT_MSAT, expiry_s=1234)

    await assert_read_alike(rig, invoice)


async def test_the_nodes_own_reading_of_its_own_invoice_is_the_invoice(rig: Rig) -> None:
    needs(rig, Cap.DECODE)
    report = await rig.backend.create_invoice(a_spec())

    await assert_read_alike(rig, report.invoice)


async def test_the_nodes_own_reading_names_no_amount_where_the_invoice_does_not(
    rig: Rig,
) -> None:
    needs(rig, Cap.DECODE)

    await assert_read_alike(rig, await rig.make_outside_invoice(None))


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param("", id="empty"),
        pytest.param("no invoice", id="words"),
        pytest.param("lnbcrt1", id="a-prefix"),
        pytest.param(
            "LNURL1DP68GURN8GHJ7MRWW4EXCTNV9E3K7MF0D3H82UNVWQHKZURF9AMRZTM", id="lnurl"
        ),
        pytest.param(MAINNET_INVOICE[:-1] + "!", id="checksum"),
    ],
)
async def test_what_the_node_cannot_read_is_a_bad_request(rig: Rig, garbage: str) -> None:
    needs(rig, Cap.DECODE)

    with pytest.raises(BadRequest):
        await rig.backend.decode(garbage)


async def test_an_expiry_that_releases_money_is_the_nodes_own(rig: Rig) -> None:
    if ReleaseRule.EXPIRY in rig.backend.release_rules.values():
        assert Cap.DECODE in rig.backend.caps


async def assert_read_alike(rig: Rig, invoice: str) -> None:
    own = bolt11.decode(invoice)
    told = await rig.backend.decode(invoice)
    assert (told.payment_hash, told.amount_msat) == (own.payment_hash, own.amount_msat)
    assert told.expires_at == own.expires_at
    assert told.payee in (None, own.payee)


async def test_a_payment_gives_its_proof_and_costs_amount_and_fee(rig: Rig) -> None:
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))
    before_msat = await balance_msat(rig.backend)

    outcome = await rig.backend.pay(request)

    assert isinstance(outcome, Settled)
    assert proves(outcome.preimage, request.payment_hash)
    spent_msat = before_msat - await balance_msat(rig.backend)
    cap_msat = rig.backend.fee_cap_msat(request.amount_msat)
    assert (outcome.fee_msat or 0) <= (MAX_FEE_MSAT if cap_msat is None else cap_msat)
    assert spent_msat == AMOUNT_MSAT + (outcome.fee_msat or 0)


async def test_a_payment_is_found_again(rig: Rig) -> None:
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))
    outcome = await rig.backend.pay(request)

    found = await rig.backend.lookup_payment(ref(request))

    assert isinstance(outcome, Settled)
    assert isinstance(found, Settled)
    assert (found.preimage, found.fee_msat) == (outcome.preimage, outcome.fee_msat)


async def test_a_payment_that_was_never_sent_is_not_found(rig: Rig) -> None:
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))

    assert await rig.backend.lookup_payment(ref(request)) is None


async def test_a_repeated_payment_moves_money_once(rig: Rig) -> None:
    needs(rig, Cap.DEDUP_BY_HASH)
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))
    await rig.backend.pay(request)
    before_msat = await balance_msat(rig.backend)

    again = await rig.backend.pay(request)

    # Failed or NotSent would give the money of the first back.
    assert isinstance(again, Settled | InFlight | Unknown)
    assert await balance_msat(rig.backend) == before_msat


async def test_payments_at_the_same_time_move_money_once(rig: Rig) -> None:
    needs(rig, Cap.DEDUP_BY_HASH)
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))
    before_msat = await balance_msat(rig.backend)

    await asyncio.gather(*(rig.backend.pay(request) for _ in range(5)))

    found = await rig.backend.lookup_payment(ref(request))
    assert isinstance(found, Settled)
    assert await balance_msat(rig.backend) == before_msat - AMOUNT_MSAT - (found.fee_msat or 0)


async def refused(rig: Rig, pay: Awaitable[object]) -> Failed | NotSent:
    """The outcome of a payment that must be refused and cost nothing."""
    before_msat = await balance_msat(rig.backend)
    outcome = await pay
    assert isinstance(outcome, Failed | NotSent)
    assert await balance_msat(rig.backend) == before_msat
    return outcome


async def test_an_expired_invoice_is_refused(rig: Rig) -> None:
    if rig.backend.release_rules.get(PaymentKind.BOLT11) is not ReleaseRule.EXPIRY:
        pytest.skip("this backend does not promise to refuse expired invoices")
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT, expiry_s=1))
    await asyncio.sleep(2.1)

    outcome = await refused(rig, rig.backend.pay(request))

    assert outcome.reason is FailReason.EXPIRED


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: text[:-1] + ("q" if text[-1] != "q" else "p"), id="checksum"),
        pytest.param(lambda text: text[:60], id="cut"),
        pytest.param(lambda text: text[:40] + text[40:].upper(), id="mixed-case"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: text + "\0", id="nul"),
        pytest.param(lambda text: MAINNET_INVOICE, id="another-network"),
    ],
)
async def test_a_malformed_or_foreign_invoice_is_refused(
    rig: Rig, spoil: Callable[[str], str]
) -> None:
    good = a_request(await rig.make_outside_invoice(AMOUNT_MSAT))
    spoiled = type(good)(
        our_id=good.our_id,
        invoice=spoil(good.invoice),
        payment_hash=good.payment_hash,
        amount_msat=good.amount_msat,
        amount_is_override=False,
        max_fee_msat=good.max_fee_msat,
        timeout_s=good.timeout_s,
    )

    await refused(rig, rig.backend.pay(spoiled))

    assert await rig.backend.lookup_payment(ref(good)) is None


@pytest.mark.parametrize("amount_msat", [AMOUNT_MSAT - 1000, AMOUNT_MSAT + 1000])
async def test_another_amount_than_the_invoice_names_is_refused(
    rig: Rig, amount_msat: int
) -> None:
    invoice = await rig.make_outside_invoice(AMOUNT_MSAT)

    await refused(rig, rig.backend.pay(a_request(invoice, amount_msat=amount_msat)))


@pytest.mark.attack("A5")
async def test_another_hash_than_the_invoice_has_is_refused(rig: Rig) -> None:
    invoice = await rig.make_outside_invoice(AMOUNT_MSAT)

    await refused(rig, rig.backend.pay(a_request(invoice, payment_hash=NOBODYS_HASH)))


async def test_an_invoice_without_amount_is_paid_with_the_amount_told(rig: Rig) -> None:
    needs(rig, Cap.PAY_AMOUNTLESS)
    request = a_request(await rig.make_outside_invoice(None), amount_msat=3_000)
    before_msat = await balance_msat(rig.backend)

    outcome = await rig.backend.pay(request)

    assert isinstance(outcome, Settled)
    spent_msat = before_msat - await balance_msat(rig.backend)
    assert spent_msat == 3_000 + (outcome.fee_msat or 0)


@pytest.mark.attack("A3")
async def test_a_fee_above_the_limit_is_not_paid(rig: Rig) -> None:
    needs(rig, Cap.FEE_LIMIT)
    request = a_request(await rig.make_outside_invoice(AMOUNT_MSAT), max_fee_msat=0)

    outcome = await refused(rig, rig.backend.pay(request))

    assert outcome.reason is FailReason.FEE_TOO_HIGH


async def test_more_than_the_node_has_is_not_paid(rig: Rig) -> None:
    whole_sats = (await balance_msat(rig.backend) // 1000 + 1) * 1000
    request = a_request(
        await rig.make_outside_invoice(whole_sats), max_fee_msat=whole_sats // 100
    )

    outcome = await refused(rig, rig.backend.pay(request))

    assert outcome.reason is FailReason.INSUFFICIENT_BALANCE
