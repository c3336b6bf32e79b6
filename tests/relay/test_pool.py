"""What the pool makes of events from relays that nobody can trust."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from nwc_service.nostr.event import Event
from nwc_service.ratelimit import Rate
from nwc_service.relay.forgeries import Forgeries
from nwc_service.relay.pool import RelayPool
from tests.relay.raw import (
    CLIENT,
    NOW,
    OTHER_CLIENT,
    OTHER_WALLET,
    STRANGER,
    WALLET,
    a_request,
    an_event,
)

ONE = "wss://one.example"
OTHER = "wss://other.example"
CLIENT_OF: dict[str, str] = {
    WALLET.public_key: CLIENT.public_key,
    OTHER_WALLET.public_key: OTHER_CLIENT.public_key,
}


class Intake:
    """A pool at two clocks that only the test moves."""

    def __init__(self, *, per_s: float = 1, burst: float = 1) -> None:
        self.wall_s = float(NOW)
        self.since_start_s = 100.0
        self.taken: list[tuple[str, bool]] = []
        self.offered = 0
        self.drops: set[str] = set()
        self.pool = RelayPool(
            client_of=CLIENT_OF.get,
            keypair_of=lambda _: WALLET,
            on_request=self.take,
            spawn=lambda work: work.close(),
            clock=lambda: int(self.wall_s),
            rate=Rate(per_s=per_s, burst=burst),
            on_open=lambda _: None,
            monotonic=lambda: self.since_start_s,
        )

    def take(self, event: Event, repeated: bool) -> bool:
        self.offered += 1
        if event.content in self.drops:
            return False
        self.taken.append((event.content, repeated))
        return True

    def receive(self, event: Event, *, relay: str = ONE) -> None:
        self.pool.receive(relay, event.to_dict())

    def forge(self, *, client: Event, count: int, relay: str = ONE) -> None:
        for number in range(count):
            self.receive(forged(replace(client, content=str(number))), relay=relay)

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.since_start_s += seconds


def forged(event: Event) -> Event:
    return replace(event, sig=an_event(STRANGER, 1).sig)


def request_of_other(content: str) -> Event:
    return a_request(OTHER_CLIENT, OTHER_WALLET, content=content)


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.mark.attack("A27")
def test_one_event_from_several_relays_is_handed_over_once(intake: Intake) -> None:
    for relay in (ONE, OTHER, ONE):
        intake.receive(a_request(content="once"), relay=relay)

    assert intake.taken == [("once", False)]


def test_later_it_is_a_repetition(intake: Intake) -> None:
    intake.receive(a_request(content="again"))
    intake.pass_s(3)

    intake.receive(a_request(content="again"))

    assert intake.taken == [("again", False), ("again", True)]


@pytest.mark.attack("A28")
def test_what_was_dropped_for_its_rate_was_not_taken_when_a_copy_comes(intake: Intake) -> None:
    """The order of A28: "token bucket per connection -> remember the id"."""
    intake.drops = {"wanted"}
    intake.receive(a_request(content="wanted"))
    intake.drops = set()
    intake.pass_s(3)

    intake.receive(a_request(content="wanted"))
    intake.pass_s(3)
    intake.receive(a_request(content="wanted"))

    assert intake.taken == [("wanted", False), ("wanted", True)]


@pytest.mark.attack("A28")
@pytest.mark.parametrize("before", [0, 1], ids=["never-taken", "taken-once"])
def test_a_flood_of_one_event_that_is_dropped_is_looked_at_now_and_then(
    intake: Intake, before: int
) -> None:
    for _ in range(before):
        intake.receive(a_request(content="again"))
        intake.pass_s(3)
    intake.drops = {"again"}
    intake.offered = 0

    for _ in range(100):
        intake.receive(a_request(content="again"))
        intake.pass_s(0.1)

    assert intake.taken == [("again", False)] * before
    assert 1 <= intake.offered <= 5


def test_whoever_hands_an_event_over_hears_whether_it_was_taken(intake: Intake) -> None:
    intake.drops = {"dropped"}
    wanted, dropped = a_request(content="wanted"), a_request(content="dropped")

    answers = [
        intake.pool.receive_verified(event) for event in (wanted, wanted, dropped, dropped)
    ]

    assert answers == [True, True, False, False]


@pytest.mark.attack("A28")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({}, id="nothing"),
        pytest.param(a_request(STRANGER).to_dict(), id="unknown-client"),
        pytest.param(a_request(CLIENT, OTHER_WALLET).to_dict(), id="not-its-wallet"),
        pytest.param(an_event(CLIENT, 23194).to_dict(), id="no-p-tag"),
        pytest.param(an_event(CLIENT, 1, [("p", WALLET.public_key)]).to_dict(), id="kind"),
        pytest.param(a_request(content="x" * 65_537).to_dict(), id="too-long"),
        pytest.param(forged(a_request()).to_dict(), id="forged"),
        pytest.param(a_request().to_dict() | {"id": ["x"]}, id="id-is-a-list"),
        pytest.param(a_request().to_dict() | {"id": "0" * 64}, id="id-of-another"),
        pytest.param(a_request().to_dict() | {"tags": [["p", ["x"]]]}, id="p-is-a-list"),
        pytest.param({"kind": 23194, "content": "", "tags": []}, id="no-author-and-no-p"),
    ],
)
def test_what_is_not_a_request_of_a_known_client_is_dropped(
    intake: Intake, raw: dict[str, object]
) -> None:
    intake.pool.receive(ONE, raw)

    assert intake.taken == []


@pytest.mark.attack("A28")
def test_a_forged_event_does_not_burn_the_id_of_the_real_one(intake: Intake) -> None:
    intake.receive(forged(a_request(content="real")))
    intake.receive(a_request(content="real"))

    assert intake.taken == [("real", False)]


def test_all_that_came_while_a_relay_was_away_is_taken_at_once(intake: Intake) -> None:
    missed = [a_request(content=str(number)) for number in range(500)]

    for event in missed:
        intake.receive(event)

    assert intake.taken == [(event.content, False) for event in missed]


def test_a_forged_echo_is_charged_to_nobody(intake: Intake) -> None:
    event = a_request(content="real")
    intake.receive(event)

    for _ in range(100):
        intake.receive(forged(event))
    intake.receive(a_request(content="next"))

    assert intake.taken == [("real", False), ("next", False)]


def test_a_clock_that_is_set_back_closes_no_relay(intake: Intake) -> None:
    intake.receive(a_request(content="first"))
    intake.forge(client=a_request(), count=50)
    intake.since_start_s += 20
    intake.wall_s -= 3600

    intake.receive(a_request(content="first"))
    intake.receive(a_request(content="second"))

    assert intake.taken == [("first", False), ("first", True), ("second", False)]


def dropped_on_one(intake: Intake) -> None:
    intake.receive(a_request(content="wanted"), relay=ONE)


def from_the_other_relay(intake: Intake) -> None:
    intake.receive(a_request(content="wanted"), relay=OTHER)


def after_a_while(intake: Intake) -> None:
    intake.pass_s(10)
    intake.receive(a_request(content="wanted"), relay=ONE)


def of_the_other_client(intake: Intake) -> None:
    intake.receive(request_of_other("wanted"), relay=ONE)


def of_the_other_client_of_whom_few_were_forged(intake: Intake) -> None:
    intake.forge(client=request_of_other(""), count=3)
    intake.receive(request_of_other("wanted"), relay=ONE)


@pytest.mark.parametrize(
    ("arrives", "is_taken"),
    [
        pytest.param(dropped_on_one, False, id="forged-client-on-that-relay"),
        pytest.param(from_the_other_relay, True, id="forged-client-on-another-relay"),
        pytest.param(after_a_while, True, id="forged-client-later"),
        pytest.param(of_the_other_client, True, id="another-client"),
        pytest.param(
            of_the_other_client_of_whom_few_were_forged, True, id="another-client-forged-less"
        ),
    ],
)
def test_forging_one_client_s_key_stops_that_client_on_that_relay_only(
    intake: Intake, arrives: Callable[[Intake], None], is_taken: bool
) -> None:
    intake.forge(client=a_request(), count=50)

    arrives(intake)

    assert intake.taken == ([("wanted", False)] if is_taken else [])


def test_forgeries_that_the_relay_s_budget_bears_stop_nobody() -> None:
    intake = Intake(burst=100)
    intake.forge(client=a_request(), count=50)

    intake.receive(a_request(content="wanted"))

    assert intake.taken == [("wanted", False)]


@pytest.mark.attack("A28")
def test_a_flood_of_forgeries_is_looked_at_no_faster_than_the_budgets_allow() -> None:
    forgeries = Forgeries(Rate(per_s=100, burst=200))
    seconds, authors = 20, 10
    looks = 0

    for number in range(seconds * 1_000):
        now, author = number / 1_000, str(number % authors)
        if not forgeries.is_suspect(ONE, author, now=now):
            forgeries.charge(ONE, author, now=now)
            looks += 1

    assert looks <= 200 + 100 * seconds + authors * (5 + 0.1 * seconds + 1)
