"""SQLite in memory, driven inline: the service's own batches, with what can go wrong there."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, TypeVar

from nwc_service.store.database import Tx, Work, migrate
from nwc_service.store.sqlite import TYPES, read_batch, write_batch
from tests.simulation.loop import Crash

T = TypeVar("T")

SLOW_S = 0.03


class DatabaseFault(sqlite3.OperationalError):
    """Made by the simulator; the service may fail over it, but must lose nothing."""


class _Broken(BaseException):
    """Undoes a whole batch."""


async def _break(_tx: Tx) -> None:
    raise _Broken


@dataclass(frozen=True, slots=True)
class DatabaseFaults:
    """Probabilities, each of one batch or one reading."""

    busy: float = 0.0  # nothing is done
    breaks_before: float = 0.0  # all is done, and undone instead of committed
    breaks_after: float = 0.0  # all is committed, and nobody hears of it


@cache
def _empty() -> bytes:
    connection = _connect()
    write_batch(connection, [lambda tx: migrate(tx, types=TYPES)])
    return connection.serialize()


def open_memory() -> sqlite3.Connection:
    """With the schema of the service."""
    connection = _connect()
    connection.deserialize(_empty())
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


class SimulatedDatabase:
    """One life's view of the database; the connection outlives it, and what it committed."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        random: Random,
        faults: Callable[[], DatabaseFaults],
        on_commit: Callable[[int], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._random = random
        self._faults = faults
        self._on_commit = on_commit
        self._on_fault = on_fault
        self._waiting: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        self.is_dead = False

    async def write(self, work: Work[T]) -> T:
        loop = self._alive()
        future: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            loop.call_later(self._delay_s(), self._flush)
        self._waiting.append((work, future))
        return await future

    async def read(self, work: Work[T]) -> T:
        self._alive()
        await asyncio.sleep(self._delay_s())
        self._alive()
        if self._happens("busy"):
            raise DatabaseFault("database is locked")
        [result] = read_batch(self._connection, [work])
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]

    async def close(self) -> None:
        pass

    def _alive(self) -> asyncio.AbstractEventLoop:
        if self.is_dead:
            raise Crash
        return asyncio.get_running_loop()

    def _flush(self) -> None:
        """Commit all who wait, in any order, in one transaction."""
        jobs, self._waiting = self._waiting, []
        if len(jobs) > 1:
            self._random.shuffle(jobs)
        try:
            results = self._batch([work for work, _ in jobs])
        except DatabaseFault as fault:
            results = [fault] * len(jobs)
        for (_, future), result in zip(jobs, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _batch(self, works: list[Work[Any]]) -> list[Any]:
        if self._happens("busy"):
            raise DatabaseFault("database is locked")
        if self._happens("breaks_before"):
            with suppress(_Broken):
                write_batch(self._connection, [*works, _break])
            raise DatabaseFault("disk I/O error")
        results = write_batch(self._connection, works)
        self._on_commit(len(works))
        if self._happens("breaks_after"):
            raise DatabaseFault("disk I/O error after the commit")
        return results

    def _happens(self, fault: str) -> bool:
        probability: float = getattr(self._faults(), fault)
        happens = probability > 0 and self._random.random() < probability
        if happens:
            self._on_fault(fault)
        return happens

    def _delay_s(self) -> float:
        return 0.0 if self._random.random() < 0.5 else self._random.random() * SLOW_S
