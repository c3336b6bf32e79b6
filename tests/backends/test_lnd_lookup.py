"""What LND's word about a payment that was sent some time ago proves."""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import (
    BackendUnavailable,
    Failed,
    FailReason,
    InFlight,
    PaymentRef,
    PaymentReport,
    Unknown,
)
from tests.backends.lnd_double import LIST_OUT, TRACK, LndDouble, lnd_double
from tests.backends.lnd_http import Answer, Fault
from tests.backends.lnd_rows import (
    AMOUNT_MSAT,
    MACAROON,
    PAYMENT_HASH,
    SETTLED,
    a_backend,
    a_failure,
    a_payment,
    error,
    shape,
)

NOW = int(time.time())


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


def a_ref(dispatched_at: int = NOW) -> PaymentRef:
    return PaymentRef("our_id", PAYMENT_HASH, dispatched_at)


FAILED = a_failure("FAILURE_REASON_TIMEOUT")


@pytest.mark.parametrize(
    ("payment", "expected"),
    [
        pytest.param(a_payment(), SETTLED, id="succeeded"),
        pytest.param(a_payment(created_at=NOW - 900), SETTLED, id="succeeded-before"),
        pytest.param(a_payment(status="IN_FLIGHT"), InFlight, id="in-flight"),
        pytest.param(
            a_payment(**FAILED, created_at=NOW), (Failed, FailReason.TIMEOUT), id="failed"
        ),
        pytest.param(
            a_payment(**FAILED, created_at=NOW + 0.9),
            (Failed, FailReason.TIMEOUT),
            id="failed-later",
        ),
        pytest.param(
            a_payment(**FAILED, created_at=NOW - 0.001), type(None), id="failed-before"
        ),
        pytest.param(a_payment(preimage="00" * 32), Unknown, id="no-proof"),
    ],
)
@pytest.mark.attack("A4")
async def test_only_what_became_of_this_send_is_told(
    double: LndDouble, backend: LndBackend, payment: Mapping[str, Any], expected: object
) -> None:
    double.payments[PAYMENT_HASH] = payment

    assert shape(await backend.lookup_payment(a_ref())) == expected


async def test_what_lnd_does_not_know_is_not_known(
    double: LndDouble, backend: LndBackend
) -> None:
    assert await backend.lookup_payment(a_ref()) is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(404, error(5, "Not Found")), id="another-server"),
        pytest.param(Answer(404, {"error": error(5, "no such thing")}), id="other-words"),
        pytest.param(Answer(500, {"error": error(2, "permission denied")}), id="no-right"),
        pytest.param(Answer(502, "Bad Gateway"), id="proxy"),
        pytest.param(Answer(lines=({"result": a_payment("ab" * 32)},)), id="another-payment"),
        pytest.param(Answer(lines=({"result": a_payment(status="GONE")},)), id="new-status"),
        pytest.param(Answer(lines=("[]\n",)), id="another-shape"),
        pytest.param(Answer(delay_s=9), id="silence"),
    ],
)
async def test_what_cannot_be_read_is_no_answer(
    double: LndDouble, backend: LndBackend, answer: Answer
) -> None:
    double.script[TRACK] = answer

    with pytest.raises(BackendUnavailable) as gone:
        await backend.lookup_payment(a_ref())

    assert "backend 'mine' (lnd), lookup_payment: " in str(gone.value)
    assert MACAROON[:40] not in str(gone.value)


@pytest.mark.parametrize("fault", list(Fault)[:3], ids=lambda fault: fault.value)
async def test_a_lost_connection_is_no_answer(
    double: LndDouble, backend: LndBackend, fault: Fault
) -> None:
    double.faults[TRACK] = fault

    with pytest.raises(BackendUnavailable):
        await backend.lookup_payment(a_ref())


# --- history


async def test_the_history_of_payments_tells_the_failed_ones_too(
    double: LndDouble, backend: LndBackend
) -> None:
    double.payments = {
        "a": a_payment("aa" * 32, index=3, **FAILED, created_at=NOW),
        "b": a_payment(index=5, created_at=NOW),
    }

    first = await backend.list_history("out", None, 1)
    rest = await backend.list_history("out", first.next_cursor, 1)
    end = await backend.list_history("out", rest.next_cursor, 1)

    told = [*first.items, *rest.items]
    assert all(isinstance(item, PaymentReport) for item in told)
    assert [item.payment_hash for item in told] == ["aa" * 32, PAYMENT_HASH]
    assert [getattr(item, "amount_msat", None) for item in told] == [AMOUNT_MSAT] * 2
    assert [item.created_at for item in told] == [NOW, NOW]
    assert (end.items, end.next_cursor) == ([], None)
    assert {request.query["include_incomplete"] for request in double.of(LIST_OUT)} == {"true"}
