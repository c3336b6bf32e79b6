"""A backup in one file, made while the service runs, and brought back into an empty place.

A tar archive of the database, the master key under a passphrase, what the sandbox keeps, and a
manifest with the hash of each. What happened after it was made it does not know: a restored
database is used with care (`restore.py`).
"""

import hashlib
import json
import os
import sqlite3
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from nwc_service import __version__, datadir
from nwc_service.keyring import MASTER_KEY_BYTES, Keyring
from nwc_service.sealed_key import is_sealed, unseal
from nwc_service.store.schema import MIGRATIONS

FORMAT = 1
MANIFEST, DATABASE, KEY, SANDBOX = "manifest.json", "nwc.sqlite", "master.key", "sandbox.sqlite"
PREFIX, SUFFIX = "nwc-backup-", ".tar"
PAGES_AT_ONCE = 2000
CHUNK_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 64 * 1024


class BackupError(Exception):
    """It was not made, or is not to be used; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of a service's data."""

    data_dir: Path
    database: Path

    @property
    def files(self) -> Mapping[str, Path]:
        return {
            DATABASE: self.database,
            KEY: self.data_dir / datadir.MASTER_KEY,
            SANDBOX: self.data_dir / SANDBOX,
        }


def file_name(now: float) -> str:
    return f"{PREFIX}{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def make(place: Place, target: Path, *, sealed_key: str) -> Path:
    """The file, at `target` or in that directory. Raises BackupError and OSError."""
    path = target / file_name(time.time()) if target.is_dir() else target
    if path.exists():
        raise BackupError(f"{path} is there already")
    with TemporaryDirectory(dir=path.parent, prefix=".nwc-backup-") as made:
        folder = Path(made)
        copy_database(place.database, folder / DATABASE)
        if (sandbox := place.files[SANDBOX]).exists():
            copy_database(sandbox, folder / SANDBOX)
        (folder / KEY).write_text(sealed_key)
        at_rest = place.files[KEY].read_text() if place.files[KEY].exists() else ""
        manifest = _manifest(folder, key_was_sealed=is_sealed(at_rest))
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
        _pack(folder, folder / "packed")
        try:
            os.link(folder / "packed", path)  # never over another file
        except FileExistsError:
            raise BackupError(f"{path} is there already") from None
    return path


def copy_database(source: Path, target: Path) -> None:
    """As it is at one moment, while others write to it. Raises BackupError."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy, pages=PAGES_AT_ONCE)
            copy.execute("PRAGMA journal_mode = DELETE")
            [[found]] = copy.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        raise BackupError(f"{source}: {error}") from error
    if found != "ok":
        raise BackupError(f"{source} is damaged: {found}")


def _manifest(folder: Path, *, key_was_sealed: bool) -> dict[str, object]:
    return {
        "format": FORMAT,
        "version": __version__,
        "schema": _schema(folder / DATABASE),
        "made_at": int(time.time()),
        "key_was_sealed": key_was_sealed,
        "sha256": {path.name: _hash(path) for path in sorted(folder.iterdir())},
    }


def _pack(folder: Path, path: Path) -> None:
    names = [MANIFEST, DATABASE, KEY, SANDBOX]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in names:
                if (folder / name).exists():
                    archive.add(folder / name, arcname=name, recursive=False)
        file.flush()
        os.fsync(file.fileno())


# --- bringing it back


def restore(backup: Path, place: Place, *, passphrase: str) -> Mapping[str, object]:
    """Its manifest. Into a place without data. Raises BackupError, ValueError and OSError."""
    for path in place.files.values():
        if path.exists():
            raise BackupError(f"{path} is there already: restore into an empty place")
    place.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        datadir.locked(place.data_dir),
        TemporaryDirectory(dir=place.database.parent, prefix=".nwc-restore-") as made,
    ):
        folder = Path(made)
        manifest = _unpack(backup, folder)
        key = _opened(folder, passphrase)
        text = (folder / KEY).read_text() if manifest["key_was_sealed"] else key.hex()
        # The key last: without it nothing starts.
        for name in (SANDBOX, DATABASE):
            if (folder / name).exists():
                (folder / name).chmod(0o600)
                (folder / name).rename(place.files[name])
        datadir.write_private(place.files[KEY], text)
    return manifest


def _unpack(backup: Path, folder: Path) -> Mapping[str, object]:
    with _archive(backup) as archive:
        manifest = _read_manifest(archive)
        known = manifest["sha256"]
        for name in known:
            _extract(archive, name, folder=folder)
            if _hash(folder / name) != known[name]:
                raise BackupError(f"{backup} is damaged: {name} is not what it was")
    if DATABASE not in known or KEY not in known:
        raise BackupError(f"{backup} lacks the database or the key")
    schema = _schema(folder / DATABASE)
    if schema > len(MIGRATIONS):
        raise BackupError(
            f"the backup has schema {schema}, this program knows {len(MIGRATIONS)}: use the"
            " version that made it, or a newer one"
        )
    return manifest


@contextmanager
def _archive(backup: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(backup, mode="r:") as archive:
            yield archive
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise BackupError(f"{backup} is no backup, or is damaged: {error}") from error


def _read_manifest(archive: tarfile.TarFile) -> dict[str, dict[str, str]]:
    file = archive.extractfile(MANIFEST)
    try:
        found = json.loads(file.read(MAX_MANIFEST_BYTES) if file else b"")
        names = set(found["sha256"])
    except (ValueError, KeyError, TypeError):
        raise BackupError("the manifest of the backup cannot be read") from None
    if found.get("format") != FORMAT or not names <= {DATABASE, KEY, SANDBOX}:
        raise BackupError("the backup is of a format that this program does not know")
    return dict(found)


def _extract(archive: tarfile.TarFile, name: str, *, folder: Path) -> None:
    """By our own names only, so that no archive writes anywhere else."""
    file = archive.extractfile(name)
    if file is None:
        raise BackupError(f"{name} in the backup is no file")
    with (folder / name).open("wb") as target:
        while chunk := file.read(CHUNK_BYTES):
            target.write(chunk)


def _opened(folder: Path, passphrase: str) -> bytes:
    key = unseal((folder / KEY).read_text(), passphrase)
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        row = database.execute("SELECT value FROM meta WHERE name = 'master_key'").fetchone()
    if len(key) != MASTER_KEY_BYTES or row is None or row[0] != Keyring(key).fingerprint:
        raise BackupError("the key of the backup is not that of its database")
    return key


def _schema(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            [[version]] = database.execute("SELECT max(version) FROM schema_version").fetchall()
    except sqlite3.Error as error:
        raise BackupError(f"{path.name} is no database of this service: {error}") from error
    return int(version or 0)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
