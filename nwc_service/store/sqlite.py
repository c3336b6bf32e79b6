"""SQLite in WAL mode with synchronous=FULL: the embedded default.

Two connections, each with its thread: one writes, one reads. Whoever waits when a batch
starts is committed in it, in one hop to the thread and one fsync; a batch starts as soon as
the last has ended, so an idle service adds no delay. Each unit of work has its savepoint and
keeps its own refusal.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from contextvars import Context, copy_context
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar, cast

import aiosqlite

from nwc_service import metrics
from nwc_service.store.database import (
    Row,
    StoreError,
    Tx,
    Value,
    Work,
    check_schema,
    migrate,
)

T = TypeVar("T")

BUSY_TIMEOUT_S = 10.0

TYPES = {
    "int64": "INTEGER",
    "random_hex": "lower(hex(randomblob(16)))",
    "strict": "STRICT",
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "append_only_entry_update": "CREATE TRIGGER entry_is_never_updated BEFORE UPDATE ON entry"
    " BEGIN SELECT RAISE(ABORT, 'entries are never updated'); END",
    "append_only_entry_delete": "CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry"
    " BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END",
}

_Job = tuple[Callable[[Tx], Any], "asyncio.Future[Any]", Context, float]
"""What to run, who waits for it, in which context, and since when."""
_commits = metrics.COMMITS.of()


class SqliteTx:
    """Runs statements at once on the calling thread; its awaits never suspend."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.calls: list[Callable[[], object]] = []

    async def one(self, sql: str, **values: Value) -> Row | None:
        return cast("Row | None", self._connection.execute(sql, values).fetchone())

    async def all(self, sql: str, **values: Value) -> list[Row]:
        return cast("list[Row]", self._connection.execute(sql, values).fetchall())

    async def run(self, sql: str, **values: Value) -> int:
        return self._connection.execute(sql, values).rowcount

    def on_commit(self, call: Callable[[], object]) -> None:
        self.calls.append(call)


def run_inline(work: Coroutine[Any, Any, T]) -> T:
    """Drive a unit of work to its end without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    work.close()
    raise RuntimeError("a unit of work awaited something other than its own statements")


def write_batch(
    connection: sqlite3.Connection,
    works: list[Work[Any]],
    *,
    contexts: Sequence[Context] = (),
) -> list[Any]:
    """Commit all of `works` together; the result of each, or the exception that undid it.

    What a work logs carries the ids that its own one of `contexts` has.
    """
    tx = SqliteTx(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [
            context.run(_in_savepoint, connection, tx, work)
            for work, context in _paired(works, contexts)
        ]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    _commits.inc()
    for call in tx.calls:
        call()
    return results


def _paired(
    works: list[Work[Any]], contexts: Sequence[Context]
) -> Iterable[tuple[Work[Any], Context]]:
    return zip(works, contexts or [copy_context()] * len(works), strict=True)


def _in_savepoint(connection: sqlite3.Connection, tx: SqliteTx, work: Work[Any]) -> Any:
    calls_before = len(tx.calls)
    connection.execute("SAVEPOINT work")
    try:
        result = run_inline(cast("Coroutine[Any, Any, Any]", work(tx)))
    except Exception as error:
        if not connection.in_transaction:
            raise  # a full disk, for one, undoes the whole transaction
        del tx.calls[calls_before:]
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        return error
    connection.execute("RELEASE work")
    return result


def read_batch(
    connection: sqlite3.Connection,
    works: list[Work[Any]],
    *,
    contexts: Sequence[Context] = (),
) -> list[Any]:
    """Run all of `works` on one snapshot; `contexts` as in `write_batch`."""
    tx = SqliteTx(connection)
    connection.execute("BEGIN")
    try:
        return [context.run(_read, tx, work) for work, context in _paired(works, contexts)]
    finally:
        connection.execute("ROLLBACK")


def _read(tx: SqliteTx, work: Work[Any]) -> Any:
    try:
        return run_inline(cast("Coroutine[Any, Any, Any]", work(tx)))
    except Exception as error:
        return error  # to whoever asked for it, and to nobody else in the batch


class _Meter:
    """Of one lane, under its name."""

    def __init__(self, name: str) -> None:
        self.size = metrics.BATCH_SIZE.of(name)
        self.seconds = metrics.BATCH_SECONDS.of(name)
        self.queue = metrics.QUEUE_SECONDS.of(name)
        self.failures = metrics.DATABASE_FAILURES.of(name)


class _Lane:
    """One connection, its thread, and those who wait for the next batch."""

    def __init__(
        self,
        connection: aiosqlite.Connection,
        run_batch: Callable[..., list[Any]],
        *,
        name: str,
    ) -> None:
        self._connection = connection
        self._run_batch = run_batch
        self._meter = _Meter(name)
        self._waiting: list[_Job] = []
        self._wake = asyncio.Event()
        self._is_closed = False
        self._task = asyncio.create_task(self._serve())

    async def run(self, work: Work[T]) -> T:
        if self._is_closed:
            raise StoreError("the database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future, copy_context(), perf_counter()))
        self._wake.set()
        return await future

    async def close(self) -> None:
        self._is_closed = True
        waiting = [future for _, future, _, _ in self._waiting]
        await asyncio.gather(*waiting, return_exceptions=True)
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._connection.close()

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                # Kept in the list until done, so that `close` waits for them.
                jobs = self._waiting[:]
                await self._run(jobs)
                del self._waiting[: len(jobs)]

    async def _run(self, jobs: list[_Job]) -> None:
        works = [work for work, _, _, _ in jobs]
        contexts = [context for _, _, context, _ in jobs]
        connection, meter = self._connection, self._meter
        began = perf_counter()
        meter.queue.observe(began - jobs[0][3])
        meter.size.observe(len(jobs))
        try:
            results = await connection._execute(  # type: ignore[no-untyped-call]
                self._run_batch, connection._conn, works, contexts=contexts
            )
        except Exception as error:
            meter.failures.inc()
            results = [error] * len(jobs)  # a commit that failed is everybody's
        meter.seconds.observe(perf_counter() - began)
        for (_, future, _, _), result in zip(jobs, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


class SqliteDatabase:
    """See `Database`."""

    def __init__(self, writer: _Lane | None, reader: _Lane) -> None:
        self._writer = writer
        self._reader = reader

    async def write(self, work: Work[T]) -> T:
        if self._writer is None:
            raise StoreError("the database was opened to read only")
        return await self._writer.run(work)

    async def read(self, work: Work[T]) -> T:
        return await self._reader.run(work)

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.close()
        await self._reader.close()


@asynccontextmanager
async def open_sqlite(path: Path, *, read_only: bool) -> AsyncIterator[SqliteDatabase]:
    """Open, and bring the schema up to date unless `read_only`. Raises StoreError."""
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        raise StoreError(f"there is no database at {path}: has the service ever run here?")
    async with AsyncExitStack() as stack:
        writer = None
        if not read_only:
            writer = _Lane(await _connect(path, mode="rwc"), write_batch, name="write")
            stack.push_async_callback(writer.close)
        connection = await _connect(path, mode="ro" if read_only else "rw")
        reader = _Lane(connection, read_batch, name="books" if read_only else "read")
        stack.push_async_callback(reader.close)
        database = SqliteDatabase(writer, reader)
        if read_only:
            await _check(database, path)
        else:
            await database.write(lambda tx: migrate(tx, types=TYPES))
        yield database


async def _check(database: SqliteDatabase, path: Path) -> None:
    try:
        await database.read(check_schema)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}: has the service ever run here?") from error


async def _connect(path: Path, *, mode: str) -> aiosqlite.Connection:
    """Raises StoreError for a file that is no database, or cannot be opened."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        _probe(uri)
        connection = await aiosqlite.connect(
            uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
        )
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    try:
        await _set_up(connection, path, mode=mode)
    except sqlite3.Error as error:
        await connection.close()
        raise StoreError(f"{path}: {error}") from error
    return connection


def _probe(uri: str) -> None:
    """Before there is a thread, which aiosqlite would not wait for when it cannot open."""
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA schema_version")


async def _set_up(connection: aiosqlite.Connection, path: Path, *, mode: str) -> None:
    connection.row_factory = sqlite3.Row
    if mode == "rwc":
        await connection.execute("PRAGMA journal_mode = WAL")
        path.chmod(0o600)
    else:
        await connection.execute("PRAGMA query_only = ON")
    # FULL: a commit that was acknowledged survives a power cut (A25).
    await connection.execute("PRAGMA synchronous = FULL")
    await connection.execute("PRAGMA foreign_keys = ON")
