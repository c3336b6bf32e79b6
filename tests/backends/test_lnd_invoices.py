"""Invoices at LND: made once though a reply is lost, and told as they are."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    InvoiceSpec,
    InvoiceStatus,
)
from nwc_service.wallet.units import Msat, PaymentHash, Preimage
from tests.backends.lnd_double import CREATE, CREATE_HOLD, LOOK_UP, LndDouble, lnd_double
from tests.backends.lnd_http import Answer, Fault
from tests.backends.lnd_rows import (
    AMOUNT_MSAT,
    PAYMENT_HASH,
    PREIMAGE,
    a_backend,
    an_htlc,
    an_invoice_row,
    b64,
    error,
)

NOW = int(time.time())
SPEC = InvoiceSpec(
    our_id="one",
    amount_msat=AMOUNT_MSAT,
    description="tea",
    description_hash=None,
    expiry_s=3600,
    preimage=Preimage(PREIMAGE),
)
HOLD_SPEC = replace(SPEC, preimage=None, hold_hash=PAYMENT_HASH)


@pytest.fixture
async def double() -> AsyncIterator[LndDouble]:
    async with lnd_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: LndDouble) -> AsyncIterator[LndBackend]:
    opened = a_backend(double.url)
    await opened.start()
    yield opened
    await opened.close()


# --- made


@pytest.mark.parametrize("spec", [SPEC, HOLD_SPEC], ids=["plain", "hold"])
@pytest.mark.parametrize("fault", [Fault.AFTER_READ, Fault.AFTER_COMMIT], ids=lambda f: f.value)
async def test_an_invoice_whose_reply_was_lost_is_found_when_it_is_asked_for_again(
    double: LndDouble, backend: LndBackend, spec: InvoiceSpec, fault: Fault
) -> None:
    double.faults = {CREATE: fault, CREATE_HOLD: fault}
    with pytest.raises(BackendUnavailable):
        await backend.create_invoice(spec)

    report = await backend.create_invoice(spec)

    assert len(double.invoices) == 1
    assert (report.payment_hash, report.amount_msat) == (PAYMENT_HASH, AMOUNT_MSAT)
    assert report.invoice == double.invoices[0]["payment_request"]
    assert report == await backend.create_invoice(spec)


@pytest.mark.parametrize("spec", [SPEC, HOLD_SPEC], ids=["plain", "hold"])
@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"our_id": "two"}, id="another-id"),
        pytest.param({"amount_msat": Msat(1)}, id="another-amount"),
        pytest.param({"description": "milk"}, id="another-description"),
        pytest.param({"description_hash": "ab" * 32}, id="a-description-hash"),
        pytest.param({"expiry_s": 7}, id="another-expiry"),
    ],
)
async def test_a_hash_serves_one_invoice_only(
    double: LndDouble, backend: LndBackend, spec: InvoiceSpec, other: dict[str, object]
) -> None:
    await backend.create_invoice(spec)

    with pytest.raises(BadRequest):
        await backend.create_invoice(replace(spec, **other))  # type: ignore[arg-type]

    assert len(double.invoices) == 1


async def test_a_hold_invoice_is_not_taken_for_a_plain_one(
    double: LndDouble, backend: LndBackend
) -> None:
    before = a_backend(double.url)
    await before.start()
    await before.create_invoice(SPEC)
    await before.close()

    with pytest.raises(BadRequest):
        await backend.create_invoice(HOLD_SPEC)


async def test_what_is_asked_for_is_what_lnd_is_told(double: LndDouble) -> None:
    backend = a_backend(double.url, private_hints=True)
    await backend.start()

    await backend.create_invoice(replace(SPEC, description_hash="ab" * 32))
    await backend.create_invoice(
        replace(
            HOLD_SPEC,
            amount_msat=None,
            hold_hash=PaymentHash("cd" * 32),
            min_cltv_expiry_delta=500,
        )
    )

    [plain], [hold] = double.of(CREATE), double.of(CREATE_HOLD)
    assert plain.body == {
        "value_msat": "21000",
        "description_hash": b64("ab" * 32),
        "expiry": "3600",
        "private": True,
        "r_preimage": b64(PREIMAGE),
    }
    assert hold.body == {
        "value_msat": "0",
        "memo": "tea",
        "expiry": "3600",
        "private": True,
        "hash": b64("cd" * 32),
        "cltv_expiry": "500",
    }
    await backend.close()


@pytest.mark.parametrize(
    "spoil",
    [
        {"amount_msat": Msat(0)},
        {"amount_msat": Msat(10**19)},
        {"expiry_s": 0},
        {"expiry_s": 366 * 24 * 3600},
        {"description": "\U0001f980" * 160},
    ],
    ids=["nothing", "too-much", "no-time", "too-long", "too-many-words"],
)
async def test_what_lnd_would_take_for_something_else_is_not_asked_for(
    double: LndDouble, backend: LndBackend, spoil: dict[str, object]
) -> None:
    with pytest.raises(BadRequest):
        await backend.create_invoice(replace(SPEC, **spoil))  # type: ignore[arg-type]

    assert double.of(CREATE) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            Answer(500, error(2, "CLTV delta of 3 must be greater than minimum of 18")),
            BadRequest,
            id="refused",
        ),
        pytest.param(
            Answer(500, error(2, "permission denied")), BackendUnavailable, id="no-right"
        ),
        pytest.param(Answer(502, "Bad Gateway"), BackendUnavailable, id="proxy"),
        pytest.param(Answer(200, "[]"), BackendUnavailable, id="another-shape"),
    ],
)
async def test_an_invoice_that_was_not_made_is_none(
    double: LndDouble, backend: LndBackend, answer: Answer, expected: type[Exception]
) -> None:
    double.script[CREATE] = answer

    with pytest.raises(expected, match=r"LND"):
        await backend.create_invoice(SPEC)


# --- found


async def test_what_is_not_there_is_none(double: LndDouble, backend: LndBackend) -> None:
    assert await backend.lookup_invoice(PAYMENT_HASH) is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(404, error(5, "Not Found")), id="another-server"),
        pytest.param(Answer(500, error(2, "permission denied")), id="no-right"),
        pytest.param(Answer(200, an_invoice_row(1)), id="another-invoice"),
        pytest.param(Answer(200, {"state": "OPEN"}), id="another-shape"),
    ],
)
async def test_an_answer_about_something_else_is_none(
    double: LndDouble, backend: LndBackend, answer: Answer
) -> None:
    double.script[LOOK_UP] = answer

    with pytest.raises(BackendUnavailable, match="lookup_invoice"):
        await backend.lookup_invoice(PAYMENT_HASH)


HELD = [an_htlc(expiry_height=545), an_htlc(expiry_height=540), an_htlc("CANCELED")]
EARLIER = str(NOW - 3601)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param({}, (InvoiceStatus.OPEN, None, None), id="open"),
        pytest.param(
            {"state": "SETTLED", "amt_paid_msat": "22000", "htlcs": [an_htlc("SETTLED")]},
            (InvoiceStatus.SETTLED, 22_000, None),
            id="settled-with-more",
        ),
        pytest.param(
            {"state": "ACCEPTED", "htlcs": HELD, "creation_date": EARLIER},
            (InvoiceStatus.ACCEPTED, 42_000, 528),
            id="accepted",
        ),
        pytest.param(
            {"state": "CANCELED"}, (InvoiceStatus.CANCELED, None, None), id="canceled"
        ),
        pytest.param(
            {"creation_date": EARLIER}, (InvoiceStatus.EXPIRED, None, None), id="expired"
        ),
        pytest.param(
            {"state": "CANCELED", "creation_date": EARLIER},
            (InvoiceStatus.EXPIRED, None, None),
            id="expired-and-canceled-by-lnd",
        ),
        pytest.param(
            {"state": "CANCELED", "creation_date": EARLIER, "htlcs": [an_htlc("CANCELED")]},
            (InvoiceStatus.CANCELED, None, None),
            id="held-and-given-back",
        ),
    ],
)
async def test_an_invoice_is_told_as_it_is(
    double: LndDouble, backend: LndBackend, row: dict[str, object], expected: object
) -> None:
    double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | row)

    report = await backend.lookup_invoice(PAYMENT_HASH)

    assert report is not None
    assert (report.status, report.received_msat, report.settle_deadline) == expected
    assert report.preimage == PREIMAGE
    assert report.expires_at == report.created_at + 3600
    assert report.tlvs is None


async def test_a_preimage_that_proves_nothing_is_not_told(
    double: LndDouble, backend: LndBackend
) -> None:
    double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | {"r_preimage": b64("ab" * 32)})

    report = await backend.lookup_invoice(PAYMENT_HASH)

    assert report is not None
    assert report.preimage is None


async def test_a_keysend_is_told_with_the_records_of_its_payer_alone(
    double: LndDouble, backend: LndBackend
) -> None:
    records = {5_482_373_484: bytes.fromhex(PREIMAGE), 7_629_169: b"{}", 2**64 - 1: b""}
    row = {
        "is_keysend": True,
        "payment_request": "",
        "state": "SETTLED",
        "expiry": "0",
        "amt_paid_msat": "21000",
        "htlcs": [an_htlc("SETTLED", custom_records=records)],
    }
    double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | row)

    report = await backend.lookup_invoice(PAYMENT_HASH)

    assert report is not None
    assert (report.invoice, report.received_msat) == ("", AMOUNT_MSAT)
    assert report.tlvs == {7_629_169: b"{}", 2**64 - 1: b""}


async def test_the_blocks_that_lnd_keeps_for_itself_can_be_told(double: LndDouble) -> None:
    backend = a_backend(double.url, hold_expiry_delta=30)
    await backend.start()
    row = {"state": "ACCEPTED", "htlcs": [an_htlc(expiry_height=540)]}
    double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | row)

    report = await backend.lookup_invoice(PAYMENT_HASH)

    assert report is not None
    assert report.settle_deadline == 510
    await backend.close()


# --- listed


async def test_the_history_of_receipts_is_what_was_settled(
    double: LndDouble, backend: LndBackend
) -> None:
    made = [double.add_invoice() for _ in range(4)]
    for invoice in (made[3], made[0]):
        double.settle(invoice)
    made[1]["state"] = "ACCEPTED"

    first = await backend.list_history("in", None, 3)
    rest = await backend.list_history("in", first.next_cursor, 3)

    told = [*first.items, *rest.items]
    wanted = [made[0]["r_hash"], made[3]["r_hash"]]
    assert [b64(item.payment_hash) for item in told] == wanted
    assert (first.next_cursor, rest.next_cursor) == ("3", None)
