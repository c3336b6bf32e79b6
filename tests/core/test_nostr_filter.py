import json

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.filter import Filter, InvalidFilter, parse_filter
from nwc_service.nostr.keys import Keypair

ALICE, BOB = Keypair(b"\x01" * 32), Keypair(b"\x02" * 32)
HEX_A, HEX_B = "a" * 64, "b" * 64


def an_event(
    author: Keypair = ALICE,
    *,
    kind: int = 23194,
    created_at: int = 100,
    tags: tuple[tuple[str, ...], ...] = (("p", HEX_A), ("t", "x"), ("p", HEX_B)),
) -> Event:
    return sign_event(
        author, kind=kind, content="", tags=tags, created_at=created_at, aux=bytes(32)
    )


EVENT = an_event()


@pytest.mark.parametrize(
    ("raw", "matches"),
    [
        pytest.param({}, True, id="empty-matches-all"),
        pytest.param({"ids": [EVENT.id]}, True, id="id"),
        pytest.param({"ids": [HEX_A]}, False, id="other-id"),
        pytest.param({"ids": []}, False, id="no-id"),
        pytest.param({"authors": [BOB.public_key, ALICE.public_key]}, True, id="author"),
        pytest.param({"authors": [BOB.public_key]}, False, id="other-author"),
        pytest.param({"kinds": [1, 23194]}, True, id="kind"),
        pytest.param({"kinds": [1]}, False, id="other-kind"),
        pytest.param({"#p": [HEX_B]}, True, id="second-tag-of-the-name"),
        pytest.param({"#p": ["c" * 64]}, False, id="other-tag-value"),
        pytest.param({"#p": [HEX_A], "#t": ["y"]}, False, id="one-of-two-tags"),
        pytest.param({"#p": [HEX_A], "#t": ["x"]}, True, id="both-tags"),
        pytest.param({"#T": ["x"]}, False, id="tag-names-keep-their-case"),
        pytest.param({"#p": []}, False, id="no-tag-value"),
        pytest.param({"since": 100}, True, id="since-is-inclusive"),
        pytest.param({"since": 101}, False, id="since"),
        pytest.param({"until": 100}, True, id="until-is-inclusive"),
        pytest.param({"until": 99}, False, id="until"),
        pytest.param({"limit": 0}, True, id="limit-is-for-stored-events"),
        pytest.param({"kinds": [23194], "authors": [BOB.public_key]}, False, id="all-of-it"),
    ],
)
def test_filter_matches(raw: dict[str, object], matches: bool) -> None:
    parsed = parse_filter(raw)

    assert parsed.matches(EVENT) is matches


def test_a_tag_without_a_value_is_no_match() -> None:
    event = an_event(tags=(("t",),))

    assert not parse_filter({"#t": ["t"]}).matches(event)


filters = st.builds(
    Filter,
    ids=st.none() | st.frozensets(st.sampled_from([EVENT.id, HEX_A]), min_size=1),
    authors=st.none()
    | st.frozensets(st.sampled_from([ALICE.public_key, BOB.public_key]), min_size=1),
    kinds=st.none() | st.frozensets(st.sampled_from([1, 23194, 65_535]), min_size=1),
    tags=st.dictionaries(
        st.sampled_from("pt"),
        st.frozensets(st.sampled_from([HEX_A, HEX_B, "c" * 64]), min_size=1),
    ),
    since=st.none() | st.integers(95, 105),
    until=st.none() | st.integers(95, 105),
    limit=st.none() | st.integers(0, 10),
)


@given(wanted=filters)
def test_a_filter_survives_its_wire_form(wanted: Filter) -> None:
    text = json.dumps(wanted.to_dict())

    assert parse_filter(json.loads(text)) == wanted


@given(wanted=filters)
def test_nostr_sdk_matches_the_same_events(wanted: Filter) -> None:
    theirs = nostr_sdk.Filter.from_json(json.dumps(wanted.to_dict()))

    for event in (EVENT, an_event(BOB, kind=1, created_at=101)):
        expected = theirs.match_event(nostr_sdk.Event.from_json(event.to_json()))
        assert wanted.matches(event) is expected


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="list"),
        pytest.param("x", id="text"),
        pytest.param({"search": "x"}, id="unknown-key"),
        pytest.param({"#pp": [HEX_A]}, id="long-tag-name"),
        pytest.param({"#": [HEX_A]}, id="no-tag-name"),
        pytest.param({"#1": ["x"]}, id="digit-tag-name"),
        pytest.param({"#p\n": [HEX_A]}, id="newline-tag-name"),
        pytest.param({1: [HEX_A]}, id="number-key"),
        pytest.param({"ids": HEX_A}, id="ids-text"),
        pytest.param({"ids": None}, id="ids-null"),
        pytest.param({"ids": ["A" * 64]}, id="ids-upper-case"),
        pytest.param({"authors": ["a" * 8]}, id="authors-prefix"),
        pytest.param({"authors": [1]}, id="authors-number"),
        pytest.param({"#p": ["x"]}, id="p-not-hex"),
        pytest.param({"#e": ["x"]}, id="e-not-hex"),
        pytest.param({"#t": [1]}, id="t-number"),
        pytest.param({"#t": "x"}, id="t-text"),
        pytest.param({"kinds": [True]}, id="kinds-bool"),
        pytest.param({"kinds": [1.0]}, id="kinds-float"),
        pytest.param({"kinds": [-1]}, id="kinds-negative"),
        pytest.param({"kinds": [65_536]}, id="kinds-above"),
        pytest.param({"kinds": 1}, id="kinds-number"),
        pytest.param({"since": True}, id="since-bool"),
        pytest.param({"since": -1}, id="since-negative"),
        pytest.param({"until": 1.5}, id="until-float"),
        pytest.param({"until": None}, id="until-null"),
        pytest.param({"limit": "1"}, id="limit-text"),
        pytest.param({"limit": 2**53 + 1}, id="limit-above"),
    ],
)
def test_a_wrong_filter_is_refused(raw: object) -> None:
    with pytest.raises(InvalidFilter):
        parse_filter(raw)


def test_the_wire_form_names_only_what_is_asked_and_is_sorted() -> None:
    wanted = Filter(kinds=frozenset({3, 1}), tags={"p": frozenset({HEX_B, HEX_A})}, since=5)

    assert wanted.to_dict() == {"kinds": [1, 3], "since": 5, "#p": [HEX_A, HEX_B]}
