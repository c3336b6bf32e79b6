"""Where the passphrase of a sealed master key is: a file, a systemd credential, a terminal."""

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "NWC_PASSPHRASE_FILE"
CREDENTIAL = "nwc-passphrase"
"""As in systemd's LoadCredential=; it is in $CREDENTIALS_DIRECTORY then."""
MAX_BYTES = 4096


def ask(*, environment: Mapping[str, str] = os.environ) -> str:
    """Raises ValueError where none can be had, and OSError for a file that cannot be read."""
    file = passphrase_file(environment)
    if file is not None:
        return read(file)
    if sys.stdin is not None and sys.stdin.isatty():
        return getpass.getpass("Passphrase of the master key: ")
    raise ValueError(
        f"the master key is encrypted: name a file with its passphrase in {VARIABLE}, give"
        f" systemd's credential {CREDENTIAL}, or start on a terminal"
    )


def passphrase_file(environment: Mapping[str, str]) -> Path | None:
    named, credentials = environment.get(VARIABLE), environment.get("CREDENTIALS_DIRECTORY")
    if named:
        return Path(named)
    if credentials and (Path(credentials) / CREDENTIAL).exists():
        return Path(credentials) / CREDENTIAL
    return None


def read(file: Path) -> str:
    """Its first line."""
    with file.open(encoding="utf-8", errors="replace") as opened:
        return opened.read(MAX_BYTES).partition("\n")[0].rstrip("\r")
