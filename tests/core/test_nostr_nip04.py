from base64 import b64encode

import nostr_sdk
import pynostr.key
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from nwc_service.nostr import nip04, nip44
from nwc_service.nostr.keys import Keypair

MINE, THEIRS = b"\x11" * 32, b"\x22" * 32
ME, THEM = Keypair(MINE), Keypair(THEIRS)
SHARED_X = ME.shared_x(THEM.public_key)
IV = bytes(range(16))
IV_TEXT = b64encode(IV).decode()

unicode = st.text(st.characters(exclude_categories=["Cs"]))
ivs = st.binary(min_size=16, max_size=16)


def raw_cbc(blocks: bytes) -> str:
    """Encrypt without adding PKCS#7 padding."""
    encryptor = Cipher(algorithms.AES256(SHARED_X), modes.CBC(IV)).encryptor()
    ciphertext = encryptor.update(blocks) + encryptor.finalize()
    return f"{b64encode(ciphertext).decode()}?iv={IV_TEXT}"


@given(plaintext=unicode, iv=ivs)
def test_what_is_encrypted_is_decrypted(plaintext: str, iv: bytes) -> None:
    content = nip04.encrypt(plaintext, shared_x=SHARED_X, iv=iv)

    assert nip04.decrypt(content, shared_x=SHARED_X) == plaintext


@settings(deadline=None)
@given(plaintext=unicode, iv=ivs)
def test_pynostr_and_this_read_each_other(plaintext: str, iv: bytes) -> None:
    them = pynostr.key.PrivateKey(THEIRS)

    content = nip04.encrypt(plaintext, shared_x=SHARED_X, iv=iv)
    answer = them.encrypt_message(plaintext, ME.public_key)

    assert them.decrypt_message(content, ME.public_key) == plaintext
    assert nip04.decrypt(answer, shared_x=SHARED_X) == plaintext


@settings(deadline=None)
@given(plaintext=unicode, iv=ivs)
def test_nostr_sdk_and_this_read_each_other(plaintext: str, iv: bytes) -> None:
    their_secret = nostr_sdk.SecretKey.parse(THEIRS.hex())
    my_public_key = nostr_sdk.PublicKey.parse(ME.public_key)

    content = nip04.encrypt(plaintext, shared_x=SHARED_X, iv=iv)
    answer = nostr_sdk.nip04_encrypt(their_secret, my_public_key, plaintext)

    assert nostr_sdk.nip04_decrypt(their_secret, my_public_key, content) == plaintext
    assert nip04.decrypt(answer, shared_x=SHARED_X) == plaintext


def test_the_same_input_gives_the_same_content() -> None:
    content = nip04.encrypt("a" * 16, shared_x=SHARED_X, iv=IV)

    assert content == raw_cbc(b"a" * 16 + b"\x10" * 16)


CONTENT = nip04.encrypt("hello", shared_x=SHARED_X, iv=IV)
BLOCK = b64encode(bytes(16)).decode()


@pytest.mark.attack("A30")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("?iv=", id="only-separator"),
        pytest.param(f"?iv={IV_TEXT}", id="no-ciphertext"),
        pytest.param(BLOCK, id="no-iv"),
        pytest.param(f"{BLOCK}?iv=", id="empty-iv"),
        pytest.param(f"{BLOCK}?iv={b64encode(bytes(15)).decode()}", id="short-iv"),
        pytest.param(f"{BLOCK}?iv={b64encode(bytes(17)).decode()}", id="long-iv"),
        pytest.param(f"{b64encode(bytes(15)).decode()}?iv={IV_TEXT}", id="part-of-a-block"),
        pytest.param(f"{BLOCK[:-1]}?iv={IV_TEXT}", id="bad-base64"),
        pytest.param(CONTENT + "\n", id="newline"),
        pytest.param("\n" + CONTENT, id="leading-newline"),
        pytest.param(CONTENT[:4] + "!" + CONTENT[4:], id="other-alphabet"),
        pytest.param(f"{BLOCK}?iv={IV_TEXT}?iv={IV_TEXT}", id="two-ivs"),
        pytest.param(f"ф{BLOCK}?iv={IV_TEXT}", id="not-ascii"),
        pytest.param(f"\ud800{BLOCK}?iv={IV_TEXT}", id="surrogate"),
        pytest.param(raw_cbc(bytes(16)), id="padding-zero"),
        pytest.param(raw_cbc(b"\x11" * 16), id="padding-above-the-block"),
        pytest.param(raw_cbc(b"a" * 14 + b"\x03\x02"), id="padding-unequal"),
        pytest.param(raw_cbc(b"\xc3\x28" + b"\x0e" * 14), id="not-utf-8"),
        pytest.param("A" * 131_072 + f"?iv={IV_TEXT}", id="too-long"),
    ],
)
def test_every_bad_content_gets_the_same_error(content: str) -> None:
    with pytest.raises(nip44.DecryptError) as caught:
        nip04.decrypt(content, shared_x=SHARED_X)

    assert str(caught.value) == "cannot be decrypted"
    assert caught.value.__cause__ is None


@given(
    content=st.text() | st.binary().map(lambda raw: f"{b64encode(raw).decode()}?iv={IV_TEXT}")
)
def test_garbage_raises_nothing_but_decrypt_error(content: str) -> None:
    try:
        plaintext = nip04.decrypt(content, shared_x=SHARED_X)
    except nip44.DecryptError:
        return

    # Nothing authenticates NIP-04, so by chance garbage is text: then it encrypts back to it.
    assert nip04.encrypt(plaintext, shared_x=SHARED_X, iv=IV) == content


def test_the_content_limit_is_exact() -> None:
    assert nip04.decrypt(CONTENT, shared_x=SHARED_X, max_payload_chars=len(CONTENT)) == "hello"
    with pytest.raises(nip44.DecryptError):
        nip04.decrypt(CONTENT, shared_x=SHARED_X, max_payload_chars=len(CONTENT) - 1)


@pytest.mark.parametrize("size", [16, 31, 33])
def test_a_key_of_a_wrong_length_is_our_own_error(size: int) -> None:
    with pytest.raises(ValueError, match="key size"):
        nip04.decrypt(CONTENT, shared_x=bytes(size))
