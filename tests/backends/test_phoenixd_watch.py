"""Settled invoices as phoenixd tells them: woken by its websocket, read from its list."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

import pytest
from structlog.testing import capture_logs

from backends.phoenixd import PhoenixdBackend
from backends.phoenixd.node import PAGE_SIZE
from backends.phoenixd.watch import OVERLAP_S
from nwc_service.backend import Cursor, InvoiceReport
from nwc_service.wallet.units import PaymentHash
from tests.backends.contract import a_spec, told
from tests.backends.phoenixd_double import (
    LIST_IN,
    PASSWORD,
    WEBSOCKET,
    PhoenixdDouble,
    phoenixd_double,
)
from tests.backends.phoenixd_http import Answer
from tests.backends.phoenixd_rig import a_backend

RARELY = {"poll_s": 3600}
AT_START, BY_CONNECTION = 1, 1  # how often the list is read
Updates = AsyncGenerator[tuple[InvoiceReport, Cursor | None], None]


@pytest.fixture
async def phoenixd() -> AsyncIterator[PhoenixdDouble]:
    async with phoenixd_double() as double:
        yield double


@pytest.fixture
async def backend(phoenixd: PhoenixdDouble) -> AsyncIterator[PhoenixdBackend]:
    """That polls only when it is woken."""
    backend = a_backend(phoenixd, **RARELY)
    await backend.start()
    yield backend
    await backend.close()


def watched(backend: PhoenixdBackend, since: Cursor | None = None) -> Updates:
    return cast("Updates", backend.watch_invoices(since))


async def made(backend: PhoenixdBackend, count: int = 1) -> list[PaymentHash]:
    reports = [await backend.create_invoice(a_spec()) for _ in range(count)]
    return [report.payment_hash for report in reports]


async def read(updates: Updates, count: int = 1) -> list[PaymentHash]:
    async with asyncio.timeout(10):
        return [(await anext(updates))[0].payment_hash for _ in range(count)]


async def idle(phoenixd: PhoenixdDouble, *, polls: int) -> None:
    """Connected, and all read that there was: only a message, or another connection, wakes."""
    async with asyncio.timeout(10):
        while sum(call.query["offset"] == "0" for call in phoenixd.of(LIST_IN)) < polls:
            await asyncio.sleep(0.01)
    assert len(phoenixd._listeners) == 1


async def test_a_message_wakes_the_reader(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    [payment_hash] = await made(backend)
    phoenixd.requests.clear()
    async with aclosing(watched(backend)) as updates:
        reading = asyncio.create_task(read(updates))
        await idle(phoenixd, polls=AT_START + BY_CONNECTION)

        phoenixd.receive(payment_hash)

        assert await reading == [payment_hash]
    assert phoenixd.of(WEBSOCKET)[0].password == PASSWORD


async def test_what_a_lost_websocket_did_not_tell_is_read(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    first, second = await made(backend, 2)
    phoenixd.receive(first)
    phoenixd.requests.clear()
    async with aclosing(watched(backend)) as updates:
        assert await read(updates) == [first]
        reading = asyncio.create_task(read(updates))
        await idle(phoenixd, polls=AT_START + BY_CONNECTION)
        phoenixd.drop_listeners()
        phoenixd.receive(second)

        assert await reading == [second]
    assert len(phoenixd.of(WEBSOCKET)) == 2


@pytest.mark.attack("A22")
async def test_a_message_that_nothing_stands_behind_tells_nothing(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    forged, real = await made(backend, 2)
    phoenixd.requests.clear()
    async with aclosing(watched(backend)) as updates:
        reading = asyncio.create_task(read(updates))
        await idle(phoenixd, polls=AT_START + BY_CONNECTION)
        phoenixd.say({"type": "payment_received", "paymentHash": forged, "amountSat": 5})
        phoenixd.say("no object")
        await idle(phoenixd, polls=AT_START + BY_CONNECTION + 1)
        phoenixd.receive(real)

        assert await reading == [real]


async def test_without_a_websocket_the_list_is_read_now_and_then(
    phoenixd: PhoenixdDouble,
) -> None:
    phoenixd.script[WEBSOCKET] = Answer(404, "Unknown endpoint (check api doc)")
    backend = a_backend(phoenixd, poll_s=0.1)
    await backend.start()
    [payment_hash] = await made(backend)

    async with aclosing(watched(backend)) as updates:
        reading = asyncio.create_task(read(updates))
        await phoenixd.until_asked(WEBSOCKET)
        phoenixd.receive(payment_hash)

        assert await reading == [payment_hash]
    await backend.close()


@pytest.mark.attack("A16")
async def test_a_cursor_goes_back_over_what_may_have_been_stored_late(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    now = time.time()
    late, booked = await made(backend, 2)
    phoenixd.clock = lambda: now - 60
    phoenixd.receive(booked)
    _, cursor = await told(backend, None, until=lambda report: True)
    phoenixd.clock = lambda: now - 60 - OVERLAP_S + 1
    phoenixd.receive(late)
    phoenixd.clock = time.time

    seen, _ = await told(backend, cursor, until=lambda each: each.payment_hash == booked)

    assert [report.payment_hash for report in seen] == [late, booked]


async def test_a_cursor_does_not_go_back_to_what_was_booked_long_ago(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    now = time.time()
    old, new = await made(backend, 2)
    phoenixd.clock = lambda: now - 2 * OVERLAP_S
    phoenixd.receive(old)
    phoenixd.clock = time.time
    phoenixd.receive(new)

    seen, cursor = await told(backend, Cursor(str(int(now))), until=lambda report: True)

    assert [report.payment_hash for report in seen] == [new]
    assert cursor is not None
    assert int(cursor) >= int(now)


async def test_more_than_a_page_is_told_oldest_first(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    hashes = await made(backend, PAGE_SIZE + 1)
    start = time.time() - 60
    for number, payment_hash in enumerate(hashes):
        phoenixd.clock = lambda number=number: start + number / 100  # type: ignore[misc]
        phoenixd.receive(payment_hash)
    phoenixd.clock = time.time

    async with aclosing(watched(backend)) as updates:
        assert await read(updates, len(hashes)) == hashes


async def test_a_list_that_cannot_be_read_ends_no_stream(phoenixd: PhoenixdDouble) -> None:
    backend = a_backend(phoenixd, poll_s=0.1)
    await backend.start()
    [payment_hash] = await made(backend)
    phoenixd.receive(payment_hash)
    phoenixd.script[LIST_IN] = Answer(500, "an exception")

    with capture_logs() as logs:
        async with aclosing(watched(backend)) as updates:
            reading = asyncio.create_task(read(updates))
            asked = len(phoenixd.of(LIST_IN))
            while len(phoenixd.of(LIST_IN)) < asked + 2:
                await asyncio.sleep(0.01)
            del phoenixd.script[LIST_IN]

            assert await reading == [payment_hash]
    assert "phoenixd.poll_failed" in {entry["event"] for entry in logs}
    await backend.close()


async def test_what_the_lsp_took_is_in_the_log(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    costly, free = await made(backend, 2)
    phoenixd.receive(costly, fee_msat=1_000_000)
    phoenixd.receive(free)

    with capture_logs() as logs:
        async with aclosing(watched(backend)) as updates:
            await read(updates, 2)

    fees = [entry for entry in logs if entry["event"] == "phoenixd.liquidity_fee"]
    assert [(fee["payment_hash"], fee["fee_msat"], fee["received_msat"]) for fee in fees] == [
        (costly, 1_000_000, 4_000_000)
    ]
