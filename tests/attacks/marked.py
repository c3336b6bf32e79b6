"""The tests that say which attack they defend against, read from their marks."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUTSIDE = {"node_modules", "model", "simulation", "chaos", "mutants"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, order=True)
class Test:
    path: str  # from the root of the project
    name: str


@cache
def marked_tests() -> dict[str, list[Test]]:
    """In the order of files and, within each, of names."""
    found: dict[str, list[Test]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if OUTSIDE.isdisjoint(path.parts):
            for number, name in _marks(ast.parse(path.read_text())):
                found[number].append(Test(str(path.relative_to(ROOT)), name))
    return {number: sorted(tests) for number, tests in found.items()}


def _marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, Function):
            for decorator in node.decorator_list:
                for number in _numbers(decorator):
                    yield number, node.name


def _numbers(decorator: ast.expr) -> Iterator[str]:
    is_mark = isinstance(decorator, ast.Call) and (
        ast.unparse(decorator.func) == "pytest.mark.attack"
    )
    if is_mark:
        assert isinstance(decorator, ast.Call)
        for argument in decorator.args:
            yield ast.literal_eval(argument)
