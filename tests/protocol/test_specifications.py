"""Every sentence of the specifications that binds a wallet service, and every row of what this
service has decided itself, has a test that quotes it: specifications.txt is the map."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parents[1]
MAP = Path(__file__).with_name("specifications.txt")
DECIDED = {
    "unknown client key",
    "undecryptable, not JSON",
    "invalid params",
    "expired connection",
    "get_info without the scope",
    "invoice paid before",
    "expired request",
    "request without `expiration`",
    "metadata too long",
    "keys on success and error",
    "both notification kinds",
    "nip04",
    "from/until",
    "state casing",
    "`amount` beside an invoice with an amount",
    "outcome not known yet",
    "several connections on one account",
    "budget periods",
    "keysend inward",
    "create_connection `isolated`",
}
"""The rows of protocol.md, section 4."""


class Proof(NamedTuple):
    source: str
    words: str
    test: str  # path::name

    @property
    def quotes(self) -> list[str]:
        """As they stand in a docstring, which may end a sentence in another way."""
        return [part.rstrip(".") for part in self.words.split(" | ")]


def proofs() -> Iterator[Proof]:
    source = words = ""
    for line in MAP.read_text().splitlines():
        if line.startswith("== "):
            source = line.removeprefix("== ")
        elif line.startswith("    "):
            yield Proof(source, words, line.strip())
        elif line and not line.startswith("#"):
            words = line


PROOFS = tuple(proofs())


@cache
def docstrings(path: Path) -> dict[str, str]:
    """What each test of a file says of itself, on one line."""
    return {
        node.name: " ".join((ast.get_docstring(node) or "").split())
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


@pytest.mark.parametrize("test", sorted({proof.test for proof in PROOFS}))
def test_a_test_quotes_what_it_proves(test: str) -> None:
    path, _, name = test.partition("::")
    told = docstrings(TESTS / path)[name]

    unquoted = [
        proof
        for proof in PROOFS
        if proof.test == test
        and not (proof.source in told and all(quote in told for quote in proof.quotes))
    ]

    assert unquoted == []


def test_every_sentence_has_a_test() -> None:
    lines = [line for line in MAP.read_text().splitlines() if line and line[0] != "#"]

    unproven = [
        line
        for line, next_line in pairwise([*lines, "=="])
        if not line.startswith(("==", "    ")) and not next_line.startswith("    ")
    ]

    assert unproven == []


def test_every_row_of_what_is_decided_is_named() -> None:
    rows = {proof.quotes[0] for proof in PROOFS if proof.source == "Section 4"}

    assert rows == DECIDED


def test_every_must_and_should_that_a_test_quotes_is_in_the_map() -> None:
    known = {(proof.test, proof.source) for proof in PROOFS}
    unknown = [
        (test, source)
        for path in sorted(TESTS.rglob("test_*.py"))
        if "node_modules" not in path.parts
        for name, told in docstrings(path).items()
        for source in sources_of_demands(told)
        if (test := f"{path.relative_to(TESTS)}::{name}", source) not in known
    ]

    assert unknown == []


def sources_of_demands(told: str) -> set[str]:
    """Of 'NWC-09: "It MUST NOT ..."; "..."', NWC-09."""
    parts = re.split(r"\b(NIP-47|NWC-\d+|BIP-321|Section 4\b|protocol\.md)(?=[:, ])", told)
    return {
        source
        for source, text in zip(parts[1::2], parts[2::2], strict=True)
        if source.startswith(("NIP", "NWC")) and re.search(r"\b(MUST|SHOULD)\b", text)
    }
