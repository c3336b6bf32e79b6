"""The stream of what is paid at Core Lightning."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from backends.cln import ClnBackend
from backends.cln import watch as watching
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    InvoiceReport,
    InvoiceStatus,
)
from nwc_service.wallet.units import PaymentHash
from tests.backends.cln_core import ClnCore
from tests.backends.cln_double import ClnDouble, Fault, cln_double
from tests.backends.cln_rows import RpcFail, a_backend, an_invoice, hash_of
from tests.backends.contract import a_spec, told

Told = tuple[InvoiceReport, Cursor | None]


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


@pytest.fixture(params=["socket", "rest"])
async def backend(
    double: ClnDouble, request: pytest.FixtureRequest
) -> AsyncIterator[ClnBackend]:
    opened = a_backend(**double.options(request.param))
    await opened.start()
    yield opened
    await opened.close()


async def a_paid_one(core: ClnCore, *, age_s: int = 0) -> PaymentHash:
    preimage = secrets.token_hex(32)
    text = an_invoice(payment_hash=hash_of(preimage))
    row = core.add_invoice(secrets.token_hex(4), preimage, bolt11=text, amount_msat=21_000)
    await core.receive(row, 21_000)
    row["paid_at"] = int(time.time()) - age_s
    return PaymentHash(row["payment_hash"])


def watched(backend: ClnBackend, since: Cursor | None) -> AsyncGenerator[Told, None]:
    return cast("AsyncGenerator[Told, None]", backend.watch_invoices(since))


async def taken(backend: ClnBackend, since: Cursor | None, count: int) -> list[Told]:
    async with asyncio.timeout(10), aclosing(watched(backend, since)) as updates:
        return [await anext(updates) for _ in range(count)]


async def test_from_a_cursor_all_that_came_after_is_told_in_its_order(
    double: ClnDouble, backend: ClnBackend
) -> None:
    hashes = [await a_paid_one(double.core) for _ in range(4)]

    first = await taken(backend, Cursor("1.0"), 2)
    rest = await taken(backend, first[-1][1], 1)

    assert [report.payment_hash for report, _ in first + rest] == hashes[1:]
    assert first[0][1] == Cursor("2.0")


async def test_waiting_in_vain_is_no_end(double: ClnDouble, backend: ClnBackend) -> None:
    async with asyncio.timeout(10), aclosing(watched(backend, Cursor("0.0"))) as updates:
        waiting = asyncio.ensure_future(anext(updates))
        while len(double.core.of("waitanyinvoice")) < 2:  # a second each
            await asyncio.sleep(0.01)

        paid = await a_paid_one(double.core)

        assert (await waiting)[0].payment_hash == paid


async def test_without_a_cursor_the_last_day_is_told_and_nothing_older(
    double: ClnDouble, backend: ClnBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAGE_SIZE", 2)
    for _ in range(3):
        await a_paid_one(double.core, age_s=2 * 86_400)
    lately = [await a_paid_one(double.core, age_s=60) for _ in range(3)]

    seen = await taken(backend, None, 3)
    now = await a_paid_one(double.core)
    [after] = await taken(backend, seen[-1][1], 1)

    assert [report.payment_hash for report, _ in seen] == lately
    assert after[0].payment_hash == now


async def test_without_a_cursor_an_old_history_is_not_told_again(
    double: ClnDouble, backend: ClnBackend
) -> None:
    for _ in range(3):
        await a_paid_one(double.core, age_s=2 * 86_400)
    waiting = asyncio.create_task(taken(backend, None, 1))
    while not double.core.of("waitanyinvoice"):
        await asyncio.sleep(0.001)

    paid = await a_paid_one(double.core)

    assert [report.payment_hash for report, _ in await waiting] == [paid]
    assert double.core.of("waitanyinvoice")[0]["lastpay_index"] == 3


@pytest.mark.parametrize("fault", [Fault.AFTER_READ, Fault.MID_REPLY])
async def test_a_lost_stream_is_told_and_its_cursor_loses_nothing(
    double: ClnDouble, backend: ClnBackend, fault: Fault
) -> None:
    paid = await a_paid_one(double.core)
    double.faults["waitanyinvoice"] = fault

    with pytest.raises(BackendUnavailable, match="watch_invoices"):
        await taken(backend, Cursor("0.0"), 1)

    [(report, _)] = await taken(backend, Cursor("0.0"), 1)
    assert report.payment_hash == paid


async def test_an_error_of_the_stream_is_told(double: ClnDouble, backend: ClnBackend) -> None:
    double.core.script["waitanyinvoice"] = RpcFail(-5, "stopping")

    with pytest.raises(BackendUnavailable, match="start lightningd"):
        await taken(backend, Cursor("0.0"), 1)


async def test_what_is_paid_and_forgotten_at_once_is_told_all_the_same(
    double: ClnDouble, backend: ClnBackend
) -> None:
    paid = await a_paid_one(double.core)
    double.core.script["listinvoices"] = {"invoices": []}

    [(report, _)] = await taken(backend, Cursor("0.0"), 1)

    assert (report.payment_hash, report.received_msat) == (paid, 21_000)


@pytest.mark.parametrize("cursor", ["x", "1.x", "-1", "1.2.3", ""])
def test_a_cursor_of_another_backend_is_a_bad_request(cursor: str) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        a_backend(socket="/nowhere").watch_invoices(Cursor(cursor))


# --- hold invoices


async def a_hold(backend: ClnBackend, core: ClnCore, preimage: str) -> dict[str, Any]:
    made = await backend.create_invoice(a_spec(21_000, hold_hash=hash_of(preimage)))
    await core.pay_from_outside(made.invoice, None)
    row = core.holds.row_of(made.payment_hash)
    assert row is not None
    return row


async def test_a_hold_invoice_that_was_settled_meanwhile_is_told_from_the_cursor(
    double: ClnDouble, backend: ClnBackend
) -> None:
    one, other = "31" * 32, "32" * 32
    for preimage in (one, other):
        await a_hold(backend, double.core, preimage)
    await backend.resolve_hold(PaymentHash(hash_of(one)), one)  # type: ignore[arg-type]
    seen, cursor = await told(
        backend, None, until=lambda each: each.status is InvoiceStatus.SETTLED
    )
    await backend.resolve_hold(PaymentHash(hash_of(other)), other)  # type: ignore[arg-type]

    again, _ = await told(
        backend, cursor, until=lambda each: each.payment_hash == hash_of(other)
    )

    assert [each.payment_hash for each in seen if each.status == "settled"] == [hash_of(one)]
    # at least once: the time of the last one is told again
    assert {each.payment_hash for each in again} <= {hash_of(one), hash_of(other)}


async def test_a_hold_invoice_that_is_accepted_is_told_once(
    double: ClnDouble, backend: ClnBackend
) -> None:
    row = await a_hold(backend, double.core, "33" * 32)
    async with asyncio.timeout(10), aclosing(watched(backend, Cursor("0.0"))) as updates:
        first, _ = await anext(updates)
        waiting = asyncio.ensure_future(anext(updates))
        looks = len(double.core.of("listholdinvoices"))
        while len(double.core.of("listholdinvoices")) < looks + 3:
            await asyncio.sleep(0.01)
        paid = await a_paid_one(double.core)
        second, _ = await waiting

    assert first.status is InvoiceStatus.ACCEPTED
    assert (first.payment_hash, second.payment_hash) == (row["payment_hash"], paid)


async def test_open_hold_invoices_alone_are_looked_at_in_between(
    double: ClnDouble, backend: ClnBackend
) -> None:
    row = await a_hold(backend, double.core, "34" * 32)
    async with asyncio.timeout(10), aclosing(watched(backend, Cursor("0.0"))) as updates:
        await anext(updates)
        waiting = asyncio.ensure_future(anext(updates))
        before = len(double.core.of("listholdinvoices"))
        while len(double.core.of("listholdinvoices")) < before + 2:
            await asyncio.sleep(0.01)
        asked = double.core.of("listholdinvoices")[before:]
        double.core.holds.settleholdinvoice(double.core, "34" * 32)
        report, _ = await waiting

    assert all(query == {"payment_hash": row["payment_hash"]} for query in asked)
    assert report.status is InvoiceStatus.SETTLED


async def test_hold_invoices_are_looked_at_however_much_is_paid(
    double: ClnDouble, backend: ClnBackend
) -> None:
    async with asyncio.timeout(20), aclosing(watched(backend, Cursor("0.0"))) as updates:
        await a_paid_one(double.core)
        await anext(updates)
        row = await a_hold(backend, double.core, "35" * 32)
        for _ in range(1000):
            await a_paid_one(double.core)  # so that the next one is always there
            report, _ = await anext(updates)
            if report.payment_hash == row["payment_hash"]:
                return
    raise AssertionError("the hold invoice was never told")
