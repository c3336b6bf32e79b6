"""nwc-service backup, restore and key …"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nwc_service import backup as backups
from nwc_service import datadir, passphrase
from nwc_service.backup import BackupError, Place
from nwc_service.cli.common import DataDir, Failure, failing_in_one_line, settings
from nwc_service.datadir import InUse
from nwc_service.keyring import Keyring, open_master_key
from nwc_service.sealed_key import is_sealed

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="Its first line is the passphrase; on a terminal it is asked for.",
    ),
]


def backup(
    target: Annotated[Path, typer.Argument(help="A file, or a directory for a dated one.")],
    passphrase_file: PassphraseFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make a backup in one file, also while the service runs.

    The master key in it is under the passphrase: without it the backup opens nothing.
    """

    def work() -> None:
        place = _place(data_dir)
        if not place.database.exists():
            raise Failure(f"{place.database} is not there: nothing has run here yet")
        keyring = Keyring(open_master_key(place.files[backups.KEY]))
        words = _passphrase(passphrase_file, twice=True)
        print(backups.make(place, target, sealed_key=keyring.sealed(words)))

    _run(work)


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    passphrase_file: PassphraseFile = None,
    data_dir: DataDir = None,
) -> None:
    """Bring a backup back into an empty data directory.

    What happened after it was made it does not know. At the next start no older request is
    executed, and nothing is sent until you have compared the books with the nodes and said so:
    `nwc-service backend resume NAME --reason …`.
    """

    def work() -> None:
        words = _passphrase(passphrase_file)
        found = backups.restore(file, _place(data_dir), passphrase=words)
        made_at = datetime.fromtimestamp(int(str(found["made_at"])), UTC)
        print(f"restored, as of {made_at:%Y-%m-%dT%H:%M:%SZ}")
        print(
            "Start the service, compare the nodes' lists of payments with"
            " `nwc-service payment list`, then `nwc-service backend resume NAME`.",
            file=sys.stderr,
        )

    _run(work)


key = typer.Typer(help="The master key at rest.", no_args_is_help=True)


@key.command("encrypt")
def encrypt(passphrase_file: PassphraseFile = None, data_dir: DataDir = None) -> None:
    """Put the master key under a passphrase, which each start needs from then on."""

    def work() -> None:
        path = _key_path(data_dir)
        words = _passphrase(passphrase_file, twice=True)
        datadir.write_private(path, Keyring(open_master_key(path)).sealed(words))
        print(f"{path} is encrypted: {passphrase.VARIABLE} names the passphrase's file")

    _run(work)


@key.command("decrypt")
def decrypt(passphrase_file: PassphraseFile = None, data_dir: DataDir = None) -> None:
    """Keep the master key in the open again, readable by its owner alone."""

    def work() -> None:
        path = _key_path(data_dir)
        if not is_sealed(path.read_text()):
            raise Failure(f"{path} is not encrypted")
        words = _passphrase(passphrase_file)
        datadir.write_private(path, open_master_key(path, ask=lambda: words).hex())
        print(f"{path} is not encrypted any more")

    _run(work)


def _run(work: Callable[[], None]) -> None:
    with failing_in_one_line():
        try:
            work()
        except (BackupError, InUse, ValueError) as error:
            raise Failure(str(error)) from error


def _place(data_dir: Path | None) -> Place:
    chosen = settings(data_dir)
    return Place(chosen.data_dir, chosen.database_path)


def _key_path(data_dir: Path | None) -> Path:
    path = _place(data_dir).files[backups.KEY]
    if not path.exists():
        raise Failure(f"{path} is not there: nothing has run here yet")
    return path


def _passphrase(file: Path | None, *, twice: bool = False) -> str:
    """Never an argument, which others on the machine can see."""
    if file is not None:
        return passphrase.read(file)
    if not sys.stdin.isatty():
        raise Failure("--passphrase-file is needed, or a terminal to ask on")
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
