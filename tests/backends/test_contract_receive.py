"""The contract's half about invoices, on every installed backend."""

import asyncio
from hashlib import sha256

import pytest

from nwc_service.backend import (
    BadRequest,
    Cap,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Preimage
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    Rig,
    a_spec,
    balance_msat,
    eventually,
    needs,
    proves,
    settled_report,
    watch_until,
)


async def test_a_new_invoice_is_what_was_asked_for(rig: Rig) -> None:
    info = await rig.backend.start()

    report = await rig.backend.create_invoice(a_spec(AMOUNT_MSAT, expiry_s=600))

    decoded = bolt11.decode(report.invoice)
    assert (decoded.amount_msat, decoded.description) == (AMOUNT_MSAT, "tea")
    assert decoded.payment_hash == report.payment_hash
    assert decoded.expires_at == report.expires_at
    assert decoded.invoice == report.invoice
    assert report.status is InvoiceStatus.OPEN
    assert (report.received_msat, report.settled_at) == (None, None)
    # LNbits shows the preimage at once to whoever may make invoices.
    assert report.preimage is None or proves(report.preimage, report.payment_hash)
    assert info.network in (None, decoded.network)
    if Cap.OWN_EXPIRY in rig.backend.caps:
        assert decoded.expiry_s == 600


async def test_the_hash_of_a_description_is_in_the_invoice(rig: Rig) -> None:
    needs(rig, Cap.HASHED_DESCRIPTION)
    text = "a long story"
    digest = sha256(text.encode()).hexdigest()

    report = await rig.backend.create_invoice(a_spec(description=text, description_hash=digest))

    assert bolt11.decode(report.invoice).description_hash == digest


async def test_a_description_hash_is_in_the_invoice(rig: Rig) -> None:
    needs(rig, Cap.DESCRIPTION_HASH)

    report = await rig.backend.create_invoice(a_spec(description_hash="ab" * 32))

    assert bolt11.decode(report.invoice).description_hash == "ab" * 32


async def test_the_same_id_gives_the_same_invoice(rig: Rig) -> None:
    needs(rig, Cap.OWN_PREIMAGE)
    preimage = "12" * 32

    first = await rig.backend.create_invoice(a_spec(our_id="one", preimage=preimage))
    again = await rig.backend.create_invoice(a_spec(our_id="one", preimage=preimage))

    assert again == first
    assert proves(Preimage(preimage), first.payment_hash)


async def test_a_preimage_serves_one_invoice_only(rig: Rig) -> None:
    needs(rig, Cap.OWN_PREIMAGE)
    await rig.backend.create_invoice(a_spec(our_id="one", preimage="12" * 32))

    with pytest.raises(BadRequest):
        await rig.backend.create_invoice(a_spec(our_id="two", preimage="12" * 32))


async def test_an_invoice_of_nobody_is_not_found(rig: Rig) -> None:
    assert await rig.backend.lookup_invoice(NOBODYS_HASH) is None


async def test_an_invoice_paid_from_outside_is_settled_with_its_proof(rig: Rig) -> None:
    made = await rig.backend.create_invoice(a_spec(AMOUNT_MSAT))
    before_msat = await balance_msat(rig.backend)

    await rig.pay_from_outside(made.invoice)
    report = await settled_report(rig.backend, made.payment_hash)

    assert report is not None
    assert (report.status, report.received_msat) == (InvoiceStatus.SETTLED, AMOUNT_MSAT)
    assert proves(report.preimage, made.payment_hash)
    assert report.settled_at is None or report.settled_at >= made.created_at
    assert await balance_msat(rig.backend) == before_msat + AMOUNT_MSAT


@pytest.mark.attack("A18")
async def test_an_invoice_without_amount_reports_what_arrived(rig: Rig) -> None:
    needs(rig, Cap.AMOUNTLESS_CREATE)
    made = await rig.backend.create_invoice(a_spec(None))

    await rig.pay_from_outside(made.invoice, 7_000)
    report = await settled_report(rig.backend, made.payment_hash)

    assert report is not None
    assert (report.amount_msat, report.received_msat) == (None, 7_000)


async def test_a_settled_invoice_is_told_to_whoever_watches(rig: Rig) -> None:
    made = await rig.backend.create_invoice(a_spec(AMOUNT_MSAT))
    watching = asyncio.create_task(
        watch_until(rig.backend, None, payment_hash=made.payment_hash)
    )
    await asyncio.sleep(0.2)

    await rig.pay_from_outside(made.invoice)
    seen, _ = await watching

    assert seen[-1] == made.payment_hash


@pytest.mark.attack("A16")
async def test_a_cursor_goes_on_where_it_was_and_loses_nothing(rig: Rig) -> None:
    needs(rig, Cap.SETTLE_CURSOR)
    made = [await rig.backend.create_invoice(a_spec(AMOUNT_MSAT)) for _ in range(3)]
    # Paid in another order than made: the order of settling counts.
    paid = [made[2], made[0], made[1]]
    for report in paid:
        await rig.pay_from_outside(report.invoice)
    hashes = [report.payment_hash for report in paid]

    first, cursor = await watch_until(rig.backend, None, payment_hash=hashes[0])
    await rig.reopen()
    rest, _ = await watch_until(rig.backend, cursor, payment_hash=hashes[2])

    assert first + rest == hashes


async def test_a_canceled_invoice_stays_canceled(rig: Rig) -> None:
    needs(rig, Cap.CANCEL_INVOICE)
    made = await rig.backend.create_invoice(a_spec())

    await rig.backend.cancel_invoice(made.payment_hash)
    await rig.backend.cancel_invoice(made.payment_hash)

    report = await rig.backend.lookup_invoice(made.payment_hash)
    assert report is not None
    assert report.status is InvoiceStatus.CANCELED


async def test_fractions_of_a_satoshi_are_invoiced_exactly_or_refused(rig: Rig) -> None:
    if Cap.MSAT_INVOICE in rig.backend.caps:
        report = await rig.backend.create_invoice(a_spec(1_001))

        assert bolt11.decode(report.invoice).amount_msat == 1_001
        return

    with pytest.raises((BadRequest, Unsupported)):
        await rig.backend.create_invoice(a_spec(1_001))


async def test_an_expired_invoice_is_reported_as_such(rig: Rig) -> None:
    needs(rig, Cap.OWN_EXPIRY)
    made = await rig.backend.create_invoice(a_spec(expiry_s=1))

    report = await eventually(
        lambda: rig.backend.lookup_invoice(made.payment_hash),
        lambda report: report is not None and report.status is InvoiceStatus.EXPIRED,
    )

    assert report is not None
    assert report.status is InvoiceStatus.EXPIRED
