"""What BIP 173 gives to invoices, offers and addresses: the alphabet, bytes and the checksum.

Words of 5 bits are kept as digits of base 32 ("0" to "v"), which `int` and `base64` convert at
the speed of C.
"""

import base64

CHARSET = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECKSUM_DIGITS = 6

_DIGITS = b"0123456789abcdefghijklmnopqrstuv"
_DIGITS_FROM_CHARS = bytes.maketrans(CHARSET, _DIGITS)
_CHARS_FROM_DIGITS = bytes.maketrans(_DIGITS, CHARSET)
_WORDS_FROM_DIGITS = bytes.maketrans(_DIGITS, bytes(range(32)))


def digits_from_chars(text: str) -> str | None:
    """None for a character that is not of the alphabet, in lower case."""
    chars = text.encode(errors="replace")
    if chars.translate(None, CHARSET):
        return None
    return chars.translate(_DIGITS_FROM_CHARS).decode()


def chars_from_digits(digits: str) -> str:
    return digits.encode().translate(_CHARS_FROM_DIGITS).decode()


def bytes_from_digits(digits: str) -> bytes | None:
    """None where what is left over of whole bytes is a digit or more, or is not zero."""
    size, padding = divmod(5 * len(digits), 8)
    value = int(digits or "0", 32)
    if padding >= 5 or value & ((1 << padding) - 1):
        return None
    return (value >> padding).to_bytes(size, "big")


def digits_from_bytes(value: bytes) -> str:
    return base64.b32hexencode(value).rstrip(b"=").decode().lower()


def digits_from_int(value: int) -> str:
    """The fewest digits; none for zero."""
    digits = ""
    while value:
        value, digit = divmod(value, 32)
        digits = chr(_DIGITS[digit]) + digits
    return digits


def _advance(state: int) -> int:
    """One step of the checksum of BIP 173, before the word is added."""
    top = state >> 25
    state = (state & 0x1FFFFFF) << 5
    for bit, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
        if top >> bit & 1:
            state ^= factor
    return state


_ADVANCE_TWO = tuple(_advance(_advance(top << 20)) for top in range(1024))


def checksum_state(prefix: str, digits: str) -> int:
    """The checksum's state over prefix and digits, two words at a time.

    A state of 1 to begin with is a first word of 1, and zeros before it change nothing: so
    the words can be made even in number at the front.
    """
    chars = prefix.encode()
    high, low = bytes(c >> 5 for c in chars), bytes(c & 31 for c in chars)
    words = b"\1" + high + b"\0" + low + digits.encode().translate(_WORDS_FROM_DIGITS)
    if len(words) % 2:
        words = b"\0" + words
    state = 0
    for first, second in zip(words[::2], words[1::2], strict=True):
        state = (state & 0xFFFFF) << 10 ^ _ADVANCE_TWO[state >> 20] ^ first << 5 ^ second
    return state
