"""What LNbits shows of a payment that may have been sent, against a scripted server."""

from collections.abc import AsyncIterator

import pytest

from backends.lnbits import LnbitsBackend
from nwc_service.backend import (
    BackendUnavailable,
    Failed,
    FailReason,
    InFlight,
    PaymentRef,
    Unknown,
)
from tests.backends.lnbits_double import (
    AMOUNT_MSAT,
    LOOK_UP,
    NOT_KNOWN,
    PAYMENT_HASH,
    PREIMAGE,
    SETTLED,
    Answer,
    LnbitsDouble,
    a_backend,
    a_lookup,
    a_row,
    lnbits_double,
    shape,
)

REF = PaymentRef("our id", PAYMENT_HASH, 0)


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
        pytest.param(NOT_KNOWN, type(None), id="404-proves-nothing"),
        pytest.param(a_lookup(a_row()), SETTLED, id="success"),
        pytest.param(a_lookup(a_row("failed")), (Failed, FailReason.OTHER), id="failed"),
        pytest.param(a_lookup(a_row("pending")), InFlight, id="pending"),
        pytest.param(a_lookup(a_row(preimage=None)), Unknown, id="success-without-preimage"),
        pytest.param(
            a_lookup(a_row(amount=int(AMOUNT_MSAT))), type(None), id="our-own-invoice-only"
        ),
    ],
)
async def test_a_lookup_tells_of_outgoing_payments_only(
    double: LnbitsDouble, backend: LnbitsBackend, answer: Answer, expected: object
) -> None:
    double.script[LOOK_UP] = answer

    assert shape(await backend.lookup_payment(REF)) == expected


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(200, {"paid": True, "preimage": PREIMAGE}), id="without-details"),
        pytest.param(a_lookup(a_row(payment_hash="ab" * 32)), id="of-another-hash"),
        pytest.param(Answer(200, "nonsense"), id="no-json"),
        pytest.param(Answer(500), id="500"),
        pytest.param(Answer(429), id="429"),
        pytest.param(Answer(cut=True), id="cut"),
        pytest.param(Answer(200, delay_s=9), id="slow"),
    ],
)
async def test_a_lookup_without_a_usable_answer_says_so(
    double: LnbitsDouble, backend: LnbitsBackend, answer: Answer
) -> None:
    double.script[LOOK_UP] = answer

    with pytest.raises(BackendUnavailable, match=r"^backend 'lnbits' \(lnbits\), lookup_p"):
        await backend.lookup_payment(REF)


async def test_a_lookup_without_a_connection_says_what_to_check() -> None:
    gone = a_backend("http://127.0.0.1:9")  # discard: nobody listens
    gone._api.open()

    with pytest.raises(BackendUnavailable, match=r"lookup_payment: .*check url"):
        await gone.lookup_payment(REF)

    await gone.close()
