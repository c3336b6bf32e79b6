import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import nostr_sdk
import pynostr.event
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nostr.event import (
    Event,
    InvalidEvent,
    event_id,
    is_authentic,
    parse_event,
    sign_event,
)
from nwc_service.nostr.keys import Keypair, PublicKey

KEYPAIR = Keypair(b"\x07" * 32)
OTHER = Keypair(b"\x08" * 32)

texts = st.text(st.characters(exclude_categories=["Cs"]))
tag_lists = st.lists(st.lists(texts, min_size=1, max_size=4), max_size=5)
kinds = st.integers(0, 65_535)
times = st.integers(0, 2**53)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def an_event(
    *,
    kind: int = 23194,
    content: str = "hello",
    tags: Sequence[Sequence[str]] = (),
    created_at: int = 1_700_000_000,
) -> Event:
    return sign_event(
        KEYPAIR,
        kind=kind,
        content=content,
        tags=tags,
        created_at=created_at,
        aux=bytes(32),
    )


@given(kind=kinds, content=texts, tags=tag_lists, created_at=times)
def test_a_signed_event_is_authentic_and_survives_its_wire_form(
    kind: int, content: str, tags: list[list[str]], created_at: int
) -> None:
    event = an_event(kind=kind, content=content, tags=tags, created_at=created_at)

    read_back = parse_event(json.loads(event.to_json()))

    assert read_back == event
    assert is_authentic(read_back)


@given(kind=kinds, content=texts, tags=tag_lists, created_at=times)
def test_pynostr_computes_the_same_id_and_accepts_the_signature(
    kind: int, content: str, tags: list[list[str]], created_at: int
) -> None:
    event = an_event(kind=kind, content=content, tags=tags, created_at=created_at)

    theirs = pynostr.event.Event.from_dict(event.to_dict())
    claimed_id = theirs.id
    theirs.compute_id()

    assert theirs.id == claimed_id
    assert theirs.verify()


@given(kind=kinds, content=texts, tags=tag_lists, created_at=times)
def test_nostr_sdk_computes_the_same_id_and_accepts_the_signature(
    kind: int, content: str, tags: list[list[str]], created_at: int
) -> None:
    event = an_event(kind=kind, content=content, tags=tags, created_at=created_at)

    theirs = nostr_sdk.Event.from_json(event.to_json())

    assert theirs.verify_id()
    assert theirs.verify_signature()


@given(kind=kinds, content=texts, tags=tag_lists)
def test_an_event_of_nostr_sdk_is_authentic(
    kind: int, content: str, tags: list[list[str]]
) -> None:
    keys = nostr_sdk.Keys.parse("07" * 32)
    builder = nostr_sdk.EventBuilder(nostr_sdk.Kind(kind), content)
    theirs = builder.tags([nostr_sdk.Tag.parse(tag) for tag in tags]).finalize(keys)

    event = parse_event(json.loads(theirs.as_json()))

    assert is_authentic(event)
    assert (event.pubkey, event.kind, event.content) == (KEYPAIR.public_key, kind, content)
    assert event.tags == tuple(map(tuple, tags))


def test_the_serialisation_is_that_of_nip01() -> None:
    # NIP-01 gives these seven characters a short escape; all others stand verbatim.
    content = '\n"\\\r\t\b\f/é€🦄\u2028\x7f'
    pubkey = KEYPAIR.public_key
    serialised = f'[0,"{pubkey}",5,1,[["e","x"]],"' + '\\n\\"\\\\\\r\\t\\b\\f/é€🦄\u2028\x7f"]'

    computed = event_id(pubkey, created_at=5, kind=1, tags=[["e", "x"]], content=content)

    assert computed == hashlib.sha256(serialised.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "tags"),
    [
        pytest.param("\ud800", [], id="content"),
        pytest.param("", [["p", "a\udfff"]], id="tag"),
    ],
)
def test_a_lone_surrogate_is_an_invalid_event(content: str, tags: list[list[str]]) -> None:
    raw = an_event().to_dict() | {"content": content, "tags": tags}

    with pytest.raises(InvalidEvent):
        an_event(content=content, tags=tags)
    parsed = parse_event(raw)
    with pytest.raises(InvalidEvent):
        parsed.to_json()
    assert not is_authentic(parsed)


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"content": "hello "}, id="content"),
        pytest.param({"kind": 23195}, id="kind"),
        pytest.param({"created_at": 1_700_000_001}, id="created_at"),
        pytest.param({"tags": (("p", "x"),)}, id="tags"),
        pytest.param({"pubkey": OTHER.public_key}, id="pubkey"),
        pytest.param({"id": "0" * 64}, id="id"),
        pytest.param({"sig": "0" * 128}, id="sig"),
        pytest.param({"pubkey": PublicKey("f" * 64)}, id="off-curve-pubkey"),
    ],
)
def test_a_changed_field_is_not_authentic(forged: dict[str, object]) -> None:
    event = an_event()

    changed = replace(event, **forged)  # type: ignore[arg-type]  # one field of the table

    assert is_authentic(event)
    assert not is_authentic(changed)


def test_a_forger_with_the_right_id_is_not_authentic() -> None:
    mine = an_event(content="mine")
    forged_id = event_id(
        KEYPAIR.public_key, created_at=mine.created_at, kind=1, tags=(), content="forged"
    )

    forged = replace(mine, id=forged_id, kind=1, content="forged")

    assert not is_authentic(forged)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("id", None, id="id-null"),
        pytest.param("id", "A" * 64, id="id-upper-case"),
        pytest.param("id", "a" * 63, id="id-short"),
        pytest.param("id", "a" * 64 + "\n", id="id-newline"),
        pytest.param("id", 5, id="id-number"),
        pytest.param("pubkey", "a" * 66, id="pubkey-long"),
        pytest.param("pubkey", ["a" * 64], id="pubkey-list"),
        pytest.param("sig", "a" * 64, id="sig-short"),
        pytest.param("sig", "A" * 128, id="sig-upper-case"),
        pytest.param("sig", {}, id="sig-object"),
        pytest.param("kind", True, id="kind-bool"),
        pytest.param("kind", 1.0, id="kind-float"),
        pytest.param("kind", "1", id="kind-text"),
        pytest.param("kind", -1, id="kind-negative"),
        pytest.param("kind", 65_536, id="kind-above"),
        pytest.param("created_at", False, id="created_at-bool"),
        pytest.param("created_at", 1e9, id="created_at-float"),
        pytest.param("created_at", -1, id="created_at-negative"),
        pytest.param("created_at", 2**53 + 1, id="created_at-above"),
        pytest.param("created_at", 10**400, id="created_at-huge"),
        pytest.param("tags", None, id="tags-null"),
        pytest.param("tags", {}, id="tags-object"),
        pytest.param("tags", "p", id="tags-text"),
        pytest.param("tags", ["p"], id="tag-text"),
        pytest.param("tags", [[]], id="tag-empty"),
        pytest.param("tags", [["p", 1]], id="tag-number"),
        pytest.param("tags", [["p", None]], id="tag-null"),
        pytest.param("tags", [["p", ["q"]]], id="tag-nested"),
        pytest.param("content", None, id="content-null"),
        pytest.param("content", 1, id="content-number"),
        pytest.param("content", ["x"], id="content-list"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(key: str, value: object) -> None:
    raw = an_event().to_dict() | {key: value}

    with pytest.raises(InvalidEvent, match=key.removesuffix("s")):
        parse_event(raw)


@pytest.mark.parametrize(
    "key", ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"]
)
def test_a_missing_field_is_refused(key: str) -> None:
    raw = an_event().to_dict()

    del raw[key]

    with pytest.raises(InvalidEvent):
        parse_event(raw)


@pytest.mark.parametrize("raw", [None, [], "", 0, True, {}, [{}]], ids=repr)
def test_what_is_no_object_is_refused(raw: object) -> None:
    with pytest.raises(InvalidEvent):
        parse_event(raw)


def test_the_outermost_numbers_are_accepted_and_other_keys_ignored() -> None:
    raw = an_event(kind=65_535, created_at=2**53).to_dict() | {"extra": 1}

    event = parse_event(raw)

    assert (event.kind, event.created_at) == (65_535, 2**53)
    assert is_authentic(event)


@given(raw=anything, key=st.sampled_from(["id", "kind", "tags", "content", "created_at"]))
def test_garbage_raises_nothing_but_invalid_event(raw: object, key: str) -> None:
    try:
        event = parse_event(an_event().to_dict() | {key: raw})
    except InvalidEvent:
        return

    assert event.to_dict()[key] == raw


def test_tag_value_is_the_first_that_has_one() -> None:
    event = an_event(tags=[["p"], ["e", "1"], ["p", "2", "relay"], ["p", "3"], ["v", ""]])

    assert event.tag_value("p") == "2"
    assert event.tag_values("p") == ["2", "3"]
    assert event.tag_value("v") == ""
    assert event.tag_value("x") is None
    assert event.tag_values("x") == []
