"""How a hold invoice ends at LND, whatever was lost on the way."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import BackendUnavailable, BadRequest, InvoiceStatus
from nwc_service.wallet.units import Preimage
from tests.backends.lnd_double import CANCEL, LOOK_UP, SETTLE, LndDouble, lnd_double
from tests.backends.lnd_http import Answer, Fault
from tests.backends.lnd_rows import (
    AMOUNT_MSAT,
    PAYMENT_HASH,
    PREIMAGE,
    a_backend,
    an_htlc,
    an_invoice_row,
    error,
)

PROOF = Preimage(PREIMAGE)
WRONG = Preimage("13" * 32)


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


def a_hold(double: LndDouble, state: str = "ACCEPTED") -> dict[str, Any]:
    htlcs = [an_htlc()] if state == "ACCEPTED" else []
    row = {"r_preimage": "", "state": state, "htlcs": htlcs}
    return double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | row)


@pytest.mark.parametrize(
    ("preimage", "name", "status"),
    [(PROOF, SETTLE, InvoiceStatus.SETTLED), (None, CANCEL, InvoiceStatus.CANCELED)],
    ids=["settle", "cancel"],
)
@pytest.mark.parametrize("fault", [None, Fault.AFTER_READ, Fault.AFTER_COMMIT])
async def test_it_ends_once_however_often_it_is_asked(
    double: LndDouble,
    backend: LndBackend,
    preimage: Preimage | None,
    name: str,
    status: InvoiceStatus,
    fault: Fault | None,
) -> None:
    row = a_hold(double)
    if fault is not None:
        double.faults[name] = fault
        with pytest.raises(BackendUnavailable, match="resolve_hold"):
            await backend.resolve_hold(PAYMENT_HASH, preimage)

    first = await backend.resolve_hold(PAYMENT_HASH, preimage)
    again = await backend.resolve_hold(PAYMENT_HASH, preimage)

    assert first == again
    assert first.status is status
    assert row["state"] == status.name
    if preimage is not None:
        assert (first.received_msat, first.preimage) == (AMOUNT_MSAT, PROOF)


@pytest.mark.parametrize(
    ("state", "preimage"),
    [
        pytest.param("OPEN", PROOF, id="nobody-paid"),
        pytest.param("CANCELED", PROOF, id="given-back"),
        pytest.param("SETTLED", None, id="settled"),
        pytest.param("ACCEPTED", WRONG, id="another-preimage"),
        pytest.param("ACCEPTED", Preimage("zz"), id="no-preimage"),
    ],
)
async def test_what_is_not_so_is_a_bad_request(
    double: LndDouble, backend: LndBackend, state: str, preimage: Preimage | None
) -> None:
    row = a_hold(double, state)

    with pytest.raises(BadRequest):
        await backend.resolve_hold(PAYMENT_HASH, preimage)

    assert row["state"] == state
    assert double.of(SETTLE) + double.of(CANCEL) == []


@pytest.mark.parametrize("state", ["OPEN", "CANCELED"])
async def test_a_plain_invoice_holds_nothing(
    double: LndDouble, backend: LndBackend, state: str
) -> None:
    double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | {"state": state})

    with pytest.raises(BadRequest):
        await backend.resolve_hold(PAYMENT_HASH, None)

    assert double.of(CANCEL) == []


@pytest.mark.parametrize("preimage", [PROOF, None], ids=["settle", "cancel"])
async def test_one_that_is_not_there_is_a_bad_request(
    double: LndDouble, backend: LndBackend, preimage: Preimage | None
) -> None:
    with pytest.raises(BadRequest):
        await backend.resolve_hold(PAYMENT_HASH, preimage)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            Answer(500, error(2, "invoice already canceled")), BadRequest, id="the-deadline-won"
        ),
        pytest.param(
            Answer(500, error(2, "permission denied")), BackendUnavailable, id="right"
        ),
        pytest.param(Answer(200, {}), BackendUnavailable, id="yes-and-not-done"),
    ],
)
async def test_a_settlement_is_what_lnd_shows_afterwards(
    double: LndDouble, backend: LndBackend, answer: Answer, expected: type[Exception]
) -> None:
    a_hold(double)
    double.script[SETTLE] = answer

    with pytest.raises(expected):
        await backend.resolve_hold(PAYMENT_HASH, PROOF)


async def test_nothing_is_decided_while_lnd_cannot_be_read(
    double: LndDouble, backend: LndBackend
) -> None:
    a_hold(double)
    double.script[LOOK_UP] = Answer(502, "Bad Gateway")

    with pytest.raises(BackendUnavailable):
        await backend.resolve_hold(PAYMENT_HASH, PROOF)

    assert double.of(SETTLE) == []


# --- cancel_invoice


@pytest.mark.parametrize(
    ("state", "after"),
    [
        ("OPEN", "CANCELED"),
        ("ACCEPTED", "CANCELED"),
        ("CANCELED", "CANCELED"),
        ("SETTLED", "SETTLED"),
    ],
)
async def test_canceling_leaves_nothing_to_pay_and_takes_nothing_back(
    double: LndDouble, backend: LndBackend, state: str, after: str
) -> None:
    row = double.add_invoice(**an_invoice_row(1, preimage=PREIMAGE) | {"state": state})

    await backend.cancel_invoice(PAYMENT_HASH)
    await backend.cancel_invoice(PAYMENT_HASH)

    assert row["state"] == after


async def test_canceling_what_is_not_there_is_a_bad_request(
    double: LndDouble, backend: LndBackend
) -> None:
    with pytest.raises(BadRequest):
        await backend.cancel_invoice(PAYMENT_HASH)


async def test_a_cancel_that_was_not_read_is_told(
    double: LndDouble, backend: LndBackend
) -> None:
    double.script[CANCEL] = Answer(500, error(2, "permission denied"))

    with pytest.raises(BackendUnavailable, match="cancel_invoice"):
        await backend.cancel_invoice(PAYMENT_HASH)
