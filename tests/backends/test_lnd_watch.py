"""The stream of settled and accepted invoices: none is missed, wherever it is read on from."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

import pytest

from backends.lnd import LndBackend
from backends.lnd.watch import LOOK_BACK_S, Place
from nwc_service.backend import BackendUnavailable, BadRequest, Cursor, InvoiceReport
from tests.backends.lnd_double import LIST_IN, SUBSCRIBE, LndDouble, lnd_double
from tests.backends.lnd_http import Answer, Fault
from tests.backends.lnd_rows import a_backend, an_htlc, b64, error

Told = tuple[InvoiceReport, Cursor | None]


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


def watch(backend: LndBackend, since: str | None) -> AsyncGenerator[Told, None]:
    cursor = None if since is None else Cursor(since)
    return cast("AsyncGenerator[Told, None]", backend.watch_invoices(cursor))


async def told(
    backend: LndBackend,
    since: str | None,
    count: int,
    *,
    meanwhile: Callable[[], None] | None = None,
) -> list[tuple[str, str | None]]:
    """The hashes of the next reports, as base64, with the cursor after each."""
    found: list[tuple[str, str | None]] = []
    async with asyncio.timeout(5), aclosing(watch(backend, since)) as updates:
        while len(found) < count:
            if meanwhile is not None and len(found) == 0:
                asyncio.get_running_loop().call_later(0.2, meanwhile)
            report, cursor = await anext(updates)
            found.append((b64(report.payment_hash), cursor))
    return found


async def told_until_lost(
    backend: LndBackend, since: str, *, seen: list[tuple[str, str | None]]
) -> None:
    async with asyncio.timeout(5), aclosing(watch(backend, since)) as updates:
        async for report, cursor in updates:
            seen.append((b64(report.payment_hash), cursor))


def settled_ones(double: LndDouble, count: int) -> list[str]:
    rows = [double.add_invoice() for _ in range(count)]
    for row in rows:
        double.settle(row)
    return [row["r_hash"] for row in rows]


def a_hold(double: LndDouble, state: str = "ACCEPTED") -> dict[str, Any]:
    htlcs = [an_htlc()] if state == "ACCEPTED" else []
    return double.add_invoice(r_preimage="", state=state, htlcs=htlcs)


# --- where it begins


async def test_without_a_cursor_what_was_made_lately_is_told_with_the_very_first(
    double: LndDouble, backend: LndBackend
) -> None:
    hashes = settled_ones(double, 3)

    found = await told(backend, None, 3)

    assert found == list(zip(hashes, ["1", "2", "3"], strict=True))


async def test_the_order_is_that_of_settling(double: LndDouble, backend: LndBackend) -> None:
    rows = [double.add_invoice() for _ in range(3)]
    for row in (rows[2], rows[0], rows[1]):
        double.settle(row)

    found = await told(backend, None, 3)

    assert [each for each, _ in found] == [rows[i]["r_hash"] for i in (2, 0, 1)]


async def test_a_history_from_before_us_is_not_told(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 4)
    for row in double.invoices:
        row["creation_date"] = str(int(time.time()) - LOOK_BACK_S - 60)

    found = await told(backend, None, 1, meanwhile=lambda: double.settle(double.add_invoice()))

    assert found == [(double.invoices[4]["r_hash"], "5")]
    assert double.of(SUBSCRIBE)[0].query["settle_index"] == "4"


async def test_from_a_cursor_it_goes_on(double: LndDouble, backend: LndBackend) -> None:
    hashes = settled_ones(double, 4)

    assert await told(backend, "2", 2) == [(hashes[2], "3"), (hashes[3], "4")]
    assert double.of(SUBSCRIBE)[0].query["settle_index"] == "2"


@pytest.mark.parametrize("since", [None, "0"])
async def test_the_very_first_settled_one_is_told_though_no_stream_tells_it(
    double: LndDouble, backend: LndBackend, since: str | None
) -> None:
    def settle_two() -> None:
        # LND tells of the first only to who asked from 0, which replays nothing
        double.invoices.append({**double.add_invoice(), "r_hash": b64("aa" * 32)})
        double.invoices.pop(0)
        double.invoices[0] |= {"state": "SETTLED", "settle_index": "1", "amt_paid_msat": "1"}
        double.settle(double.add_invoice())

    found = await told(backend, since, 2, meanwhile=settle_two)

    assert [cursor for _, cursor in found] == ["1", "2"]
    assert found[0][0] == b64("aa" * 32)


@pytest.mark.parametrize("cursor", ["", "-1", "x", "1.0", "²", "9" * 30])
async def test_a_cursor_of_another_backend_is_refused(backend: LndBackend, cursor: str) -> None:
    with pytest.raises(BadRequest):
        backend.watch_invoices(Cursor(cursor))


# --- what the cursor says


@pytest.mark.attack("A16")
async def test_the_cursor_does_not_pass_what_is_still_to_come(
    double: LndDouble, backend: LndBackend
) -> None:
    """LND on SQL replays in the order of making."""
    hashes = settled_ones(double, 5)
    double.replayed = [5, 3, 4, 2]

    found = await told(backend, "1", 4)

    assert found == [(hashes[4], "1"), (hashes[2], "1"), (hashes[3], "1"), (hashes[1], "5")]


@pytest.mark.attack("A16")
async def test_a_new_invoice_shows_that_nothing_more_is_replayed(
    double: LndDouble, backend: LndBackend
) -> None:
    """Then gaps, as parts of AMP invoices leave them, are no reason to wait."""
    settled_ones(double, 6)
    double.replayed = [6, 3]

    def go_on() -> None:
        double.settle(double.add_invoice())

    found = await told(backend, "1", 3, meanwhile=go_on)

    assert [cursor for _, cursor in found] == ["1", "1", "7"]


def test_a_place_is_the_highest_index_below_which_none_is_missing() -> None:
    place = Place(10)

    assert [place.settled(index) for index in (12, 12, 9, 10)] == [True, False, False, False]
    assert place.index == 10
    assert place.settled(11)
    assert place.index == 12


def test_a_place_passes_gaps_once_nothing_is_replayed() -> None:
    place = Place(10)
    place.new_invoice()

    assert place.settled(20)

    assert place.index == 20


def test_a_place_forgets_what_is_replayed_again() -> None:
    place = Place(10)
    place.settled(12)
    place.new_invoice()
    assert place.index == 12

    place.reopened()

    assert place.settled(15)
    assert place.index == 12


# --- while it is read


async def test_what_is_settled_meanwhile_is_told_once(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 2)

    def settle_and_repeat() -> None:
        row = double.add_invoice()
        double.settle(row)
        double.say_again(row)
        double.say_again(double.invoices[0])
        double.settle(double.add_invoice())

    found = await told(backend, "2", 2, meanwhile=settle_and_repeat)

    assert found == [(double.invoices[i]["r_hash"], str(i + 1)) for i in (2, 3)]


@pytest.mark.parametrize("fault", [Fault.BEFORE_READ, Fault.AFTER_READ, Fault.MID_STREAM])
async def test_a_lost_stream_is_told_and_loses_nothing(
    double: LndDouble, backend: LndBackend, fault: Fault
) -> None:
    hashes = settled_ones(double, 3)
    double.faults[SUBSCRIBE] = fault
    seen: list[tuple[str, str | None]] = []

    with pytest.raises(BackendUnavailable, match="watch_invoices"):
        await told_until_lost(backend, "1", seen=seen)
    cursor = seen[-1][1] if seen else "1"
    rest = await told(backend, cursor, 2 - len(seen))

    assert [each for each, _ in seen + rest] == hashes[1:]


async def test_a_stream_that_ends_is_told(double: LndDouble, backend: LndBackend) -> None:
    settled_ones(double, 1)
    double.script[SUBSCRIBE] = Answer(lines=())

    with pytest.raises(BackendUnavailable, match="LND ended the stream"):
        await told(backend, "1", 1)


@pytest.mark.parametrize(
    "line",
    [{"error": error(2, "permission denied")}, {"result": {"state": "OPEN"}}, "nonsense\n"],
    ids=["error", "another-shape", "no-json"],
)
async def test_a_line_that_cannot_be_read_ends_it(
    double: LndDouble, backend: LndBackend, line: object
) -> None:
    double.script[SUBSCRIBE] = Answer(lines=(line,), stays_open=True)

    with pytest.raises(BackendUnavailable, match="watch_invoices"):
        await told(backend, "1", 1)


@pytest.mark.attack("A16")
async def test_a_stream_that_may_be_dead_is_opened_anew_from_the_cursor(
    double: LndDouble,
) -> None:
    backend = a_backend(double.url, idle_s=1)
    await backend.start()
    settled_ones(double, 2)
    rows = [double.add_invoice(), double.add_invoice()]

    def settle_unheard() -> None:
        for row, index in zip(rows, (3, 4), strict=True):
            row |= {"state": "SETTLED", "settle_index": str(index), "amt_paid_msat": "1"}

    found = await told(backend, "2", 2, meanwhile=settle_unheard)

    assert found == [(rows[0]["r_hash"], "3"), (rows[1]["r_hash"], "4")]
    assert len(double.of(SUBSCRIBE)) == 2
    await backend.close()


@pytest.mark.attack("A16")
async def test_what_is_replayed_to_a_stream_opened_anew_is_in_no_order_either(
    double: LndDouble,
) -> None:
    backend = a_backend(double.url, idle_s=1)
    await backend.start()
    settled_ones(double, 2)

    def settle_unheard() -> None:
        rows = [double.add_invoice() for _ in range(2)]  # so that the stream is live
        for row, index in zip(rows, (3, 4), strict=True):
            row |= {"state": "SETTLED", "settle_index": str(index), "amt_paid_msat": "1"}
        double.replayed = [4, 3]

    found = await told(backend, "2", 2, meanwhile=settle_unheard)

    assert [cursor for _, cursor in found] == ["2", "4"]
    await backend.close()


async def test_whoever_stops_reading_leaves_no_connection(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 2)

    await told(backend, "1", 1)

    async with asyncio.timeout(5):
        while double._listeners:
            await asyncio.sleep(0.02)


# --- what is accepted


async def test_what_was_accepted_before_is_told(double: LndDouble, backend: LndBackend) -> None:
    settled_ones(double, 1)
    held = a_hold(double)

    assert await told(backend, "1", 1) == [(held["r_hash"], "1")]


@pytest.mark.parametrize("is_made_meanwhile", [False, True])
async def test_what_is_accepted_meanwhile_is_told_once_and_then_settled(
    double: LndDouble, backend: LndBackend, is_made_meanwhile: bool
) -> None:
    settled_ones(double, 1)
    held = None if is_made_meanwhile else a_hold(double, "OPEN")

    def pay_it() -> None:
        row = held or a_hold(double, "OPEN")
        row |= {"state": "ACCEPTED", "htlcs": [an_htlc()]}
        loop.call_later(0.5, double.settle, row)

    loop = asyncio.get_running_loop()
    found = await told(backend, "1", 2, meanwhile=pay_it)

    row = double.invoices[-1]
    assert found == [(row["r_hash"], "1"), (row["r_hash"], "2")]


async def test_hold_invoices_are_looked_at_however_much_is_paid(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 1)
    async with asyncio.timeout(20), aclosing(watch(backend, "0")) as updates:
        await anext(updates)
        a_hold(double, "OPEN")
        settled_ones(double, 1)
        await anext(updates)
        held = a_hold(double)["r_hash"]
        for _ in range(1000):
            settled_ones(double, 1)  # so that the next one is always there
            report, _ = await anext(updates)
            if b64(report.payment_hash) == held:
                return
    raise AssertionError("the hold invoice was never told")


async def test_what_is_accepted_is_told_once_while_others_are_looked_at(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 1)
    a_hold(double, "OPEN")
    held = a_hold(double)
    asyncio.get_running_loop().call_later(0.5, double.settle, held)

    found = await told(backend, "1", 2)

    assert found == [(held["r_hash"], "1"), (held["r_hash"], "2")]


@pytest.mark.parametrize(("after_s", "first", "every"), [(0.1, 3, 10**9), (0.5, 0, 4)])
async def test_a_hold_invoice_that_no_line_told_of_is_found(
    double: LndDouble,
    monkeypatch: pytest.MonkeyPatch,
    after_s: float,
    first: int,
    every: int,
) -> None:
    monkeypatch.setattr("backends.lnd.watch.FIRST_LOOKS", first)
    monkeypatch.setattr("backends.lnd.watch.FULL_LOOK_EVERY", every)
    backend = a_backend(double.url, poll_s=0.2 if first else 0.05)
    await backend.start()
    settled_ones(double, 1)
    # of what is accepted the stream says nothing
    asyncio.get_running_loop().call_later(after_s, a_hold, double)

    found = await told(backend, "1", 1)

    assert found == [(double.invoices[-1]["r_hash"], "1")]
    await backend.close()


async def test_only_open_hold_invoices_are_a_reason_to_look(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 2)
    for _ in range(3):
        double.add_invoice()

    await told(
        backend, "2", 1, meanwhile=lambda: double.settle(double.add_invoice(), add_index="6")
    )
    looks = [request for request in double.of(LIST_IN) if "pending_only" in request.query]

    assert 1 <= len(looks) <= 4


# --- AMP, which the service does not make


async def test_parts_of_amp_invoices_move_the_cursor_and_are_left_out(
    double: LndDouble, backend: LndBackend
) -> None:
    settled_ones(double, 1)

    def amp_and_more() -> None:
        part = {"state": "SETTLED", "settle_index": "2"}
        double.settle(
            double.add_invoice(),
            is_amp=True,
            settle_index="0",
            amp_invoice_state={"ab" * 32: part},
        )
        double.settle(double.add_invoice(), settle_index="3")

    assert await told(backend, "1", 1, meanwhile=amp_and_more) == [
        (double.invoices[-1]["r_hash"], "3")
    ]
