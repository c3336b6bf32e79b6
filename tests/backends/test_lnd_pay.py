"""What each of LND's answers to a payment proves, against the double."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, Preimage
from tests.backends.lnd_double import SEND, TRACK, LndDouble, lnd_double
from tests.backends.lnd_http import Answer, Fault
from tests.backends.lnd_rows import (
    PAYMENT_HASH,
    PREIMAGE,
    SETTLED,
    a_backend,
    a_failure,
    a_payment,
    a_request,
    error,
    shape,
)

OF_OLD = 60  # seconds


@pytest.fixture(autouse=True)
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.lnd.sender.GRACE_S", 0.2)


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


def refusing(status: int, *, code: int, words: str) -> Answer:
    return Answer(status, {"error": error(code, words)})


def saying(*states: Mapping[str, Any], stays_open: bool = False) -> Answer:
    return Answer(lines=tuple({"result": state} for state in states), stays_open=stays_open)


IN_FLIGHT = a_payment(status="IN_FLIGHT")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(saying(IN_FLIGHT, a_payment()), SETTLED, id="succeeded"),
        pytest.param(
            saying(a_payment(htlcs=[])),
            Settled(Preimage(PREIMAGE), Msat(1_002)),
            id="succeeded-at-an-untold-time",
        ),
        pytest.param(saying(a_payment(preimage="00" * 32)), Unknown, id="wrong-preimage"),
        pytest.param(saying(a_payment(preimage="no hex")), Unknown, id="preimage-no-hex"),
        pytest.param(saying(IN_FLIGHT), InFlight, id="ended-in-flight"),
        pytest.param(saying(IN_FLIGHT, stays_open=True), InFlight, id="still-in-flight"),
        pytest.param(saying(a_payment(status="INITIATED")), InFlight, id="initiated"),
        pytest.param(saying(a_payment("ab" * 32)), Unknown, id="of-another-hash"),
        pytest.param(
            saying(a_payment("ab" * 32, **a_failure())), Unknown, id="failed-of-another-hash"
        ),
        pytest.param(saying(a_payment(status="DONE")), Unknown, id="unheard-of-status"),
        pytest.param(
            saying(IN_FLIGHT, a_payment(**a_failure("FAILURE_REASON_TIMEOUT"))),
            (Failed, FailReason.TIMEOUT),
            id="failed-timeout",
        ),
        pytest.param(
            saying(a_payment(**a_failure())),
            (Failed, FailReason.NO_ROUTE),
            id="failed-no-route",
        ),
        pytest.param(
            saying(a_payment(**a_failure("FAILURE_REASON_INCORRECT_PAYMENT_DETAILS"))),
            (Failed, FailReason.REJECTED),
            id="failed-details",
        ),
        pytest.param(
            saying(a_payment(**a_failure("FAILURE_REASON_INSUFFICIENT_BALANCE"))),
            (Failed, FailReason.INSUFFICIENT_BALANCE),
            id="failed-balance",
        ),
        pytest.param(
            saying(a_payment(**a_failure("FAILURE_REASON_ERROR"))),
            (Failed, FailReason.OTHER),
            id="failed-error",
        ),
        pytest.param(
            saying(a_payment(**a_failure("FAILURE_REASON_NEW"))),
            (Failed, FailReason.OTHER),
            id="failed-unheard-of-reason",
        ),
        pytest.param(
            refusing(500, code=2, words="invoice expired. Valid until 2026-12-01"),
            (NotSent, FailReason.EXPIRED),
            id="expired",
        ),
        pytest.param(
            refusing(500, code=2, words="self-payments not allowed"),
            (NotSent, FailReason.REJECTED),
            id="to-itself",
        ),
        pytest.param(
            refusing(500, code=2, words="invoice not for current active network 'regtest'"),
            (NotSent, FailReason.BAD_REQUEST),
            id="another-network",
        ),
        pytest.param(
            refusing(500, code=2, words="amount must not be specified when paying a non-zero"),
            (NotSent, FailReason.BAD_REQUEST),
            id="amount-twice",
        ),
        pytest.param(
            refusing(500, code=2, words="permission denied"),
            (NotSent, FailReason.UNAVAILABLE),
            id="no-right",
        ),
        pytest.param(
            refusing(
                500,
                code=2,
                words="cannot retrieve macaroon: cannot get macaroon: root key with id 7"
                " doesn't exist",
            ),
            (NotSent, FailReason.UNAVAILABLE),
            id="revoked",
        ),
        pytest.param(
            refusing(500, code=2, words="wallet locked, unlock it to enable full RPC access"),
            (NotSent, FailReason.UNAVAILABLE),
            id="locked",
        ),
        pytest.param(
            refusing(500, code=2, words="the RPC server is in the process of starting up, but"),
            (NotSent, FailReason.UNAVAILABLE),
            id="starting",
        ),
        pytest.param(
            refusing(400, code=3, words="proto: unknown field"),
            (NotSent, FailReason.BAD_REQUEST),
            id="400-not-read",
        ),
        pytest.param(
            Answer(404, error(5, "Not Found")),
            (NotSent, FailReason.UNAVAILABLE),
            id="404-no-such-path",
        ),
        pytest.param(Answer(401, ""), (NotSent, FailReason.UNAVAILABLE), id="401-of-a-proxy"),
        pytest.param(Answer(403, ""), (NotSent, FailReason.UNAVAILABLE), id="403-of-a-proxy"),
        pytest.param(
            refusing(501, code=12, words="unknown service routerrpc.Router"),
            (NotSent, FailReason.UNAVAILABLE),
            id="501-no-router",
        ),
        # what may have been said after LND stored it
        pytest.param(
            refusing(500, code=2, words="open channel.db: permission denied"),
            Unknown,
            id="words-of-a-refusal-elsewhere",
        ),
        pytest.param(
            refusing(500, code=2, words="unable to find attempt info"), Unknown, id="500-other"
        ),
        pytest.param(
            refusing(404, code=5, words="payment isn't initiated"), Unknown, id="404-not-found"
        ),
        pytest.param(
            refusing(503, code=14, words="error reading from server: EOF"), Unknown, id="503"
        ),
        pytest.param(refusing(500, code=2, words="server shutting down"), Unknown, id="down"),
        pytest.param(refusing(409, code=10, words="aborted"), Unknown, id="409-aborted"),
        pytest.param(Answer(502, "Bad Gateway"), Unknown, id="502-of-a-proxy"),
        pytest.param(Answer(200, ""), Unknown, id="200-empty"),
        pytest.param(Answer(lines=("{nonsense\n",)), Unknown, id="no-json"),
        pytest.param(Answer(lines=("[]\n",)), Unknown, id="another-shape"),
        pytest.param(
            Answer(lines=({"result": IN_FLIGHT}, {"error": error(2, "self-payments not")})),
            InFlight,
            id="a-refusal-after-it-was-taken",
        ),
        pytest.param(
            Answer(lines=({"result": a_payment()},), delay_s=9), Unknown, id="too-slow"
        ),
    ],
)
async def test_an_answer_proves_what_it_says(
    double: LndDouble, backend: LndBackend, answer: Answer, expected: object
) -> None:
    double.script[SEND] = answer

    outcome = await backend.pay(a_request())

    assert shape(outcome) == expected
    assert len(double.of(SEND)) == 1


@pytest.mark.parametrize("fault", [Fault.BEFORE_READ, Fault.AFTER_READ], ids=lambda f: f.value)
@pytest.mark.attack("A4")
async def test_a_lost_connection_proves_nothing_though_lnd_knows_nothing(
    double: LndDouble, backend: LndBackend, fault: Fault
) -> None:
    double.faults[SEND] = fault

    outcome = await backend.pay(a_request())

    assert isinstance(outcome, Unknown)
    assert len(double.of(TRACK)) > 1
    assert len(double.of(SEND)) <= 1


@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.MID_STREAM], ids=lambda f: f.value)
@pytest.mark.parametrize(
    ("end", "expected"),
    [({}, SETTLED), (a_failure("FAILURE_REASON_ERROR"), (Failed, FailReason.OTHER))],
    ids=["succeeded", "failed"],
)
async def test_a_payment_whose_stream_was_lost_is_looked_up_within_the_time(
    double: LndDouble, backend: LndBackend, fault: Fault, end: dict[str, Any], expected: object
) -> None:
    double.ends = [end]
    double.faults[SEND] = fault

    outcome = await backend.pay(a_request(timeout_s=3))

    assert shape(outcome) == expected
    assert len(double.of(SEND)) == 1


async def test_not_found_once_does_not_end_the_look(
    double: LndDouble, backend: LndBackend
) -> None:
    double.faults[SEND] = Fault.AFTER_COMMIT
    double.script[TRACK] = refusing(404, code=5, words="payment isn't initiated")
    paying = asyncio.create_task(backend.pay(a_request(timeout_s=3)))
    await double.until_asked(SEND)
    while len(double.of(TRACK)) < 2:
        await asyncio.sleep(0.02)

    del double.script[TRACK]

    assert await paying == SETTLED


async def test_no_connection_means_that_nothing_was_sent() -> None:
    gone = a_backend("http://127.0.0.1:9")  # discard: nobody listens
    gone._api.open()

    outcome = await gone.pay(a_request())

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    await gone.close()


async def test_lnd_that_falls_silent_before_the_send_was_sent_nothing(
    double: LndDouble, backend: LndBackend
) -> None:
    double.script[TRACK] = Answer(delay_s=9)

    outcome = await backend.pay(a_request())

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    assert double.of(SEND) == []


# --- what LND knew of the hash before


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(a_payment(), SETTLED, id="succeeded"),
        pytest.param(a_payment(status="IN_FLIGHT"), InFlight, id="in-flight"),
    ],
)
async def test_what_lnd_pays_or_has_paid_is_not_sent_again(
    double: LndDouble, backend: LndBackend, before: Mapping[str, Any], expected: object
) -> None:
    double.payments[PAYMENT_HASH] = before

    assert shape(await backend.pay(a_request())) == expected
    assert double.of(SEND) == []


@pytest.mark.parametrize(
    ("words", "end", "expected"),
    [
        ("invoice is already paid", a_payment(), SETTLED),
        ("payment is in transition", a_payment(status="IN_FLIGHT"), InFlight),
        ("payment already exists", a_payment(status="IN_FLIGHT"), InFlight),
    ],
)
async def test_what_somebody_else_sent_just_before_is_followed(
    double: LndDouble,
    backend: LndBackend,
    words: str,
    end: Mapping[str, Any],
    expected: object,
) -> None:
    double.script[SEND] = refusing(409, code=6, words=words)
    double.not_found_once = {TRACK}
    double.payments[PAYMENT_HASH] = end

    assert shape(await backend.pay(a_request(timeout_s=2))) == expected


@pytest.mark.attack("A4")
async def test_an_earlier_failure_is_not_taken_for_this_one(
    double: LndDouble, backend: LndBackend
) -> None:
    double.payments[PAYMENT_HASH] = a_payment(
        **a_failure("FAILURE_REASON_ERROR", created_at=time.time() - OF_OLD)
    )
    double.faults[SEND] = Fault.AFTER_READ

    outcome = await backend.pay(a_request())

    assert isinstance(outcome, Unknown)
    assert len(double.of(SEND)) == 1


async def test_an_invoice_that_failed_is_tried_again(
    double: LndDouble, backend: LndBackend
) -> None:
    double.payments[PAYMENT_HASH] = a_payment(
        **a_failure("FAILURE_REASON_ERROR", created_at=time.time() - OF_OLD)
    )

    assert await backend.pay(a_request()) == SETTLED


@pytest.mark.attack("A4")
async def test_an_attempt_that_later_could_not_be_told_from_this_one_keeps_it_from_being_sent(
    double: LndDouble, backend: LndBackend
) -> None:
    double.payments[PAYMENT_HASH] = a_payment(**a_failure("FAILURE_REASON_ERROR"))

    outcome = await backend.pay(a_request())

    assert shape(outcome) == (NotSent, FailReason.REJECTED)
    assert double.of(SEND) == []
