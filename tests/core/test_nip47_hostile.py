"""What a client may send that no client should: uniform answers, and nothing past the caps."""

import binascii

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

from nwc_service.nip47.envelope import (
    MAX_CONTENT_CHARS,
    BadEnvelope,
    Channel,
    Request,
    open_request,
)
from nwc_service.nip47.kinds import REQUEST, Encryption
from nwc_service.nip47.strict_json import MAX_BRACKETS, NotStrictJson, loads
from nwc_service.nostr import nip04, nip44
from nwc_service.nostr.event import MAX_TAGS, Event, InvalidEvent, parse_event, sign_event
from nwc_service.nostr.keys import Keypair
from tests.core.samples import NOW

WALLET, CLIENT = Keypair(b"\x01" * 32), Keypair(b"\x02" * 32)
CHANNEL = Channel.between(WALLET, CLIENT.public_key)
IV = bytes(range(16))


def sent(content: str) -> Event:
    return sign_event(
        CLIENT, kind=REQUEST, content=content, tags=[], created_at=NOW, aux=bytes(32)
    )


def in_blocks(padded: bytes) -> str:
    """NIP-04 of whole blocks, whatever stands where the padding should."""
    encryptor = Cipher(AES256(CHANNEL.shared_x), CBC(IV)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    return "?iv=".join(
        binascii.b2a_base64(part, newline=False).decode() for part in (ciphertext, IV)
    )


@pytest.mark.attack("A30")
@pytest.mark.parametrize(
    "padded",
    [
        pytest.param(b"a" * 16, id="bad-padding"),
        pytest.param(b"a" * 15 + b"\0", id="padding-of-nothing"),
        pytest.param(b"\xff" * 15 + b"\1", id="not-utf-8"),
        pytest.param(b"not JSON at all" + b"\1", id="not-json"),
        pytest.param(b'["an array yes"]' + b"\x10" * 16, id="not-an-object"),
        pytest.param(b'{"method":  ""}' + b"\1", id="no-method"),
        pytest.param(b"", id="no-block"),
    ],
)
def test_what_nip04_carries_is_refused_in_one_way(padded: bytes) -> None:
    """protocol.md 3.7: "no MAC, so handle bad padding / non-UTF-8 / non-JSON as one
    indistinguishable failure (padding-oracle hygiene)"."""
    with pytest.raises(BadEnvelope, match=r"^the request cannot be decrypted$"):
        open_request(sent(in_blocks(padded)), CHANNEL, encryption=Encryption.NIP04)


def test_good_blocks_are_read_all_the_same() -> None:
    content = in_blocks(b'{"method": "a"}' + b"\1")

    opened = open_request(sent(content), CHANNEL, encryption=Encryption.NIP04)
    assert opened == Request("a", {})


@pytest.mark.parametrize("encryption", Encryption)
def test_a_content_past_the_cap_is_not_decrypted(encryption: Encryption) -> None:
    def content(filler: int) -> str:
        text = '{"method":"a"}'.ljust(filler)
        if encryption is Encryption.NIP04:
            return nip04.encrypt(text, shared_x=CHANNEL.shared_x, iv=IV)
        return nip44.encrypt(text, key=CHANNEL.conversation_key, nonce=bytes(32))

    longest = content(40_960)
    assert len(longest) <= MAX_CONTENT_CHARS
    assert open_request(sent(longest), CHANNEL, encryption=encryption).method == "a"

    with pytest.raises(BadEnvelope, match="decrypted"):
        open_request(sent(content(60_000)), CHANNEL, encryption=encryption)


@pytest.mark.parametrize("text", ["QQ==", "QUI=", "QUJD", ""])
def test_base64_has_one_form(text: str) -> None:
    assert binascii.b2a_base64(nip44.from_base64(text), newline=False).decode() == text


@pytest.mark.parametrize(
    "text",
    [
        "QR==",
        "QUJ=",
        "QQ",
        "QQ=",
        "QQ==\n",
        "Q Q==",
        "QQ==QQ==",
        "-_-_",
        "é",
        "=",
        "QQ===",
        "QUJD=",
        "QUJD===",
    ],
)
def test_base64_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(nip44.DecryptError):
        nip44.from_base64(text)


def test_an_event_has_a_limited_number_of_tags() -> None:
    def raw(count: int) -> dict[str, object]:
        return sent("").to_dict() | {"tags": [["a"]] * count}

    assert len(parse_event(raw(MAX_TAGS)).tags) == MAX_TAGS
    with pytest.raises(InvalidEvent, match="tags"):
        parse_event(raw(MAX_TAGS + 1))


def test_a_request_has_a_limited_number_of_brackets() -> None:
    most = "[" + ",".join(["{}"] * (MAX_BRACKETS - 1)) + "]"

    assert loads(most) == [{}] * (MAX_BRACKETS - 1)
    with pytest.raises(NotStrictJson):
        loads(f"[{most}]")
