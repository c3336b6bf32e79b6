"""On-chain addresses: told apart and checked, never paid here."""

from collections.abc import Mapping
from hashlib import sha256

from nwc_service.wallet import bech32
from nwc_service.wallet.bolt11 import Network

MAX_ADDRESS_LENGTH = 90  # BIP 173

_TEST: frozenset[Network] = frozenset({"testnet", "signet"})
_SEGWIT: Mapping[str, frozenset[Network]] = {
    "bc": frozenset({"mainnet"}),
    "tb": _TEST,
    "bcrt": frozenset({"regtest"}),
}
# The version bytes of P2PKH and P2SH.
_LEGACY: Mapping[int, frozenset[Network]] = {
    0: frozenset({"mainnet"}),
    5: frozenset({"mainnet"}),
    111: _TEST | {"regtest"},
    196: _TEST | {"regtest"},
}
_BECH32, _BECH32M = 1, 0x2BC830A3
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LEGACY_BYTES = 25


class InvalidAddress(ValueError):
    """Not an address. The message is safe to show."""


def networks(address: str) -> frozenset[Network]:
    """Those where it may be paid to; some share their addresses. Raises InvalidAddress."""
    if len(address) > MAX_ADDRESS_LENGTH or not address.isascii():
        raise InvalidAddress("not an address")
    prefix = address.lower().rpartition("1")[0]
    return _segwit(address, prefix) if prefix in _SEGWIT else _legacy(address)


def segwit_prefix(address: str) -> str:
    """The key of BIP-321 under which a segwit address stands."""
    return address.lower().rpartition("1")[0]


def _segwit(address: str, prefix: str) -> frozenset[Network]:
    lowered = address.lower()
    digits = bech32.digits_from_chars(lowered.rpartition("1")[2])
    if address not in (lowered, address.upper()) or not digits:
        raise InvalidAddress("not a segwit address")
    version, program = digits[0], digits[1 : -bech32.CHECKSUM_DIGITS]
    size = len(bech32.bytes_from_digits(program) or b"")
    in_order = size in (20, 32) if version == "0" else 2 <= size <= 40
    if int(version, 32) > 16 or not in_order:
        raise InvalidAddress("not a segwit address")
    # BIP 350: version 0 has the checksum of bech32, all later ones that of bech32m.
    if bech32.checksum_state(prefix, digits) != (_BECH32 if version == "0" else _BECH32M):
        raise InvalidAddress("the address has a wrong checksum")
    return _SEGWIT[prefix]


def _legacy(address: str) -> frozenset[Network]:
    value = 0
    for char in address:
        digit = _BASE58.find(char)
        if digit < 0:
            raise InvalidAddress("not an address")
        value = value * 58 + digit
    zeros = len(address) - len(address.lstrip("1"))
    decoded = bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    if len(decoded) != _LEGACY_BYTES or decoded[0] not in _LEGACY:
        raise InvalidAddress("not an address")
    if sha256(sha256(decoded[:-4]).digest()).digest()[:4] != decoded[-4:]:
        raise InvalidAddress("the address has a wrong checksum")
    return _LEGACY[decoded[0]]
