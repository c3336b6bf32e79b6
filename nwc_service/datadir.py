"""The data directory: one process at a time, secrets readable by their owner alone."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_urlsafe

ADMIN_URL = "admin.url"
ADMIN_TOKEN = "admin.token"  # noqa: S105 (a file name)
MASTER_KEY = "master.key"
MARK = "ledger.mark"
"""How far the books had come: `restore.py`."""
SERVED = "served.json"
"""What the service runs with, so that other commands read the same books."""


class InUse(Exception):
    """Another process of the service has this data directory."""


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Raises InUse. The lock goes with the process, however it ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise InUse(f"another nwc-service runs on {data_dir}") from error
    try:
        yield
    finally:
        os.close(handle)


def admin_token(data_dir: Path) -> str:
    """The token of this data directory; made at the first start."""
    path = data_dir / ADMIN_TOKEN
    with suppress(FileNotFoundError):
        if token := path.read_text().strip():
            return token
    token = token_urlsafe(32)
    write_private(path, token)
    return token


def leave_served(data_dir: Path, *, config: Path | None, database: Path) -> None:
    paths = {"config": str(config.resolve()) if config else None, "database": str(database)}
    write_private(data_dir / SERVED, json.dumps(paths))


def served(data_dir: Path) -> dict[str, str | None]:
    """The paths of `config` and `database`; empty where the service never ran."""
    try:
        found: dict[str, str | None] = json.loads((data_dir / SERVED).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def leave_mark(data_dir: Path, mark: Mapping[str, str | int]) -> None:
    write_private(data_dir / MARK, json.dumps(dict(mark)))


def mark(data_dir: Path) -> dict[str, str | int]:
    """Empty where none was left. Raises ValueError for one that cannot be read."""
    path = data_dir / MARK
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} cannot be read, so a restored database would not be noticed;"
            " start once with --restored after removing it"
        )
    return found


def write_private(path: Path, text: str) -> None:
    """Replace the file at once; mode 0600 from its first byte."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
