"""What is refused before Core Lightning sends anything."""

from collections.abc import AsyncIterator

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import FailReason, NotSent, PayRequest
from tests.backends.cln_double import ClnDouble, cln_double
from tests.backends.cln_rows import AMOUNT_MSAT, a_backend, a_request, an_invoice, shape


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: ClnDouble) -> AsyncIterator[ClnBackend]:
    opened = a_backend(**double.options("socket"))
    await opened.start()
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(a_request(amount_msat=0), id="nothing"),
        pytest.param(a_request(max_fee_msat=-1), id="negative-fee"),
        pytest.param(a_request(payment_hash="00" * 32), id="another-hash"),
        pytest.param(a_request(amount_msat=AMOUNT_MSAT + 1), id="another-amount"),
        pytest.param(a_request("lnbcrt1"), id="no-invoice"),
        pytest.param(a_request(an_invoice(age_s=7200)), id="expired"),
        pytest.param(a_request("lni1qqq", amount_is_override=True), id="amount-of-bolt12"),
    ],
)
async def test_what_is_wrong_is_refused_before_the_node_hears_of_it(
    request_: PayRequest,
) -> None:
    backend = a_backend(socket="/nowhere")

    assert isinstance(await backend.pay(request_), NotSent)


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        ({"invoice_payment_hash": "00" * 32}, FailReason.BAD_REQUEST),
        ({"invoice_amount_msat": AMOUNT_MSAT + 1}, FailReason.BAD_REQUEST),
        ({"invoice_created_at": 1}, FailReason.EXPIRED),
        ({"valid": False}, FailReason.BAD_REQUEST),
        ({"type": "bolt12 offer"}, FailReason.BAD_REQUEST),
    ],
)
async def test_a_bolt12_invoice_is_read_by_the_node_and_must_be_the_one_that_was_meant(
    double: ClnDouble,
    backend: ClnBackend,
    reading: dict[str, object],
    reason: FailReason,
) -> None:
    offer = double.core.bolt12.make_outside_offer(AMOUNT_MSAT, expiry_s=None)
    fetched = await backend.fetch_invoice(offer, amount_msat=None, payer_note=None)
    before = double.core.bolt12.fetched[fetched.invoice]
    double.core.bolt12.fetched[fetched.invoice] = {**before, **reading}

    outcome = await backend.pay(a_request(fetched.invoice, payment_hash=fetched.payment_hash))

    assert shape(outcome) == (NotSent, reason)
    assert double.core.of("xpay") == []
