"""Cancels work at one chosen await, counted over all that a world spawns."""

import asyncio
from collections.abc import Generator
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
        try:
            for waits_for in steps:
                if self._interruption.strikes_now():
                    # As Task.cancel does: whoever was to answer learns that nobody waits.
                    if isinstance(waits_for, asyncio.Future):
                        waits_for.cancel()
                    steps.throw(asyncio.CancelledError())
                yield waits_for
        finally:
            steps.close()
