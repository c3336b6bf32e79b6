"""The same verdict as nostr-sdk, in Rust, also on what is not in order.

What this service takes, nostr-sdk takes, and reads as the same.
"""

import json
from collections.abc import Callable
from typing import Any

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nostr import nip04, nip44
from nwc_service.nostr.event import InvalidEvent, is_authentic, parse_event, sign_event
from nwc_service.nostr.keys import Keypair, verify

ME, THEM = Keypair(b"\x01" * 32), Keypair(b"\x02" * 32)
THEIR_SECRET = nostr_sdk.SecretKey.parse("02" * 32)
MY_PUBLIC_KEY = nostr_sdk.PublicKey.parse(ME.public_key)
SHARED_X = ME.shared_x(THEM.public_key)
KEY = nip44.conversation_key(SHARED_X)

texts = st.text(min_size=1, max_size=200)
HEX = "0123456789abcdef"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=?iv"


def changed(text: str, alphabet: str) -> st.SearchStrategy[str]:
    """With one to three characters replaced, or as it was."""
    places = st.lists(
        st.tuples(st.integers(0, len(text) - 1), st.sampled_from(alphabet)), max_size=3
    )

    def change(edits: list[tuple[int, str]]) -> str:
        chars = list(text)
        for place, char in edits:
            chars[place] = char
        return "".join(chars)

    return places.map(change)


def accepted(read: Callable[[], object], *, refusals: tuple[type[Exception], ...]) -> object:
    """What was read; False for what was refused."""
    try:
        return read()
    except refusals:
        return False


def ours_of(raw: dict[str, Any]) -> object:
    return accepted(lambda: is_authentic(parse_event(raw)), refusals=(InvalidEvent,))


def theirs_of(raw: dict[str, Any]) -> object:
    return accepted(
        lambda: nostr_sdk.Event.from_json(json.dumps(raw)).verify(),
        refusals=(nostr_sdk.NostrSdkError,),
    )


@given(
    content=st.text(max_size=60),
    tags=st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=3), max_size=4),
    kind=st.integers(0, 65_535),
    created_at=st.integers(0, 2**53),
    data=st.data(),
)
def test_events(
    content: str, tags: list[list[str]], kind: int, created_at: int, data: st.DataObject
) -> None:
    event = sign_event(
        ME, kind=kind, content=content, tags=tags, created_at=created_at, aux=bytes(32)
    ).to_dict()
    field = data.draw(st.sampled_from([*event, "none of them"]))
    other = {
        "id": changed(str(event["id"]), HEX),
        "pubkey": changed(ME.public_key, HEX) | st.just(THEM.public_key),
        "sig": changed(str(event["sig"]), HEX),
        "created_at": st.integers(0, 2**53),
        "kind": st.integers(0, 65_535),
        "content": st.text(max_size=60),
        "tags": st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=2), max_size=2),
    }
    if field in other:
        event[field] = data.draw(other[field])

    assert ours_of(event) == theirs_of(event)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(
    value=json_values,
    field=st.sampled_from(["id", "pubkey", "sig", "created_at", "kind", "content", "tags"]),
)
def test_no_event_of_other_types_is_taken_that_nostr_sdk_refuses(
    value: object, field: str
) -> None:
    event = sign_event(ME, kind=1, content="", tags=[], created_at=0, aux=bytes(32)).to_dict()
    raw = event | {field: value}

    assert not ours_of(raw) or theirs_of(raw)


@given(
    message=st.binary(min_size=32, max_size=32),
    aux=st.binary(min_size=32, max_size=32),
    data=st.data(),
)
def test_signatures(message: bytes, aux: bytes, data: st.DataObject) -> None:
    """Verified as the id of an event, which is all that nostr-sdk verifies."""
    event = sign_event(ME, kind=1, content=message.hex(), tags=[], created_at=0, aux=aux)
    sig = data.draw(changed(event.sig, HEX))

    ours = verify(ME.public_key, bytes.fromhex(event.id), signature=bytes.fromhex(sig))
    assert ours == theirs_of(event.to_dict() | {"sig": sig})
    assert verify(ME.public_key, bytes.fromhex(event.id), signature=bytes.fromhex(event.sig))


@given(plaintext=texts, nonce=st.binary(min_size=32, max_size=32), data=st.data())
def test_nip44(plaintext: str, nonce: bytes, data: st.DataObject) -> None:
    payload = data.draw(changed(nip44.encrypt(plaintext, key=KEY, nonce=nonce), BASE64))

    ours = accepted(lambda: nip44.decrypt(payload, key=KEY), refusals=(nip44.DecryptError,))
    theirs = accepted(
        lambda: nostr_sdk.nip44_decrypt(THEIR_SECRET, MY_PUBLIC_KEY, payload),
        refusals=(nostr_sdk.NostrSdkError,),
    )
    assert ours == theirs


@given(plaintext=texts, iv=st.binary(min_size=16, max_size=16), data=st.data())
def test_nip04(plaintext: str, iv: bytes, data: st.DataObject) -> None:
    content = data.draw(changed(nip04.encrypt(plaintext, shared_x=SHARED_X, iv=iv), BASE64))

    ours = accepted(
        lambda: nip04.decrypt(content, shared_x=SHARED_X), refusals=(nip04.DecryptError,)
    )
    theirs = accepted(
        lambda: nostr_sdk.nip04_decrypt(THEIR_SECRET, MY_PUBLIC_KEY, content),
        refusals=(nostr_sdk.NostrSdkError,),
    )
    assert ours == theirs


@pytest.mark.parametrize("length", [1, 31, 32, 33, 255, 256, 257, 4096, 40_960, 65_408])
def test_nip44_at_the_edges_of_its_padding(length: int) -> None:
    payload = nip44.encrypt("a" * length, key=KEY, nonce=bytes(32))
    answer = nostr_sdk.nip44_encrypt(
        THEIR_SECRET, MY_PUBLIC_KEY, "a" * length, nostr_sdk.Nip44Version.V2
    )

    assert nostr_sdk.nip44_decrypt(THEIR_SECRET, MY_PUBLIC_KEY, payload) == "a" * length
    assert nip44.decrypt(answer, key=KEY) == "a" * length
