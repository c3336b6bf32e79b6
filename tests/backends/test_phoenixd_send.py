"""Each payment is sent once, and never beside another attempt that phoenixd would take."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from backends.phoenixd import PhoenixdBackend
from nwc_service.backend import (
    FailReason,
    InFlight,
    NotSent,
    Settled,
    Unknown,
)
from tests.backends.contract import ref
from tests.backends.phoenixd_double import (
    LOOK_UP,
    PAY,
    PENDING,
    REJECTED,
    PhoenixdDouble,
    phoenixd_double,
)
from tests.backends.phoenixd_http import Answer, Fault
from tests.backends.phoenixd_rig import a_backend, shape, wanted
from tests.backends.phoenixd_rows import Outgoing

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


@pytest.mark.attack("A12")
async def test_already_paid_is_looked_up(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    """phoenixd was paying when the look before found nothing."""
    request = wanted(phoenixd)
    await backend.pay(request)
    phoenixd.not_found_once.add(LOOK_UP)

    again = await backend.pay(request)

    assert isinstance(again, Settled)
    assert len(phoenixd.of(PAY)) == 2
    assert len(phoenixd.outgoing) == 1


@pytest.mark.attack("A12")
async def test_nothing_is_sent_beside_an_attempt_under_way(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    """phoenixd itself would pay twice."""
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)
    phoenixd.ends = [PENDING]
    assert isinstance(await backend.pay(request), InFlight | Unknown)
    await backend.close()
    another = a_backend(phoenixd)
    await another.start()
    phoenixd.requests.clear()

    again = await another.pay(request)
    await another.close()

    assert isinstance(again, InFlight)
    assert phoenixd.of(PAY) == []


@pytest.mark.attack("A12")
async def test_five_at_once_are_sent_once(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    request = wanted(phoenixd)

    outcomes = await asyncio.gather(*(backend.pay(request) for _ in range(5)))

    assert {shape(outcome) for outcome in outcomes} == {Settled}
    assert len(phoenixd.outgoing) == 1


@pytest.mark.attack("A12")
async def test_another_payment_of_the_same_hash_is_not_sent_beside_it(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    request = wanted(phoenixd)

    first, second = await asyncio.gather(
        backend.pay(request), backend.pay(replace(request, our_id="another"))
    )

    assert (shape(first), shape(second)) == (Settled, (NotSent, FailReason.REJECTED))
    assert len(phoenixd.outgoing) == 1


@pytest.mark.attack("A4")
async def test_an_attempt_that_later_could_not_be_told_from_this_one_keeps_it_from_being_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.ends = [REJECTED]
    request = wanted(phoenixd)
    await backend.pay(request)

    again = await backend.pay(replace(request, our_id="another"))

    assert shape(again) == (NotSent, FailReason.REJECTED)
    assert len(phoenixd.of(PAY)) == 1


async def test_an_attempt_that_failed_a_while_ago_does_not(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.ends = [REJECTED]
    request = wanted(phoenixd)
    await backend.pay(request)
    phoenixd.outgoing[0].created_at_ms -= 10_000

    assert isinstance(await backend.pay(replace(request, our_id="another")), Settled)


@pytest.mark.attack("A4")
async def test_an_earlier_failure_is_not_taken_for_this_one(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.ends = [REJECTED]
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)
    await backend.pay(request)
    phoenixd.outgoing[0].created_at_ms -= 10_000
    phoenixd.faults[PAY] = Fault.AFTER_READ

    assert isinstance(await backend.pay(replace(request, our_id="another")), Unknown)


async def test_nothing_is_sent_once_the_time_is_up(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.script[LOOK_UP] = Answer(404, "Not found", delay_s=0.3)
    request = replace(wanted(phoenixd), timeout_s=0.1)

    assert shape(await backend.pay(request)) == (NotSent, FailReason.UNAVAILABLE)
    assert phoenixd.of(PAY) == []


async def test_nothing_is_sent_where_nobody_tells_whether_it_was_before(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.faults[LOOK_UP] = Fault.AFTER_READ

    assert shape(await backend.pay(wanted(phoenixd))) == (NotSent, FailReason.UNAVAILABLE)
    assert phoenixd.outgoing == []


async def test_where_nobody_listens_nothing_was_sent(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    """The look before goes over the connection that is kept, the payment over its own."""
    request = wanted(phoenixd)
    phoenixd.accept_no_more()

    outcome = await backend.pay(request)

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    assert [call.name for call in phoenixd.requests] == [LOOK_UP]


async def test_a_payment_that_takes_longer_stays_in_flight_and_is_found_later(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.ends = [PENDING]
    request = replace(wanted(phoenixd), timeout_s=SHORT_S)

    assert isinstance(await backend.pay(request), InFlight | Unknown)
    assert isinstance(await backend.lookup_payment(ref(request)), InFlight)
    phoenixd.finish(phoenixd.outgoing[0])
    assert isinstance(await backend.lookup_payment(ref(request)), Settled)


@pytest.mark.attack("A24")
async def test_a_caller_who_leaves_cuts_no_payment_off(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    phoenixd.ends = [PENDING]
    request = wanted(phoenixd)
    paying = asyncio.create_task(backend.pay(request))
    await phoenixd.until_asked(PAY)

    paying.cancel()
    await asyncio.gather(paying, return_exceptions=True)
    [payment] = await all_of(phoenixd)
    phoenixd.finish(payment)
    again = await backend.pay(request)

    assert isinstance(again, Settled)
    assert len(phoenixd.of(PAY)) == 1


async def all_of(phoenixd: PhoenixdDouble) -> list[Outgoing]:
    while not phoenixd.outgoing:
        await asyncio.sleep(0.01)
    return phoenixd.outgoing


async def test_each_payment_goes_out_on_a_connection_of_its_own(
    phoenixd: PhoenixdDouble, backend: PhoenixdBackend
) -> None:
    for _ in range(2):
        await backend.pay(wanted(phoenixd))

    used = [call.connection for call in phoenixd.of(PAY)]
    kept = {call.connection for call in phoenixd.of(LOOK_UP)}
    assert len({*used, *kept}) == len(used) + len(kept)
