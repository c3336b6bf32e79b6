"""Without arguments write docs/attacks.md; with A-numbers list their tests for pytest."""

import sys

from tests.attacks.marked import marked_tests
from tests.attacks.page import PAGE, written


def main(numbers: list[str]) -> None:
    if not numbers:
        PAGE.write_text(written())
    found = marked_tests()
    for number in numbers:
        for test in found.get(number, []):
            print(f"{test.path}::{test.name}")


main(sys.argv[1:])
