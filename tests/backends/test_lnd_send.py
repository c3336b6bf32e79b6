"""What this backend asks LND for when it pays, and how long it waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from backends.lnd import LndBackend
from nwc_service.backend import (
    Failed,
    FailReason,
    KeysendRequest,
    NotSent,
    PayRequest,
    Settled,
    Unknown,
)
from tests.backends.lnd_double import DECODE, ROUTES, SEND, TRACK, LndDouble, lnd_double
from tests.backends.lnd_http import Answer
from tests.backends.lnd_rows import (
    MACAROON,
    PAYEE,
    PAYMENT_HASH,
    PREIMAGE,
    SETTLED,
    SETTLED_AT,
    a_backend,
    a_failure,
    a_keysend,
    a_payment,
    a_request,
    an_invoice,
    b64,
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


def saying(*states: Mapping[str, Any], stays_open: bool = False) -> Answer:
    return Answer(lines=tuple({"result": state} for state in states), stays_open=stays_open)


# --- what is asked for


@pytest.mark.attack("A4", "A23")
async def test_each_payment_goes_out_once_on_a_fresh_connection(
    double: LndDouble, backend: LndBackend
) -> None:
    other = "34" * 32
    await backend.pay(a_request())
    await backend.pay(a_keysend(our_id="two", preimage=other))

    first, second = double.of(SEND)
    others = {request.connection for request in double.requests if request.name != SEND}
    assert {first.connection, second.connection} & others == set()
    assert first.connection != second.connection
    assert {request.macaroon for request in double.of(SEND)} == {MACAROON}


async def test_an_invoice_is_paid_with_the_cap_and_the_time_that_were_given(
    double: LndDouble, backend: LndBackend
) -> None:
    request = a_request(max_fee_msat=0, timeout_s=2.9)
    await backend.pay(request)

    [sent] = double.of(SEND)
    assert sent.body == {
        "payment_request": request.invoice,
        "fee_limit_msat": "0",
        "timeout_seconds": 2,
    }


async def test_the_amount_is_told_where_the_invoice_names_none(
    double: LndDouble, backend: LndBackend
) -> None:
    await backend.pay(a_request(amount_is_override=True))

    [sent] = double.of(SEND)
    assert sent.body["amt_msat"] == "21000"


async def test_a_keysend_carries_its_preimage_and_records(
    double: LndDouble, backend: LndBackend
) -> None:
    outcome = await backend.pay(a_keysend(tlvs={7_629_169: b"{}"}))

    [sent] = double.of(SEND)
    assert outcome == SETTLED
    assert sent.body == {
        "dest": b64(PAYEE),
        "amt_msat": "21000",
        "payment_hash": b64(PAYMENT_HASH),
        "dest_custom_records": {"7629169": b64(b"{}".hex()), "5482373484": b64(PREIMAGE)},
        "fee_limit_msat": "2000",
        "timeout_seconds": 1,
    }


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "IN_FLIGHT"])
async def test_a_preimage_that_lnd_has_sent_before_is_not_sent(
    double: LndDouble, backend: LndBackend, status: str
) -> None:
    created_at = time.time() - OF_OLD
    double.payments[PAYMENT_HASH] = a_payment(status=status, created_at=created_at)

    outcome = await backend.pay(a_keysend())

    assert shape(outcome) == (NotSent, FailReason.REJECTED)
    assert double.of(SEND) == []


async def test_the_same_keysend_asked_for_again_is_what_became_of_it(
    double: LndDouble, backend: LndBackend
) -> None:
    """NotSent would give its money back."""
    first = await backend.pay(a_keysend())

    assert await backend.pay(a_keysend()) == first == SETTLED
    assert len(double.of(SEND)) == 1


async def test_the_preimage_of_an_own_invoice_is_not_sent(
    double: LndDouble, backend: LndBackend
) -> None:
    double.add_invoice(r_hash=b64(PAYMENT_HASH))

    assert shape(await backend.pay(a_keysend())) == (NotSent, FailReason.REJECTED)
    assert double.of(SEND) == []


async def test_a_preimage_that_somebody_else_sent_just_before_is_not_sent(
    double: LndDouble, backend: LndBackend
) -> None:
    double.not_found_once = {TRACK}
    double.payments[PAYMENT_HASH] = a_payment()

    assert shape(await backend.pay(a_keysend())) == (NotSent, FailReason.REJECTED)


@pytest.mark.parametrize("request_", [a_request(timeout_s=2), a_keysend(timeout_s=2)])
async def test_the_same_payment_asked_for_at_the_same_time_is_one_send(
    double: LndDouble, backend: LndBackend, request_: PayRequest | KeysendRequest
) -> None:
    outcomes = await asyncio.gather(*(backend.pay(request_) for _ in range(5)))

    assert set(outcomes) == {SETTLED}
    assert len(double.of(SEND)) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        pytest.param(a_request("lnbc1"), FailReason.BAD_REQUEST, id="no-invoice"),
        pytest.param(
            a_request(an_invoice()[:40] + an_invoice()[40:].upper()),
            FailReason.BAD_REQUEST,
            id="mixed-case",
        ),
        pytest.param(a_request(amount_msat=22_000), FailReason.BAD_REQUEST, id="other-amount"),
        pytest.param(
            a_request(an_invoice(), amount_is_override=True),
            FailReason.BAD_REQUEST,
            id="amount-though-it-names-one",
        ),
        pytest.param(a_request(an_invoice(None)), FailReason.BAD_REQUEST, id="no-amount"),
        pytest.param(
            a_request(payment_hash="ab" * 32), FailReason.BAD_REQUEST, id="another-hash"
        ),
        pytest.param(a_request(an_invoice(age_s=3_601)), FailReason.EXPIRED, id="expired"),
        pytest.param(a_request(max_fee_msat=-1), FailReason.BAD_REQUEST, id="negative-fee"),
        pytest.param(a_keysend(destination="ab" * 32), FailReason.BAD_REQUEST, id="x-only"),
        pytest.param(a_keysend(destination="zz"), FailReason.BAD_REQUEST, id="no-key"),
        pytest.param(
            a_keysend(preimage="12" * 31), FailReason.BAD_REQUEST, id="short-preimage"
        ),
        pytest.param(a_keysend(preimage="AB" * 32), FailReason.BAD_REQUEST, id="capitals"),
        pytest.param(a_keysend(amount_msat=0), FailReason.BAD_REQUEST, id="nothing"),
        pytest.param(a_keysend(amount_msat=10**19), FailReason.BAD_REQUEST, id="too-much"),
        pytest.param(a_keysend(tlvs={7: b""}), FailReason.BAD_REQUEST, id="protocol-record"),
        pytest.param(a_keysend(tlvs={2**64: b""}), FailReason.BAD_REQUEST, id="no-record"),
        pytest.param(
            a_keysend(tlvs={5_482_373_484: b""}), FailReason.BAD_REQUEST, id="preimage-record"
        ),
        pytest.param(
            a_keysend(tlvs={70_000: bytes(1_001)}), FailReason.BAD_REQUEST, id="too-long"
        ),
    ],
)
async def test_some_payments_are_refused_before_lnd_hears_of_them(
    double: LndDouble,
    backend: LndBackend,
    request_: PayRequest | KeysendRequest,
    reason: FailReason,
) -> None:
    double.requests.clear()

    outcome = await backend.pay(request_)

    assert shape(outcome) == (NotSent, reason)
    assert double.requests == []


# --- why there is no route


READ = {
    "destination": PAYEE,
    "payment_hash": PAYMENT_HASH,
    "num_msat": "21000",
    "timestamp": "1",
    "expiry": "2",
    "cltv_expiry": "80",
    "route_hints": [{"hop_hints": [{"node_id": PAYEE, "chan_id": "1"}]}],
}


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        pytest.param([2_001], FailReason.FEE_TOO_HIGH, id="too-dear"),
        pytest.param([9_000, 2_000], FailReason.NO_ROUTE, id="one-is-cheap-enough"),
        pytest.param([], FailReason.NO_ROUTE, id="none-at-any-price"),
    ],
)
@pytest.mark.parametrize("request_", [a_request(), a_keysend()], ids=["invoice", "keysend"])
async def test_no_route_under_the_fee_limit_is_told_as_such(
    double: LndDouble,
    backend: LndBackend,
    routes: list[int],
    reason: FailReason,
    request_: PayRequest | KeysendRequest,
) -> None:
    double.ends = [a_failure()]
    rows = [{"total_fees_msat": str(fee_msat)} for fee_msat in routes]
    double.script |= {ROUTES: Answer(200, {"routes": rows}), DECODE: Answer(200, READ)}

    outcome = await backend.pay(request_)

    assert shape(outcome) == (Failed, reason)
    [asked] = double.of(ROUTES)
    assert asked.argument == f"{PAYEE}/0"
    hints = READ["route_hints"] if isinstance(request_, PayRequest) else None
    assert asked.body.get("route_hints") == hints


@pytest.mark.parametrize("answer", [Answer(500, ""), Answer(200, "{}", delay_s=9)])
async def test_a_failure_stays_one_though_its_reason_cannot_be_found(
    double: LndDouble, backend: LndBackend, answer: Answer
) -> None:
    double.ends = [a_failure()]
    double.script |= {ROUTES: answer, DECODE: Answer(200, READ)}

    assert shape(await backend.pay(a_request())) == (Failed, FailReason.NO_ROUTE)


# --- time


@pytest.mark.attack("A24")
async def test_the_callers_cancellation_does_not_cut_the_request_off(
    double: LndDouble, backend: LndBackend
) -> None:
    double.script[SEND] = Answer(lines=({"result": a_payment()},), delay_s=0.3)
    paying = asyncio.create_task(backend.pay(a_request(timeout_s=5)))
    await double.until_asked(SEND)

    paying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await paying
    again = await backend.pay(a_request(timeout_s=5))

    assert again == SETTLED
    assert len(double.of(SEND)) == 1
    assert double.cut_off == []


async def test_closing_gives_up_waiting_but_claims_nothing(
    double: LndDouble, backend: LndBackend
) -> None:
    double.script[SEND] = Answer(lines=({"result": a_payment()},), delay_s=9)
    paying = asyncio.create_task(backend.pay(a_request(timeout_s=5)))
    await double.until_asked(SEND)

    await backend.close()

    assert isinstance(await paying, Unknown)


async def test_settled_at_is_when_the_last_part_was_settled(
    double: LndDouble, backend: LndBackend
) -> None:
    parts = [
        {"status": "SUCCEEDED", "resolve_time_ns": str((SETTLED_AT + more) * 10**9)}
        for more in (0, 3, 1)
    ]
    lost = {"status": "FAILED", "resolve_time_ns": str((SETTLED_AT + 9) * 10**9)}
    double.script[SEND] = saying(a_payment(htlcs=[*parts, lost]))

    outcome = await backend.pay(a_request())

    assert isinstance(outcome, Settled)
    assert outcome.settled_at == SETTLED_AT + 3
