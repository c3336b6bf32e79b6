"""Which scheme a content looks like, where its request cannot be read."""

import secrets

import pytest

from nwc_service.nip47.envelope import sniffed_encryption
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr import nip04, nip44

KEY = bytes(range(32))


@pytest.mark.parametrize("first_byte", [0x00, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF])
def test_nip44_is_known_whatever_its_nonce_begins_with(first_byte: int) -> None:
    nonce = bytes([first_byte, *range(31)])

    content = nip44.encrypt('{"method":"get_info"}', key=KEY, nonce=nonce)

    assert sniffed_encryption(content) is Encryption.NIP44_V2


def test_nip04_is_known_by_its_vector() -> None:
    content = nip04.encrypt("x" * 200, shared_x=KEY, iv=secrets.token_bytes(16))

    assert sniffed_encryption(content) is Encryption.NIP04


@pytest.mark.parametrize("content", ["", "tea", "A" * 200, "Ag" + "A" * 129, "A"])
def test_what_is_neither_is_taken_for_the_older(content: str) -> None:
    assert sniffed_encryption(content) is Encryption.NIP04
