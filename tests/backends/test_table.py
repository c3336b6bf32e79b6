"""docs/backends.md says what the adapters and the contract's results say."""

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Literal

import pytest

from nwc_service.backend import Cap
from tests.backends.conftest import RESULTS
from tests.backends.contract import RIGS
from tests.backends.table import (
    BEGIN,
    PAGE,
    ROOT,
    Result,
    Results,
    backend_class,
    stored,
    written,
)

AGAIN = "run python -m tests.backends.table"
Outcome = Literal["passed", "failed", "skipped"]
When = Literal["setup", "call", "teardown"]


def test_the_page_says_what_the_adapters_say() -> None:
    page = PAGE.read_text()

    assert written(page, stored(page)) == page, AGAIN


@cache
def totals() -> Mapping[str, int]:
    counting = [sys.executable, "-m", "tests.backends.table", "--count"]
    told = subprocess.run(counting, cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(told.stdout.splitlines()[-1]))


@pytest.mark.parametrize("backend", sorted(RIGS))
def test_the_results_are_of_the_whole_contract_as_it_is_now(backend: str) -> None:
    """Also where the real part is missing; whatever is on the page passed somewhere."""
    result = stored(PAGE.read_text())[backend]

    assert result.total == totals()[backend], AGAIN
    assert result.failed == 0


@pytest.mark.parametrize("backend", sorted(RIGS))
def test_what_was_run_here_is_what_the_page_says(
    request: pytest.FixtureRequest, backend: str
) -> None:
    """Of this very run of the tests, where all of the contract was run before."""
    result = request.config.stash[RESULTS].of(backend)
    if result is None:
        pytest.skip(f"the contract was not run on {backend} before this")

    assert result == stored(PAGE.read_text())[backend], AGAIN


def test_every_error_that_the_page_explains_is_one_of_the_adapters() -> None:
    sources = " ".join(path.read_text() for path in (ROOT / "backends").rglob("*.py"))
    sources += (ROOT / "nwc_service/backend/findings.py").read_text()
    _, _, explained = PAGE.read_text().partition("## What the errors mean")
    rows = [line for line in explained.partition("## ")[0].splitlines() if "| `" in line]
    words = [word for row in rows for word in row.split("|")[1].split("`")[1::2]]

    joined = sources.replace('"\n', "").replace("{", "")
    assert len(words) > 20
    assert [word for word in words if word not in joined] == []


# --- the writing


def test_what_an_adapter_declares_is_shown() -> None:
    [line] = [line for line in PAGE.read_text().splitlines() if "`HOLD`" in line]

    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    expected = [Cap.HOLD in backend_class(name).caps for name in sorted(RIGS)]
    assert [cell == "yes" for cell in cells] == expected
    assert set(cells) == {"yes", "–"}


def test_results_are_read_as_they_are_written() -> None:
    results = {name: Result(90 + i, 40 - i) for i, name in enumerate(sorted(RIGS))}
    page = written(f"before\n\n{BEGIN}<!-- end -->\nafter\n", results)

    assert stored(page) == results
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "failed" not in page


def test_what_failed_is_shown_and_what_was_not_run_is_not_there() -> None:
    page = written(PAGE.read_text(), {"sandbox": Result(90, 40, failed=7)})

    assert stored(page) == {"sandbox": Result(90, 40, failed=7)}
    assert "contract tests **failed**" in page


# --- the results


def a_report(nodeid: str, when: When, outcome: Outcome) -> pytest.TestReport:
    return pytest.TestReport(nodeid, ("", 0, ""), {}, outcome, None, when)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param([("setup", "passed"), ("call", "passed")], Result(1, 0), id="passed"),
        pytest.param([("setup", "passed"), ("call", "skipped")], Result(0, 1), id="not-for-it"),
        pytest.param([("setup", "passed"), ("call", "failed")], Result(0, 0, 1), id="failed"),
        pytest.param([("setup", "failed")], Result(0, 0, 1), id="rig-failed"),
        pytest.param(
            [("call", "passed"), ("teardown", "failed")], Result(0, 0, 1), id="end-failed"
        ),
        pytest.param([("setup", "skipped")], None, id="part-missing"),
        pytest.param([], None, id="not-run"),
    ],
)
def test_only_what_was_run_is_a_result(
    ends: list[tuple[When, Outcome]], expected: Result | None
) -> None:
    results = Results()
    results.backend_of["a_test[lnd]"] = "lnd"

    for when, outcome in ends:
        results.pytest_runtest_logreport(a_report("a_test[lnd]", when, outcome))

    assert results.of("lnd") == expected
    assert results.of("sandbox") is None
