"""Secret keys and x-only public keys: BIP-340 signatures, unhashed ECDH, npub.

libsecp256k1 is called directly: coincurve's classes verify each signature they make, parse the
public key on every use and hash the shared secret. The C functions read fixed lengths whatever
they are given, so every length is checked here first.
"""

import re
from functools import lru_cache
from typing import Any, NewType, NoReturn

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT
from pynostr import bech32

__all__ = [
    "InvalidKey",
    "Keypair",
    "PublicKey",
    "is_hex64",
    "npub",
    "parse_public_key",
    "public_key_from_npub",
    "secret_from_nsec",
    "verify",
]

PublicKey = NewType("PublicKey", str)
"""A valid x-only point as 64 lowercase hex digits."""

# Room for every client that is busy at one time; one parsed key takes about 300 bytes.
PARSED_KEYS = 16_384

_NIP19_CHARACTERS = 63  # an npub or nsec: checked before anything else

is_hex64 = re.compile(r"[0-9a-f]{64}").fullmatch

_CONTEXT = GLOBAL_CONTEXT.ctx


class InvalidKey(ValueError):
    """Not a usable key. The message never contains the text that was refused."""


class Keypair:
    """A secret key, ready to sign. `aux` is the fresh randomness that BIP-340 asks for."""

    __slots__ = ("_keypair", "_secret", "public_key")

    public_key: PublicKey

    def __init__(self, secret: bytes) -> None:
        """Raises InvalidKey unless `secret` is 32 bytes in 1..n-1."""
        if len(secret) != 32:
            raise InvalidKey("a secret key has 32 bytes")
        self._secret = bytes(secret)
        self._keypair = ffi.new("secp256k1_keypair *")
        if not lib.secp256k1_keypair_create(_CONTEXT, self._keypair, self._secret):
            raise InvalidKey("the secret key is out of range")
        self.public_key = _public_key_of(self._keypair)

    def __repr__(self) -> str:
        return f"Keypair(public_key={self.public_key!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not copied or pickled")

    def sign(self, message32: bytes, *, aux: bytes) -> bytes:
        """The 64-byte BIP-340 signature of a 32-byte message."""
        if len(message32) != 32 or len(aux) != 32:
            raise ValueError("message and aux have 32 bytes")
        signature = ffi.new("unsigned char[64]")
        if not lib.secp256k1_schnorrsig_sign32(
            _CONTEXT, signature, message32, self._keypair, aux
        ):
            raise InvalidKey("the secret key cannot sign")
        return bytes(ffi.buffer(signature))

    def shared_x(self, public_key: PublicKey) -> bytes:
        """The x coordinate of the shared point, unhashed as NIP-04 and NIP-44 want it.

        Constant time in the secret. Raises InvalidKey.
        """
        # BIP-340: an x-only key stands for the point with even y; x is the same for both.
        compressed = b"\x02" + _key_bytes(public_key)
        point = ffi.new("secp256k1_pubkey *")
        if not lib.secp256k1_ec_pubkey_parse(_CONTEXT, point, compressed, 33):
            raise InvalidKey("not a point on the curve")
        shared = ffi.new("unsigned char[32]")
        if not lib.secp256k1_ecdh(_CONTEXT, shared, point, self._secret, _COPY_X, ffi.NULL):
            raise InvalidKey("no shared point")
        return bytes(ffi.buffer(shared))


def parse_public_key(text: str) -> PublicKey:
    """Raises InvalidKey unless `text` is 64 lowercase hex digits of a point's x."""
    _parsed(text)
    return PublicKey(text)


def verify(public_key: PublicKey, message32: bytes, *, signature: bytes) -> bool:
    """Whether this is a BIP-340 signature by that key. False for anything malformed."""
    if len(message32) != 32 or len(signature) != 64:
        return False
    try:
        parsed = _parsed(public_key)
    except InvalidKey:
        return False
    return bool(lib.secp256k1_schnorrsig_verify(_CONTEXT, signature, message32, 32, parsed))


def npub(public_key: PublicKey) -> str:
    """NIP-19, for people to read."""
    words = bech32.convertbits(_key_bytes(public_key), 8, 5)
    return str(bech32.bech32_encode("npub", words, bech32.Encoding.BECH32))


def public_key_from_npub(text: str) -> PublicKey:
    """Raises InvalidKey for anything but an npub, above all for an nsec."""
    return parse_public_key(_nip19(text, prefix="npub").hex())


def secret_from_nsec(text: str) -> bytes:
    """32 bytes, not yet known to be a key. Raises InvalidKey for anything but an nsec."""
    return _nip19(text, prefix="nsec")


def _nip19(text: str, *, prefix: str) -> bytes:
    # pynostr's own PublicKey.from_npub does not look at the prefix and so takes an nsec.
    if len(text) != _NIP19_CHARACTERS:
        raise InvalidKey(f"not an {prefix}")
    found, words, encoding = bech32.bech32_decode(text)
    if found != prefix or encoding != bech32.Encoding.BECH32:
        raise InvalidKey(f"not an {prefix}")
    key = bech32.convertbits(words, 5, 8, False)
    if key is None or len(key) != 32:
        raise InvalidKey(f"not an {prefix}")
    return bytes(key)


@lru_cache(maxsize=PARSED_KEYS)
def _parsed(public_key: str) -> Any:  # a cffi object, which has no static type
    parsed = ffi.new("secp256k1_xonly_pubkey *")
    if not lib.secp256k1_xonly_pubkey_parse(_CONTEXT, parsed, _key_bytes(public_key)):
        raise InvalidKey("not a point on the curve")
    return parsed


def _key_bytes(public_key: str) -> bytes:
    if not is_hex64(public_key):
        raise InvalidKey("a public key is 64 lowercase hex digits")
    return bytes.fromhex(public_key)


def _public_key_of(keypair: Any) -> PublicKey:
    parsed = ffi.new("secp256k1_xonly_pubkey *")
    serialized = ffi.new("unsigned char[32]")
    lib.secp256k1_keypair_xonly_pub(_CONTEXT, parsed, ffi.NULL, keypair)
    lib.secp256k1_xonly_pubkey_serialize(_CONTEXT, serialized, parsed)
    return PublicKey(bytes(ffi.buffer(serialized)).hex())


def _copy_x(output: Any, x32: Any, _y32: Any, _data: Any) -> int:
    ffi.memmove(output, x32, 32)
    return 1


_COPY_X = ffi.callback(
    "int(unsigned char *, const unsigned char *, const unsigned char *, void *)", _copy_x
)
