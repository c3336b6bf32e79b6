"""`python -m tests.backends.table [NAME…]` runs the contract suite on all backends, or on those
named, and writes the table of docs/backends.md from what the adapters say and what passed.
What was not run keeps its results. With `--count` it only counts the tests."""

import json
import os
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from nwc_service.backend import Cap, LightningBackend, PaymentKind, ReleaseRule
from tests.backends.contract import RIGS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "backends.md"
SUITE = "test_contract"
BEGIN, END = "<!-- written by python -m tests.backends.table -->\n", "<!-- end -->\n"

PASSED, NOT_FOR_IT, FAILED, NOT_RUN = "passed", "not for it", "failed", "not run"

# What each can do, in an operator's words.
WORDS: Mapping[Cap, str] = {
    Cap.NODE_INFO: "tells who the node is",
    Cap.INBOUND: "tells what can be received",
    Cap.MSAT_INVOICE: "invoices of less than a sat",
    Cap.AMOUNTLESS_CREATE: "invoices without an amount",
    Cap.DESCRIPTION_HASH: "invoices with a description hash",
    Cap.HASHED_DESCRIPTION: "invoices with the hash of a description that is given",
    Cap.OWN_PREIMAGE: "invoices with our preimage",
    Cap.OWN_EXPIRY: "invoices with our expiry",
    Cap.DECODE: "reads an invoice for us before it is paid",
    Cap.PAY_AMOUNTLESS: "pays invoices without an amount",
    Cap.FEE_LIMIT: "obeys a fee limit, to the msat",
    Cap.PAY_TIMEOUT: "obeys a timeout",
    Cap.MPP: "pays in parts",
    Cap.DEDUP_BY_HASH: "pays no hash twice",
    Cap.LOOKUP_BY_HASH: "finds a payment by its hash",
    Cap.SETTLE_CURSOR: "tells again what was settled since",
    Cap.PUSH: "tells at once what is settled",
    Cap.LIST_IN: "lists what came in",
    Cap.LIST_OUT: "lists what went out",
    Cap.CANCEL_INVOICE: "cancels invoices",
    Cap.HOLD: "hold invoices",
    Cap.KEYSEND: "sends keysends",
    Cap.KEYSEND_TLV: "keysends with TLV records",
    Cap.KEYSEND_OWN_PREIMAGE: "keysends with our preimage",
    Cap.KEYSEND_IN: "tells what a keysend brought",
    Cap.SIGN: "signs messages",
    Cap.BOLT12_SEND: "pays BOLT12 offers",
    Cap.BOLT12_RECEIVE: "makes BOLT12 offers",
    Cap.SIMULATED: "moves no real money",
}

RULES: Mapping[ReleaseRule, str] = {
    ReleaseRule.EXPIRY: "after its expiry",
    ReleaseRule.FENCE: "after its credential is revoked",
    ReleaseRule.MANUAL: "by its final status, or by you",
}

NEEDED: Mapping[PaymentKind, Cap | None] = {
    PaymentKind.BOLT11: None,
    PaymentKind.BOLT12: Cap.BOLT12_SEND,
    PaymentKind.KEYSEND: Cap.KEYSEND,
}


@dataclass(frozen=True, slots=True)
class Result:
    passed: int
    not_for_it: int  # of a capability that it has not, or of the refusal of one that it has
    failed: int = 0

    @property
    def total(self) -> int:
        return self.passed + self.not_for_it + self.failed


class Results:
    """A pytest plugin: what became of each test of the contract on each backend."""

    def __init__(self) -> None:
        self.backend_of: dict[str, str] = {}
        self._ends: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Before any is deselected."""
        for item in items:
            params = item.callspec.params if hasattr(item, "callspec") else {}
            backend = params.get("rig", params.get("any_rig"))
            if item.path.name.startswith(SUITE) and backend in RIGS:
                self.backend_of[item.nodeid] = backend

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid in self.backend_of:
            end = _end(report)
            if end is not None and self._ends.get(report.nodeid) != FAILED:
                self._ends[report.nodeid] = end

    def totals(self) -> dict[str, int]:
        return dict(Counter(self.backend_of.values()))

    def of(self, backend: str) -> Result | None:
        """None where not all of it was run."""
        nodeids = [nodeid for nodeid, one in self.backend_of.items() if one == backend]
        ends = Counter(self._ends.get(nodeid, NOT_RUN) for nodeid in nodeids)
        if not nodeids or ends[NOT_RUN]:
            return None
        return Result(ends[PASSED], ends[NOT_FOR_IT], ends[FAILED])


def _end(report: pytest.TestReport) -> str | None:
    if report.failed:
        return FAILED
    if report.when == "setup":
        return NOT_RUN if report.skipped else None  # its real part is missing
    if report.when == "call":
        return PASSED if report.passed else NOT_FOR_IT
    return None


# --- the page


def written(page: str, results: Mapping[str, Result]) -> str:
    """The page with its table anew; all else on it is written by hand."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{''.join(_table(results))}{END}{after}"


def stored(page: str) -> dict[str, Result]:
    """The results that the page tells."""
    names = _cells(page, "")
    passed, not_for_it = (_cells(page, title) for title in (_PASSED, _NOT_FOR_IT))
    failed = _cells(page, _FAILED) or ["0"] * len(names)
    rows = zip(names, passed, not_for_it, failed, strict=True)
    return {
        name: Result(*map(int, numbers))
        for name, *numbers in rows
        if all(number.isdecimal() for number in numbers)
    }


_PASSED, _NOT_FOR_IT, _FAILED = (
    "contract tests passed",
    "contract tests of what it has not",
    "contract tests **failed**",
)


def _cells(page: str, title: str) -> list[str]:
    _, _, table = page.partition(BEGIN)
    found = re.search(rf"^\| {re.escape(title)} ?\|(.*)\|$", table, re.MULTILINE)
    return [cell.strip() for cell in found.group(1).split("|")] if found else []


def _table(results: Mapping[str, Result]) -> Iterator[str]:
    names = sorted(RIGS)
    classes = [backend_class(name) for name in names]
    found = [results.get(name) for name in names]
    yield _row("", names)
    yield f"|---|{'---|' * len(names)}\n"
    yield _row("tried with", [_version(name) for name in names])
    yield _row(_PASSED, ["–" if each is None else str(each.passed) for each in found])
    yield _row(_NOT_FOR_IT, ["–" if each is None else str(each.not_for_it) for each in found])
    if any(each is not None and each.failed for each in found):
        yield _row(_FAILED, ["–" if each is None else str(each.failed) for each in found])
    for kind in NEEDED:
        title = f"`{kind}` of unknown outcome is given back"
        yield _row(title, [_rule(each, kind) for each in classes])
    for cap in Cap:
        cells = ["yes" if cap in each.caps else "–" for each in classes]
        yield _row(f"{WORDS[cap]} (`{cap.name}`)", cells)


def _row(title: str, cells: list[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |\n" if title else f"| | {' | '.join(cells)} |\n"


def _rule(backend: type[LightningBackend], kind: PaymentKind) -> str:
    needed = NEEDED[kind]
    if needed is not None and needed not in backend.caps:
        return "–"
    return RULES[backend.release_rules.get(kind, ReleaseRule.MANUAL)]


def backend_class(name: str) -> type[LightningBackend]:
    """As pyproject.toml registers it, whatever is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, class_name = project["entry-points"]["nwc_service.backends"][name].partition(":")
    found: type[LightningBackend] = getattr(import_module(module), class_name)
    return found


PINNED: Mapping[str, tuple[str, str]] = {
    "lnbits": ("requirements/lnbits.txt", r"^(lnbits)==(\S+)"),
    "lnd": ("tests/regtest/go.mod", r"lightningnetwork/(lnd) v(\S+)"),
}


DOUBLE_ONLY = ("cln", "phoenixd")


def _version(name: str) -> str:
    """Of the program that the contract suite ran against."""
    if name not in PINNED:
        return "a double only" if name in DOUBLE_ONLY else "–"
    path, pattern = PINNED[name]
    found = re.search(pattern, (ROOT / path).read_text(), re.MULTILINE)
    assert found is not None, f"{path} pins no {name}"
    return f"{found.group(1)} {found.group(2)}"


def main(arguments: list[str]) -> int:
    results = Results()
    suite = [str(path) for path in sorted(Path(__file__).parent.glob(f"{SUITE}*.py"))]
    if arguments == ["--count"]:
        pytest.main(["-qq", "--collect-only", "--no-summary", *suite], plugins=[results])
        print(json.dumps(results.totals()))
        return 0
    os.environ["NWC_REQUIRE_REAL"] = "1"
    chosen = " or ".join(arguments or RIGS)
    code = pytest.main(["-q", "-k", chosen, *suite], plugins=[results])
    ran = {name: result for name in RIGS if (result := results.of(name)) is not None}
    page = PAGE.read_text()
    PAGE.write_text(written(page, stored(page) | ran))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
