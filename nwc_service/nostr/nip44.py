"""NIP-44 version 2: authenticated encryption between two keys."""

import binascii
import hmac
from base64 import b64encode

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

__all__ = [
    "MAX_PAYLOAD_CHARS",
    "DecryptError",
    "conversation_key",
    "decrypt",
    "encrypt",
    "from_base64",
    "padded_length",
]

# The frame limit of strfry and nostr-rs-relay; nothing larger is decoded at all. It has room
# for plaintexts up to 81,920 bytes.
MAX_PAYLOAD_CHARS = 131_072
MIN_PAYLOAD_CHARS = 132
MIN_PAYLOAD_BYTES = 99
MAX_PLAINTEXT_BYTES = 65_535

_VERSION = b"\x02"
_SHA256 = SHA256()  # stateless and shared: creating it costs as much as a small hash
_COUNTER_ZERO = bytes(4)


class DecryptError(ValueError):
    """The one answer to everything that cannot be decrypted, so that it tells nothing."""

    def __init__(self) -> None:
        super().__init__("cannot be decrypted")


def conversation_key(shared_x: bytes) -> bytes:
    """HKDF-extract of the unhashed ECDH x; worth keeping, as it never changes for a pair."""
    _require_32_bytes(shared_x)
    return hmac.digest(b"nip44-v2", shared_x, "sha256")


def encrypt(plaintext: str, *, key: bytes, nonce: bytes) -> str:
    """`key` is the conversation key, `nonce` 32 fresh random bytes.

    Raises ValueError unless the plaintext has 1 to 65,535 bytes in UTF-8. The longer form of
    the spec is never sent, since older clients cannot read it.
    """
    chacha_key, chacha_nonce, hmac_key = _message_keys(key, nonce)
    sealed = nonce + _chacha20(_pad(plaintext.encode()), key=chacha_key, nonce=chacha_nonce)
    return b64encode(_VERSION + sealed + _mac(sealed, key=hmac_key)).decode()


def decrypt(payload: str, *, key: bytes, max_payload_chars: int = MAX_PAYLOAD_CHARS) -> str:
    """Raises DecryptError whatever is wrong with the payload."""
    sealed, mac = _decode(payload, max_payload_chars)
    nonce, ciphertext = sealed[:32], sealed[32:]
    chacha_key, chacha_nonce, hmac_key = _message_keys(key, nonce)
    if not hmac.compare_digest(_mac(sealed, key=hmac_key), mac):
        raise DecryptError
    plaintext = _unpad(_chacha20(ciphertext, key=chacha_key, nonce=chacha_nonce))
    try:
        return plaintext.decode()
    except UnicodeDecodeError:
        raise DecryptError from None


def padded_length(length: int) -> int:
    """To how many bytes a plaintext of `length` bytes (at least 1) is padded."""
    if length <= 32:
        return 32
    # In whole numbers: a floating point logarithm is wrong near large powers of two.
    next_power = 1 << (length - 1).bit_length()
    chunk = max(32, next_power // 8)
    return chunk * ((length - 1) // chunk + 1)


def from_base64(text: str) -> bytes:
    """The bytes of which this is the only form. Raises DecryptError."""
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise DecryptError from None
    # Strict mode lets surplus bits of the last character pass, and surplus padding.
    if b64encode(decoded).decode() != text:
        raise DecryptError
    return decoded


def _decode(payload: str, max_payload_chars: int) -> tuple[bytes, bytes]:
    """The nonce with the ciphertext, and the MAC over both."""
    if not MIN_PAYLOAD_CHARS <= len(payload) <= max_payload_chars:
        raise DecryptError
    # NIP-44: a leading # says that a future version is not base64; it is refused here too.
    decoded = from_base64(payload)
    if len(decoded) < MIN_PAYLOAD_BYTES or decoded[:1] != _VERSION:
        raise DecryptError
    return decoded[1:-32], decoded[-32:]


def _pad(plaintext: bytes) -> bytes:
    length = len(plaintext)
    if not 1 <= length <= MAX_PLAINTEXT_BYTES:
        raise ValueError("a plaintext has 1 to 65,535 bytes")
    return length.to_bytes(2, "big") + plaintext.ljust(padded_length(length), b"\0")


def _unpad(padded: bytes) -> bytes:
    start, length = 2, int.from_bytes(padded[:2], "big")
    if length == 0:
        start, length = 6, int.from_bytes(padded[2:6], "big")
        if length <= MAX_PLAINTEXT_BYTES:
            raise DecryptError
    if len(padded) != start + padded_length(length):
        raise DecryptError
    return padded[start : start + length]


def _message_keys(key: bytes, nonce: bytes) -> tuple[bytes, bytes, bytes]:
    """The ChaCha20 key, the ChaCha20 nonce and the HMAC key of one message."""
    _require_32_bytes(key)
    _require_32_bytes(nonce)
    keys = HKDFExpand(algorithm=_SHA256, length=76, info=nonce).derive(key)
    return keys[:32], keys[32:44], keys[44:]


def _chacha20(text: bytes, *, key: bytes, nonce: bytes) -> bytes:
    # What `cryptography` calls the nonce is RFC 8439's counter and nonce together.
    return Cipher(ChaCha20(key, _COUNTER_ZERO + nonce), mode=None).encryptor().update(text)


def _mac(sealed: bytes, *, key: bytes) -> bytes:
    mac = HMAC(key, _SHA256)
    mac.update(sealed)
    return mac.finalize()


def _require_32_bytes(value: bytes) -> None:
    if len(value) != 32:
        raise ValueError("keys and nonces have 32 bytes")
