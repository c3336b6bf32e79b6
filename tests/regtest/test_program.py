"""A program of the network is gone when the tests are, however they ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.regtest.program import Program

RUNS_ONE = """
import sys
from pathlib import Path
from tests.regtest.program import Program

program = Program(["sleep", "600"], directory=Path(sys.argv[1]))
program.start()
if sys.argv[2] == "paused":
    program.pause()
print(program.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("when", ["running", "paused"])
def test_it_dies_with_whoever_started_it(tmp_path: Path, when: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUNS_ONE, str(tmp_path), when],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as tests:
        assert tests.stdout is not None
        program = psutil.Process(int(tests.stdout.readline()))
        tests.send_signal(signal.SIGKILL)

    program.wait(timeout=30)


def test_it_is_killed_paused_or_not_and_started_again(tmp_path: Path) -> None:
    program = Program(["sleep", "600"], directory=tmp_path)
    program.start()
    first = psutil.Process(program.pid)
    program.pause()

    program.kill()

    first.wait(timeout=30)
    program.start()
    assert program.running
    program.kill()
    assert not program.running


def test_what_ends_by_itself_has_said_why_and_can_be_started_again(tmp_path: Path) -> None:
    program = Program(["sh", "-c", "echo it is wrong >&2"], directory=tmp_path)
    program.start()
    while program.running:
        time.sleep(0.05)

    assert program.last_words() == "it is wrong"
    program.start()
    program.kill()
