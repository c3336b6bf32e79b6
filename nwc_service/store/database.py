"""The database port: work in transactions, the same text on every driver.

A unit of work is an async function of one `Tx`. It awaits nothing but the statements of that
`Tx`, so a driver may run it wherever it likes, may group several into one commit, and may run
one again after a serialisation failure. Work raises to undo itself.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from nwc_service.store.schema import MIGRATIONS

T = TypeVar("T")
Row = Mapping[str, Any]
Value = str | int | None


class StoreError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class Tx(Protocol):
    """Statements of one transaction; parameters are `:name`."""

    async def one(self, sql: str, **values: Value) -> Row | None: ...

    async def all(self, sql: str, **values: Value) -> list[Row]: ...

    async def run(self, sql: str, **values: Value) -> int:
        """How many rows were touched."""

    def on_commit(self, call: Callable[[], object]) -> None:
        """Call this once the work is durable, and never where it was undone. On any thread, so
        it counts and does nothing else; it must not raise."""


Work = Callable[[Tx], Awaitable[T]]


class Database(Protocol):
    async def write(self, work: Work[T]) -> T:
        """Commit `work` durably, or undo it and raise what it raised."""

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one snapshot that holds every commit acknowledged before."""

    async def close(self) -> None: ...


async def migrate(tx: Tx, *, types: Mapping[str, str]) -> None:
    """Bring the schema up to this version. Raises StoreError for a newer one."""
    versions = "CREATE TABLE IF NOT EXISTS schema_version (version {int64} NOT NULL) {strict}"
    await tx.run(versions.format_map(types))
    version = await _schema(tx)
    for number in range(version + 1, len(MIGRATIONS) + 1):
        for statement in MIGRATIONS[number - 1]:
            await tx.run(statement.format_map(types))
        await tx.run("INSERT INTO schema_version (version) VALUES (:version)", version=number)


async def check_schema(tx: Tx) -> None:
    """For whoever only reads. Raises StoreError for a newer schema, and for an older one."""
    version = await _schema(tx)
    if version < len(MIGRATIONS):
        raise StoreError(
            f"the database has schema {version}: start the service once, it adapts it"
        )


async def _schema(tx: Tx) -> int:
    """The version of the database's schema. Raises StoreError for a newer one."""
    row = await tx.one("SELECT max(version) AS version FROM schema_version")
    version = int(row["version"] or 0) if row else 0
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the database has schema {version}, this program knows {len(MIGRATIONS)}:"
            " run the newer program"
        )
    return version
