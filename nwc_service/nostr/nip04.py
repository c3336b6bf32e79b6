"""NIP-04: the deprecated encryption that older clients still need.

It has no authentication of its own: decrypt only what a verified event signature covers.
"""

from base64 import b64encode

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from nwc_service.nostr.nip44 import MAX_PAYLOAD_CHARS, DecryptError, from_base64

__all__ = ["DecryptError", "decrypt", "encrypt"]

_SEPARATOR = "?iv="
_PKCS7 = PKCS7(128)


def encrypt(plaintext: str, *, shared_x: bytes, iv: bytes) -> str:
    """`shared_x` is the unhashed ECDH x, `iv` 16 fresh random bytes."""
    padder = _PKCS7.padder()
    padded = padder.update(plaintext.encode()) + padder.finalize()
    encryptor = Cipher(AES256(shared_x), CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    return b64encode(ciphertext).decode() + _SEPARATOR + b64encode(iv).decode()


def decrypt(
    content: str, *, shared_x: bytes, max_payload_chars: int = MAX_PAYLOAD_CHARS
) -> str:
    """Raises DecryptError whatever is wrong, so that it is no padding oracle."""
    cipher = AES256(shared_x)
    if len(content) > max_payload_chars:
        raise DecryptError
    try:
        ciphertext, iv = _decode(content)
        decryptor = Cipher(cipher, CBC(iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        unpadder = _PKCS7.unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except ValueError:
        # Bad base64, a bad length, bad padding and bad UTF-8 are all ValueErrors.
        raise DecryptError from None


def _decode(content: str) -> tuple[bytes, bytes]:
    ciphertext, _, iv = content.partition(_SEPARATOR)
    return from_base64(ciphertext), from_base64(iv)
