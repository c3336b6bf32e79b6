"""JSON that two readers could understand differently, or that is too deep, is refused."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nip47.envelope import BadEnvelope, parse_request
from nwc_service.nip47.strict_json import MAX_DEPTH, NotStrictJson, loads


def nested(depth: int, *, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + "1" + closing * depth


@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")], ids=str
)
def test_the_nesting_is_limited(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")

    deepest = nested(MAX_DEPTH // levels, opening=opening, closing=closing)
    assert json.dumps(loads(deepest), separators=(",", ":")) == deepest
    with pytest.raises(NotStrictJson):
        loads(nested(MAX_DEPTH // levels + 1, opening=opening, closing=closing))


@pytest.mark.attack("A6")
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
def test_a_request_that_is_too_deep_is_refused(depth: int) -> None:
    with pytest.raises(BadEnvelope):
        parse_request('{"method":"m","params":{"a":' + nested(depth) + "}}")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert loads("[" + "[]," * 1000 + "{}]") == [[]] * 1000 + [{}]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a":"\\ud800"}', id="half-a-pair"),
        pytest.param('{"a":"\\uDFFF"}', id="the-other-half"),
        pytest.param('{"a":["\\udc00\\ud800"]}', id="the-wrong-way-round"),
        pytest.param('{"\\ud800":1}', id="in-a-key"),
        pytest.param('{"a":1,"b":{"a":1,"a":1}}', id="a-key-twice"),
        pytest.param("NaN", id="nan"),
        pytest.param("-Infinity", id="minus-infinity"),
        pytest.param("1e400", id="beyond-a-float"),
        pytest.param("9" * 5000, id="5000-digits"),
        pytest.param("01", id="a-leading-zero"),
        pytest.param("1 1", id="two-values"),
        pytest.param("", id="nothing"),
        pytest.param("'a'", id="single-quotes"),
        pytest.param('"\x00"', id="a-raw-nul"),
    ],
)
def test_what_is_not_strict(text: str) -> None:
    with pytest.raises(NotStrictJson):
        loads(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('"\\ud83d\\ude00"', "😀", id="a-pair"),
        pytest.param('"\\\\ud800"', "\\ud800", id="an-escaped-backslash"),
        pytest.param("18446744073709551616", 2**64, id="65-bits"),
        pytest.param("1.5", 1.5, id="a-fraction"),
    ],
)
def test_what_is_strict(text: str, value: object) -> None:
    assert loads(text) == value


def test_a_whole_number_and_a_float_are_told_apart() -> None:
    """What is to be an amount is then refused by type: 1.0 and 1e3 are no integers."""
    assert [type(value) for value in loads("[1,1.0,1e3,-0]")] == [int, float, float, int]  # type: ignore[attr-defined]


@given(st.text())
def test_any_text_is_strict_or_refused(text: str) -> None:
    with contextlib.suppress(NotStrictJson):
        loads(text)
