"""Cancels work at one chosen await, counted over all that a world spawns."""

import asyncio
from collections.abc import Generator
from functools import partial
from typing import Any

from tests.flow.parties import Work


class CancelAt:
    """The await with this number, counted from 1, raises CancelledError instead."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._awaits = 0

    @property
    def has_struck(self) -> bool:
        return self._awaits >= self._number

    async def __call__(self, work: Work) -> None:
        await _Steps(work, self)

    def strikes_now(self) -> bool:
        self._awaits += 1
        return self._awaits == self._number


class _Steps:
    def __init__(self, work: Work, interruption: CancelAt) -> None:
        self._work = work
        self._interruption = interruption

    def __await__(self) -> Generator[Any, None, None]:
        steps = self._work.__await__()
        go_on = partial(next, steps)
        try:
            while True:
                waits_for = go_on()
                if self._interruption.strikes_now():
                    # As Task.cancel does: whoever was to answer learns that nobody waits.
                    if isinstance(waits_for, asyncio.Future):
                        waits_for.cancel()
                    go_on = partial(steps.throw, asyncio.CancelledError())
                    continue
                try:
                    yield waits_for
                    go_on = partial(next, steps)
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (passed on)
                    go_on = partial(steps.throw, error)  # what it waited for has failed
        except StopIteration:
            return
        finally:
            steps.close()
