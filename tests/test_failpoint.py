"""The failpoints: their list is what the code has, and an armed one kills at its pass."""

import os
import re
import signal
from pathlib import Path

import pytest

from nwc_service import failpoint

ROOT = Path(__file__).parents[1]


def test_the_list_has_every_failpoint_of_the_code_and_no_other() -> None:
    used = [
        name
        for path in (ROOT / "nwc_service").rglob("*.py")
        for name in re.findall(r'\bfailpoint\(\s*"(\w+)"', path.read_text())
    ]

    assert sorted(set(used)) == sorted(failpoint.FAILPOINTS)


@pytest.mark.parametrize(
    ("place", "survived"), [("in_record", 0), ("in_record:1", 0), ("in_record:3", 2)]
)
def test_an_armed_failpoint_kills_at_its_pass(place: str, survived: int) -> None:
    assert passes_of(place) == (survived, signal.SIGKILL)


@pytest.mark.parametrize("place", [None, "", "in_record:6"])
def test_what_is_not_armed_or_not_reached_lets_the_process_live(place: str | None) -> None:
    assert passes_of(place) == (5, 0)


def test_a_name_that_is_nowhere_in_the_code_is_refused() -> None:
    with pytest.raises(ValueError, match="no failpoint 'in_recrod'"):
        failpoint.arm("in_recrod")


def passes_of(place: str | None) -> tuple[int, int]:
    """How many of five passes of `in_record` a process survives, and its end."""
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        failpoint.arm(place)
        for _ in range(5):
            failpoint.failpoint("after_record")
            failpoint.failpoint("in_record")
            os.write(writable, b".")
        os._exit(0)
    os.close(writable)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(readable, "rb") as passes:
        return len(passes.read()), status & 0x7F
