"""The database drivers; a test that asks for `database` runs on every one of them."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from nwc_service.store.database import Database
from nwc_service.store.sqlite import open_sqlite


@dataclass(frozen=True, slots=True)
class Driver:
    """`refusals` are what CHECK, UNIQUE, column types and triggers raise; `unguard` takes the
    guards of the entries away, for tests that tamper with them."""

    open: Callable[[Path], AbstractAsyncContextManager[Database]]
    refusals: tuple[type[Exception], ...]
    unguard: tuple[str, ...]


DRIVERS = {
    "sqlite": Driver(
        open=lambda directory: open_sqlite(directory / "nwc.sqlite", read_only=False),
        refusals=(sqlite3.IntegrityError,),
        unguard=(
            "DROP TRIGGER entry_is_never_updated",
            "DROP TRIGGER entry_is_never_deleted",
        ),
    ),
}
