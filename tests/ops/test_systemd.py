"""The unit is one that systemd takes, and keeps the service in its place."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ops.table import ROOT

UNIT = ROOT / "docs" / "systemd" / "nwc-service.service"
MAX_EXPOSURE = 2.5
"""Of ten, as `systemd-analyze security` has it; what it calls OK ends at 4."""


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze (of Debian's package systemd) is missing")
    return found


def told(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def test_systemd_takes_every_line(analyze: str, tmp_path: Path) -> None:
    """With a program that is there, as it is once it was installed."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/nwc-service/bin/nwc-service", "/bin/true"))

    said = told(analyze, "verify", "--recursive-errors=no", str(unit))

    assert [line for line in said.splitlines() if UNIT.name in line] == []


def test_it_is_kept_in_its_place(analyze: str) -> None:
    said = told(analyze, "security", "--offline=true", "--no-pager", str(UNIT))

    exposure = re.search(r"Overall exposure level .*: ([0-9.]+)", said)
    assert exposure is not None, said
    assert float(exposure.group(1)) <= MAX_EXPOSURE
