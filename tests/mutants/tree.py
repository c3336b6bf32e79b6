"""A copy of the project, in which bugs are sown and tests are run."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("nwc_service", "backends", "tests")
SHOWN = f"""
import importlib
for name in {PACKAGES}:
    print(importlib.import_module(name).__file__)
"""
LONG_AGO = (10**9, 10**9)
"""When every file was changed last, unless it is sown: bytecode goes by its source's second."""
RUN_TIMEOUT_S = 300
TEST_TIMEOUT_S = 30


class Broken(Exception):
    """The patch or the test run is not in order, so it says nothing about the tests."""


@dataclass(frozen=True, slots=True)
class Run:
    """`failed` is pytest's line of the first test that failed; None when all were green."""

    failed: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Tree:
    path: Path

    @contextmanager
    def sown(self, patch: Path) -> Iterator[list[str]]:
        """With the patch applied: the files that it changes. Raises Broken."""
        listed = self._apply(patch, "--numstat")
        changed = [line.split("\t")[2] for line in listed.splitlines()]
        self._apply(patch)
        try:
            yield changed
        finally:
            self._apply(patch, "--reverse")
            for name in changed:
                os.utime(self.path / name, LONG_AGO)

    def test(self, selection: Sequence[str], *, writes_bytecode: bool = False) -> Run:
        """Up to the first failure. Raises Broken where no test failed by itself."""
        began_at = time.monotonic()
        flags = ["-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        try:
            ended = self.python(
                ["-m", "pytest", *flags, f"--timeout={TEST_TIMEOUT_S}", *selection],
                writes_bytecode=writes_bytecode,
            )
        except subprocess.TimeoutExpired:
            raise Broken("pytest does not end") from None
        seconds = time.monotonic() - began_at
        failed = [line for line in ended.stdout.splitlines() if line.startswith("FAILED ")]
        if ended.returncode == 0:
            return Run(None, seconds)
        if ended.returncode != 1 or not failed:
            raise Broken(f"pytest ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
        return Run(failed[0].removeprefix("FAILED "), seconds)

    def python(
        self, arguments: Sequence[str], *, writes_bytecode: bool = False
    ) -> subprocess.CompletedProcess[str]:
        # Its own code comes before the installed; what is sown leaves no bytecode behind.
        environment = os.environ | {
            "PYTHONPATH": str(self.path),
            "PYTHONDONTWRITEBYTECODE": "" if writes_bytecode else "1",
            "COLUMNS": "400",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_TIMEOUT_S,
        )

    def imports_itself(self) -> bool:
        """Whether the code that runs here is the copy's, and not the installed."""
        ended = self.python(["-c", SHOWN])
        files = ended.stdout.splitlines()
        return len(files) == len(PACKAGES) and all(
            Path(file).is_relative_to(self.path) for file in files
        )

    def _apply(self, patch: Path, *options: str) -> str:
        """What git says. Raises Broken."""
        ended = subprocess.run(
            ["git", "apply", "-C1", *options, str(patch)],
            cwd=self.path,
            # A copy is no repository, nor part of one.
            env=os.environ | {"GIT_CEILING_DIRECTORIES": str(self.path.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise Broken(f"{patch.name} does not apply: {ended.stderr.strip()}")
        return ended.stdout


@contextmanager
def copied() -> Iterator[Tree]:
    """What belongs to the project, committed or new, without what is made from it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        # Resolved, so that it compares with what Python says it has imported.
        path = Path(place).resolve()
        for name in filter(None, listed.stdout.split("\0")):
            _copy(ROOT / name, path / name)
        yield Tree(path)


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        return  # deleted, and not yet committed so
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    os.utime(target, LONG_AGO)
