"""What a payment through Core Lightning may and may not be said to have come to."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends.cln import ClnBackend
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    PaymentRef,
    PayRequest,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11
from tests.backends.cln_double import RUNE, Attempt, ClnDouble, Fault, cln_double
from tests.backends.cln_rows import (
    AMOUNT_MSAT,
    SETTLED,
    RpcFail,
    a_backend,
    a_part,
    a_request,
    shape,
)

NO_ROUTE = (205, "Failed: We could not find a usable set of paths.")
GONE_WRONG = (209, "Failed after 3 attempts. Then routing failed: no")
PAID = Attempt(["complete"])


@pytest.fixture(params=["socket", "rest"])
async def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


@pytest.fixture
async def backend(double: ClnDouble, way: str) -> AsyncIterator[ClnBackend]:
    opened = a_backend(**double.options(way))
    await opened.start()
    yield opened
    await opened.close()


def ref(request: PayRequest, dispatched_at: int = 0) -> PaymentRef:
    return PaymentRef(request.our_id, request.payment_hash, dispatched_at)


async def test_what_is_paid_is_settled_with_proof_and_fee(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["failed", "complete"])]

    outcome = await backend.pay(a_request())

    assert outcome == SETTLED
    assert await backend.lookup_payment(ref(a_request())) == SETTLED
    assert double.core.of("listpays") == []  # which says "failed" in between


async def test_the_parts_of_a_payment_make_one_fee(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["complete", "failed", "complete"])]

    outcome = await backend.pay(a_request())

    assert isinstance(outcome, Settled)
    assert outcome.fee_msat == 2 * 1_002


async def test_the_node_is_told_what_may_be_spent(
    double: ClnDouble, backend: ClnBackend
) -> None:
    named = double.core.make_outside_invoice(AMOUNT_MSAT)
    nameless = double.core.make_outside_invoice(None)

    for invoice, timeout_s in ((named, 61.5), (nameless.upper(), 86_400)):
        payment_hash = bolt11.decode(invoice).payment_hash
        request = a_request(
            invoice,
            payment_hash=payment_hash,
            amount_is_override=invoice != named,
            max_fee_msat=1_234,
            timeout_s=timeout_s,
        )
        assert isinstance(await backend.pay(request), Settled)

    first, second = double.core.of("xpay")
    assert first == {"invstring": named, "maxfee": 1_234, "retry_for": 61}
    assert (second["amount_msat"], second["retry_for"]) == (AMOUNT_MSAT, 120)
    assert second["invstring"] == nameless


async def test_a_fee_limit_of_nothing_is_no_missing_limit(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [PAID]

    await backend.pay(a_request(max_fee_msat=0))

    assert double.core.of("xpay")[0]["maxfee"] == 0


# --- errors of xpay


@pytest.mark.attack("A4")
@pytest.mark.parametrize("error", [GONE_WRONG, (203, "no"), (-3, "error 200"), (-1, "what")])
async def test_an_error_with_a_part_still_out_is_not_the_end(
    double: ClnDouble, backend: ClnBackend, error: tuple[int, str]
) -> None:
    double.core.attempts = [Attempt(["failed", "pending"], error)]
    request = a_request()

    assert isinstance(await backend.pay(request), InFlight)

    double.core.parts[1] |= a_part("complete", index=2)
    assert await backend.lookup_payment(ref(request)) == SETTLED


@pytest.mark.attack("A4")
async def test_a_part_that_ends_well_after_the_error_settles_the_payment(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["pending"], GONE_WRONG)]
    paying = asyncio.create_task(backend.pay(a_request(timeout_s=5)))
    while len(double.core.of("listsendpays")) < 3:
        await asyncio.sleep(0.01)

    double.core.parts[0] |= a_part("complete", index=1)

    assert await paying == SETTLED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ((203, "Destination said it doesn't know invoice"), FailReason.REJECTED),
        (GONE_WRONG, FailReason.OTHER),
        ((209, "Timed out after after 7 attempts. "), FailReason.TIMEOUT),
        (
            (209, "Failed after 2 attempts. Could not find route without excessive cost"),
            FailReason.FEE_TOO_HIGH,
        ),
    ],
)
async def test_when_all_parts_have_failed_and_the_command_has_ended_it_has_failed(
    double: ClnDouble, backend: ClnBackend, error: tuple[int, str], reason: FailReason
) -> None:
    double.core.attempts = [Attempt(["failed", "failed"], error)]

    outcome = await backend.pay(a_request())

    assert shape(outcome) == (Failed, reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NO_ROUTE, FailReason.NO_ROUTE),
        ((206, "Could not find route without excessive cost"), FailReason.FEE_TOO_HIGH),
        ((207, "Invoice expired 3 seconds ago"), FailReason.EXPIRED),
        ((213, "preapproval declined"), FailReason.REJECTED),
        ((215, "We do not have enough"), FailReason.INSUFFICIENT_BALANCE),
        ((220, "no capacity into it"), FailReason.NO_ROUTE),
        ((-32602, "Invalid bolt11 invoice: no"), FailReason.BAD_REQUEST),
        ((-32601, "Unknown command 'xpay'"), FailReason.UNAVAILABLE),
    ],
)
async def test_an_error_without_a_single_part_says_that_nothing_was_sent(
    double: ClnDouble, backend: ClnBackend, error: tuple[int, str], reason: FailReason
) -> None:
    double.core.attempts = [Attempt([], error)]

    assert shape(await backend.pay(a_request())) == (NotSent, reason)


async def test_no_route_for_more_than_there_is_is_told_as_such(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.balance_msat = AMOUNT_MSAT - 1

    outcome = await backend.pay(a_request())

    assert shape(outcome) == (NotSent, FailReason.INSUFFICIENT_BALANCE)


@pytest.mark.attack("A4")
@pytest.mark.parametrize("code", [-4, -5, None], ids=["plugin-gone", "stopping", "none"])
@pytest.mark.parametrize(("parts", "kind"), [([], Unknown), (["failed"], InFlight)])
async def test_an_error_that_is_not_of_xpay_itself_ends_nothing(
    double: ClnDouble, backend: ClnBackend, code: int | None, parts: list[str], kind: type
) -> None:
    double.core.attempts = [Attempt(parts, (code, "gone"))]

    assert isinstance(await backend.pay(a_request()), kind)


@pytest.mark.attack("A4")
@pytest.mark.parametrize(("parts", "kind"), [([], Unknown), (["failed"], InFlight)])
async def test_out_of_slow_mode_an_error_ends_nothing(
    double: ClnDouble, backend: ClnBackend, parts: list[str], kind: type
) -> None:
    double.core.is_slow = False  # since the start
    double.core.attempts = [Attempt(parts, GONE_WRONG)]

    assert isinstance(await backend.pay(a_request()), kind)


@pytest.mark.attack("A4")
async def test_an_error_is_not_believed_while_the_parts_cannot_be_seen(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt([], NO_ROUTE)]
    asked = asyncio.create_task(backend.pay(a_request()))
    while not double.core.of("listsendpays"):
        await asyncio.sleep(0.001)
    double.core.script["listsendpays"] = RpcFail(-5, "stopping")

    assert isinstance(await asked, Unknown)


async def test_a_preimage_that_proves_nothing_settles_nothing(
    double: ClnDouble, backend: ClnBackend
) -> None:
    paid = {"payment_preimage": "13" * 32, "amount_msat": 1, "amount_sent_msat": 1}
    double.core.script["xpay"] = paid

    assert isinstance(await backend.pay(a_request()), Unknown)


# --- lost replies


@pytest.mark.attack("A4")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.AFTER_READ, Unknown),
        (Fault.AFTER_COMMIT, SETTLED),
        (Fault.MID_REPLY, SETTLED),
        (Fault.HANG, SETTLED),
    ],
)
async def test_a_lost_reply_says_nothing_and_the_parts_all(
    double: ClnDouble, backend: ClnBackend, fault: Fault, expected: object
) -> None:
    double.core.attempts = [PAID]
    double.faults["xpay"] = fault

    assert shape(await backend.pay(a_request())) == expected


@pytest.mark.attack("A4")
async def test_a_reply_that_is_lost_after_a_failure_leaves_it_open(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["failed"], GONE_WRONG)]
    double.faults["xpay"] = Fault.AFTER_COMMIT

    assert isinstance(await backend.pay(a_request()), InFlight)


async def test_a_node_that_is_out_of_reach_has_sent_nothing(way: str) -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options(way))
        await backend.start()
    # the double has gone

    outcome = await backend.pay(a_request())

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    assert RUNE[:16] not in str(outcome)
    await backend.close()


async def test_a_rune_that_was_revoked_sends_nothing() -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("rest"))
        await backend.start()
        double.core.runes[RUNE] = frozenset({"listsendpays"})

        outcome = await backend.pay(a_request())

        assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
        assert double.core.of("xpay") == []
        await backend.close()


@pytest.mark.attack("A4")
async def test_a_rune_that_cannot_see_the_parts_leaves_what_was_sent_open() -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("rest"))
        await backend.start()
        double.core.attempts = [Attempt(["failed"], GONE_WRONG, delay_s=0.1)]
        paying = asyncio.create_task(backend.pay(a_request()))
        while not double.core.of("xpay"):
            await asyncio.sleep(0.001)
        double.core.runes[RUNE] = frozenset({"getinfo"})

        assert isinstance(await paying, Unknown)
        await backend.close()


async def test_what_takes_longer_than_its_time_is_in_flight(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["complete"], delay_s=30)]

    assert isinstance(await backend.pay(a_request(timeout_s=0.1)), InFlight)


# --- what the node knew before


@pytest.mark.attack("A12")
@pytest.mark.parametrize(("status", "expected"), [("complete", SETTLED), ("pending", InFlight)])
async def test_what_the_node_has_is_not_sent_again(
    double: ClnDouble, backend: ClnBackend, status: str, expected: object
) -> None:
    double.core.add_part(status, age_s=60)

    assert shape(await backend.pay(a_request())) == expected
    assert double.core.of("xpay") == []


@pytest.mark.attack("A4")
async def test_an_earlier_failure_is_not_taken_for_this_one(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.add_part("failed", age_s=600)
    double.faults["xpay"] = Fault.AFTER_READ

    assert isinstance(await backend.pay(a_request()), Unknown)


async def test_an_earlier_failure_does_not_make_nothing_sent_a_failure(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.add_part("failed", age_s=600)
    double.core.attempts = [Attempt([], NO_ROUTE)]

    assert shape(await backend.pay(a_request())) == (NotSent, FailReason.NO_ROUTE)


async def test_what_failed_this_moment_is_not_tried_again_yet(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.add_part("failed")

    assert shape(await backend.pay(a_request())) == (NotSent, FailReason.REJECTED)
    assert double.core.of("xpay") == []


async def test_already_paid_is_looked_up(double: ClnDouble, backend: ClnBackend) -> None:
    double.core.attempts = [Attempt(["complete"], (219, "Already paid this invoice"))]

    assert await backend.pay(a_request()) == SETTLED


# --- the caller


async def test_a_caller_who_goes_away_cuts_nothing_off(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["complete"], delay_s=0.2)]
    request = a_request(timeout_s=5)
    first = asyncio.create_task(backend.pay(request))
    while not double.core.of("xpay"):
        await asyncio.sleep(0.001)
    first.cancel()

    assert await backend.pay(request) == SETTLED
    assert len(double.core.of("xpay")) == 1
