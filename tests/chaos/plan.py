"""What happens to whom and when, drawn from the seed before it happens."""

from dataclasses import dataclass
from random import Random

from tests.chaos.points import drawn_point
from tests.doubles.hostile_node import Faults

LONGEST_LIFE_S = 1.2
PATIENCE_S = 2.0
"""How long a life may take to come to its point."""
NODE_SKEW_S = 30
SERVICE_SKEW_S = 50
"""Together less than the skew that rule H allows for."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Beside the end: what happens to a life at `at_s`, for `for_s`."""

    kind: str
    at_s: float
    for_s: float
    size: int


TROUBLES = ("stop", "reset", "refuse", "disk_full", "full", "none", "none", "none")


@dataclass(frozen=True, slots=True)
class LifePlan:
    """It dies at its `point`, or at the latest `after_s`."""

    after_s: float
    point: str | None
    trouble: Trouble
    skew_s: int


def drawn_life(random: Random, *, places: tuple[str, ...]) -> LifePlan:
    """`places` are the failpoints to choose from."""
    point = drawn_point(random, places=places) if random.random() < 0.75 else None
    after_s = PATIENCE_S if point else random.uniform(0.02, LONGEST_LIFE_S)
    trouble = Trouble(
        kind=random.choice(TROUBLES),
        at_s=random.uniform(0.0, LONGEST_LIFE_S / 2),
        for_s=random.uniform(0.02, 0.3),
        size=random.randint(0, 200_000),
    )
    skew_s = random.choice((0, 0, random.randint(-SERVICE_SKEW_S, SERVICE_SKEW_S)))
    return LifePlan(after_s, point, trouble, skew_s)


# Of a node that gives every sown bug its occasion.
VICIOUS = Faults(
    accepts_late=0.4,
    reply_lost=0.2,
    reply_reset=0.2,
    event_repeats=0.5,
    late_s=20.0,
)


def drawn_faults(random: Random) -> Faults:
    """Each episode's node has some vices, and each of them more or less."""

    def vice(most: float) -> float:
        return random.choice((0.0, 0.5, 1.0)) * most

    return Faults(
        fails=0.08,
        refuses=vice(0.05),
        accepts_late=vice(0.2),
        accepts_at_expiry=vice(0.1),
        stays_in_flight=vice(0.15),
        reply_lost=vice(0.2),
        reply_reset=vice(0.2),
        settles_after_failed=vice(0.01),
        fee_above_cap=vice(0.01),
        fee_untold=vice(0.1),
        fee_negative=vice(0.05),
        wrong_preimage=vice(0.05),
        unavailable=vice(0.05),
        forgets=vice(0.1),
        created_unheard=vice(0.1),
        overpaid=vice(0.2),
        underpaid=vice(0.2),
        settles_dead=vice(0.5),
        event_late=vice(0.3),
        event_repeats=vice(0.3),
        events_reordered=vice(0.3),
        index_gap=vice(0.2),
        resolved_unheard=vice(0.2),
        held_shortly=vice(0.2),
        late_s=20.0,
        in_flight_s=60.0,
        event_late_s=20.0,
        skew_s=random.randint(-NODE_SKEW_S, NODE_SKEW_S),
    )
