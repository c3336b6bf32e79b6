"""A value or the parser's one error, for the whole corpus and for what is made of it."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import kept
from tests.fuzz.__main__ import main
from tests.fuzz.search import Search
from tests.fuzz.speed import cost_s, reading
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.worst import WORST

SEARCHED = 300
MAX_FILE_BYTES = 8_192

every_target = pytest.mark.parametrize("name", TARGETS)


def test_every_target_has_a_corpus_and_no_other() -> None:
    assert {path.name for path in kept.CORPUS.iterdir()} == TARGETS.keys()


@every_target
def test_the_corpus_is_read_or_refused(name: str) -> None:
    corpus = kept.inputs(name)

    for data in corpus.values():
        TARGETS[name].feed(data)
    assert max(map(len, corpus.values())) <= MAX_FILE_BYTES


@every_target
def test_the_corpus_has_something_to_read_and_something_to_refuse(name: str) -> None:
    target = TARGETS[name]
    refused = [data for data in kept.inputs(name).values() if is_refused(target, data)]

    assert len(refused) < len(kept.inputs(name))
    assert refused or not target.refusals


def is_refused(target: Target, data: bytes) -> bool:
    try:
        target.read(data)
    except target.refusals:
        return True
    return False


@every_target
def test_what_is_made_of_the_corpus_is_read_or_refused(name: str) -> None:
    """The same inputs each time; `make fuzz` looks for others, and for longer."""
    search = Search(TARGETS[name], Random(name), list(kept.inputs(name).values()))

    search.run(inputs=SEARCHED)

    assert [finding.told for finding in search.findings.values()] == []


@every_target
@settings(deadline=None)
@given(st.data())
def test_what_is_made_of_tokens_is_read_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    corpus = list(kept.inputs(name).values())
    pieces = st.lists(
        st.sampled_from(target.tokens) | st.binary(max_size=6) | st.sampled_from(corpus),
        max_size=8,
    )

    target.feed(b"".join(data.draw(pieces))[: target.max_bytes])


# --- the search itself


def deep_in(data: bytes) -> bytes:
    """Raises only behind three steps, each of which has a line of its own."""
    if data[:1] == b"a":
        if data[1:2] == b"b":
            if data[2:3] == b"c":
                raise RuntimeError("found")
        elif data[1:2] == b"c":
            raise ValueError
    return data


def toy(**changes: Any) -> Target:
    here = __import__(__name__, fromlist=["deep_in"])
    defaults: dict[str, Any] = {"read": deep_in, "refusals": (ValueError,), "modules": (here,)}
    return Target(tokens=(b"a", b"b", b"c"), max_bytes=8, **defaults | changes)


def test_a_bug_behind_several_steps_is_found() -> None:
    search = Search(toy(), Random(1), [b""])

    search.run(inputs=20_000)

    [finding] = search.findings.values()
    assert finding.data[:3] == b"abc"
    assert "RuntimeError: found" in finding.told


def test_a_value_that_does_not_hold_its_promise_is_found() -> None:
    def check(data: bytes) -> None:
        assert data[:1] != b"b"

    search = Search(toy(check=check), Random(1), [b""])

    search.run(inputs=2_000)

    assert {finding.data[:1] for finding in search.findings.values()} >= {b"b"}


def test_a_finding_is_kept_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(data: bytes) -> bytes:
        raise RuntimeError("always")

    (tmp_path / "nip19").mkdir()
    (tmp_path / "nip19" / "seed-one").write_bytes(b"x")
    monkeypatch.setattr(kept, "CORPUS", tmp_path)
    monkeypatch.setitem(TARGETS, "nip19", toy(read=read))
    monkeypatch.setattr("sys.argv", ["fuzz", "--only", "nip19", "--seconds", "0"])

    assert main() == 1

    assert {path.name.partition("-")[0] for path in (tmp_path / "nip19").iterdir()} == {
        "seed",
        "failed",
    }
    assert "RuntimeError: always" in capsys.readouterr().err


# --- cost


@pytest.mark.attack("A28")
@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, inputs in WORST.items() for kind in inputs]
)
def test_the_cost_grows_no_faster_than_the_input(name: str, kind: str) -> None:
    target, grow = TARGETS[name], WORST[name][kind]

    def growth() -> float:
        half, whole = grow(target.max_bytes // 2), grow(target.max_bytes)
        return cost_s(reading(target, whole)) / cost_s(reading(target, half))

    assert min(growth() for _ in range(3)) < 3
