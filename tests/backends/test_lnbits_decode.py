"""How LNbits reads an invoice, against a scripted server."""

from collections.abc import AsyncIterator

import pytest

from backends.lnbits import LnbitsBackend
from nwc_service.backend import BackendUnavailable, BadRequest, Decoded
from tests.backends.lnbits_double import (
    AMOUNT_MSAT,
    DECODE,
    INVOICE_KEY,
    PAYMENT_HASH,
    READING,
    Answer,
    LnbitsDouble,
    a_backend,
    lnbits_double,
)

PAYEE = "02" + "ab" * 32
READ = Decoded(PAYMENT_HASH, AMOUNT_MSAT, 1_795_561_600, PAYEE)


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


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        pytest.param(READING, READ, id="all"),
        pytest.param(
            READING | {"amount_msat": 0},
            Decoded(PAYMENT_HASH, None, 1_795_561_600, PAYEE),
            id="no-amount",
        ),
        pytest.param(
            {name: value for name, value in READING.items() if name != "payee"},
            Decoded(PAYMENT_HASH, AMOUNT_MSAT, 1_795_561_600, None),
            id="no-payee",
        ),
    ],
)
async def test_what_lnbits_reads_is_told_as_it_reads_it(
    double: LnbitsDouble,
    backend: LnbitsBackend,
    reading: dict[str, object],
    expected: Decoded,
) -> None:
    double.script[DECODE] = Answer(200, reading)

    assert await backend.decode("an invoice") == expected

    [asked] = double.asked(DECODE)
    assert (asked.key, asked.body) == (INVOICE_KEY, {"data": "an invoice"})


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(Answer(400, {"message": "Failed to decode"}), BadRequest, id="cannot"),
        pytest.param(Answer(200, {"domain": "https://a.b"}), BadRequest, id="lnurl"),
        pytest.param(Answer(200, READING | {"payment_hash": ""}), BadRequest, id="no-hash"),
        pytest.param(Answer(200, READING | {"amount_msat": "9"}), BadRequest, id="text"),
        pytest.param(Answer(200, READING | {"expiry": None}), BadRequest, id="no-expiry"),
        pytest.param(Answer(200, "nonsense"), BadRequest, id="no-json"),
        pytest.param(Answer(403), BackendUnavailable, id="403"),
        pytest.param(Answer(429), BackendUnavailable, id="429"),
        pytest.param(Answer(502), BackendUnavailable, id="502"),
        pytest.param(Answer(cut=True), BackendUnavailable, id="cut"),
        pytest.param(Answer(200, delay_s=9), BackendUnavailable, id="slow"),
    ],
)
async def test_no_reading_is_told_from_anything_else(
    double: LnbitsDouble, backend: LnbitsBackend, answer: Answer, error: type[Exception]
) -> None:
    double.script[DECODE] = answer

    with pytest.raises(error):
        await backend.decode("an invoice")
