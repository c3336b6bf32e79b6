"""The contract's part about hold invoices, on every backend with Cap.HOLD."""

import secrets

import pytest

from nwc_service.backend import BadRequest, Cap, InvoiceReport, InvoiceStatus
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import PaymentHash, Preimage
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    Rig,
    a_spec,
    balance_msat,
    eventually,
    hash_of,
    needs,
    proves,
    told,
)

WRONG = Preimage("13" * 32)


async def a_hold(rig: Rig, *, is_paid: bool = True) -> tuple[Preimage, InvoiceReport]:
    """A new hold invoice, as its creation reported it; with a payment that is held."""
    needs(rig, Cap.HOLD)
    preimage = Preimage(secrets.token_hex(32))
    made = await rig.backend.create_invoice(a_spec(hold_hash=hash_of(preimage)))
    if is_paid:
        await rig.pay_from_outside(made.invoice)
        await status_of(rig, made.payment_hash, InvoiceStatus.ACCEPTED)
    return preimage, made


async def status_of(
    rig: Rig, payment_hash: PaymentHash, wanted: InvoiceStatus
) -> InvoiceReport:
    report = await eventually(
        lambda: rig.backend.lookup_invoice(payment_hash),
        lambda report: report is not None and report.status is wanted,
    )
    assert report is not None
    assert report.status is wanted
    return report


async def test_a_hold_invoice_has_the_hash_that_was_asked_for(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig, is_paid=False)

    decoded = bolt11.decode(made.invoice)
    assert decoded.payment_hash == made.payment_hash == hash_of(preimage)
    assert (decoded.amount_msat, made.status) == (AMOUNT_MSAT, InvoiceStatus.OPEN)
    assert (made.preimage, made.settle_deadline) == (None, None)
    assert await any_rig.backend.lookup_invoice(made.payment_hash) == made


async def test_the_same_id_gives_the_same_hold_invoice(any_rig: Rig) -> None:
    needs(any_rig, Cap.HOLD)
    spec = a_spec(our_id="one", hold_hash=hash_of(WRONG))

    first = await any_rig.backend.create_invoice(spec)

    assert await any_rig.backend.create_invoice(spec) == first


async def test_a_hash_serves_one_invoice_only(rig: Rig) -> None:
    needs(rig, Cap.HOLD)
    await rig.backend.create_invoice(a_spec(our_id="one", hold_hash=hash_of(WRONG)))

    with pytest.raises(BadRequest):
        await rig.backend.create_invoice(a_spec(our_id="two", hold_hash=hash_of(WRONG)))


async def test_a_payment_of_a_hold_invoice_is_accepted_until_a_height_and_told(
    any_rig: Rig,
) -> None:
    _, made = await a_hold(any_rig)

    report = await any_rig.backend.lookup_invoice(made.payment_hash)
    seen, _ = await told(
        any_rig.backend, None, until=lambda each: each.payment_hash == made.payment_hash
    )

    assert report is not None
    assert (report.received_msat, report.preimage) == (AMOUNT_MSAT, None)
    assert (report.settled_at, report.invoice) == (None, made.invoice)
    height = (await any_rig.backend.start()).block_height
    assert height is not None
    assert report.settle_deadline is not None
    assert report.settle_deadline > height
    assert seen[-1] == report


async def test_what_is_accepted_is_no_money_yet(rig: Rig) -> None:
    needs(rig, Cap.HOLD)
    before_msat = await balance_msat(rig.backend)

    await a_hold(rig)

    assert await balance_msat(rig.backend) == before_msat


async def test_the_payer_leaves_the_blocks_that_were_asked_for(any_rig: Rig) -> None:
    needs(any_rig, Cap.HOLD)
    made = await any_rig.backend.create_invoice(
        a_spec(hold_hash=hash_of(WRONG), min_cltv_expiry_delta=500)
    )
    await any_rig.pay_from_outside(made.invoice)

    report = await status_of(any_rig, made.payment_hash, InvoiceStatus.ACCEPTED)

    height = (await any_rig.backend.start()).block_height
    assert height is not None
    assert report.settle_deadline is not None
    # A node may keep some of them for itself.
    assert height + 400 < report.settle_deadline <= height + 500


async def test_a_held_payment_is_settled_with_its_preimage_and_told(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig)

    report = await any_rig.backend.resolve_hold(made.payment_hash, preimage)

    assert (report.status, report.received_msat) == (InvoiceStatus.SETTLED, AMOUNT_MSAT)
    assert proves(report.preimage, made.payment_hash)
    assert report.settle_deadline is None
    seen, _ = await told(
        any_rig.backend, None, until=lambda each: each.status is InvoiceStatus.SETTLED
    )
    assert seen[-1] == report == await any_rig.backend.lookup_invoice(made.payment_hash)


async def test_a_cursor_goes_on_between_accepted_and_settled(any_rig: Rig) -> None:
    needs(any_rig, Cap.SETTLE_CURSOR)
    preimage, made = await a_hold(any_rig)
    _, cursor = await told(any_rig.backend, None, until=lambda each: True)

    await any_rig.backend.resolve_hold(made.payment_hash, preimage)

    [report], _ = await told(any_rig.backend, cursor, until=lambda each: True)
    assert (report.payment_hash, report.status) == (made.payment_hash, InvoiceStatus.SETTLED)


async def test_settling_again_changes_nothing(rig: Rig) -> None:
    preimage, made = await a_hold(rig)
    before_msat = await balance_msat(rig.backend)
    first = await rig.backend.resolve_hold(made.payment_hash, preimage)

    again = await rig.backend.resolve_hold(made.payment_hash, preimage)

    assert again == first
    assert await balance_msat(rig.backend) == before_msat + AMOUNT_MSAT


async def test_a_held_payment_is_given_back_once(any_rig: Rig) -> None:
    _, made = await a_hold(any_rig)
    before_msat = await balance_msat(any_rig.backend)

    first = await any_rig.backend.resolve_hold(made.payment_hash, None)
    again = await any_rig.backend.resolve_hold(made.payment_hash, None)

    assert first == again
    assert (first.status, first.settle_deadline) == (InvoiceStatus.CANCELED, None)
    assert await balance_msat(any_rig.backend) == before_msat


async def test_what_was_given_back_is_never_settled(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig)
    await any_rig.backend.resolve_hold(made.payment_hash, None)

    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(made.payment_hash, preimage)

    await status_of(any_rig, made.payment_hash, InvoiceStatus.CANCELED)


async def test_what_is_settled_is_never_given_back(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig)
    await any_rig.backend.resolve_hold(made.payment_hash, preimage)

    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(made.payment_hash, None)

    await status_of(any_rig, made.payment_hash, InvoiceStatus.SETTLED)


async def test_another_preimage_settles_nothing(any_rig: Rig) -> None:
    _, made = await a_hold(any_rig)

    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(made.payment_hash, WRONG)

    await status_of(any_rig, made.payment_hash, InvoiceStatus.ACCEPTED)


async def test_what_nobody_has_paid_is_not_settled(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig, is_paid=False)

    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(made.payment_hash, preimage)

    await status_of(any_rig, made.payment_hash, InvoiceStatus.OPEN)


async def test_a_canceled_hold_invoice_is_paid_by_nobody(any_rig: Rig) -> None:
    _, made = await a_hold(any_rig, is_paid=False)

    report = await any_rig.backend.resolve_hold(made.payment_hash, None)

    assert report.status is InvoiceStatus.CANCELED
    with pytest.raises((BadRequest, ValueError)):
        await any_rig.pay_from_outside(made.invoice)


@pytest.mark.parametrize("preimage", [None, WRONG], ids=["cancel", "settle"])
async def test_a_hold_invoice_of_nobody_is_a_bad_request(
    any_rig: Rig, preimage: Preimage | None
) -> None:
    needs(any_rig, Cap.HOLD)
    payment_hash = NOBODYS_HASH if preimage is None else hash_of(preimage)

    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(payment_hash, preimage)


async def test_a_plain_invoice_holds_nothing(rig: Rig) -> None:
    needs(rig, Cap.HOLD)
    made = await rig.backend.create_invoice(a_spec())

    with pytest.raises(BadRequest):
        await rig.backend.resolve_hold(made.payment_hash, None)

    await status_of(rig, made.payment_hash, InvoiceStatus.OPEN)


@pytest.mark.parametrize("is_paid", [False, True], ids=["open", "accepted"])
async def test_canceling_an_invoice_gives_back_what_it_holds(
    any_rig: Rig, is_paid: bool
) -> None:
    needs(any_rig, Cap.CANCEL_INVOICE)
    preimage, made = await a_hold(any_rig, is_paid=is_paid)

    await any_rig.backend.cancel_invoice(made.payment_hash)
    await any_rig.backend.cancel_invoice(made.payment_hash)

    await status_of(any_rig, made.payment_hash, InvoiceStatus.CANCELED)
    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(made.payment_hash, preimage)


async def test_at_its_deadline_the_node_gives_back_what_it_holds(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig)
    report = await status_of(any_rig, made.payment_hash, InvoiceStatus.ACCEPTED)
    height = (await any_rig.backend.start()).block_height
    assert report.settle_deadline is not None
    assert height is not None

    await any_rig.mine(report.settle_deadline - height)

    await status_of(any_rig, made.payment_hash, InvoiceStatus.CANCELED)
    with pytest.raises(BadRequest):
        await any_rig.backend.resolve_hold(made.payment_hash, preimage)


async def test_what_is_only_accepted_is_not_in_the_history(rig: Rig) -> None:
    needs(rig, Cap.LIST_IN)
    preimage, made = await a_hold(rig)
    before = await rig.backend.list_history("in", None, 10)

    await rig.backend.resolve_hold(made.payment_hash, preimage)

    assert list(before.items) == []
    [listed] = (await rig.backend.list_history("in", None, 10)).items
    assert listed.payment_hash == made.payment_hash


async def test_what_is_held_is_held_after_another_start(any_rig: Rig) -> None:
    preimage, made = await a_hold(any_rig)
    before = await any_rig.backend.lookup_invoice(made.payment_hash)

    await any_rig.reopen()

    assert await any_rig.backend.lookup_invoice(made.payment_hash) == before
    report = await any_rig.backend.resolve_hold(made.payment_hash, preimage)
    assert report.status is InvoiceStatus.SETTLED
