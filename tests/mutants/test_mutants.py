"""Every mutant still is one: it applies, it compiles, and its tests are there."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, mutants
from tests.mutants.tree import ROOT, Broken, Tree, copied

MONEY_ATTACKS = {f"A{number}" for number in range(1, 21)}
FEWEST = 30


@pytest.fixture(scope="module")
def tree() -> Iterator[Tree]:
    with copied() as made:
        yield made


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.patch.stem)
def test_a_mutant_applies_and_compiles(mutant: Mutant, tree: Tree) -> None:
    with tree.sown(mutant.patch) as changed:
        assert changed
        for name in changed:
            assert name.startswith("nwc_service/")
            ast.parse((tree.path / name).read_text())


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.patch.stem)
def test_what_must_kill_it_is_there(mutant: Mutant) -> None:
    for killer in mutant.killers:
        file, _, test = killer.partition("::")
        assert test in names_in(file), killer


def test_every_attack_on_money_has_a_mutant() -> None:
    covered = {attack for mutant in mutants() for attack in mutant.attacks}

    assert covered >= MONEY_ATTACKS
    assert len(mutants()) >= FEWEST


def test_every_mutant_has_its_own_number() -> None:
    numbers = [mutant.number for mutant in mutants()]

    assert sorted(set(numbers)) == numbers


# --- the runner itself

UNITS = "tests/core/test_wallet_units.py::test_what_is_charged_is_rounded_up"
PATCH = """\
diff --git a/nwc_service/wallet/units.py b/nwc_service/wallet/units.py
--- a/nwc_service/wallet/units.py
+++ b/nwc_service/wallet/units.py
@@ -27,3 +27,3 @@
     \"""Round up: use for what we reserve or charge, never for what we credit.\"""
-    return Sat(-(-amount_msat // MSAT_PER_SAT))
+    return Sat({formula})
{blank}
"""


def test_a_copy_runs_its_own_code(tree: Tree) -> None:
    assert tree.imports_itself()


@pytest.mark.parametrize(
    ("formula", "is_seen"),
    [
        pytest.param("amount_msat // MSAT_PER_SAT", True, id="a-bug"),
        pytest.param("(amount_msat + MSAT_PER_SAT - 1) // MSAT_PER_SAT", False, id="none"),
    ],
)
def test_only_a_bug_is_killed(tree: Tree, tmp_path: Path, formula: str, is_seen: bool) -> None:
    patch = tmp_path / "001-a-test.patch"
    patch.write_text(PATCH.format(formula=formula, blank=" "))

    with tree.sown(patch):
        found = tree.test([UNITS]).failed
    after = tree.test([UNITS]).failed

    assert (found is not None) is is_seen
    assert after is None


@pytest.mark.parametrize(
    "selection",
    ["tests/core/test_wallet_units.py::test_that_is_not_there", "tests/core/no_such_file.py"],
)
def test_a_run_without_its_tests_kills_nothing(tree: Tree, selection: str) -> None:
    with pytest.raises(Broken):
        tree.test([selection])


def test_a_patch_that_does_not_apply_kills_nothing(tree: Tree, tmp_path: Path) -> None:
    patch = tmp_path / "001-a-test.patch"
    patch.write_text(PATCH.format(formula="0", blank=" ").replace("Round up", "Round down"))

    with pytest.raises(Broken, match="does not apply"), tree.sown(patch):
        pass


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))
