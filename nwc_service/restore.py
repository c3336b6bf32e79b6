"""A database that was restored from a backup: noticed, and used with care (A21).

What the backup does not know may have happened all the same: requests were executed, money
left. So no request from before the restore is executed any more, and nothing leaves until the
operator has compared the books with the nodes.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import structlog

from nwc_service import datadir
from nwc_service.answers import Clock
from nwc_service.guard import RESTORED, stop
from nwc_service.store import decisions, meta, payments, progress
from nwc_service.store.database import Database, Tx
from nwc_service.store.meta import BORN_AT
from nwc_service.store.nodes import Stops
from nwc_service.store.requests import NOT_BEFORE
from nwc_service.wallet.units import BackendName

log = structlog.get_logger()

DATABASE_ID = "database_id"
KEEP_EVERY_S = 10.0


class Mark:
    """How far the books had come, kept in a file beside the database.

    Books that are behind it are a backup. It is written after the fact, so a backup of the last
    seconds, or one of the whole data directory, is not noticed: `serve --restored` is for that.
    """

    def __init__(self, db: Database, *, data_dir: Path, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._data_dir = data_dir
        self._kept: Mapping[str, int] = {}

    async def behind(self) -> str | None:
        """In what the books are behind the mark. Those that were used somewhere else, without
        a mark of theirs here, may be behind as well."""
        known = datadir.mark(self._data_dir)
        database_id = await self._db.read(lambda tx: meta.get(tx, DATABASE_ID))
        if database_id is None:
            return None  # new books, or of a version that kept no mark
        if known.get("database") != database_id:
            return f"{datadir.MARK} is not of this database: where had it come to?"
        reached = await self._db.read(progress.reached)
        for name, value in sorted(reached.items()):
            if value < int(known.get(name) or 0):
                return f"{name} had reached {known[name]}, the database has {value}"
        return None

    async def keep(self) -> None:
        reached = await self._db.read(progress.reached)
        if reached != self._kept:
            mark: dict[str, str | int] = {"database": await self._database_id(), **reached}
            await asyncio.to_thread(datadir.leave_mark, self._data_dir, mark)
            self._kept = reached

    async def _database_id(self) -> str:
        known = await self._db.read(lambda tx: meta.get(tx, DATABASE_ID))
        if known is not None:
            return known
        fresh, now = token_hex(16), self._clock()

        async def work(tx: Tx) -> None:
            await meta.put(tx, DATABASE_ID, fresh)
            await meta.put(tx, BORN_AT, str(now))

        await self._db.write(work)
        return fresh

    async def keep_at_the_end(self) -> None:
        try:
            await self.keep()
        except OSError:
            log.exception("mark.failed")

    async def keep_for_ever(self) -> None:
        while True:
            try:
                await self.keep()
            except Exception:
                log.exception("mark.failed")
            await asyncio.sleep(KEEP_EVERY_S)


@dataclass(frozen=True, slots=True)
class Margins:
    """How far ahead a request may be dated, and how long after its expiry an invoice that was
    sent can still be paid."""

    future_s: int
    unpayable_s: int


async def use_with_care(
    db: Database,
    *,
    backends: Iterable[BackendName],
    margins: Margins,
    detail: str,
    now: int,
) -> None:
    """From now on: no older request, and nothing leaves before the operator resumes.

    What the backup calls reserved may have been sent after it was made, so it is looked up.
    """

    async def work(tx: Tx) -> None:
        await meta.put(tx, NOT_BEFORE, str(now + margins.future_s))
        await payments.doubt_reserved(tx, margin_s=margins.unpayable_s, now=now)
        await decisions.record(tx, RESTORED, subject="database", reason=detail, by="", now=now)
        for name in backends:
            await stop(tx, name, stops=Stops.OUTGOING, reason=RESTORED, detail=detail, now=now)

    await db.write(work)
    log.error("database.restored", detail=detail)
