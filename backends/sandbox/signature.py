"""Messages signed by a node's key, in the form of LND and CLN."""

from hashlib import sha256

from coincurve import PrivateKey

_PREFIX = b"Lightning Signed Message:"
_ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"  # zbase32
_COMPRESSED = 27 + 4  # what bitcoin adds to the recovery id of a compressed key


def sign(message: str, *, secret_key: bytes) -> str:
    digest = sha256(sha256(_PREFIX + message.encode()).digest()).digest()
    signed = PrivateKey(secret_key).sign_recoverable(digest, hasher=None)
    return _zbase32(bytes([_COMPRESSED + signed[64]]) + signed[:64])


def _zbase32(data: bytes) -> str:
    """Of a whole number of 5 bits, as 65 bytes are."""
    value = int.from_bytes(data, "big")
    shifts = range(len(data) * 8 - 5, -1, -5)
    return "".join(_ALPHABET[value >> shift & 31] for shift in shifts)
