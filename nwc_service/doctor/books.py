"""The database: whole, of this program's version and this master key, and not of the future."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from nwc_service import datadir
from nwc_service.backend import Finding
from nwc_service.config import Settings
from nwc_service.keyring import Keyring, open_master_key
from nwc_service.passphrase import passphrase_file
from nwc_service.sealed_key import is_sealed
from nwc_service.store import alarms, ledger, meta, nodes
from nwc_service.store.database import StoreError, Tx
from nwc_service.store.sqlite import open_sqlite

SUBJECT = "database"
QUICK_CHECK_S = 30.0
STEPS_BETWEEN_LOOKS = 100_000
MAX_PROBLEMS = 5
MAX_SKEW_S = 120
MAX_WAL_BYTES = 1 << 30
RESTORE = "restore it from a backup, and start once with --restored"
LISTENERS = ("admin", "embedded_relay", "public")


@dataclass(frozen=True, slots=True)
class Known:
    """What the books say; `ports` are those of the last life, by what listens there."""

    findings: Sequence[Finding] = ()
    ports: Mapping[str, int] = field(default_factory=dict)


async def look(chosen: Settings, *, now: float) -> Known:
    path = chosen.database_path
    if not path.exists():
        return Known([Finding(SUBJECT, f"{path} is not there yet: the first start makes it")])
    whole = await asyncio.to_thread(_whole, path)
    if whole.remedy is not None:
        return Known([whole])
    try:
        async with open_sqlite(path, read_only=True) as database:
            told = await database.read(lambda tx: _read(tx, chosen, now=now))
    except (StoreError, sqlite3.Error) as error:
        remedy = "see the message; an older program cannot read the books of a newer one"
        return Known([Finding(SUBJECT, str(error), remedy)])
    return Known([whole, *_wal(path), *told.findings], told.ports)


def _whole(path: Path, *, patience_s: float = QUICK_CHECK_S) -> Finding:
    """SQLite's own check of the file, as far as it comes in that time."""
    until = time.monotonic() + patience_s
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            opened.set_progress_handler(lambda: time.monotonic() > until, STEPS_BETWEEN_LOOKS)
            rows = opened.execute(f"PRAGMA quick_check({MAX_PROBLEMS})").fetchall()
            mode = opened.execute("PRAGMA journal_mode").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            says = f"nothing wrong in {patience_s:.0f} s, and too large to check all of it"
            return Finding(SUBJECT, says)
        return Finding(SUBJECT, f"{path}: {error}", "see who may read it, and the disk")
    except sqlite3.DatabaseError as error:
        return Finding(SUBJECT, f"{path}: {error}", RESTORE)
    if [row[0] for row in rows] != ["ok"]:
        return Finding(SUBJECT, f"damaged: {rows[0][0]}", RESTORE)
    if mode != "wal":
        return Finding(SUBJECT, f"journal mode {mode}", "start the service once: it sets WAL")
    return Finding(SUBJECT, f"{path.stat().st_size / (1 << 20):.1f} MiB, and whole")


def _wal(path: Path) -> Iterator[Finding]:
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > MAX_WAL_BYTES:
        size = wal.stat().st_size / (1 << 30)
        remedy = "end what else has the database open for long, such as a copy or a shell"
        yield Finding(SUBJECT, f"its log has grown to {size:.1f} GiB", remedy)


async def _read(tx: Tx, chosen: Settings, *, now: float) -> Known:
    found = [*await _owner(tx, chosen.data_dir), *await _clock(tx, now=now)]
    standing = await alarms.counts(tx)
    if standing:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(standing.items()))
        found.append(Finding("alarms", kinds, "nwc-service alarm list tells what to do"))
    found += [
        Finding(
            f"backends.{pause.backend}",
            f"paused: {pause.reason}",
            "compare its payments with the books, then: nwc-service backend resume",
        )
        for pause in await nodes.pauses(tx)
    ]
    ports = {name: await meta.get(tx, f"{name}_port") for name in LISTENERS}
    return Known(found, {name: int(port) for name, port in ports.items() if port})


async def _owner(tx: Tx, data_dir: Path) -> Sequence[Finding]:
    fingerprint = await meta.get(tx, "master_key")
    path = data_dir / datadir.MASTER_KEY
    if fingerprint is None or not path.exists():
        return []
    if is_sealed(path.read_text()) and passphrase_file(os.environ) is None:
        return [Finding(SUBJECT, "the master key is encrypted, so it was not compared")]
    try:
        is_its_own = Keyring(open_master_key(path)).fingerprint == fingerprint
    except ValueError as error:
        return [Finding(SUBJECT, str(error), "put the right one back from your backup")]
    if is_its_own:
        return []
    says = f"{path} is not the master key of these books"
    return [Finding(SUBJECT, says, "put the right one back from your backup")]


async def _clock(tx: Tx, *, now: float) -> Sequence[Finding]:
    """No entry was made in the future."""
    newest_at = await ledger.newest_at(tx)
    if newest_at is None or newest_at <= now + MAX_SKEW_S:
        return []
    says = f"this machine's is {newest_at - now:.0f} s behind the newest entry of the books"
    return [Finding("clock", says, "set it from the network (NTP) before the next start")]
