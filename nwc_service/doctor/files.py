"""Who may read what the service keeps, and whether it can write there."""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from nwc_service import datadir
from nwc_service.backend import Finding
from nwc_service.config import BackendSettings, Settings

SUBJECT = "files"
GROUP_AND_OTHERS = 0o077
OTHERS = 0o007
WAL = ("-wal", "-shm")
NAMES_A_FILE = ("_path", "_cert")
SECRET_WORDS = ("key", "password", "rune", "macaroon", "token", "secret")


def look(chosen: Settings, *, config: Path | None) -> Iterator[Finding]:
    yield from _configured(chosen, config)
    data_dir = chosen.data_dir
    if not data_dir.exists():
        yield Finding(SUBJECT, f"{data_dir} is not there yet: the first start makes it")
        return
    wrong = [*_owners(chosen), *_modes(chosen)]
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        wrong.append(
            Finding(
                SUBJECT,
                f"{data_dir} cannot be written to",
                "run this as the service's own user",
            )
        )
    if chosen.database_path.exists() and not (data_dir / datadir.MASTER_KEY).exists():
        wrong.append(
            Finding(
                SUBJECT,
                f"{datadir.MASTER_KEY} is missing: no connection can be served without it",
                f"put it back into {data_dir} from your backup",
            )
        )
    yield from wrong or [Finding(SUBJECT, f"{data_dir} is its owner's alone")]


def _kept(chosen: Settings) -> list[Path]:
    """All that is to be its owner's alone."""
    database = chosen.database_path
    names = (datadir.MASTER_KEY, datadir.ADMIN_TOKEN, datadir.MARK, datadir.SERVED)
    paths = [chosen.data_dir / name for name in names]
    paths += [database, *(database.with_name(database.name + suffix) for suffix in WAL)]
    return [path for path in paths if path.exists()]


def _modes(chosen: Settings) -> Iterator[Finding]:
    for path, wanted in (
        (chosen.data_dir, "700"),
        *((path, "600") for path in _kept(chosen)),
    ):
        if path.stat().st_mode & GROUP_AND_OTHERS:
            mode = stat.S_IMODE(path.stat().st_mode)
            yield Finding(
                SUBJECT,
                f"{path} has mode {mode:03o}: others on this machine may read it",
                f"chmod {wanted} {shlex.quote(str(path))}",
            )


def _owners(chosen: Settings) -> Iterator[Finding]:
    owner = chosen.data_dir.stat().st_uid
    for path in _kept(chosen):
        found = path.stat().st_uid
        if found != owner:
            yield Finding(
                SUBJECT,
                f"{path} is user {found}'s, {chosen.data_dir} is user {owner}'s",
                f"chown {owner} {shlex.quote(str(path))}",
            )


def _configured(chosen: Settings, config: Path | None) -> Iterator[Finding]:
    """What the operator keeps elsewhere."""
    if config is not None and any(map(_holds_secret, chosen.backends.values())):
        yield from _readable_by_others(config)
    for name, backend in chosen.backends.items():
        for key, path in _named_files(backend):
            if not path.exists():
                says = f"{path} is not there"
                yield Finding(f"backends.{name}.{key}", says, "see its spelling")
            elif not key.endswith("_cert"):
                yield from _readable_by_others(path)


def _named_files(backend: BackendSettings) -> Iterator[tuple[str, Path]]:
    for key, value in backend.options.items():
        if key.endswith(NAMES_A_FILE) and isinstance(value, str):
            yield key, Path(value)


def _readable_by_others(path: Path) -> Iterator[Finding]:
    if path.exists() and path.stat().st_mode & OTHERS:
        yield Finding(
            SUBJECT,
            f"{path} holds a credential, and everybody on this machine may read it",
            f"chmod o= {shlex.quote(str(path))}",
        )


def _holds_secret(backend: BackendSettings) -> bool:
    options: Mapping[str, object] = backend.options
    return any(
        word in key and not key.endswith(NAMES_A_FILE)
        for key in options
        for word in SECRET_WORDS
    )
