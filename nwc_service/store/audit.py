"""Recomputes every balance from the entries, and checks what must always hold.

Memory stays bounded: of what is wrong only the first few rows are fetched, of the payments one
page at a time. A live database is read in one short transaction for each check: a snapshot that
stays open for the whole audit would keep the database from shedding its log meanwhile, and
other readers of the same connection waiting. Nothing is lost by that, since every check is
right on a snapshot of its own, and settled payments never change.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from nwc_service.store.checks import CHECKS, Check
from nwc_service.store.database import Database, Row, Tx, Work
from nwc_service.wallet.payment import proves

T = TypeVar("T")

SHOWN = 20
"""Problems that are told of each check; of the others, only how many."""
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """How many rows were looked at, and what is wrong."""

    accounts: int
    entries: int
    payments: int
    invoices: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


class _Read(Protocol):
    def __call__(self, work: Work[T], /) -> Awaitable[T]:
        """Run `work` on a snapshot."""


async def audit(tx: Tx) -> Audit:
    """All of it on one snapshot, without what depends on the time and on the settings."""

    async def read(work: Work[T]) -> T:
        return await work(tx)

    return await _audit(read, now=0, required_percent=0)


async def audit_live(database: Database, *, now: int, required_percent: int) -> Audit:
    """While the service may be writing. `required_percent` of what is owed must be backed."""
    return await _audit(database.read, now=now, required_percent=required_percent)


async def last_life(tx: Tx) -> int | None:
    """When the service last read a balance: what should have been done since, nobody could."""
    row = await tx.one("SELECT max(read_at) AS read_at FROM reading")
    return row["read_at"] if row else None


async def _audit(read: _Read, *, now: int, required_percent: int) -> Audit:
    counted = await read(_count)
    problems: list[str] = []
    for check in CHECKS:
        look = partial(_wrong, check=check, now=now, required_percent=required_percent)
        problems += await _tried(read, look, check=check)
    return Audit(**counted, problems=(*problems, *await _without_proof(read)))


async def _count(tx: Tx) -> dict[str, int]:
    counted = await tx.one(
        "SELECT (SELECT count(*) FROM account) AS accounts,"
        " (SELECT count(*) FROM entry) AS entries,"
        " (SELECT count(*) FROM payment) AS payments,"
        " (SELECT count(*) FROM invoice) AS invoices"
    )
    return {name: int(counted[name]) for name in counted.keys()} if counted else {}  # noqa: SIM118


async def _tried(read: _Read, look: Work[list[str]], *, check: Check) -> list[str]:
    try:
        return await read(look)
    except Exception as error:  # noqa: BLE001  (a sum beyond bounds, a torn page: told, too)
        return [f"{check.number}: this could not be checked: {error}"]


async def _wrong(tx: Tx, *, check: Check, now: int, required_percent: int) -> list[str]:
    given = {"now": now, "required_percent": required_percent}
    rows = await tx.all(
        f"SELECT * FROM ({check.sql}) AS wrong ORDER BY 1 LIMIT {SHOWN}", **given
    )
    problems = [check.text.format_map(_values(row)) for row in rows]
    if len(rows) < SHOWN:
        return problems
    counted = await tx.one(f"SELECT count(*) AS wrong FROM ({check.sql}) AS wrong", **given)
    total = int(counted["wrong"]) if counted else 0
    return problems + _others(check.number, total - SHOWN)


async def _without_proof(read: _Read) -> list[str]:
    """I8: what was paid has a preimage that hashes to its payment hash."""
    problems: list[str] = []
    others, after = 0, ""
    while page := await read(partial(_settled, after=after)):
        unproven = [row["payment_id"] for row in page if not _is_proven(row)]
        room = SHOWN - len(problems)
        problems += [f"I8: payment {name} has no valid preimage" for name in unproven[:room]]
        others += len(unproven[room:])
        after = page[-1]["payment_id"]
    return problems + _others("I8", others)


async def _settled(tx: Tx, *, after: str) -> list[Row]:
    return await tx.all(
        "SELECT payment_id, payment_hash, preimage FROM payment WHERE state = 'SETTLED'"
        f" AND payment_id > :after ORDER BY payment_id LIMIT {PAGE}",
        after=after,
    )


def _is_proven(row: Row) -> bool:
    return row["preimage"] is not None and proves(row["preimage"], row["payment_hash"])


def _others(number: str, count: int) -> list[str]:
    return [f"{number}: and {count} more like these"] if count > 0 else []


def _values(row: Row) -> dict[str, object]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118  (a row, not a dict)
