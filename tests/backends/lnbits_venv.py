"""The virtual environment of real LNbits, apart from the service's: it needs pydantic 1."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "requirements" / "lnbits.txt"
TOOLS = REPOSITORY / ".tools"

PYTHONS = ("python3.12", "python3.11", "python3.10")  # LNbits: >=3.10,<3.13
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 12)


class LnbitsMissingError(Exception):
    """Real LNbits cannot be installed or started here; one line tells why."""


def venv_path() -> Path:
    return Path(os.environ.get("NWC_TEST_LNBITS_VENV") or TOOLS / "lnbits").absolute()


def install() -> None:
    """Unless it is there as the requirements say. Raises LnbitsMissingError."""
    target = venv_path()
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = target / ".requirements-sha256"
    try:
        with _locked(target.with_name(f"{target.name}.lock")):
            if stamp.exists() and stamp.read_text() == digest:
                return
            shutil.rmtree(target, ignore_errors=True)
            _make_venv(target)
            stamp.write_text(digest)
    except OSError as wrong:
        raise LnbitsMissingError(f"LNbits cannot be installed: {wrong}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """So that runs at the same time wait for one installation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _make_venv(target: Path) -> None:
    python = _find_python()
    uv = _find_uv()
    bin_python = str(target / "bin" / "python")
    installer = (
        [uv, "pip", "install", "--python", bin_python]
        if uv
        else [bin_python, "-m", "pip", "install", "--disable-pip-version-check"]
    )
    pip = ["--without-pip"] if uv else []
    # The lock is complete, and without --no-deps older pips stumble over its extras.
    locked = ["--quiet", "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)]
    for command in ([python, "-m", "venv", *pip, str(target)], [*installer, *locked]):
        done = subprocess.run(
            command,
            env=os.environ | {"UV_LINK_MODE": "copy"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
        if done.returncode:
            last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise LnbitsMissingError(f"LNbits cannot be installed: {last_line}")


def _find_uv() -> str | None:
    local = TOOLS / "uv" / "bin" / "uv"
    return shutil.which("uv") or (str(local) if local.exists() else None)


def _find_python() -> str:
    """One that LNbits supports: ours, else the newest on PATH."""
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return sys.executable
    for name in PYTHONS:
        found = shutil.which(name)
        # a shim may stand there for a Python that it cannot start
        if (
            found
            and subprocess.run([found, "-m", "venv", "-h"], capture_output=True).returncode == 0
        ):
            return found
    raise LnbitsMissingError(f"LNbits needs one of {', '.join(PYTHONS)}; none is on PATH")
