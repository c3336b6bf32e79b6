"""`python -m tests.clients.install` brings the npm packages of tests/clients/js.

@getalby/sdk 8 needs Node 22 or newer. The npm package `node` fetches one by an install script,
past the lock file; so the packages that it would fetch are locked here instead, with their
hashes, and no install script runs.
"""

import fcntl
import shutil
import subprocess
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

from tests.parts import real_parts_required

JS_DIR = Path(__file__).parent / "js"
MIN_NODE_MAJOR = 22
TIMEOUT_S = 600

_LOCK = JS_DIR / "package-lock.json"
_STAMP = JS_DIR / "node_modules" / ".installed"  # npm ci empties the folder first


class Missing(Exception):
    """This machine lacks something; the tests that need it are skipped."""


class Broken(Exception):
    """It should have worked: a hash that differs, a registry that does not answer."""


def main() -> int:
    try:
        install()
    except (Missing, Broken) as problem:
        print(f"tests/clients/js is not installed: {problem}", file=sys.stderr)
        return int(isinstance(problem, Broken) or real_parts_required())
    return 0


def install() -> None:
    """Bring what the lock file names, unless it is there. Raises Missing and Broken."""
    with _LOCK.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one install at a time
        if not installed():
            _npm_ci()


def installed() -> bool:
    return _STAMP.is_file() and _STAMP.read_text() == _lock_hash()


@cache
def node() -> Path | None:
    """The locked Node where there is one for this platform, else the system's if new enough."""
    found = [JS_DIR / "node_modules" / ".bin" / "node", shutil.which("node")]
    return next((Path(path) for path in found if path and _is_new_enough(path)), None)


def _npm_ci() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not there")
    try:
        done = subprocess.run(
            [npm, "ci"], cwd=JS_DIR, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"npm ci took longer than {TIMEOUT_S} s") from None
    if done.returncode:
        raise Broken(f"npm ci failed: {' '.join(done.stderr.split())}")
    if node() is None:
        raise Missing(f"no Node {MIN_NODE_MAJOR} or newer for this platform")
    _STAMP.write_text(_lock_hash())


def _lock_hash() -> str:
    return sha256(_LOCK.read_bytes()).hexdigest()


def _is_new_enough(path: str | Path) -> bool:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return int(done.stdout.removeprefix("v").partition(".")[0]) >= MIN_NODE_MAJOR


if __name__ == "__main__":
    raise SystemExit(main())
