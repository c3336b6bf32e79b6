"""BOLT12 offers, read strictly and written canonically.

An offer has no checksum and no signature: whoever pays one asks its issuer for an invoice, and
what is wrong in the offer then fails.

https://github.com/lightning/bolts/blob/master/12-offer-encoding.md
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from coincurve import PublicKey

from nwc_service.wallet import bech32
from nwc_service.wallet.bolt11 import Network
from nwc_service.wallet.tlv import InvalidTlv, Record, read_tlv, truncated_int, write_tlv
from nwc_service.wallet.units import MAX_MSAT, Msat

MAX_OFFER_LENGTH = 7089  # as an invoice; checked before anything else

_CHAINS, _METADATA, _CURRENCY, _AMOUNT, _DESCRIPTION, _FEATURES = 2, 4, 6, 8, 10, 12
_EXPIRY, _PATHS, _ISSUER, _QUANTITY_MAX, _ISSUER_ID = 14, 16, 18, 20, 22
_KNOWN = frozenset(range(_CHAINS, _ISSUER_ID + 1, 2))
# BOLT12: "any TLV fields outside the inclusive ranges: 1 to 79 and 1000000000 to 1999999999".
_RANGES = (range(1, 80), range(1_000_000_000, 2_000_000_000))

_CHAIN_HASHES: Mapping[Network, str] = {
    "mainnet": "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000",
    "testnet": "43497fd7f826957108f4a30fd9cec3aeba79972084e90ead01ea330900000000",
    "signet": "f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000",
    "regtest": "06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f",
}
_NETWORKS = {bytes.fromhex(chain): network for network, chain in _CHAIN_HASHES.items()}
_HASH_BYTES = 32
_POINT_BYTES = 33
_SHORT_ID_BYTES = 9  # a direction and a short channel id, where a point may stand

_PREFIX = "lno1"
_CONTINUATION = re.compile(r"\+[ \t\r\n]*")
_is_joined = re.compile(r"[A-Za-z0-9]+(?:\+[ \t\r\n]*[A-Za-z0-9]+)*").fullmatch
_is_currency = re.compile(rb"[A-Z]{3}").fullmatch


class InvalidOffer(ValueError):
    """Not an offer that this service reads or writes. The message is safe to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A decoded offer. `amount` is per item: msat, or the smallest unit of `currency`.

    `networks` has those that this service knows of. `quantity_max` is None for a single item,
    and 0 for any number. `paths` is opaque, but known to be in order.
    """

    offer: str  # canonical: lower case, in one piece
    networks: frozenset[Network]
    metadata: bytes | None
    currency: str | None
    amount: int | None
    description: str | None
    expires_at: int | None
    paths: bytes | None
    issuer: str | None
    quantity_max: int | None
    issuer_id: str | None  # 33 bytes as hex

    @property
    def amount_msat(self) -> Msat | None:
        """None where the payer chooses, and where the amount is of another currency."""
        return None if self.amount is None or self.currency else Msat(self.amount)


def decode(text: str) -> Offer:
    """Raises InvalidOffer, and nothing else, for whatever is not strictly an offer."""
    offer, data = _canonical(text)
    fields = _fields(data)
    _check_fields(fields)
    return Offer(
        offer=offer,
        networks=_networks(fields.get(_CHAINS)),
        metadata=fields.get(_METADATA),
        currency=_currency(fields.get(_CURRENCY)),
        amount=_number(fields, _AMOUNT),
        description=_text(fields, _DESCRIPTION),
        expires_at=_number(fields, _EXPIRY),
        paths=_paths(fields.get(_PATHS)),
        issuer=_text(fields, _ISSUER),
        quantity_max=_number(fields, _QUANTITY_MAX),
        issuer_id=_issuer_id(fields.get(_ISSUER_ID)),
    )


def encode(
    *,
    network: Network,
    amount_msat: Msat | None = None,
    description: str | None = None,
    expires_at: int | None = None,
    paths: bytes | None = None,
    issuer: str | None = None,
    quantity_max: int | None = None,
    issuer_id: str | None = None,
    metadata: bytes | None = None,
) -> str:
    """Raises InvalidOffer for what `decode` would refuse."""
    # BOLT12: for bitcoin "SHOULD omit `offer_chains`".
    chain = None if network == "mainnet" else bytes.fromhex(_CHAIN_HASHES[network])
    fields = {
        _CHAINS: chain,
        _METADATA: metadata,
        _AMOUNT: _minimal(amount_msat),
        _DESCRIPTION: _utf8(description),
        _EXPIRY: _minimal(expires_at),
        _PATHS: paths,
        _ISSUER: _utf8(issuer),
        _QUANTITY_MAX: _minimal(quantity_max),
        _ISSUER_ID: _from_hex(issuer_id),
    }
    data = write_tlv((type_, value) for type_, value in fields.items() if value is not None)
    text = _PREFIX + bech32.chars_from_digits(bech32.digits_from_bytes(data))
    return decode(text).offer


def offer_id(offer: Offer) -> str:
    """The root of the Merkle tree over all its fields."""
    return merkle_root(_records(_data(offer.offer))).hex()


def merkle_root(records: Sequence[Record]) -> bytes:
    """As BOLT12 has it for signatures: "the deepest tree on the lowest-order leaves"."""
    first = records[0].encoded
    nodes = [_leaf(record, first) for record in records]
    while len(nodes) > 1:
        pairs = [_branch(nodes[i], nodes[i + 1]) for i in range(0, len(nodes) - 1, 2)]
        nodes = pairs + nodes[len(pairs) * 2 :]
    return nodes[0]


def _canonical(text: str) -> tuple[str, bytes]:
    """In lower case and one piece, with the bytes that it stands for."""
    if len(text) > MAX_OFFER_LENGTH:
        raise InvalidOffer("the offer is too long")
    if not text.isascii() or not _is_joined(text):
        raise InvalidOffer("the offer has a character that bech32 does not have")
    joined = _CONTINUATION.sub("", text)
    lowered = joined.lower()
    if joined not in (lowered, joined.upper()):
        raise InvalidOffer("the offer mixes upper and lower case")
    return lowered, _data(lowered)


def _data(offer: str) -> bytes:
    if not offer.startswith(_PREFIX):
        raise InvalidOffer("the offer does not begin with lno1")
    digits = bech32.digits_from_chars(offer.removeprefix(_PREFIX))
    data = None if digits is None else bech32.bytes_from_digits(digits)
    if data is None:
        raise InvalidOffer("the offer is not bech32")
    return data


def _records(data: bytes) -> list[Record]:
    try:
        return read_tlv(data)
    except InvalidTlv as error:
        raise InvalidOffer(str(error)) from None


def _fields(data: bytes) -> dict[int, bytes]:
    """All that are known, by type. An unknown one is skipped only if it may be: it is odd."""
    fields = {}
    for record in _records(data):
        if not any(record.type in allowed for allowed in _RANGES):
            raise InvalidOffer(f"field {record.type} is not one of an offer")
        if record.type in _KNOWN:
            fields[record.type] = record.value
        elif record.type % 2 == 0:
            raise InvalidOffer(f"field {record.type} must be understood and is not known")
    return fields


def _check_fields(fields: Mapping[int, bytes]) -> None:
    if _AMOUNT in fields and _DESCRIPTION not in fields:
        raise InvalidOffer("offer_amount is given without offer_description")
    if _CURRENCY in fields and _AMOUNT not in fields:
        raise InvalidOffer("offer_currency is given without offer_amount")
    if _ISSUER_ID not in fields and _PATHS not in fields:
        raise InvalidOffer("neither offer_issuer_id nor offer_paths is given")
    if any(byte & 0x55 for byte in fields.get(_FEATURES, b"")):
        raise InvalidOffer("offer_features demands a feature that is not known")
    amount = _number(fields, _AMOUNT)
    if amount == 0 or (amount or 0) > MAX_MSAT:
        raise InvalidOffer(f"offer_amount is not from 1 to {MAX_MSAT}")


def _networks(chains: bytes | None) -> frozenset[Network]:
    if chains is None:
        return frozenset({"mainnet"})
    if not chains or len(chains) % _HASH_BYTES:
        raise InvalidOffer("offer_chains is not a list of chains")
    hashes = [chains[i : i + _HASH_BYTES] for i in range(0, len(chains), _HASH_BYTES)]
    return frozenset(_NETWORKS[chain] for chain in hashes if chain in _NETWORKS)


def _currency(value: bytes | None) -> str | None:
    if value is None:
        return None
    if not _is_currency(value):
        raise InvalidOffer("offer_currency is not an ISO 4217 code")
    return value.decode()


def _number(fields: Mapping[int, bytes], type_: int) -> int | None:
    if type_ not in fields:
        return None
    try:
        return truncated_int(fields[type_])
    except InvalidTlv as error:
        raise InvalidOffer(f"field {type_}: {error}") from None


def _text(fields: Mapping[int, bytes], type_: int) -> str | None:
    if type_ not in fields:
        return None
    try:
        return fields[type_].decode()
    except UnicodeDecodeError:
        raise InvalidOffer(f"field {type_} is not UTF-8") from None


def _issuer_id(value: bytes | None) -> str | None:
    if value is None:
        return None
    _check_point(value, name="offer_issuer_id")
    return value.hex()


def _paths(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    position = _end_of_path(value, 0)
    while position < len(value):
        position = _end_of_path(value, position)
    return value


def _end_of_path(paths: bytes, position: int) -> int:
    """Where the `blinded_path` that begins here ends; each part of it is in order."""
    if paths[position : position + 1] in (b"\0", b"\1"):
        position += _SHORT_ID_BYTES
    else:
        position = _end_of_point(paths, position)
    position = _end_of_point(paths, position)
    hops = int.from_bytes(paths[position : position + 1], "big")
    if hops == 0:
        raise InvalidOffer("offer_paths has a path without hops, or one that is cut off")
    position += 1
    for _ in range(hops):
        start = _end_of_point(paths, position) + 2
        position = start + int.from_bytes(paths[start - 2 : start], "big")
        if position > len(paths):
            raise InvalidOffer("offer_paths is cut off")
    return position


def _end_of_point(paths: bytes, position: int) -> int:
    end = position + _POINT_BYTES
    _check_point(paths[position:end], name="offer_paths")
    return end


def _check_point(value: bytes, *, name: str) -> None:
    try:
        if len(value) == _POINT_BYTES:
            PublicKey(value)
            return
    except ValueError:
        pass
    raise InvalidOffer(f"{name} has no point of the curve where it should")


def _minimal(value: int | None) -> bytes | None:
    if value is None:
        return None
    if not 0 <= value < 2**64:
        raise InvalidOffer("a number is not one of 64 bits")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _utf8(text: str | None) -> bytes | None:
    try:
        return None if text is None else text.encode()
    except UnicodeEncodeError:
        raise InvalidOffer("a text is not UTF-8") from None


def _from_hex(text: str | None) -> bytes | None:
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError:
        raise InvalidOffer("a key is not hex") from None


def _leaf(record: Record, first: bytes) -> bytes:
    leaf = _tagged(b"LnLeaf", record.encoded)
    return _branch(leaf, _tagged(b"LnNonce" + first, record.encoded_type))


def _branch(one: bytes, other: bytes) -> bytes:
    return _tagged(b"LnBranch", min(one, other) + max(one, other))


def _tagged(tag: bytes, message: bytes) -> bytes:
    hashed = sha256(tag).digest()
    return sha256(hashed + hashed + message).digest()
