"""What the rows about a payment's parts prove when they are looked at later."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from backends.cln import sender, transport
from backends.cln.payments import NO_MORE_PARTS_AFTER_S, outcome_at
from backends.cln.wire import Parts
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    Failed,
    FailReason,
    InFlight,
    InvoiceReport,
    NotSent,
    PaymentRef,
    PaymentReport,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import PaymentHash
from tests.backends.cln_double import cln_double
from tests.backends.cln_rows import (
    AMOUNT_MSAT,
    PAYMENT_HASH,
    SETTLED,
    RpcFail,
    a_backend,
    a_part,
    a_request,
    hash_of,
    shape,
)

NOW = time.time()  # when the rows below are made: the tests may be run much later
OLD_S = NO_MORE_PARTS_AFTER_S + 5
FAILED = (Failed, FailReason.OTHER)


def parts(*rows: tuple[str, int], **changed: Any) -> list[dict[str, Any]]:
    return [
        a_part(status, index=index, age_s=age_s) | changed
        for index, (status, age_s) in enumerate(rows, 1)
    ]


@pytest.mark.attack("A4")
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], None, id="nothing-proves-nothing"),
        pytest.param(parts(("pending", OLD_S)), InFlight, id="out"),
        pytest.param(parts(("complete", 5)), SETTLED, id="paid"),
        pytest.param(parts(("failed", OLD_S), ("complete", 5)), SETTLED, id="second-try"),
        pytest.param(parts(("failed", OLD_S), ("pending", OLD_S)), InFlight, id="one-is-out"),
        pytest.param(parts(("complete", 5), ("pending", 5)), InFlight, id="half-paid"),
        pytest.param(parts(("failed", 5)), InFlight, id="another-may-follow"),
        pytest.param(parts(("failed", OLD_S), ("failed", 5)), InFlight, id="the-last-counts"),
        pytest.param(parts(("failed", OLD_S)), FAILED, id="none-follows"),
        pytest.param(parts(("failed", 5000)), None, id="an-earlier-attempt"),
        pytest.param(parts(("failed", 5000), ("failed", OLD_S)), FAILED, id="both"),
        pytest.param(parts(("complete", 5), payment_preimage="00" * 32), Unknown, id="proof"),
    ],
)
def test_what_the_rows_of_a_payment_prove(rows: list[dict[str, Any]], expected: object) -> None:
    read = Parts.model_validate({"payments": rows}).payments

    outcome = outcome_at(read, dispatched_at=int(NOW) - 1000, now=NOW)

    assert (None if outcome is None else shape(outcome)) == expected


def test_a_part_of_unknown_amount_makes_the_fee_unknown() -> None:
    row = a_part("complete", index=1)
    del row["amount_msat"]
    [part] = Parts.model_validate({"payments": [row]}).payments

    outcome = outcome_at([part], dispatched_at=0, now=time.time())

    assert isinstance(outcome, Settled)
    assert outcome.fee_msat is None


@pytest.mark.parametrize("said", [RpcFail(-5, "stopping"), {"payments": [{"status": "odd"}]}])
async def test_an_answer_that_cannot_be_used_is_no_outcome(said: object) -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("socket"))
        await backend.start()
        double.core.script["listsendpays"] = said

        with pytest.raises(BackendUnavailable, match="lookup_payment"):
            await backend.lookup_payment(PaymentRef("x", PAYMENT_HASH, 0))


async def test_what_failed_while_a_slow_node_was_asked_is_not_tried_again_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is as young as the dispatch, and would be taken for this one's failure."""
    async with cln_double() as double:
        backend = a_backend(**double.options("socket"))
        await backend.start()
        double.core.add_part("failed")
        begun_at = double.core.parts[0]["created_at"]

        def after_ten_seconds() -> float:
            return float(begun_at + 10 * len(double.core.of("listsendpays")))

        monkeypatch.setattr(sender, "time", SimpleNamespace(time=after_ten_seconds))

        assert shape(await backend.pay(a_request())) == (NotSent, FailReason.REJECTED)
        assert double.core.of("xpay") == []


@pytest.mark.parametrize("way", ["socket", "rest"])
async def test_a_reply_without_end_is_not_kept(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options(way))
        await backend.start()
        monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 100_000)
        double.core.script["listsendpays"] = {"payments": [], "x": "x" * 200_000}

        with pytest.raises(BackendUnavailable, match=r"lookup_payment.*without end"):
            await backend.lookup_payment(PaymentRef("x", PAYMENT_HASH, 0))
        await backend.close()


async def test_rows_of_another_payment_are_not_believed() -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("socket"))
        await backend.start()
        other = a_part("complete", index=1, payment_hash=hash_of("13" * 32))
        double.core.script["listsendpays"] = {"payments": [other]}

        assert await backend.lookup_payment(PaymentRef("x", PAYMENT_HASH, 0)) is None


async def test_the_history_has_a_payment_once_whatever_became_of_its_parts() -> None:
    async with cln_double() as double:
        backend = a_backend(**double.options("socket"))
        await backend.start()
        first, second, third = (PaymentHash(hash_of(f"2{i}" * 32)) for i in range(3))
        for payment_hash, status in (
            (first, "failed"),
            (second, "failed"),
            (first, "failed"),
            (third, "pending"),
            (second, "pending"),
        ):
            double.core.add_part(status, payment_hash=payment_hash, age_s=OLD_S)

        listed: list[PaymentReport | InvoiceReport] = []
        cursor: Cursor | None = None
        while True:
            page = await backend.list_history("out", cursor, 2)
            listed += page.items
            cursor = page.next_cursor
            if cursor is None:
                break

        assert all(isinstance(item, PaymentReport) for item in listed)
        assert [item.payment_hash for item in listed] == [first, second, third]
        outcomes = [shape(item.outcome) for item in listed if isinstance(item, PaymentReport)]
        assert outcomes == [FAILED, InFlight, InFlight]
        assert {item.amount_msat for item in listed} == {AMOUNT_MSAT}


@pytest.mark.parametrize(
    ("side", "cursor"),
    [("out", "x"), ("in", "x1"), ("in", "i-1"), ("in", "i" + "9" * 5000), ("out", "9" * 5000)],
)
async def test_a_cursor_of_another_backend_is_a_bad_request(side: str, cursor: str) -> None:
    backend = a_backend(socket="/nowhere")

    with pytest.raises(BadRequest, match="cursor"):
        await backend.list_history("in" if side == "in" else "out", Cursor(cursor), 1)
