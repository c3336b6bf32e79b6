"""Rules about the code itself that no linter here states. An exception names its reason."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from nwc_service.methods import METHODS
from nwc_service.wallet.outcome import Outcome
from nwc_service.wallet.payment import PaymentState

ROOT = Path(__file__).parents[1]
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_NESTING = 3
MAX_POSITIONAL = 2

Function = ast.FunctionDef | ast.AsyncFunctionDef
Branch = ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.Match


@dataclass(frozen=True, slots=True)
class Module:
    path: str  # from the root of the project
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def comments(self) -> Iterator[tuple[int, str]]:
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def module(path: Path) -> Module:
    text = path.read_text()
    return Module(str(path.relative_to(ROOT)), text, ast.parse(text))


SOURCE = [
    module(path)
    for package in ("nwc_service", "backends")
    for path in sorted((ROOT / package).rglob("*.py"))
]
TESTS = [
    module(path)
    for path in sorted((ROOT / "tests").rglob("*.py"))
    if "node_modules" not in path.parts
]


def without_docstring(function: Function) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCE) > 50
    assert len(TESTS) > 50


# --- sizes


def test_no_module_is_longer_than_400_lines() -> None:
    long = {m.path: len(m.lines) for m in SOURCE if len(m.lines) > MAX_MODULE_LINES}

    assert long == {}


def test_no_function_is_longer_than_50_lines() -> None:
    long = [
        f"{m.path}: {function.name}: {lines}"
        for m in SOURCE
        for function in m.functions()
        if (lines := line_count(without_docstring(function))) > MAX_FUNCTION_LINES
    ]

    assert long == []


def line_count(body: list[ast.stmt]) -> int:
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_nothing_is_nested_deeper_than_three_levels() -> None:
    deep = [
        f"{m.path}: {function.name}"
        for m in SOURCE
        for function in m.functions()
        if nesting(function) > MAX_NESTING
    ]

    assert deep == []


def nesting(node: ast.AST) -> int:
    """Of branches and loops; `with` holds something, and decides nothing."""
    children = [
        nesting(child) + isinstance(child, Branch) - is_elif(child, of=node)
        for child in ast.iter_child_nodes(node)
        if not isinstance(child, Function | ast.ClassDef)
    ]
    return max(children, default=0)


def is_elif(child: ast.AST, *, of: ast.AST) -> bool:
    return isinstance(child, ast.If) and isinstance(of, ast.If) and of.orelse == [child]


SIGNATURES_OF_OTHERS = {
    "nwc_service/cli/": "Typer reads the options from the signature",
    "nwc_service/admin/api.py: move": "FastAPI reads the parts of the path from the signature",
    "nwc_service/admin/api.py: backend_command": "likewise",
    "nwc_service/log.py: redact": "structlog calls it",
    "nwc_service/request_ids.py: __call__": "ASGI calls it",
    "nwc_service/page/api.py: signed_in": "likewise",
    "nwc_service/nostr/keys.py: _copy_x": "libsecp256k1 calls it",
    "nwc_service/backend/port.py: list_history": "the port, as adapters of others implement it",
    "backends/sandbox/backend.py: list_history": "implements the port",
    "backends/lnbits/backend.py: list_history": "implements the port",
    "backends/lnd/backend.py: list_history": "implements the port",
    "backends/cln/backend.py: list_history": "implements the port",
    "backends/phoenixd/backend.py: list_history": "implements the port",
}


def test_a_function_has_at_most_two_positional_parameters() -> None:
    """Besides `self`, and the `tx` that every query begins with."""
    many = [
        place
        for m in SOURCE
        for function in m.functions()
        if len(positional(function)) > MAX_POSITIONAL
        if not any(
            (place := f"{m.path}: {function.name}").startswith(known)
            for known in SIGNATURES_OF_OTHERS
        )
    ]

    assert many == []


def positional(function: Function) -> list[str]:
    arguments = function.args.posonlyargs + function.args.args
    return [a.arg for a in arguments if a.arg not in ("self", "cls", "tx")]


# --- money is whole numbers

MONEY = (
    "nwc_service/wallet/",
    "nwc_service/store/",
    "nwc_service/methods/",
    "nwc_service/spend.py",
    "nwc_service/receive.py",
    "nwc_service/record.py",
    "nwc_service/accounts.py",
)


def test_where_money_is_counted_nothing_is_divided_to_a_fraction_or_rounded() -> None:
    inexact = [
        f"{m.path}:{node.lineno}"
        for m in SOURCE
        if m.path.startswith(MONEY)
        for node in ast.walk(m.tree)
        if isinstance(node, ast.expr) and is_inexact(node)
    ]

    assert inexact == []


def is_inexact(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("float", "round")


def test_no_amount_is_a_float() -> None:
    floats = [
        f"{m.path}:{number}"
        for m in SOURCE
        for number, line in enumerate(m.lines, 1)
        if re.search(r"_(msat|sat)\b[^,]*\bfloat\b|float\([^)]*(msat|sat)\b", line)
    ]

    assert floats == []


# --- what is left behind


def test_nothing_is_left_to_be_done_later() -> None:
    later = [
        f"{m.path}:{number}"
        for m in SOURCE + TESTS
        for number, comment in m.comments()
        if re.search(r"\b(TODO|FIXME|XXX)\b", comment)
    ]

    assert later == []


def test_every_silenced_rule_is_named() -> None:
    blanket = [
        f"{m.path}:{number}"
        for m in SOURCE + TESTS
        for number, comment in m.comments()
        if re.search(r"# noqa(?!: [A-Z])|# type: ignore(?!\[)", comment)
    ]

    assert blanket == []


PRINTERS = ("nwc_service/cli/", "backends/sandbox/__main__.py")


def test_only_the_command_line_prints() -> None:
    prints = [
        f"{m.path}:{node.lineno}"
        for m in SOURCE
        if not m.path.startswith(PRINTERS)
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]

    assert prints == []


def test_whoever_catches_everything_logs_it_raises_it_or_says_why() -> None:
    silent = [
        f"{m.path}:{node.lineno}"
        for m in SOURCE
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
        if not re.search(
            r"#|\blog\.|\braise\b", "\n".join(m.lines[node.lineno - 1 : node.lineno + 3])
        )
    ]

    assert silent == []


def catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = "BaseException" if handler.type is None else ast.unparse(handler.type)
    return bool({"Exception", "BaseException"} & set(re.findall(r"\w+", caught)))


# --- one place for each thing

METHODS_DIR = ROOT / "nwc_service" / "methods"
SHARED_BY_METHODS = {"__init__", "invoice_payment", "method", "multi_pay", "offer_payment"}


@pytest.mark.parametrize(
    "name", sorted({path.stem for path in METHODS_DIR.glob("*.py")} - SHARED_BY_METHODS)
)
def test_every_file_of_methods_is_in_the_table_under_its_name(name: str) -> None:
    method = import_module(f"nwc_service.methods.{name}").METHOD

    assert METHODS[name] is method
    assert method.name == name


def test_every_module_says_what_it_is() -> None:
    silent = [m.path for m in SOURCE if ast.get_docstring(m.tree) is None]

    assert silent == []


# --- words

GLOSSARY = ROOT / "docs" / "glossary.md"
NEVER_OF_MONEY = {"posting", "transfer", "dedup", "lock"}


def test_the_states_and_outcomes_are_the_glossarys() -> None:
    words = re.findall(r"\w+", GLOSSARY.read_text())

    outcomes = {kind.__name__ for kind in Outcome.__args__}
    assert {state.value for state in PaymentState} | outcomes <= set(words)


def test_money_is_not_named_by_the_words_that_the_glossary_excludes() -> None:
    named = [
        f"{m.path}: {node.name}"
        for m in SOURCE
        if m.path.startswith(MONEY)
        for node in ast.walk(m.tree)
        if isinstance(node, Function | ast.ClassDef)
        if NEVER_OF_MONEY & set(words_of(node.name))
    ]

    assert named == []
    excluded = set(re.findall(r"[a-z]+", GLOSSARY.read_text()))
    assert excluded >= NEVER_OF_MONEY


def words_of(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
