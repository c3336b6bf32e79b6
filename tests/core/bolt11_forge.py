"""A second writer of BOLT11, bit by bit as the texts have it, that also writes what no honest
one would: any fields, well signed and with the right checksum."""

from collections.abc import Sequence

from coincurve import PrivateKey

from nwc_service.wallet.units import PaymentHash

KEY = PrivateKey(b"\x07" * 32)
PAYEE = KEY.public_key.format()
HASH = PaymentHash("ab" * 32)
SECRET = "cd" * 32
CREATED_AT = 1_700_000_000
YEAR_S = 365 * 24 * 3600

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

Words = list[int]
Field = tuple[str, Words]


def words(value: bytes) -> Words:
    bits = "".join(f"{byte:08b}" for byte in value)
    bits += "0" * (-len(bits) % 5)
    return [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]


def number(value: int) -> Words:
    return [] if value == 0 else [*number(value // 32), value % 32]


def checksum(prefix: str, data: Words) -> Words:
    """Bit by bit as in BIP 173, so that the tables under test meet an independent answer."""
    generator = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    state = 1
    for word in [*expanded, *data, 0, 0, 0, 0, 0, 0]:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ word
        for bit in range(5):
            state ^= generator[bit] if top >> bit & 1 else 0
    return [(state ^ 1) >> 5 * (5 - i) & 31 for i in range(6)]


def sealed(prefix: str, data: Words, *, signature: bytes | None = None) -> str:
    """An invoice of any words, signed and summed as an honest one is."""
    bits = "".join(f"{word:05b}" for word in data)
    bits += "0" * (-len(bits) % 8)
    message = prefix.encode() + int(bits, 2).to_bytes(len(bits) // 8, "big")
    signed = data + words(signature or KEY.sign_recoverable(message))
    return prefix + "1" + "".join(CHARSET[word] for word in signed + checksum(prefix, signed))


def invoice_of(fields: Sequence[Field], *, prefix: str = "lnbcrt10u") -> str:
    data = [CREATED_AT >> 5 * (6 - i) & 31 for i in range(7)]
    for tag, content in fields:
        data += [CHARSET.index(tag), len(content) // 32, len(content) % 32, *content]
    return sealed(prefix, data)


P: Field = ("p", words(bytes.fromhex(HASH)))
S: Field = ("s", words(bytes.fromhex(SECRET)))
D: Field = ("d", words(b"tea"))
H: Field = ("h", words(b"\x11" * 32))
N: Field = ("n", words(PAYEE))
GOOD = (P, S, D)
