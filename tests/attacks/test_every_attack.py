"""Each known attack has a test that says so, and the page tells the truth about it."""

import subprocess
import sys

import pytest

from tests.attacks.catalogue import ATTACKS
from tests.attacks.marked import ROOT, marked_tests
from tests.attacks.page import PAGE, written


@pytest.mark.parametrize("number", [f"A{number}" for number in range(1, 36)])
def test_an_attack_has_a_defence_and_a_test_of_it(number: str) -> None:
    assert ATTACKS[number].defence
    assert marked_tests()[number]


def test_no_test_is_marked_with_an_attack_that_is_not_known() -> None:
    assert marked_tests().keys() == ATTACKS.keys()


def test_every_place_that_a_defence_names_is_there() -> None:
    for attack in ATTACKS.values():
        for place in attack.defence.split("`")[1::2]:
            path, _, name = place.partition(": ")
            [found] = [p for p in (ROOT / "nwc_service" / path, ROOT / path) if p.exists()]
            assert not name or f" {name}" in found.read_text(), place


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == written(), "run python -m tests.attacks"


def test_the_tests_of_one_attack_are_listed_for_pytest() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "tests.attacks", "A12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert listed.stdout.split() == [
        f"{test.path}::{test.name}" for test in marked_tests()["A12"]
    ]
