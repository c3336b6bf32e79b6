"""protocol.md 3.6: "Publish every reply/notification to all relays of the connection; success =
>= 1 OK true (or duplicate). Queue and retry with backoff on disconnect / rate-limited"."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest

from nwc_service.nostr.event import Event
from nwc_service.relay.connection import PublishResult
from nwc_service.relay.delivery import LATE_PER_RELAY, LATE_S, Deliveries
from tests.relay.raw import NOW, WALLET, a_request, a_response, an_event

ANSWER = a_response(a_request())
OK = PublishResult(True, "")
GONE = PublishResult(False, "error: the connection was lost")


class FakeRelay:
    """Says what it is told in turn, and the last of it ever after."""

    def __init__(self, *results: PublishResult, url: str = "wss://one.example") -> None:
        self.url = url
        self.results = list(results)
        self.offered: list[Event] = []

    async def publish(self, event: Event, *, timeout_s: float) -> PublishResult:
        assert timeout_s > 0
        self.offered.append(event)
        await asyncio.sleep(0)
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


class Office:
    """Deliveries on a clock that only its own waiting moves, while it may go."""

    def __init__(self) -> None:
        self.now = float(NOW)
        self.waits_s: list[float] = []
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.deliveries = Deliveries(
            spawn=self.spawn, clock=lambda: int(self.now), sleep=self.sleep
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        await self.may_go.wait()
        self.now += wait_s
        await asyncio.sleep(0)

    async def deliver(self, *relays: FakeRelay, event: Event = ANSWER) -> bool:
        taken = await self.deliveries.deliver(event, relays)
        await self.idle()
        return taken

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            while self.tasks:
                await asyncio.wait(tuple(self.tasks))


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    opened = Office()
    yield opened
    await opened.idle()


@pytest.mark.parametrize(
    ("relays", "taken"),
    [
        pytest.param([FakeRelay(OK)], True, id="one"),
        pytest.param([FakeRelay(OK), FakeRelay(OK)], True, id="both"),
        pytest.param(
            [FakeRelay(PublishResult(False, "blocked:")), FakeRelay(OK)], True, id="2nd"
        ),
        pytest.param([FakeRelay(PublishResult(True, "duplicate:"))], True, id="duplicate"),
        pytest.param([FakeRelay(PublishResult(False, "blocked:"))], False, id="refused"),
        pytest.param([], False, id="no-relay"),
    ],
)
async def test_success_is_at_least_one_ok(
    office: Office, relays: Sequence[FakeRelay], taken: bool
) -> None:
    assert await office.deliver(*relays) is taken
    assert all(len(relay.offered) == 1 for relay in relays)


async def test_a_slow_relay_delays_nobody_who_has_another(office: Office) -> None:
    class Slow(FakeRelay):
        async def publish(self, event: Event, *, timeout_s: float) -> PublishResult:
            await may_end.wait()
            return OK

    may_end = asyncio.Event()
    async with asyncio.timeout(1):
        taken = await office.deliveries.deliver(ANSWER, [Slow(OK), FakeRelay(OK)])
    may_end.set()

    assert taken


@pytest.mark.parametrize(
    "reason",
    ["error: x", "rate-limited: slow down", "mute: nobody listens", "auth-required: ?", ""],
)
async def test_once_one_has_it_the_others_get_the_same_event_until_they_take_it(
    office: Office, reason: str
) -> None:
    """ "A reply is published to all relays of its connection until one OK each or its age
    limit"; `mute:` is not fatal."""
    late = FakeRelay(*[PublishResult(False, reason)] * 4, OK)

    taken = await office.deliver(FakeRelay(OK), late)

    assert taken
    assert late.offered == [ANSWER] * 5
    assert office.waits_s == [1, 2, 4, 8]


@pytest.mark.parametrize("prefix", ["blocked:", "invalid:", "pow:", "restricted:"])
async def test_a_relay_that_refuses_it_is_left_alone(office: Office, prefix: str) -> None:
    late = FakeRelay(GONE, PublishResult(False, f"{prefix} no"))

    await office.deliver(FakeRelay(OK), late)

    assert late.offered == [ANSWER] * 2


async def test_what_was_out_before_a_restart_is_brought_to_the_others(office: Office) -> None:
    has_it = FakeRelay(PublishResult(True, "duplicate:"))
    late = FakeRelay(GONE, OK, url="wss://other.example")

    office.deliveries.bring(ANSWER, [has_it, late])
    await office.idle()

    assert has_it.offered == [ANSWER]
    assert late.offered == [ANSWER] * 2


async def test_at_its_age_limit_it_is_of_no_more_use(office: Office) -> None:
    late = FakeRelay(GONE)

    await office.deliver(FakeRelay(OK), late)

    assert LATE_S < sum(office.waits_s) <= LATE_S + 31
    assert max(office.waits_s) == 30


async def test_what_no_relay_took_is_left_to_whoever_may_date_it_anew(office: Office) -> None:
    """Only after the first OK are the bytes final."""
    relays = FakeRelay(GONE), FakeRelay(PublishResult(False, "mute: nobody"))

    taken = await office.deliver(*relays)

    assert not taken
    assert [len(relay.offered) for relay in relays] == [1, 1]


async def test_of_one_dead_relay_only_so_much_is_remembered(office: Office) -> None:
    events = [
        an_event(WALLET, 23195, content=str(number)) for number in range(LATE_PER_RELAY + 10)
    ]
    dead, other = FakeRelay(GONE), FakeRelay(GONE, url="wss://other.example")
    office.may_go.clear()
    for event in events:
        await office.deliveries.deliver(event, [FakeRelay(OK), dead])
    await office.deliveries.deliver(ANSWER, [FakeRelay(OK), other])
    await asyncio.sleep(0.1)
    dead.results, other.results = [OK], [OK]

    office.may_go.set()
    await office.idle()

    assert len(dead.offered) == len(events) + LATE_PER_RELAY
    assert len(other.offered) == 2


async def test_an_answer_that_is_repeated_meanwhile_is_brought_once(office: Office) -> None:
    dead = FakeRelay(GONE)
    office.may_go.clear()
    for _ in range(3):
        await office.deliveries.deliver(ANSWER, [FakeRelay(OK), dead])
    await asyncio.sleep(0.01)
    dead.results = [OK]

    office.may_go.set()
    await office.idle()

    assert len(dead.offered) == 3 + 1
