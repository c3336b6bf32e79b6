"""What each answer, and each loss of one, of phoenixd's /payinvoice proves."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from backends.phoenixd import PhoenixdBackend
from nwc_service.backend import (
    Failed,
    FailReason,
    NotSent,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat
from tests.backends.contract import a_request, ref
from tests.backends.phoenixd_double import (
    ALREADY_PAID,
    IN_PROGRESS,
    LIMITED_PASSWORD,
    LOOK_UP,
    NO_FUNDS,
    PAY,
    REJECTED,
    PhoenixdDouble,
    phoenixd_double,
)
from tests.backends.phoenixd_http import Answer, Fault
from tests.backends.phoenixd_rig import a_backend, preimage_of, shape, wanted
from tests.backends.phoenixd_rows import OUTSIDE_KEY, an_invoice, hash_of

AMOUNT_MSAT = 21_000
PREIMAGE = "12" * 32
SHORT_S = 0.2


@pytest.fixture
async def phoenixd() -> AsyncIterator[PhoenixdDouble]:
    async with phoenixd_double() as double:
        yield double


@pytest.fixture
async def backend(phoenixd: PhoenixdDouble) -> AsyncIterator[PhoenixdBackend]:
    backend = a_backend(phoenixd)
    await backend.start()
    phoenixd.requests.clear()
    yield backend
    await backend.close()


async def test_a_fee_is_told_to_the_millisatoshi(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    request = wanted(phoenixd)

    outcome = await backend.pay(request)

    assert isinstance(outcome, Settled)
    assert outcome.preimage == preimage_of(phoenixd, request)
    assert outcome.fee_msat == 4_084  # of which the answer tells 4 sat


async def test_a_fee_that_only_the_answer_tells_is_rounded_up(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[LOOK_UP] = Answer(404, "Not found")

    outcome = await backend.pay(wanted(phoenixd))

    assert isinstance(outcome, Settled)
    assert outcome.fee_msat == 4_999


async def test_a_fee_that_is_rounded_up_stays_within_the_cap(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[LOOK_UP] = Answer(404, "Not found")
    request = replace(wanted(phoenixd), max_fee_msat=backend._options.fee_cap_msat(AMOUNT_MSAT))

    outcome = await backend.pay(request)

    assert isinstance(outcome, Settled)
    assert outcome.fee_msat == request.max_fee_msat == 4_084


async def test_an_amount_is_told_only_where_the_invoice_names_none(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    await backend.pay(wanted(phoenixd, 1_500))
    await backend.pay(a_request(phoenixd.make_outside_invoice(None), amount_msat=3_000))

    assert [call.form.get("amountSat") for call in phoenixd.of(PAY)] == [None, "3"]
    assert [payment.amount_msat for payment in phoenixd.outgoing] == [1_500, 3_000]


async def test_a_fraction_that_would_have_to_be_told_is_not_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    request = a_request(phoenixd.make_outside_invoice(None), amount_msat=1_500)

    assert shape(await backend.pay(request)) == (NotSent, FailReason.UNSUPPORTED)
    assert phoenixd.requests == []


@pytest.mark.attack("A3")
async def test_a_reserve_below_the_declared_fee_is_not_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    request = replace(wanted(phoenixd), max_fee_msat=Msat(4_083))

    assert shape(await backend.pay(request)) == (NotSent, FailReason.FEE_TOO_HIGH)
    assert phoenixd.requests == []


async def test_an_expired_invoice_is_not_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    invoice = an_invoice(AMOUNT_MSAT, hash_of(PREIMAGE), age_s=3600, key=OUTSIDE_KEY)

    assert shape(await backend.pay(a_request(invoice))) == (NotSent, FailReason.EXPIRED)
    assert phoenixd.requests == []


async def test_an_invoice_of_another_network_is_not_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    invoice = an_invoice(AMOUNT_MSAT, hash_of(PREIMAGE), network="mainnet")

    assert shape(await backend.pay(a_request(invoice))) == (NotSent, FailReason.BAD_REQUEST)
    assert phoenixd.requests == []


async def test_the_password_of_limited_access_sends_nothing(phoenixd: PhoenixdDouble) -> None:
    backend = a_backend(phoenixd, password=LIMITED_PASSWORD)
    await backend.start()
    phoenixd.requests.clear()

    outcome = await backend.pay(wanted(phoenixd))

    assert shape(outcome) == (NotSent, FailReason.UNSUPPORTED)
    assert phoenixd.requests == []
    await backend.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param(NO_FUNDS, FailReason.INSUFFICIENT_BALANCE, id="funds"),
        pytest.param(REJECTED, FailReason.REJECTED, id="rejected"),
        pytest.param("recipient node is offline or unreachable", FailReason.NO_ROUTE, id="off"),
        pytest.param("routing fees are insufficient", FailReason.NO_ROUTE, id="fees"),
        pytest.param(
            "channel is not connected yet, please retry when connected",
            FailReason.UNAVAILABLE,
            id="channel",
        ),
        pytest.param(
            "wallet restarted while a payment was ongoing", FailReason.OTHER, id="restarted"
        ),
        pytest.param("words of a later version", FailReason.OTHER, id="unknown"),
    ],
)
async def test_a_reason_with_http_200_is_final(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, words: str, reason: FailReason
) -> None:
    phoenixd.ends = [words]
    request = wanted(phoenixd)
    dispatched = ref(request)

    assert shape(await backend.pay(request)) == (Failed, reason)
    assert shape(await backend.lookup_payment(dispatched)) == (Failed, FailReason.OTHER)


@pytest.mark.parametrize("words", [ALREADY_PAID, IN_PROGRESS])
async def test_what_is_said_of_another_attempt_fails_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, words: str
) -> None:
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)
    phoenixd.script[PAY] = Answer(200, {"paymentHash": request.payment_hash, "reason": words})

    assert isinstance(await backend.pay(request), Unknown)


@pytest.mark.attack("A4")
@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.MID_BODY])
async def test_a_lost_answer_is_found(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, fault: Fault
) -> None:
    phoenixd.faults[PAY] = fault
    request = wanted(phoenixd)

    outcome = await backend.pay(request)

    assert isinstance(outcome, Settled)
    assert outcome.preimage == preimage_of(phoenixd, request)
    assert len(phoenixd.of(PAY)) == 1


@pytest.mark.attack("A4")
@pytest.mark.parametrize("fault", [Fault.BEFORE_READ, Fault.AFTER_READ])
async def test_a_lost_request_proves_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, fault: Fault
) -> None:
    phoenixd.faults[PAY] = fault
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)

    assert isinstance(await backend.pay(request), Unknown)
    assert len(phoenixd.of(PAY)) <= 1
    assert await backend.lookup_payment(ref(request)) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (302, FailReason.UNAVAILABLE),
        (400, FailReason.BAD_REQUEST),
        (401, FailReason.UNAVAILABLE),
        (404, FailReason.UNAVAILABLE),
        (405, FailReason.UNAVAILABLE),
    ],
)
async def test_a_request_that_was_not_processed_is_not_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, status: int, reason: FailReason
) -> None:
    phoenixd.script[PAY] = Answer(status, "no")

    assert shape(await backend.pay(wanted(phoenixd))) == (NotSent, reason)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(500, "an exception"), id="500"),
        pytest.param(Answer(502, "a proxy"), id="502"),
        pytest.param(Answer(200, "no json"), id="words"),
        pytest.param(Answer(200, {}), id="empty"),
        pytest.param(Answer(200, [1]), id="list"),
        pytest.param(Answer(201, {"reason": "no"}), id="201"),
    ],
)
async def test_an_answer_without_an_outcome_proves_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, answer: Answer
) -> None:
    phoenixd.script[PAY] = answer
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)

    assert isinstance(await backend.pay(request), Unknown)


@pytest.mark.attack("A22")
@pytest.mark.parametrize("preimage", ["00" * 32, "", "xy"])
async def test_a_preimage_that_proves_nothing_settles_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend, preimage: str
) -> None:
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)
    phoenixd.script[PAY] = Answer(
        200,
        {
            "paymentHash": request.payment_hash,
            "paymentPreimage": preimage,
            "routingFeeSat": 4,
        },
    )

    assert isinstance(await backend.pay(request), Unknown)
