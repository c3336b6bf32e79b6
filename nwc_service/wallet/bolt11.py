"""BOLT11 invoices, read strictly and written canonically.

A wallet that reads an invoice otherwise than the node that pays it can be made to pay twice,
so whatever two readers might understand differently is refused here.

https://github.com/lightning/bolts/blob/master/11-payment-encoding.md
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from coincurve import PrivateKey, PublicKey

from nwc_service.wallet import bech32
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash

Network = Literal["mainnet", "testnet", "signet", "regtest"]

MAX_INVOICE_LENGTH = 7089  # as LND; checked before anything else
MAX_EXPIRY_S = 365 * 24 * 3600
MAX_FINAL_CLTV_DELTA = 52_560  # blocks of one year; nodes refuse far less
MAX_DESCRIPTION_BYTES = 1023 * 5 // 8
DEFAULT_EXPIRY_S = 3600
DEFAULT_FINAL_CLTV_DELTA = 18

_NETWORKS: Mapping[str, Network] = {
    "bc": "mainnet",
    "tb": "testnet",
    "tbs": "signet",
    "bcrt": "regtest",
}
_CURRENCIES: Mapping[Network, str] = {name: hrp for hrp, name in _NETWORKS.items()}
_PREFIX = re.compile(r"ln(bc|tb|tbs|bcrt)(?:([1-9][0-9]{0,18})([munp]?))?")

_PICO_PER_MSAT = 10
_PICO_PER_UNIT: Mapping[str, int] = {"": 10**12, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}

_TIMESTAMP_DIGITS = 7
_SIGNATURE_DIGITS = 104
_FIELD_HEADER_DIGITS = 3

_TAG_DIGITS = {tag: bech32.digits_from_chars(tag) or "" for tag in "spdhxc9"}
_SINGLE_FIELDS = frozenset("psdhnxc9m")
_FIXED_LENGTHS = {"p": 52, "s": 52, "h": 52, "n": 53}

# BOLT9: var_onion_optin, payment_secret, basic_mpp and option_payment_metadata. Bits that
# are even and not among these demand what a payer might not do.
_KNOWN_FEATURES = 1 << 8 | 1 << 14 | 1 << 16 | 1 << 48
_EVEN_FEATURES = int("5" * 1280, 16)
_OUR_FEATURES = 1 << 8 | 1 << 14

_HALF_CURVE_ORDER = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0


class InvalidInvoice(ValueError):
    """Not an invoice that this service reads or writes. The message is safe to show."""


@dataclass(frozen=True, slots=True)
class Bolt11:
    """A decoded invoice whose signature is good."""

    invoice: str  # canonical: lower case
    network: Network
    amount_msat: Msat | None
    payment_hash: PaymentHash
    payment_secret: str  # 32 bytes as hex
    payee: str  # 33 bytes as hex
    description: str | None  # this or its hash
    description_hash: str | None  # 32 bytes as hex
    created_at: int
    expiry_s: int
    min_final_cltv_delta: int

    @property
    def expires_at(self) -> int:
        return self.created_at + self.expiry_s


def decode(text: str) -> Bolt11:
    """Raises InvalidInvoice, and nothing else, for whatever is not strictly an invoice.

    A payment secret is required, as BOLT11 now demands.
    """
    invoice = _canonical(text)
    prefix, digits = _split(invoice)
    network, amount_msat = _parse_prefix(prefix)
    signed, signature = digits[:-_SIGNATURE_DIGITS], digits[-_SIGNATURE_DIGITS:]
    fields = _parse_fields(signed)
    payee = _recover(prefix, signed, signature=signature)
    if "n" in fields and _hex(fields["n"]) != payee:
        raise InvalidInvoice("the signature is not the payee's")
    return Bolt11(
        invoice=invoice,
        network=network,
        amount_msat=amount_msat,
        payment_hash=PaymentHash(_hex(fields["p"])),
        payment_secret=_hex(fields["s"]),
        payee=payee,
        description=_text(fields["d"]) if "d" in fields else None,
        description_hash=_hex(fields["h"]) if "h" in fields else None,
        created_at=int(signed[:_TIMESTAMP_DIGITS], 32),
        expiry_s=_number(fields, "x", default=DEFAULT_EXPIRY_S, limit=MAX_EXPIRY_S),
        min_final_cltv_delta=_number(
            fields, "c", default=DEFAULT_FINAL_CLTV_DELTA, limit=MAX_FINAL_CLTV_DELTA
        ),
    )


def encode(
    *,
    network: Network,
    amount_msat: Msat | None,
    payment_hash: PaymentHash,
    payment_secret: str,
    description: str | None = None,
    description_hash: str | None = None,
    created_at: int,
    expiry_s: int,
    min_final_cltv_delta: int = DEFAULT_FINAL_CLTV_DELTA,
    secret_key: bytes,
) -> str:
    """The same arguments give the same invoice: the signature's nonce is RFC 6979's.

    Raises InvalidInvoice for values that an invoice cannot hold, among them amounts that are
    no whole satoshi and need more than 19 digits in BTC * 10^-12.
    """
    if (description is None) == (description_hash is None):
        raise InvalidInvoice("either a description or its hash")
    _check_range(created_at, 32**_TIMESTAMP_DIGITS - 1, name="time of creation")
    _check_range(expiry_s, MAX_EXPIRY_S, name="expiry")
    _check_range(min_final_cltv_delta, MAX_FINAL_CLTV_DELTA, name="final CLTV delta")
    prefix = f"ln{_CURRENCIES[network]}{_amount_text(amount_msat)}"
    signed = "".join(
        [
            bech32.digits_from_int(created_at).rjust(_TIMESTAMP_DIGITS, "0"),
            _field("s", _digits_from_hex(payment_secret)),
            _field("p", _digits_from_hex(payment_hash)),
            _description_field(description, description_hash),
            _field("x", bech32.digits_from_int(expiry_s)),
            _field("c", bech32.digits_from_int(min_final_cltv_delta)),
            _field("9", bech32.digits_from_int(_OUR_FEATURES)),
        ]
    )
    return _seal(prefix, signed, secret_key=secret_key)


def _canonical(text: str) -> str:
    if len(text) > MAX_INVOICE_LENGTH:
        raise InvalidInvoice("the invoice is too long")
    if not text.isascii():
        raise InvalidInvoice("the invoice has a character that bech32 does not have")
    lowered = text.lower()
    if text not in (lowered, text.upper()):
        raise InvalidInvoice("the invoice mixes upper and lower case")
    return lowered


def _split(invoice: str) -> tuple[str, str]:
    """The part that people read, and the rest as digits without its checksum."""
    prefix, separator, encoded = invoice.rpartition("1")
    digits = bech32.digits_from_chars(encoded)
    if not separator or digits is None:
        raise InvalidInvoice("the invoice is not bech32")
    if len(digits) < _TIMESTAMP_DIGITS + _SIGNATURE_DIGITS + bech32.CHECKSUM_DIGITS:
        raise InvalidInvoice("the invoice is too short")
    if bech32.checksum_state(prefix, digits) != 1:
        raise InvalidInvoice("the checksum is wrong")
    return prefix, digits[: -bech32.CHECKSUM_DIGITS]


def _parse_prefix(prefix: str) -> tuple[Network, Msat | None]:
    match = _PREFIX.fullmatch(prefix)
    if match is None:
        raise InvalidInvoice("the network or the amount is not one that BOLT11 knows")
    currency, figure, unit = match.groups()
    if figure is None:
        return _NETWORKS[currency], None
    amount_msat, rest = divmod(int(figure) * _PICO_PER_UNIT[unit], _PICO_PER_MSAT)
    if rest:
        raise InvalidInvoice("the amount is not in whole millisatoshis")
    if amount_msat > MAX_MSAT:
        raise InvalidInvoice("the amount is more than all bitcoin")
    return _NETWORKS[currency], Msat(amount_msat)


def _parse_fields(signed: str) -> dict[str, str]:
    """The fields that may stand only once, as digits by tag; all others are skipped."""
    fields: dict[str, str] = {}
    position, end = _TIMESTAMP_DIGITS, len(signed)
    while position < end:
        start = position + _FIELD_HEADER_DIGITS
        header = signed[position:start]
        position = start + int(header[1:] or "0", 32)
        if start > end or position > end:
            raise InvalidInvoice("a field is longer than the invoice")
        tag = bech32.chars_from_digits(header[0])
        if tag not in _SINGLE_FIELDS:
            continue
        if tag in fields:
            raise InvalidInvoice(f"field {tag} stands there twice")
        fields[tag] = signed[start:position]
    _check_fields(fields)
    return fields


def _check_fields(fields: Mapping[str, str]) -> None:
    for tag, length in _FIXED_LENGTHS.items():
        if tag in fields and len(fields[tag]) != length:
            raise InvalidInvoice(f"field {tag} has a wrong length")
    for tag, name in (("p", "payment hash"), ("s", "payment secret")):
        if tag not in fields:
            raise InvalidInvoice(f"the {name} is missing")
    if ("d" in fields) == ("h" in fields):
        raise InvalidInvoice("either a description or its hash")
    if "m" in fields:
        _bytes(fields["m"])
    if int(fields.get("9") or "0", 32) & _EVEN_FEATURES & ~_KNOWN_FEATURES:
        raise InvalidInvoice("the invoice demands a feature that is not known")


def _recover(prefix: str, signed: str, *, signature: str) -> str:
    """The key that signed, as hex; a high S is refused, since a stranger can make one."""
    value = int(signature, 32).to_bytes(65, "big")
    if int.from_bytes(value[32:64], "big") > _HALF_CURVE_ORDER or value[64] > 3:
        raise InvalidInvoice("the signature is not canonical")
    message = _signed_message(prefix, signed)
    try:
        return PublicKey.from_signature_and_message(value, message).format().hex()
    except ValueError:
        raise InvalidInvoice("the signature is not valid") from None


def _seal(prefix: str, signed: str, *, secret_key: bytes) -> str:
    message = _signed_message(prefix, signed)
    signature = PrivateKey(secret_key).sign_recoverable(message)
    digits = signed + bech32.digits_from_bytes(signature)
    state = bech32.checksum_state(prefix, digits + "0" * bech32.CHECKSUM_DIGITS) ^ 1
    checksum = bech32.digits_from_int(state).rjust(bech32.CHECKSUM_DIGITS, "0")
    return f"{prefix}1{bech32.chars_from_digits(digits + checksum)}"


def _signed_message(prefix: str, signed: str) -> bytes:
    """BOLT11: the prefix and the data, "with 0 bits appended to pad the data to the next byte
    boundary"; what is signed is its SHA-256."""
    bits = 5 * len(signed)
    padding = -bits % 8
    return prefix.encode() + (int(signed, 32) << padding).to_bytes((bits + padding) // 8, "big")


def _bytes(digits: str) -> bytes:
    value = bech32.bytes_from_digits(digits)
    if value is None:
        raise InvalidInvoice("a field is not padded with zeros")
    return value


def _hex(digits: str) -> str:
    return _bytes(digits).hex()


def _text(digits: str) -> str:
    try:
        return _bytes(digits).decode()
    except UnicodeDecodeError:
        raise InvalidInvoice("the description is not UTF-8") from None


def _number(fields: Mapping[str, str], tag: str, *, default: int, limit: int) -> int:
    """Refused beyond the limit and never clamped: money waits for this very expiry."""
    if tag not in fields:
        return default
    value = int(fields[tag] or "0", 32)
    if value > limit:
        raise InvalidInvoice(f"field {tag} is larger than {limit}")
    return value


def _check_range(value: int, limit: int, *, name: str) -> None:
    if not 0 <= value <= limit:
        raise InvalidInvoice(f"the {name} is not from 0 to {limit}")


def _amount_text(amount_msat: Msat | None) -> str:
    """BOLT11: "the shortest representation possible"."""
    if amount_msat is None:
        return ""
    if not 1 <= amount_msat <= MAX_MSAT:
        raise InvalidInvoice("the amount is not one that bitcoin has")
    pico = amount_msat * _PICO_PER_MSAT
    unit = next(unit for unit, size in _PICO_PER_UNIT.items() if pico % size == 0)
    text = f"{pico // _PICO_PER_UNIT[unit]}{unit}"
    if _PREFIX.fullmatch(f"lnbc{text}") is None:
        raise InvalidInvoice("the amount has more than 19 digits")
    return text


def _description_field(description: str | None, description_hash: str | None) -> str:
    if description_hash is not None:
        return _field("h", _digits_from_hex(description_hash))
    try:
        encoded = (description or "").encode()
    except UnicodeEncodeError:
        raise InvalidInvoice("the description is not UTF-8") from None
    if len(encoded) > MAX_DESCRIPTION_BYTES:
        raise InvalidInvoice(f"the description is longer than {MAX_DESCRIPTION_BYTES} bytes")
    return _field("d", bech32.digits_from_bytes(encoded))


def _field(tag: str, digits: str) -> str:
    length = bech32.digits_from_int(len(digits)).rjust(2, "0")
    return _TAG_DIGITS[tag] + length + digits


def _digits_from_hex(text: str) -> str:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InvalidInvoice("a hash or secret is not 32 bytes as hex")
    return bech32.digits_from_bytes(value)
