"""docs/attacks.md, from the catalogue and the marks."""

from collections import Counter

from tests.attacks.catalogue import ATTACKS
from tests.attacks.marked import ROOT, Test, marked_tests

PAGE = ROOT / "docs" / "attacks.md"

_HEAD = """\
# Attacks

What is known to have cost custodial wallets money or trust, what stops it here, and how many
tests in which files prove that. `python -m tests.attacks A4` lists the tests of one, and
`pytest -m attack` runs them all. This page is written by `python -m tests.attacks`; a test
compares it.

| | attack | defence | tests |
|---|---|---|---|
"""


def written() -> str:
    tests = marked_tests()
    rows = (
        f"| {number} | {attack.name} | {attack.defence} | {_files(tests.get(number, []))} |\n"
        for number, attack in ATTACKS.items()
    )
    return _HEAD + "".join(rows)


def _files(tests: list[Test]) -> str:
    counts = Counter(test.path.removeprefix("tests/") for test in tests)
    return ", ".join(f"`{path}` {count}" for path, count in counts.items())
