"""LNbits' traps on real LNbits, chained so that payments are external.

The contract suite runs on it too; here is what only LNbits does.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import pytest

from backends.lnbits.watch import Watch
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    FailReason,
    InFlight,
    InvoiceReport,
    NotSent,
    Settled,
)
from nwc_service.wallet.units import PaymentHash
from tests.backends.contract import (
    AMOUNT_MSAT,
    a_request,
    a_spec,
    balance_msat,
    eventually,
    proves,
    ref,
    settled_report,
)
from tests.backends.lnbits_rig import LnbitsRig, a_backend, lnbits_rig
from tests.backends.lnbits_server import call

# The first test may have to start, or even install, LNbits.
pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

PATIENCE_S = 60.0


@pytest.fixture
async def lnbits() -> AsyncIterator[LnbitsRig]:
    async with lnbits_rig(poll_s=600) as rig:  # so that a test sees the websocket's work
        yield rig


async def told(
    updates: AsyncIterator[tuple[InvoiceReport, Cursor | None]], *, until: PaymentHash
) -> list[PaymentHash]:
    """What a watch hands out, up to the invoice that is paid last."""
    seen: list[PaymentHash] = []
    closing = aclosing(
        cast("AsyncGenerator[tuple[InvoiceReport, Cursor | None], None]", updates)
    )
    async with asyncio.timeout(PATIENCE_S), closing as reports:
        async for report, _ in reports:
            seen.append(report.payment_hash)
            if report.payment_hash == until:
                break
    return seen


async def test_a_payment_outside_arrives_there(lnbits: LnbitsRig) -> None:
    payee = await lnbits.chain.upstream.new_wallet()
    request = a_request(await payee.make_invoice(AMOUNT_MSAT))

    outcome = await lnbits.backend.pay(request)

    assert isinstance(outcome, Settled)
    assert proves(outcome.preimage, request.payment_hash)
    assert await payee.balance_msat() == AMOUNT_MSAT


async def test_an_internal_payment_paid_again_is_still_settled(lnbits: LnbitsRig) -> None:
    """LNbits says `failed` of the second: "Internal invoice already paid."."""
    payee = await lnbits.chain.ours.new_wallet()
    request = a_request(await payee.make_invoice(AMOUNT_MSAT))
    first = await lnbits.backend.pay(request)
    before_msat = await balance_msat(lnbits.backend)

    again = await lnbits.backend.pay(request)

    assert isinstance(first, Settled)
    assert again == first
    assert await balance_msat(lnbits.backend) == before_msat
    assert await payee.balance_msat() == AMOUNT_MSAT


@pytest.mark.attack("A12")
@pytest.mark.parametrize("payee_is", ["beside it", "outside"])
async def test_an_invoice_that_somebody_else_paid_was_not_sent(
    lnbits: LnbitsRig, payee_is: str
) -> None:
    chain = lnbits.chain
    server = chain.ours if payee_is == "beside it" else chain.upstream
    request = a_request(await (await server.new_wallet()).make_invoice(AMOUNT_MSAT))
    assert await chain.our_wallet.pay(request.invoice) == "success"
    before_msat = await balance_msat(lnbits.backend)

    outcome = await lnbits.backend.pay(request)

    assert isinstance(outcome, NotSent)
    assert outcome.reason is FailReason.REJECTED
    assert await lnbits.backend.lookup_payment(ref(request)) is None
    assert await balance_msat(lnbits.backend) == before_msat


async def test_a_payment_that_hangs_upstream_stays_in_flight(lnbits: LnbitsRig) -> None:
    request = a_request(await lnbits.make_outside_invoice(AMOUNT_MSAT), timeout_s=4)
    before_msat = await balance_msat(lnbits.backend)

    lnbits.chain.pause_upstream()
    try:
        outcome = await lnbits.backend.pay(request)
        while_paused = await lnbits.backend.lookup_payment(ref(request))
    finally:
        lnbits.chain.resume_upstream()
    afterwards = await lnbits.backend.lookup_payment(ref(request))

    assert isinstance(outcome, InFlight)
    assert isinstance(while_paused, InFlight)
    assert isinstance(afterwards, InFlight | Settled)
    assert await balance_msat(lnbits.backend) <= before_msat - AMOUNT_MSAT


async def test_a_payment_with_the_upstream_gone_stays_in_flight(lnbits: LnbitsRig) -> None:
    request = a_request(await lnbits.make_outside_invoice(AMOUNT_MSAT), timeout_s=2)

    lnbits.chain.kill_upstream()
    try:
        outcome = await lnbits.backend.pay(request)
        with pytest.raises(BackendUnavailable, match="create_invoice"):
            await lnbits.backend.create_invoice(a_spec())
    finally:
        await lnbits.chain.restart_upstream()

    assert isinstance(outcome, InFlight)
    assert isinstance(await lnbits.backend.lookup_payment(ref(request)), InFlight)


async def test_lnbits_that_does_not_answer_is_found_out_before_anything_is_sent(
    lnbits: LnbitsRig,
) -> None:
    """A payment that it took now, it would make when it goes on."""
    invoice = await lnbits.make_outside_invoice(AMOUNT_MSAT)
    impatient = a_backend(lnbits.wallet, timeout_s=1)
    await impatient.start()

    lnbits.chain.ours.pause()
    try:
        with pytest.raises(BackendUnavailable):
            await impatient.decode(invoice)
    finally:
        lnbits.chain.ours.resume()
        await impatient.close()


@pytest.mark.attack("A22")
async def test_a_forged_websocket_message_settles_nothing(lnbits: LnbitsRig) -> None:
    """Anybody may send one who knows the address."""
    forged = await lnbits.backend.create_invoice(a_spec())
    paid = await lnbits.backend.create_invoice(a_spec())
    looked_up: list[PaymentHash] = []

    async def look_up(payment_hash: PaymentHash) -> InvoiceReport | None:
        looked_up.append(payment_hash)
        return await lnbits.backend.lookup_invoice(payment_hash)

    watch = Watch(lnbits.backend._options, look_up, lnbits.backend._settled_since, 0)
    watching = asyncio.create_task(told(watch.settled(), until=paid.payment_hash))
    message = {"payment": {"payment_hash": forged.payment_hash, "amount": AMOUNT_MSAT}}
    while forged.payment_hash not in looked_up and not watching.done():
        for text in ("nonsense", "{}", "[1]", json.dumps(message)):
            await forge(lnbits, text)
        await asyncio.sleep(0.2)
    # From a wallet beside it: LNbits tells that at once, whatever its upstream does.
    assert await lnbits.chain.our_wallet.pay(paid.invoice) == "success"

    assert await watching == [paid.payment_hash]


async def forge(lnbits: LnbitsRig, text: str) -> None:
    url = f"{lnbits.wallet.url}/api/v1/ws/{lnbits.wallet.invoice_key}"
    await call("POST", url, query={"data": text})


async def test_an_invoice_that_lnbits_tells_twice_is_handed_out_once(lnbits: LnbitsRig) -> None:
    """Its websocket tells internal payments twice."""
    first = await lnbits.backend.create_invoice(a_spec())
    last = await lnbits.backend.create_invoice(a_spec())
    watching = asyncio.create_task(
        told(lnbits.backend.watch_invoices(None), until=last.payment_hash)
    )
    await asyncio.sleep(0.5)

    for report in (first, last):
        assert await lnbits.chain.our_wallet.pay(report.invoice) == "success"
        await asyncio.sleep(0.5)

    assert await watching == [first.payment_hash, last.payment_hash]


async def test_what_was_settled_while_nobody_watched_is_told(lnbits: LnbitsRig) -> None:
    paid = [await lnbits.backend.create_invoice(a_spec()) for _ in range(2)]
    for report in reversed(paid):
        await lnbits.pay_from_outside(report.invoice)
        await settled_report(lnbits.backend, report.payment_hash)
    settled_at = (
        await settled_report(lnbits.backend, paid[1].payment_hash) or paid[1]
    ).settled_at

    from_the_start = await told(lnbits.backend.watch_invoices(None), until=paid[0].payment_hash)
    since = Cursor(str(settled_at))
    again = await told(lnbits.backend.watch_invoices(since), until=paid[0].payment_hash)

    # in the order of settling, and the operator's own money in is nobody's invoice
    assert from_the_start == [paid[1].payment_hash, paid[0].payment_hash]
    assert again == from_the_start


async def test_what_was_paid_while_lnbits_was_down_is_told_by_the_same_watch() -> None:
    """LNbits finds it at its own start, and then tells no websocket."""
    async with lnbits_rig(poll_s=0.5) as lnbits:
        report = await lnbits.backend.create_invoice(a_spec())
        updates = lnbits.backend.watch_invoices(None)
        watching = asyncio.create_task(told(updates, until=report.payment_hash))
        await asyncio.sleep(0.5)

        lnbits.chain.ours.kill()
        await lnbits.pay_from_outside(report.invoice)
        await lnbits.chain.ours.start()

        assert await watching == [report.payment_hash]


async def test_the_same_id_gives_the_same_invoice(lnbits: LnbitsRig) -> None:
    spec = a_spec(our_id="01j-some-id")

    first = await lnbits.backend.create_invoice(spec)

    assert await lnbits.backend.create_invoice(spec) == first
    assert proves(first.preimage, first.payment_hash)


async def test_a_fraction_of_a_satoshi_is_refused_not_cut_off(lnbits: LnbitsRig) -> None:
    with pytest.raises(BadRequest, match="whole sats"):
        await lnbits.backend.create_invoice(a_spec(1_500))

    assert (await lnbits.backend.list_history("in", None, 10)).items == []


async def test_an_expired_invoice_is_refused(lnbits: LnbitsRig) -> None:
    """LNbits itself would pay it."""
    request = a_request(await lnbits.make_outside_invoice(AMOUNT_MSAT, expiry_s=1))
    await asyncio.sleep(2.1)

    outcome = await lnbits.backend.pay(request)

    assert isinstance(outcome, NotSent)
    assert outcome.reason is FailReason.EXPIRED


@pytest.mark.parametrize(
    ("keys", "told_"),
    [
        pytest.param("swapped", "admin_key is no admin key", id="swapped"),
        pytest.param("admin-twice", "invoice_key is an admin key", id="admin-twice"),
        pytest.param("of-two-wallets", "different wallets", id="of-two-wallets"),
        pytest.param("of-nobody", "check url, admin_key", id="of-nobody"),
    ],
)
async def test_wrong_keys_are_found_at_start(lnbits: LnbitsRig, keys: str, told_: str) -> None:
    ours, other = lnbits.wallet, lnbits.chain.our_wallet
    options = {
        "swapped": {"admin_key": ours.invoice_key, "invoice_key": ours.admin_key},
        "admin-twice": {"invoice_key": ours.admin_key},
        "of-two-wallets": {"invoice_key": other.invoice_key},
        "of-nobody": {"admin_key": "0" * 32},
    }[keys]
    backend = a_backend(ours, **options)

    with pytest.raises(BackendUnavailable, match=told_):
        await backend.start()

    await backend.close()


async def test_a_payment_to_our_own_invoice_is_seen_from_both_sides(lnbits: LnbitsRig) -> None:
    report = await lnbits.backend.create_invoice(a_spec())
    request = a_request(report.invoice)

    outcome = await lnbits.backend.pay(request)

    assert isinstance(outcome, Settled)
    found = await eventually(
        lambda: lnbits.backend.lookup_invoice(report.payment_hash), lambda r: r is not None
    )
    assert found is not None
    assert found.status == "settled"
    assert await lnbits.backend.lookup_payment(ref(request)) == outcome
