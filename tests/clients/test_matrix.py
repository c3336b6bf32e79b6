"""docs/clients.md says what the cases say."""

from typing import Literal

import pytest

from nwc_service.methods import METHODS
from tests.clients.cases import Case
from tests.clients.libraries import LIBRARIES, NDK
from tests.clients.limits import prevented
from tests.clients.matrix import PAGE, Results, every_case, written

Outcome = Literal["passed", "failed"]


def test_the_page_is_up_to_date() -> None:
    """Whatever passes in continuous integration passed here too: all of it."""
    assert PAGE.read_text() == written(every_case()), "run python -m tests.clients.matrix"


def test_what_did_not_pass_is_shown() -> None:
    failed = Case(NDK, "get_balance", "nip04")

    page = written(every_case() - {failed})

    [line] = [line for line in page.splitlines() if line.startswith("| `get_balance`")]
    assert "04 *fails*" in line
    assert line.count("fails") == 1


def test_every_library_is_tried_with_each_method_that_it_has() -> None:
    for library in LIBRARIES:
        for method in METHODS.keys() & set(library.own):
            tried = any((case.library, case.row) == (library, method) for case in every_case())
            assert tried or prevented(library, method)


def test_only_what_passed_is_a_result() -> None:
    passing, failing = Case(NDK, "get_balance", "nip04"), Case(NDK, "get_info", "nip04")
    outcomes: dict[Case, Outcome] = {passing: "passed", failing: "failed"}
    results = Results()

    for case, outcome in outcomes.items():
        results.expect(str(case), case)
        results.pytest_runtest_logreport(report(case, "setup", outcome="passed"))
        results.pytest_runtest_logreport(report(case, "call", outcome=outcome))

    assert results.passed == {passing}


def report(
    case: Case, when: Literal["setup", "call"], *, outcome: Outcome
) -> pytest.TestReport:
    return pytest.TestReport(str(case), ("", 0, ""), {}, outcome, None, when)
