"""A database that was restored from a backup: noticed, and used with care (A21).

What the backup does not know may have happened all the same: requests were executed, money
left. So no request from before the restore is executed any more, and nothing leaves until the
operator has compared the books with the nodes.
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from nwc_service import datadir
from nwc_service.guard import stop
from nwc_service.store import decisions, meta, progress
from nwc_service.store.database import Database, Tx
from nwc_service.store.nodes import Stops
from nwc_service.store.requests import NOT_BEFORE
from nwc_service.wallet.units import BackendName

log = structlog.get_logger()

RESTORED = "restored"
KEEP_EVERY_S = 10.0


class Mark:
    """How far the books had come, kept in a file beside the database.

    Books that are behind it are a backup. It is written after the fact, so a backup of the last
    seconds, or one of the whole data directory, is not noticed: `serve --restored` is for that.
    """

    def __init__(self, db: Database, *, data_dir: Path) -> None:
        self._db = db
        self._data_dir = data_dir
        self._kept: Mapping[str, int] = {}

    async def behind(self) -> str | None:
        """In what the books are behind the mark."""
        known = datadir.mark(self._data_dir)
        reached = await self._db.read(progress.reached)
        for name in sorted(known):
            if reached.get(name, 0) < known[name]:
                return f"{name} had reached {known[name]}, the database has {reached[name]}"
        return None

    async def keep(self) -> None:
        reached = await self._db.read(progress.reached)
        if reached != self._kept:
            datadir.leave_mark(self._data_dir, reached)
            self._kept = reached

    async def keep_for_ever(self) -> None:
        while True:
            try:
                await self.keep()
            except Exception:
                log.exception("mark.failed")
            await asyncio.sleep(KEEP_EVERY_S)


async def use_with_care(
    db: Database, *, backends: Iterable[BackendName], detail: str, now: int
) -> None:
    """From now on: no older request, and nothing leaves before the operator resumes."""

    async def work(tx: Tx) -> None:
        await meta.put(tx, NOT_BEFORE, str(now))
        await decisions.record(tx, RESTORED, subject="database", reason=detail, now=now)
        for name in backends:
            await stop(tx, name, stops=Stops.OUTGOING, reason=RESTORED, detail=detail, now=now)

    await db.write(work)
    log.error("database.restored", detail=detail)
