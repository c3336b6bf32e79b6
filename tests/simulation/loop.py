"""An event loop without a clock, sockets or threads: a seed chooses what runs next."""

import asyncio
import heapq
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

Action = Callable[[], None]


class Crash(KeyboardInterrupt):
    """The process dies here. A task passes nothing but this kind of exception on."""


class Timeline:
    """Virtual seconds, and what the world outside the service does at which time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._agenda: list[tuple[float, int, Action]] = []
        self._added = 0

    def at(self, when: float, action: Action) -> None:
        self._added += 1
        heapq.heappush(self._agenda, (when, self._added, action))

    def after(self, delay_s: float, action: Action) -> None:
        self.at(self.now + delay_s, action)

    @property
    def next_at(self) -> float | None:
        return self._agenda[0][0] if self._agenda else None

    def run_due(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()

    def run_until(self, when: float) -> None:
        """While no service is there."""
        while self._agenda and self._agenda[0][0] <= when:
            self.now = max(self.now, self._agenda[0][0])
            self.run_due()
        self.now = max(self.now, when)


class SimulatedLoop(asyncio.BaseEventLoop):
    """Of all callbacks that are ready a random one runs; when none is, time jumps.

    One loop is one life of the process. `on_step` is called after each callback.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[Any]  # of timers, whose innards have no types

    def __init__(self, timeline: Timeline, random: Random, *, on_step: Action) -> None:
        super().__init__()
        self._timeline = timeline
        self._random = random
        self._on_step = on_step
        self.set_exception_handler(lambda _loop, _context: None)

    def time(self) -> float:
        return self._timeline.now

    def _process_events(self, event_list: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            self._jump()
        self._timeline.run_due()
        while scheduled and scheduled[0]._when <= self._timeline.now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            ready.append(timer)
        if ready:
            if len(ready) > 1:
                ready.rotate(-self._random.randrange(len(ready)))
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        self._on_step()

    def _jump(self) -> None:
        times = [self._scheduled[0]._when] if self._scheduled else []
        if self._timeline.next_at is not None:
            times.append(self._timeline.next_at)
        if not times:
            raise RuntimeError("nothing will ever happen again")
        self._timeline.now = max(self._timeline.now, min(times))

    def abandon(self) -> None:
        """Let every task of this life end without a further step of its work.

        Their `finally` clauses run, as Python will have it: whatever they could reach of the
        world outside has to refuse by now.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of coroutines that never had their first step
            task: Any
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False
                with suppress(BaseException):  # of a dead process
                    task.get_coro().close()
            self.close()
