"""Builds the Go modules of the tests into .tools; their folders say what is in them."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.parts import real_parts_required

TOOLS = Path(__file__).parents[1] / ".tools"
GO_HOME = "/usr/local/go/bin"  # where Go installs itself, on the PATH or not

# What Go says of a module that is newer than itself, since 1.21 and before.
TOO_OLD = ("requires go >=", "invalid go version")


class Missing(Exception):
    """There is no Go here, or too old a one; the tests that need its programs are skipped."""


class Broken(Exception):
    """It should have worked: it does not compile, or a module does not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoModule:
    """A folder with a go.mod, and the programs that are built with it, by their packages."""

    folder: Path
    programs: Mapping[str, Path]
    timeout_s: float
    tags: str = ""

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def main(self) -> int:
        try:
            self.build()
        except (Missing, Broken) as problem:
            print(f"{self.name} is not built: {problem}", file=sys.stderr)
            return int(isinstance(problem, Broken) or real_parts_required())
        return 0

    def build(self) -> None:
        """Build what the source says, unless it is there. Raises Missing and Broken."""
        self._beside("lock").parent.mkdir(parents=True, exist_ok=True)
        with self._beside("lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time
            if not self.built():
                self._build()

    def built(self) -> bool:
        stamp = self._beside("source")
        programs = all(program.is_file() for program in self.programs.values())
        return programs and stamp.is_file() and stamp.read_text() == self._source_hash()

    def _build(self) -> None:
        go = shutil.which("go") or shutil.which("go", path=GO_HOME)
        if go is None:
            raise Missing("go is not there")
        self._beside("source").unlink(missing_ok=True)
        for package, program in self.programs.items():
            command = [go, "build", "-trimpath", "-mod=readonly", "-ldflags=-s -w"]
            self._run([*command, f"-tags={self.tags}", "-o", str(program), package])
        self._beside("source").write_text(self._source_hash())

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=os.environ | {"CGO_ENABLED": "0"},  # a C compiler may not be there
                capture_output=True,
                text=True,
                timeout=self.timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"go build took longer than {self.timeout_s} s") from None
        said = " ".join(done.stderr.split())
        if done.returncode and any(words in said for words in TOO_OLD):
            raise Missing(f"go is too old: {said}")
        if done.returncode:
            raise Broken(f"go build failed: {said}")

    def _source_hash(self) -> str:
        files = sorted([*self.folder.glob("*.go"), *self.folder.glob("go.*")])
        return sha256(b"".join(map(Path.read_bytes, files)) + self.tags.encode()).hexdigest()

    def _beside(self, suffix: str) -> Path:
        """Next to the first program, in .tools."""
        return next(iter(self.programs.values())).with_suffix(f".{suffix}")
