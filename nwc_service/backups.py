"""Backups by themselves: into a directory, every so often, the newest of them kept."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from nwc_service import backup, passphrase
from nwc_service.answers import Clock
from nwc_service.backup import PREFIX, SUFFIX, Place
from nwc_service.config import BackupSettings
from nwc_service.store import alarms
from nwc_service.store.database import Database, Tx

log = structlog.get_logger()

ALARM, SUBJECT = "backup_failed", "backup"
RETRY_S = 600


class Backups:
    """`seal` puts the master key under a passphrase."""

    def __init__(
        self,
        db: Database,
        *,
        place: Place,
        settings: BackupSettings,
        seal: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self._db = db
        self._place = place
        self._settings = settings
        self._seal = seal
        self._clock = clock

    async def run(self) -> None:
        """For ever. The first one when the last is old enough, also over restarts."""
        directory = self._settings.directory
        while directory is not None:
            newest = newest_at(directory)
            due_s = 0.0 if newest is None else newest + self._settings.every_s - time.time()
            await asyncio.sleep(max(0.0, due_s))
            if not await self.make(directory):
                await asyncio.sleep(RETRY_S)

    async def make(self, directory: Path) -> bool:
        """Whether it was made; if not, there is an alarm."""
        try:
            path = await asyncio.to_thread(self._make, directory)
        except (backup.BackupError, ValueError, OSError) as error:
            log.error("backup.failed", problem=str(error))
            await self._tell(str(error))
            return False
        log.info("backup.made", file=path.name)
        await self._tell(None)
        return True

    def _make(self, directory: Path) -> Path:
        file = self._settings.passphrase_file
        if file is None:
            raise ValueError("backup.passphrase_file is not set")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed_key = self._seal(passphrase.read(file))
        path = backup.make(self._place, directory, sealed_key=sealed_key)
        for old in all_of(directory)[: -self._settings.keep]:
            old.unlink(missing_ok=True)
        return path

    async def _tell(self, problem: str | None) -> None:
        async def work(tx: Tx) -> None:
            await alarms.clear(tx, ALARM, subject=SUBJECT)
            if problem is not None:
                await alarms.raise_alarm(
                    tx, ALARM, subject=SUBJECT, detail=problem, now=self._clock()
                )

        await self._db.write(work)


def all_of(directory: Path) -> list[Path]:
    """The oldest first: their names tell when they were made."""
    return sorted(directory.glob(f"{PREFIX}*{SUFFIX}"))


def newest_at(directory: Path) -> float | None:
    found = all_of(directory) if directory.exists() else []
    return found[-1].stat().st_mtime if found else None
