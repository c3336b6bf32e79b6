"""Payments under way at one node, each a task that whoever waits for it cannot cut off."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from nwc_service.backend import Outcome, Unknown


class Sends:
    def __init__(self, program: str) -> None:
        self._program = program
        self._tasks: dict[Hashable, asyncio.Task[Outcome]] = {}

    async def join(
        self,
        key: Hashable,
        send: Callable[[], Coroutine[Any, Any, Outcome]],
        *,
        timeout_s: float,
    ) -> Outcome:
        """Begin it, unless it is under way, and wait for its outcome. Never raises, but for the
        caller's own cancellation."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(send())
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if not done or task.cancelled():
            return Unknown(f"no answer from {self._program} yet")
        if problem := task.exception():
            return Unknown(f"{type(problem).__name__} while {self._program} was asked")
        return task.result()

    async def close(self) -> None:
        """What is still under way is found again by its hash."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
