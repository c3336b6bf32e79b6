"""The SQLite driver: group commit, snapshots, the read-only door, files that are not ours."""

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nwc_service.store import meta
from nwc_service.store.database import StoreError, Tx, Work
from nwc_service.store.sqlite import SqliteDatabase, open_sqlite


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with open_sqlite(tmp_path / "nwc.sqlite", read_only=False) as opened:
        yield opened


async def count(tx: Tx) -> int:
    row = await tx.one("SELECT count(*) AS rows FROM meta")
    return int(row["rows"]) if row else 0


def putting(name: str) -> Work[None]:
    return lambda tx: meta.put(tx, name, "1")


async def pragma(database: SqliteDatabase, name: str) -> object:
    async def work(tx: Tx) -> object:
        row = await tx.one(f"PRAGMA {name}")
        return None if row is None else row[name]

    return await database.write(work)


async def trace(database: SqliteDatabase) -> list[str]:
    """Every statement of the writer from now on."""
    statements: list[str] = []
    assert database._writer is not None
    await database._writer._connection.set_trace_callback(statements.append)
    return statements


async def test_many_writers_share_one_commit(database: SqliteDatabase) -> None:
    statements = await trace(database)

    await asyncio.gather(*(database.write(putting(str(n))) for n in range(50)))

    assert statements.count("COMMIT") == 1
    assert await database.read(count) == 50


async def test_a_lone_writer_has_its_own_commit(database: SqliteDatabase) -> None:
    statements = await trace(database)

    for number in range(3):
        await database.write(putting(str(number)))

    assert statements.count("COMMIT") == 3


async def break_the_commit(tx: Tx) -> None:
    # A foreign key that is checked only at the commit: every statement before succeeds.
    await tx.one("PRAGMA defer_foreign_keys = ON")
    await tx.run("INSERT INTO budget_period VALUES ('no such connection', 0, 0)")


@pytest.mark.attack("A25")
async def test_a_commit_that_fails_is_told_to_all_who_were_in_it(
    database: SqliteDatabase,
) -> None:
    results = await asyncio.gather(
        database.write(putting("one")),
        database.write(break_the_commit),
        database.write(putting("two")),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [sqlite3.IntegrityError] * 3
    assert await database.read(count) == 0


async def test_after_a_failed_commit_the_next_one_succeeds(database: SqliteDatabase) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(break_the_commit)

    await database.write(putting("one"))

    assert await database.read(count) == 1


@pytest.mark.attack("A25")
async def test_a_full_disk_undoes_what_does_not_fit(database: SqliteDatabase) -> None:
    async def fill(tx: Tx) -> None:
        row = await tx.one("PRAGMA page_count")
        assert row is not None
        await tx.one(f"PRAGMA max_page_count = {row['page_count'] + 2}")
        await meta.put(tx, "too much", "x" * 100_000)

    with pytest.raises(sqlite3.OperationalError, match="full"):
        await database.write(fill)

    await database.write(putting("small"))
    assert await database.read(count) == 1


async def test_a_reader_stays_on_its_snapshot(database: SqliteDatabase) -> None:
    has_looked, may_look_again = threading.Event(), threading.Event()

    async def look_twice(tx: Tx) -> tuple[int, int]:
        before = await count(tx)
        has_looked.set()
        may_look_again.wait(5)
        return before, await count(tx)

    reader = asyncio.create_task(database.read(look_twice))
    await asyncio.to_thread(has_looked.wait, 5)
    await database.write(putting("meanwhile"))
    may_look_again.set()

    assert await reader == (0, 0)
    assert await database.read(count) == 1


async def test_a_reader_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(lambda tx: meta.put(tx, "sneaked in", "1"))


async def test_a_unit_of_work_awaits_its_own_statements_only(database: SqliteDatabase) -> None:
    async def doze(tx: Tx) -> None:
        await meta.put(tx, "dozed", "1")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something other"):
        await database.write(doze)

    assert await database.read(count) == 0


@pytest.mark.attack("A25")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("journal_mode", "wal", id="readers-beside-the-writer"),
        pytest.param("synchronous", 2, id="a-commit-survives-a-power-cut"),
        pytest.param("foreign_keys", 1, id="references-hold"),
    ],
)
async def test_how_a_file_is_opened(database: SqliteDatabase, name: str, value: object) -> None:
    assert await pragma(database, name) == value


async def test_the_file_is_its_owners_alone(database: SqliteDatabase, tmp_path: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    assert set(modes) >= {"nwc.sqlite"}
    assert set(modes.values()) == {0o600}


@pytest.mark.attack("A6")
async def test_every_table_is_strict(database: SqliteDatabase) -> None:
    """SQLite would store text in a column of numbers otherwise."""
    tables = await database.read(
        lambda tx: tx.all("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'")
    )

    loose = {
        t["name"] for t in tables if not t["strict"] and not t["name"].startswith("sqlite")
    }
    assert loose == set()


# --- the read-only door, for commands that work while the service is down


async def test_read_only_it_shows_a_running_service(
    database: SqliteDatabase, tmp_path: Path
) -> None:
    await database.write(putting("one"))

    async with open_sqlite(tmp_path / "nwc.sqlite", read_only=True) as visitor:
        first = await visitor.read(count)
        await database.write(putting("two"))
        second = await visitor.read(count)

    assert (first, second) == (1, 2)


async def test_read_only_it_refuses_to_write(database: SqliteDatabase, tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "nwc.sqlite", read_only=True) as visitor:
        with pytest.raises(StoreError, match="read only"):
            await visitor.write(count)


async def test_read_only_it_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has the service ever run here"):
        async with open_sqlite(tmp_path / "nwc.sqlite", read_only=True):
            pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [False, True], ids=["to-write", "to-read"])
async def test_a_newer_schema_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "nwc.sqlite"
    async with open_sqlite(path, read_only=False) as database:
        await database.write(lambda tx: tx.run("INSERT INTO schema_version VALUES (99)"))

    with pytest.raises(StoreError, match="schema 99"):
        async with open_sqlite(path, read_only=read_only):
            pass


async def test_read_only_an_older_schema_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "nwc.sqlite"
    async with open_sqlite(path, read_only=False) as database:
        await database.write(lambda tx: tx.run("DELETE FROM schema_version"))

    with pytest.raises(StoreError, match="schema 0: start the service once"):
        async with open_sqlite(path, read_only=True):
            pass


async def test_read_only_a_file_without_the_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nwc.sqlite"
    path.touch()

    with pytest.raises(StoreError, match=r"no such table.*has the service ever run here"):
        async with open_sqlite(path, read_only=True):
            pass


@pytest.mark.parametrize("read_only", [False, True], ids=["to-write", "to-read"])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, read_only: bool
) -> None:
    path = tmp_path / "nwc.sqlite"
    path.write_text("dear diary, " * 1000)

    with pytest.raises(StoreError, match=r"nwc\.sqlite: .*not a database"):
        async with open_sqlite(path, read_only=read_only):
            pass

    assert path.read_text().startswith("dear diary")


async def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "nwc.sqlite").mkdir()

    with pytest.raises(StoreError, match=r"nwc\.sqlite: unable to open"):
        async with open_sqlite(tmp_path / "nwc.sqlite", read_only=False):
            pass


async def test_a_file_that_is_refused_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    (tmp_path / "nwc.sqlite").write_text("dear diary, " * 1000)

    with pytest.raises(StoreError):
        async with open_sqlite(tmp_path / "nwc.sqlite", read_only=False):
            pass

    left_behind = set(threading.enumerate()) - before
    for thread in left_behind:  # one that was told to end does so after its last answer
        thread.join(5)
    assert not any(thread.is_alive() for thread in left_behind)
