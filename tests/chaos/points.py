"""Where a life may be ordered to die, beside the moments that a clock chooses.

`failpoint NAME:n` dies at the n-th pass of a named failpoint, `before N`, `in N` and `after N`
around the N-th commit of the database, whoever makes it, and `step N` at the N-th turn of any
task, which are the awaits of the whole program.
"""

import os
import signal
from asyncio import events
from collections.abc import Callable
from random import Random
from typing import Any, NoReturn

from nwc_service.failpoint import FAILPOINTS, FailpointName, arm
from nwc_service.store.database import Tx, Work
from nwc_service.store.sqlite import SqliteDatabase

MOST_PASSES = 10
MOST_COMMITS = 150
MOST_STEPS = 4000

ELSEWHERE: tuple[FailpointName, ...] = (
    "in_offer_claim",
    "after_offer_claim",
    "after_offer_created",
    "in_offer_store",
    "after_offer_store",
    "in_create_connection",
    "after_create_connection",
)
"""Nothing of this traffic comes there."""
RARE: tuple[FailpointName, ...] = (
    "after_claim_all",
    "in_accept",
    "after_accept",
    "in_hold_decision",
    "after_hold_decision",
    "after_hold_resolved",
    "after_cancel",
    "in_give_back",
    "before_resolve",
    "after_resolve",
    "after_account_create",
    "after_connection_create",
    "after_revoke",
    "in_credit_by_operator",
    "after_credit_by_operator",
    "in_debit",
    "after_debit",
)
"""A life comes there a few times at most: more of them are sent there, to the first time."""
REACHED = tuple(name for name in FAILPOINTS if name not in ELSEWHERE)
PLACES = REACHED + RARE

Tell = Callable[[str], None]
"""Says where it dies, for the table in the end."""


def drawn_point(random: Random, *, places: tuple[str, ...]) -> str:
    kind = random.choice(["failpoint"] * 3 + ["before", "in", "after", "step"])
    most = {"failpoint": MOST_PASSES, "step": MOST_STEPS}.get(kind, MOST_COMMITS)
    # As many early ones as late ones, by their order of magnitude.
    number = int(most ** random.random())
    if kind != "failpoint":
        return f"{kind} {number}"
    name = random.choice(places)
    return f"failpoint {name}:{1 if name in RARE else number}"


def arm_point(point: str, *, tell: Tell) -> None:
    """In the process that shall die there."""
    kind, _, place = point.partition(" ")
    if kind == "failpoint":
        arm(place)
    elif kind == "step":
        _arm_step(int(place), tell=tell)
    else:
        _arm_commit(kind, int(place), tell=tell)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _arm_step(number: int, *, tell: Tell) -> None:
    run = events.Handle._run
    left = number

    def counted(handle: events.Handle) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            tell("step")
            _die()
        run(handle)

    events.Handle._run = counted  # type: ignore[method-assign, assignment]


def _arm_commit(where: str, number: int, *, tell: Tell) -> None:
    write = SqliteDatabase.write
    left = number

    async def counted(self: SqliteDatabase, work: Work[Any]) -> Any:
        nonlocal left
        left -= 1
        if left:
            return await write(self, work)
        name = f"{where} {work.__qualname__.removesuffix('.<locals>.<lambda>')}"
        if where == "before":
            tell(name)
            _die()
        result = await write(self, _dying(work, name, tell=tell) if where == "in" else work)
        tell(name)
        _die()
        return result

    SqliteDatabase.write = counted  # type: ignore[method-assign]


def _dying(work: Work[Any], name: str, *, tell: Tell) -> Work[Any]:
    async def dying(tx: Tx) -> Any:
        await work(tx)
        tell(name)
        _die()

    return dying
