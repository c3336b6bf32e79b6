"""What each of LNbits' answers to a payment proves, against a scripted server."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from backends.lnbits import LnbitsBackend
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    PayRequest,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, PaymentHash, Preimage
from tests.backends.lnbits_double import (
    ADMIN_KEY,
    AMOUNT_MSAT,
    DECODE,
    LOOK_UP,
    PAY,
    PAYMENT_HASH,
    PREIMAGE,
    SETTLED,
    SETTLED_AT,
    Answer,
    LnbitsDouble,
    a_backend,
    a_lookup,
    a_refusal,
    a_row,
    an_invoice,
    lnbits_double,
    shape,
)


def a_request(
    *,
    invoice: str = "",
    payment_hash: str = PAYMENT_HASH,
    amount_msat: int = AMOUNT_MSAT,
    amount_is_override: bool = False,
    max_fee_msat: int = 2_000,
    timeout_s: float = 0.3,
) -> PayRequest:
    return PayRequest(
        our_id="our_id",
        invoice=invoice or an_invoice(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        amount_msat=Msat(amount_msat),
        amount_is_override=amount_is_override,
        max_fee_msat=Msat(max_fee_msat),
        timeout_s=timeout_s,
    )


@pytest.fixture
async def double() -> AsyncIterator[LnbitsDouble]:
    async with lnbits_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: LnbitsDouble) -> AsyncIterator[LnbitsBackend]:
    opened = a_backend(double.url)
    await opened.start()
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(Answer(201, a_row()), SETTLED, id="201-success"),
        pytest.param(
            Answer(201, a_row(fee=None)),
            Settled(Preimage(PREIMAGE), None, SETTLED_AT),
            id="fee-not-said",
        ),
        pytest.param(
            Answer(201, a_row(fee=-1.2)),
            Settled(Preimage(PREIMAGE), Msat(2), SETTLED_AT),
            id="fee-rounded-up",
        ),
        pytest.param(
            Answer(201, a_row(preimage=PREIMAGE.upper(), fee=7)),
            Settled(Preimage(PREIMAGE), Msat(7), SETTLED_AT),
            id="preimage-in-capitals",
        ),
        pytest.param(Answer(201, a_row(preimage="00" * 32)), Unknown, id="wrong-preimage"),
        pytest.param(Answer(201, a_row(preimage=None)), Unknown, id="no-preimage"),
        pytest.param(Answer(201, a_row(preimage="no hex")), Unknown, id="preimage-no-hex"),
        pytest.param(Answer(201, a_row("pending")), InFlight, id="201-pending"),
        pytest.param(
            Answer(201, a_row("failed")), (NotSent, FailReason.REJECTED), id="201-failed"
        ),
        pytest.param(
            Answer(201, a_row("failed", amount=int(AMOUNT_MSAT))),
            (NotSent, FailReason.REJECTED),
            id="201-failed-with-the-payees-row",
        ),
        pytest.param(
            Answer(201, a_row(payment_hash="ab" * 32)), Unknown, id="201-of-another-hash"
        ),
        pytest.param(
            Answer(201, a_row(amount=int(AMOUNT_MSAT))), Unknown, id="201-incoming-success"
        ),
        pytest.param(Answer(201, a_row("done")), Unknown, id="201-unheard-of-status"),
        pytest.param(Answer(201, "{nonsense"), Unknown, id="201-no-json"),
        pytest.param(Answer(201, "[]"), Unknown, id="201-another-shape"),
        pytest.param(Answer(201, ""), Unknown, id="201-empty"),
        pytest.param(
            a_refusal("Insufficient balance.", "failed"),
            (NotSent, FailReason.INSUFFICIENT_BALANCE),
            id="520-balance",
        ),
        pytest.param(
            a_refusal("You must reserve at least (2  sat) to cover fees.", "failed"),
            (NotSent, FailReason.INSUFFICIENT_BALANCE),
            id="520-reserve",
        ),
        pytest.param(
            a_refusal("Bolt11 decoding failed.", "failed"),
            (NotSent, FailReason.BAD_REQUEST),
            id="520-no-invoice",
        ),
        pytest.param(
            a_refusal("Internal invoice already paid.", "failed"),
            (NotSent, FailReason.REJECTED),
            id="520-paid-by-somebody-else",
        ),
        pytest.param(
            a_refusal("Payment failed: no route", "failed"),
            (Failed, FailReason.OTHER),
            id="520-failed-on-the-way",
        ),
        pytest.param(
            a_refusal("Payment already paid.", "success"),
            (NotSent, FailReason.REJECTED),
            id="520-paid-by-another-wallet",
        ),
        pytest.param(
            a_refusal("Payment is still pending.", "pending"),
            (NotSent, FailReason.REJECTED),
            id="520-pending-of-another-wallet",
        ),
        pytest.param(
            a_refusal("Payment already paid.", "pending"), Unknown, id="520-of-two-minds"
        ),
        pytest.param(
            a_refusal("Payment already paid.", "success", http=502), Unknown, id="502-paid"
        ),
        pytest.param(
            a_refusal("Unexpected backend error.", "pending"), Unknown, id="520-pending"
        ),
        pytest.param(a_refusal("", "success"), Unknown, id="520-success"),
        pytest.param(a_refusal("bad gateway", None, http=502), Unknown, id="502"),
        pytest.param(Answer(500, "Internal Server Error"), Unknown, id="500"),
        pytest.param(
            a_refusal([{"msg": "field required"}], None, http=400),
            (NotSent, FailReason.BAD_REQUEST),
            id="400-not-read",
        ),
        pytest.param(
            a_refusal("Daily withdrawal limit of 5 sats reached.", None, http=400),
            (NotSent, FailReason.REJECTED),
            id="400-before-sending",
        ),
        pytest.param(
            a_refusal("Expecting value: line 1 column 1", None, http=400),
            Unknown,
            id="400-after-sending",
        ),
        pytest.param(
            a_refusal("Invalid adminkey.", None, http=403),
            (NotSent, FailReason.UNAVAILABLE),
            id="403",
        ),
        pytest.param(
            a_refusal("Rate limit exceeded", None, http=429),
            (NotSent, FailReason.UNAVAILABLE),
            id="429",
        ),
        pytest.param(Answer(307), (NotSent, FailReason.UNAVAILABLE), id="307-first-install"),
        pytest.param(Answer(cut=True), Unknown, id="cut-after-the-request"),
        pytest.param(Answer(201, a_row(), delay_s=9), Unknown, id="too-slow"),
    ],
)
async def test_an_answer_proves_what_it_says_where_the_wallet_shows_nothing(
    double: LnbitsDouble, backend: LnbitsBackend, answer: Answer, expected: object
) -> None:
    double.script[PAY] = answer

    outcome = await backend.pay(a_request())

    assert shape(outcome) == expected
    assert len(double.asked(PAY)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(201, a_row("failed")), id="201-failed"),
        pytest.param(a_refusal("Payment already paid.", "success"), id="520-success"),
        pytest.param(a_refusal("Internal invoice already paid.", "failed"), id="520-failed"),
        pytest.param(a_refusal("Payment already exists", None, http=400), id="400"),
        pytest.param(Answer(201, a_row(preimage=None)), id="201-without-preimage"),
        pytest.param(Answer(500), id="500"),
    ],
)
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(a_row(), SETTLED, id="success"),
        pytest.param(a_row("failed"), (Failed, FailReason.OTHER), id="failed"),
        pytest.param(a_row("pending"), InFlight, id="pending"),
        pytest.param(a_row(preimage="00" * 32), Unknown, id="wrong-preimage"),
    ],
)
async def test_what_the_wallet_shows_goes_before_any_refusal(
    double: LnbitsDouble,
    backend: LnbitsBackend,
    answer: Answer,
    row: dict[str, object],
    expected: object,
) -> None:
    double.script |= {PAY: answer, LOOK_UP: a_lookup(row)}

    outcome = await backend.pay(a_request(timeout_s=0.7))

    assert shape(outcome) == expected


@pytest.mark.attack("A4")
async def test_a_refusal_proves_nothing_when_the_wallet_cannot_be_read(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script |= {PAY: a_refusal("Insufficient balance.", "failed"), LOOK_UP: Answer(500)}

    assert isinstance(await backend.pay(a_request()), Unknown)


async def test_a_payment_whose_reply_was_lost_is_looked_up_within_the_time(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script |= {PAY: Answer(cut=True), LOOK_UP: a_lookup(a_row())}

    outcome = await backend.pay(a_request(timeout_s=5))

    assert outcome == SETTLED
    assert len(double.asked(PAY)) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        pytest.param(
            a_request(amount_is_override=True), FailReason.UNSUPPORTED, id="no-amount"
        ),
        pytest.param(a_request(amount_msat=21_500), FailReason.UNSUPPORTED, id="sub-sat"),
        pytest.param(
            a_request(max_fee_msat=1_999), FailReason.FEE_TOO_HIGH, id="less-than-the-cap"
        ),
        pytest.param(
            a_request(invoice=an_invoice(22_000)), FailReason.BAD_REQUEST, id="another-amount"
        ),
        pytest.param(
            a_request(payment_hash="ab" * 32), FailReason.BAD_REQUEST, id="another-hash"
        ),
        pytest.param(a_request(invoice="lnbc1"), FailReason.BAD_REQUEST, id="no-invoice"),
        pytest.param(
            a_request(invoice=an_invoice()[:40] + an_invoice()[40:].upper()),
            FailReason.BAD_REQUEST,
            id="mixed-case",
        ),
        pytest.param(
            a_request(invoice=an_invoice(age_s=3_601)), FailReason.EXPIRED, id="expired"
        ),
    ],
)
async def test_some_payments_are_refused_before_lnbits_hears_of_them(
    double: LnbitsDouble, backend: LnbitsBackend, request_: PayRequest, reason: FailReason
) -> None:
    double.requests.clear()

    outcome = await backend.pay(request_)

    assert shape(outcome) == (NotSent, reason)
    assert double.requests == []


async def test_no_connection_means_that_nothing_was_sent() -> None:
    gone = a_backend("http://127.0.0.1:9")  # discard: nobody listens
    gone._api.open()

    outcome = await gone.pay(a_request())

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    await gone.close()


@pytest.mark.attack("A4", "A23")
async def test_each_payment_goes_out_once_with_the_admin_key_on_a_fresh_connection(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[PAY] = Answer(201, a_row())

    await backend.pay(a_request())
    await backend.pay(a_request())

    first, second = double.asked(PAY)
    others = {request.connection for request in double.requests if request.name != PAY}
    assert {first.connection, second.connection} & others == set()
    assert first.connection != second.connection
    assert (first.key, first.body) == (
        ADMIN_KEY,
        {"out": True, "bolt11": first.body["bolt11"], "external_id": "our_id"},
    )
    assert double.asked(DECODE) == []  # that is asked before, once


@pytest.mark.attack("A24")
async def test_the_callers_cancellation_does_not_cut_the_request_off(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[PAY] = Answer(201, a_row(), delay_s=0.3)
    paying = asyncio.create_task(backend.pay(a_request(timeout_s=5)))
    await asyncio.wait_for(double.asked_to_pay.wait(), 2)

    paying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paying
    await asyncio.wait_for(double.paid.wait(), 2)

    assert double.cut_off == []


async def test_closing_gives_up_waiting_but_claims_nothing(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[PAY] = Answer(201, a_row(), delay_s=9)
    paying = asyncio.create_task(backend.pay(a_request(timeout_s=5)))
    await asyncio.wait_for(double.asked_to_pay.wait(), 2)

    await backend.close()

    assert isinstance(await paying, Unknown)


async def test_a_payment_comes_back_within_its_time_and_a_little_grace(
    double: LnbitsDouble, backend: LnbitsBackend
) -> None:
    double.script[PAY] = Answer(201, a_row("pending"))
    double.script[LOOK_UP] = Answer(200, delay_s=9)
    started_at = time.monotonic()

    outcome = await backend.pay(a_request(timeout_s=0.8))

    assert isinstance(outcome, InFlight)
    assert time.monotonic() - started_at < 1.5
