import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import nostr_sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwc_service.nostr import nip44
from nwc_service.nostr.keys import InvalidKey, Keypair, parse_public_key

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "nip44.vectors.json").read_text()
)["v2"]
VALID, INVALID = VECTORS["valid"], VECTORS["invalid"]

ONE, TWO = (Keypair(number.to_bytes(32, "big")) for number in (1, 2))
KEY = nip44.conversation_key(ONE.shared_x(TWO.public_key))
NONCE = (1).to_bytes(32, "big")

unicode = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
nonces = st.binary(min_size=32, max_size=32)


def numbered(vectors: list[Any]) -> list[Any]:
    return [pytest.param(vector, id=str(index)) for index, vector in enumerate(vectors)]


def sealed(padded: bytes) -> str:
    """A payload with a right MAC over whatever padding is given."""
    chacha_key, chacha_nonce, hmac_key = nip44._message_keys(KEY, NONCE)
    body = NONCE + nip44._chacha20(padded, key=chacha_key, nonce=chacha_nonce)
    return b64encode(b"\x02" + body + nip44._mac(body, key=hmac_key)).decode()


def extended(plaintext: bytes, *, said_length: int | None = None) -> str:
    """The form of NIP-44 for 65,536 bytes and more, which `encrypt` never sends."""
    length = len(plaintext) if said_length is None else said_length
    prefix = bytes(2) + length.to_bytes(4, "big")
    return sealed(prefix + plaintext.ljust(nip44.padded_length(len(plaintext)), b"\0"))


def test_the_vector_file_holds_what_is_expected() -> None:
    counts = {
        f"{side}.{name}": len(group)
        for side in VECTORS
        for name, group in VECTORS[side].items()
    }

    assert counts == {
        "valid.get_conversation_key": 35,
        "valid.get_message_keys": 2,
        "valid.calc_padded_len": 24,
        "valid.encrypt_decrypt": 10,
        "valid.encrypt_decrypt_long_msg": 3,
        "invalid.encrypt_msg_lengths": 4,
        "invalid.get_conversation_key": 8,
        "invalid.decrypt": 12,
    }


@pytest.mark.parametrize("vector", numbered(VALID["get_conversation_key"]))
def test_conversation_key(vector: dict[str, str]) -> None:
    keypair = Keypair(bytes.fromhex(vector["sec1"]))

    key = nip44.conversation_key(keypair.shared_x(parse_public_key(vector["pub2"])))

    assert key.hex() == vector["conversation_key"]


@pytest.mark.parametrize("vector", numbered(VALID["get_message_keys"]["keys"]))
def test_message_keys(vector: dict[str, str]) -> None:
    conversation_key = bytes.fromhex(VALID["get_message_keys"]["conversation_key"])

    keys = nip44._message_keys(conversation_key, bytes.fromhex(vector["nonce"]))

    names = ("chacha_key", "chacha_nonce", "hmac_key")
    assert [key.hex() for key in keys] == [vector[name] for name in names]


@pytest.mark.parametrize(("length", "padded"), VALID["calc_padded_len"])
def test_padded_length(length: int, padded: int) -> None:
    assert nip44.padded_length(length) == padded


@pytest.mark.parametrize(("length", "padded"), [(1, 32), (65_536, 65_536), (65_537, 81_920)])
def test_padded_length_at_the_ends(length: int, padded: int) -> None:
    assert nip44.padded_length(length) == padded


@pytest.mark.parametrize("vector", numbered(VALID["encrypt_decrypt"]))
def test_encrypt_and_decrypt(vector: dict[str, str]) -> None:
    mine = Keypair(bytes.fromhex(vector["sec1"]))
    theirs = Keypair(bytes.fromhex(vector["sec2"]))
    key = nip44.conversation_key(mine.shared_x(theirs.public_key))

    payload = nip44.encrypt(vector["plaintext"], key=key, nonce=bytes.fromhex(vector["nonce"]))

    assert key.hex() == vector["conversation_key"]
    assert payload == vector["payload"]
    assert nip44.decrypt(payload, key=key) == vector["plaintext"]


@pytest.mark.parametrize("vector", numbered(VALID["encrypt_decrypt_long_msg"]))
def test_encrypt_and_decrypt_long(vector: dict[str, Any]) -> None:
    key = bytes.fromhex(vector["conversation_key"])
    plaintext = vector["pattern"] * vector["repeat"]

    payload = nip44.encrypt(plaintext, key=key, nonce=bytes.fromhex(vector["nonce"]))

    assert sha256(plaintext.encode()).hexdigest() == vector["plaintext_sha256"]
    assert sha256(payload.encode()).hexdigest() == vector["payload_sha256"]
    assert nip44.decrypt(payload, key=key) == plaintext


# NIP-44 names the whole digests; these beginnings are enough to tell the payloads apart.
@pytest.mark.parametrize(("length", "payload_sha256"), [(65_536, "b7b4ed"), (65_537, "eeb7c7")])
def test_the_extended_length_is_read(length: int, payload_sha256: str) -> None:
    payload = extended(b"a" * length)

    assert sha256(payload.encode()).hexdigest().startswith(payload_sha256)
    assert nip44.decrypt(payload, key=KEY) == "a" * length


def test_the_longest_short_form_is_that_of_the_spec() -> None:
    payload = nip44.encrypt("a" * 65_535, key=KEY, nonce=NONCE)

    assert sha256(payload.encode()).hexdigest().startswith("6d8c28")


@pytest.mark.parametrize("vector", numbered(INVALID["get_conversation_key"]))
def test_no_conversation_key_from_bad_keys(vector: dict[str, str]) -> None:
    with pytest.raises(InvalidKey):
        Keypair(bytes.fromhex(vector["sec1"])).shared_x(parse_public_key(vector["pub2"]))


@pytest.mark.parametrize("vector", numbered(INVALID["decrypt"]))
def test_a_bad_payload_is_refused(vector: dict[str, str]) -> None:
    key = bytes.fromhex(vector["conversation_key"])

    with pytest.raises(nip44.DecryptError) as caught:
        nip44.decrypt(vector["payload"], key=key)

    assert str(caught.value) == "cannot be decrypted"


# The lengths above 65,535 were invalid before the extended form; here they are never sent.
@pytest.mark.parametrize("length", INVALID["encrypt_msg_lengths"])
def test_a_length_that_is_not_sent_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="65,535"):
        nip44.encrypt("a" * length, key=KEY, nonce=NONCE)


@pytest.mark.parametrize(
    "padded",
    [
        pytest.param(bytes(34), id="zero-length"),
        pytest.param(b"\0\x21" + b"a" * 32, id="length-above"),
        pytest.param(b"\xff\xff" + b"a" * 32, id="length-far-above"),
        pytest.param(b"\0\x01" + b"a" * 64, id="too-much-padding"),
        pytest.param(b"\0\x21" + b"a" * 63, id="too-little-padding"),
        pytest.param(b"\0\x02\xc3\x28" + bytes(30), id="not-utf-8"),
        pytest.param(b"\0\x03\xed\xa0\x80" + bytes(29), id="surrogate"),
        pytest.param(bytes(2) + b"\0\0\0\x01" + bytes(32), id="extended-for-a-short-one"),
        pytest.param(bytes(2) + b"\xff\xff\xff\xff" + bytes(64), id="extended-far-above"),
    ],
)
def test_wrong_padding_under_a_right_mac_is_refused(padded: bytes) -> None:
    payload = sealed(padded)

    with pytest.raises(nip44.DecryptError):
        nip44.decrypt(payload, key=KEY)


def test_the_extended_form_is_refused_for_what_the_short_form_can_say() -> None:
    payload = extended(b"a" * 65_535)

    with pytest.raises(nip44.DecryptError):
        nip44.decrypt(payload, key=KEY)


def test_nonzero_padding_is_not_looked_at() -> None:
    payload = sealed(b"\0\x01a" + b"!" * 31)

    assert nip44.decrypt(payload, key=KEY) == "a"


A_PAYLOAD = nip44.encrypt("a" * 40, key=KEY, nonce=NONCE)  # its base64 ends in one =


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("#" + A_PAYLOAD[1:], id="future-version"),
        pytest.param("B" + A_PAYLOAD[1:], id="other-version"),
        pytest.param(A_PAYLOAD.rstrip("="), id="no-base64-padding"),
        pytest.param(A_PAYLOAD + "=", id="more-base64-padding"),
        pytest.param(A_PAYLOAD + "\n", id="newline"),
        pytest.param(A_PAYLOAD[:40] + "\n" + A_PAYLOAD[40:], id="newline-inside"),
        pytest.param(A_PAYLOAD[:40] + "-_" + A_PAYLOAD[42:], id="url-safe-alphabet"),
        pytest.param(A_PAYLOAD[:40] + "\ud800" + A_PAYLOAD[41:], id="surrogate"),
        pytest.param(A_PAYLOAD[:131], id="too-short"),
        pytest.param("A" * 131_076, id="too-long"),
    ],
)
def test_a_damaged_payload_is_refused(payload: str) -> None:
    assert A_PAYLOAD.endswith("=")

    with pytest.raises(nip44.DecryptError):
        nip44.decrypt(payload, key=KEY)


def test_the_payload_limit_is_exact() -> None:
    assert nip44.decrypt(A_PAYLOAD, key=KEY, max_payload_chars=len(A_PAYLOAD)) == "a" * 40

    with pytest.raises(nip44.DecryptError):
        nip44.decrypt(A_PAYLOAD, key=KEY, max_payload_chars=len(A_PAYLOAD) - 1)


@given(position=st.integers(0, len(b64decode(A_PAYLOAD)) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, flip: int) -> None:
    raw = bytearray(b64decode(A_PAYLOAD))

    raw[position] ^= flip

    with pytest.raises(nip44.DecryptError):
        nip44.decrypt(b64encode(raw).decode(), key=KEY)


@given(
    payload=st.text()
    | st.binary(min_size=99).map(lambda raw: b64encode(b"\x02" + raw).decode())
)
def test_garbage_raises_nothing_but_decrypt_error(payload: str) -> None:
    with pytest.raises(nip44.DecryptError):
        nip44.decrypt(payload, key=KEY)


@given(plaintext=unicode, nonce=nonces)
def test_what_is_encrypted_is_decrypted(plaintext: str, nonce: bytes) -> None:
    payload = nip44.encrypt(plaintext, key=KEY, nonce=nonce)

    assert nip44.decrypt(payload, key=KEY) == plaintext


@settings(deadline=None)
@given(plaintext=unicode, nonce=nonces)
def test_nostr_sdk_and_this_read_each_other(plaintext: str, nonce: bytes) -> None:
    their_secret = nostr_sdk.SecretKey.parse(f"{2:064x}")
    my_public_key = nostr_sdk.PublicKey.parse(ONE.public_key)

    payload = nip44.encrypt(plaintext, key=KEY, nonce=nonce)
    answer = nostr_sdk.nip44_encrypt(
        their_secret, my_public_key, plaintext, nostr_sdk.Nip44Version.V2
    )

    assert nostr_sdk.nip44_decrypt(their_secret, my_public_key, payload) == plaintext
    assert nip44.decrypt(answer, key=KEY) == plaintext


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_and_nonces_of_a_wrong_length_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        nip44.conversation_key(bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        nip44.encrypt("a", key=bytes(size), nonce=NONCE)
    with pytest.raises(ValueError, match="32 bytes"):
        nip44.encrypt("a", key=KEY, nonce=bytes(size))
    with pytest.raises(ValueError, match="32 bytes"):
        nip44.decrypt(A_PAYLOAD, key=bytes(size))
