"""The one place where the simulator puts its own chance, time and failpoints into the service.

`secrets.token_hex` makes ids, `os.urandom` seals answers, `time.monotonic` fills the buckets
of rate limits; everything else is told its clock already.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from secrets import token_hex
from types import ModuleType, SimpleNamespace

from nwc_service import flow, reconciler
from nwc_service.answers import Answers
from nwc_service.failpoint import failpoint

# How often the reconciler does what: as often as there is something to find, and no more.
BUSY_S = {
    "PAYMENTS_EVERY_S": 3.0,
    "INVOICES_EVERY_S": 60.0,
    "CANCELS_EVERY_S": 15.0,
    "HOLDS_EVERY_S": 10.0,
    "NODES_EVERY_S": 25.0,
    "OFFERS_EVERY_S": 20.0,
    "SOLVENCY_EVERY_S": 40.0,
    "RELEASED_EVERY_S": 60.0,
}
CLOSING_S = {
    "PAYMENTS_EVERY_S": 60.0,
    "INVOICES_EVERY_S": 300.0,
    "CANCELS_EVERY_S": 300.0,
    "HOLDS_EVERY_S": 120.0,
    "NODES_EVERY_S": 600.0,
    "OFFERS_EVERY_S": 600.0,
    "SOLVENCY_EVERY_S": 300.0,
    "RELEASED_EVERY_S": 600.0,
}


@contextmanager
def seeded(
    random: Random, *, clock: Callable[[], float], on_failpoint: Callable[[str], None]
) -> Iterator[None]:
    """While inside, the service gets all of its chance and time from here."""
    replaced: dict[int, object] = {
        id(token_hex): lambda size: random.randbytes(size).hex(),
        id(time): SimpleNamespace(monotonic=clock, time=clock),
        id(failpoint): on_failpoint,
    }
    undo: list[tuple[ModuleType, str, object]] = []
    for module in _modules():
        for name in ("token_hex", "time", "failpoint"):
            value = getattr(module, name, None)
            if id(value) in replaced:
                undo.append((module, name, value))
                setattr(module, name, replaced[id(value)])
    undo.append((flow, "Answers", Answers))
    setattr(flow, "Answers", partial(Answers, entropy=random.randbytes))  # noqa: B010
    try:
        yield
    finally:
        for module, name, value in undo:
            setattr(module, name, value)


@contextmanager
def paced() -> Iterator[None]:
    """While inside, the reconciler turns as `set_pace` says."""
    before = {name: getattr(reconciler, name) for name in BUSY_S}
    set_pace(BUSY_S)
    try:
        yield
    finally:
        set_pace(before)


def set_pace(periods_s: dict[str, float]) -> None:
    """How often the reconciler turns, in the lives that begin from now on."""
    for name, period_s in periods_s.items():
        setattr(reconciler, name, period_s)


def _modules() -> list[ModuleType]:
    found = [name for name in sys.modules if name.startswith("nwc_service.")]
    return [sys.modules[name] for name in sorted(found) if name != "nwc_service.failpoint"]
