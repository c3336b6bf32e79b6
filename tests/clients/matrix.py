"""`python -m tests.clients.matrix` runs every library against the service and writes
docs/clients.md from what passed."""

import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.clients.cases import SLOW_PAYMENT, Case, cases, is_offered, rows
from tests.clients.conversation import NIP04
from tests.clients.libraries import BOTH, LIBRARIES, Library
from tests.clients.limits import LINK, Limit, limits, limits_of, prevented

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clients.md"
TESTS = "tests/clients/test_libraries.py"
LIMIT_TESTS = "tests/clients/test_limits.py"

_HEAD = """\
# Clients

Unmodified client libraries, each tried against the real service over a relay with every method
that it has, over both encryptions where it speaks both, with notifications, with refusals and
with a payment that takes longer than it waits. This page is written by
`python -m tests.clients.matrix` from the results of `tests/clients/test_libraries.py`; a test
compares it.
"""

_KEY = """
**44** and **04** say that it works over NIP-44 and over NIP-04. In *italics* the library has no
call of its own for the method: it was asked with its generic request, or put together from the
library's parts. A dash says that the library has no means for it, *fails* that it was tried and
did not pass, and *no* that the library itself prevents it. The numbers are notes at the end.
"""

_REFUSALS = """
The library tells its app that the wallet refused, and nothing was paid.
"""

_CONNECTING = """
Each library connects with the string that the wallet gives out. These can also ask for a
connection with a link of their own, which the operator then grants.
"""

_PATIENCE = """
The payment is held for longer than the library waits for it. Asked again, the wallet tells the
same library that it is paid, and it is paid once.
"""

_HEADINGS = {
    "method": ("Methods", ""),
    "notification": ("Notifications", ""),
    "connection": ("Connecting", _CONNECTING),
    "refusal": ("Refusals", _REFUSALS),
    "patience": ("Patience", _PATIENCE),
}

_NOTES = f"""
## What a library itself prevents or bends

Each is shown by a test in `{LIMIT_TESTS}`, which fails once the library is mended.

"""


class Results:
    """A pytest plugin: which cases passed."""

    def __init__(self) -> None:
        self.passed: set[Case] = set()
        self._cases: dict[str, Case] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            params = item.callspec.params if hasattr(item, "callspec") else {}
            if "case" in params:
                self.expect(item.nodeid, params["case"])

    def expect(self, nodeid: str, case: Case) -> None:
        self._cases[nodeid] = case

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and report.nodeid in self._cases:
            self.passed.add(self._cases[report.nodeid])


def main() -> int:
    os.environ["NWC_REQUIRE_REAL"] = "1"
    results = Results()
    code = pytest.main(["-q", str(ROOT / TESTS), str(ROOT / LIMIT_TESTS)], plugins=[results])
    PAGE.write_text(written(results.passed))
    return int(code)


def every_case() -> set[Case]:
    return {case for heading in rows() for case in cases(heading)}


def written(passed: Collection[Case]) -> str:
    return "".join((_HEAD, _versions(), _KEY, *_tables(passed), "".join(_notes())))


def _versions() -> str:
    head = "\n| library | version | from | waits for a payment |\n|---|---|---|---|\n"
    return head + "".join(
        f"| {library} | {library.version} | {library.registry} | {library.patience} |\n"
        for library in LIBRARIES
    )


def _tables(passed: Collection[Case]) -> Iterator[str]:
    columns = " | ".join(str(library) for library in LIBRARIES)
    for heading, (title, text) in _HEADINGS.items():
        yield f"\n## {title}\n{text}"
        yield f"\n| {heading} | {columns} |\n|---|{'---|' * len(LIBRARIES)}\n"
        for row in rows()[heading]:
            cells = " | ".join(_cell(library, row, passed) for library in LIBRARIES)
            name = row if row in (LINK, SLOW_PAYMENT) else f"`{row}`"
            yield f"| {name} | {cells} |\n"


def _cell(library: Library, row: str, passed: Collection[Case]) -> str:
    notes = "".join(f" [{_number(limit)}]" for limit in limits_of(library, row))
    return _outcome(library, row, passed) + notes


def _outcome(library: Library, row: str, passed: Collection[Case]) -> str:
    offered = [encryption for encryption in BOTH if is_offered(library, row, encryption)]
    if not offered:
        return "–"
    if prevented(library, row):
        return "no"
    return " ".join(_word(Case(library, row, encryption), passed) for encryption in offered)


def _word(case: Case, passed: Collection[Case]) -> str:
    name = "04" if case.encryption == NIP04 else "44"
    if case not in passed:
        return f"{name} *fails*"
    is_own = case.row not in rows()["method"] or case.library.has_own(case.row, case.encryption)
    return f"**{name}**" if is_own else f"*{name}*"


def _number(limit: Limit) -> int:
    return [*limits()].index(limit) + 1


def _notes() -> Iterator[str]:
    yield _NOTES
    for number, limit in enumerate(limits(), 1):
        yield f"{number}. {limit.library}: {limit.why} `{limit.test}`\n"


if __name__ == "__main__":
    sys.exit(main())
