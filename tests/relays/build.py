"""`python -m tests.relays.build` builds the relay of this folder into .tools, with Go."""

import fcntl
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.parts import real_parts_required

SOURCE = Path(__file__).parent
TOOLS = SOURCE.parents[1] / ".tools"
BINARY = TOOLS / "khatru-relay"
TIMEOUT_S = 900
GO_HOME = "/usr/local/go/bin"  # where Go installs itself, on the PATH or not

_STAMP = TOOLS / "khatru-relay.source"


class Missing(Exception):
    """There is no Go here; the tests that need the relay are skipped."""


class Broken(Exception):
    """It should have worked: it does not compile, or a module does not come."""


def main() -> int:
    try:
        build()
    except (Missing, Broken) as problem:
        print(f"tests/relays is not built: {problem}", file=sys.stderr)
        return int(isinstance(problem, Broken) or real_parts_required())
    return 0


def build() -> None:
    """Build what the source says, unless it is there. Raises Missing and Broken."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "khatru-relay.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
        if not built():
            _go_build()


def built() -> bool:
    return BINARY.is_file() and _STAMP.is_file() and _STAMP.read_text() == _source_hash()


def _go_build() -> None:
    go = shutil.which("go") or shutil.which("go", path=GO_HOME)
    if go is None:
        raise Missing("go is not there")
    _STAMP.unlink(missing_ok=True)
    command = [go, "build", "-trimpath", "-mod=readonly", "-o", str(BINARY), "."]
    try:
        done = subprocess.run(
            command, cwd=SOURCE, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"go build took longer than {TIMEOUT_S} s") from None
    if done.returncode:
        raise Broken(f"go build failed: {' '.join(done.stderr.split())}")
    _STAMP.write_text(_source_hash())


def _source_hash() -> str:
    files = sorted([*SOURCE.glob("*.go"), *SOURCE.glob("go.*")])
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
