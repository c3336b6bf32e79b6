"""A node's wallet is made from its name, so that the address to mine to is known beforehand."""

import hashlib

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_TPRV = bytes.fromhex("04358394")  # BIP-32: a private key of a test network


def master_key_of(name: str) -> str:
    """BIP-32, as LND's `extended_master_key` wants it."""
    key, chain_code = hashlib.sha256(name.encode()).digest(), hashlib.sha256(b"chain").digest()
    return _base58check(_TPRV + bytes(9) + chain_code + b"\0" + key)


def _base58check(data: bytes) -> str:
    data += hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    number, text = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return text
