"""The master key under a passphrase: scrypt, then AES-256-GCM."""

import json
import os
from base64 import b64decode, b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

FORMAT = "nwc-service sealed key 1"
MIN_PASSPHRASE_CHARACTERS = 8
# 64 MiB and a fraction of a second: an hour of a thief's machine buys few guesses.
N, R, P = 2**16, 8, 1
MAX_N = 2**20


class WrongPassphrase(ValueError):
    """It does not open this key, or the key was tampered with."""


def is_sealed(text: str) -> bool:
    return text.lstrip().startswith("{")


def seal(master_key: bytes, passphrase: str) -> str:
    """Raises ValueError for a passphrase that is too short."""
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise ValueError(f"a passphrase has at least {MIN_PASSPHRASE_CHARACTERS} characters")
    salt, nonce = os.urandom(16), os.urandom(12)
    header = {"format": FORMAT, "n": N, "r": R, "p": P, "salt": _text(salt)}
    key = _derived(passphrase, salt=salt, n=N, r=R, p=P)
    sealed = AESGCM(key).encrypt(nonce, master_key, _aad(header))
    return json.dumps({**header, "nonce": _text(nonce), "sealed": _text(sealed)})


def unseal(text: str, passphrase: str) -> bytes:
    """Raises WrongPassphrase, and ValueError for what is no sealed key."""
    try:
        found = json.loads(text)
        header = {name: found[name] for name in ("format", "n", "r", "p", "salt")}
        salt, nonce, sealed = (b64decode(found[name]) for name in ("salt", "nonce", "sealed"))
    except (ValueError, KeyError, TypeError):
        raise ValueError("this is no sealed master key") from None
    if header["format"] != FORMAT or not 2 <= int(header["n"]) <= MAX_N:
        raise ValueError("this sealed master key is of a kind that this program does not know")
    key = _derived(passphrase, salt=salt, n=header["n"], r=header["r"], p=header["p"])
    try:
        return AESGCM(key).decrypt(nonce, sealed, _aad(header))
    except InvalidTag:
        raise WrongPassphrase("the passphrase does not open the master key") from None


def _derived(passphrase: str, *, salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode())


def _aad(header: dict[str, object]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
