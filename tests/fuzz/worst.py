"""The inputs that cost a parser most, for their size: grown to any size by one number."""

import binascii
import json
from collections.abc import Callable, Mapping

from nwc_service.nostr import nip44
from nwc_service.wallet.tlv import write_tlv
from tests.core import bolt11_forge
from tests.fuzz.targets import KEY

POINT = bytes.fromhex("02eec7245d6b7d2ccb30380bfbe2a3648cd7a942653f5aa340edcea1f283686619")
HEX = "02" * 32
PUBKEY = POINT[1:].hex()
GOOD_FIELDS: list[bolt11_forge.Field] = [
    ("p", bolt11_forge.words(bytes.fromhex(bolt11_forge.HASH))),
    ("s", bolt11_forge.words(bytes.fromhex(bolt11_forge.SECRET))),
    ("d", bolt11_forge.words(b"tea")),
]

INSTRUCTION = f"&lightning={bolt11_forge.invoice_of(GOOD_FIELDS)}"

Grow = Callable[[int], bytes]


def repeated(start: str, middle: str, end: str) -> Grow:
    """As many of the middle as there is room for."""

    def grow(size: int) -> bytes:
        room = size - len(start) - len(end)
        return (start + middle * (room // len(middle)) + end).encode()

    return grow


def numbered(start: str, form: str, end: str) -> Grow:
    """The middle with a number of its own each time, so that no key stands there twice."""

    def grow(size: int) -> bytes:
        count = (size - len(start) - len(end)) // (len(form) + 6)
        return (start + ",".join(form.format(i) for i in range(count)) + end).encode()

    return grow


def an_event(**fields: object) -> str:
    whole = {"id": HEX, "pubkey": HEX, "created_at": 0, "kind": 1, "tags": [], "content": ""}
    return json.dumps(whole | {"sig": HEX * 2} | fields)


def around(field: str) -> tuple[str, str]:
    """What stands before and after this field's value in an event."""
    start, _, end = an_event(**{field: "@"}).partition('"@"')
    return start, end


def listed(start: str, item: str, end: str) -> Grow:
    return repeated(start, f"{item},", f"{item}{end}")


def some(count: int, start: str, item: str, end: str) -> Grow:
    """So many at most, where more are refused at once, and then white space."""

    def grow(size: int) -> bytes:
        here = min(count, (size - len(start) - len(end)) // (len(item) + 1))
        return (start + ",".join([item] * here) + end).encode().ljust(size)

    return grow


def nip44_payload(size: int) -> bytes:
    """The largest plaintext that fits, with everything in order."""
    length = next(
        n
        for n in range(min(nip44.MAX_PLAINTEXT_BYTES, size), 0, -1)
        if _payload_chars(n) <= size
    )
    return nip44.encrypt("a" * length, key=KEY, nonce=KEY).encode()


def _payload_chars(length: int) -> int:
    return -(-(1 + 32 + 2 + nip44.padded_length(length) + 32) // 3) * 4


def nip04_payload(size: int) -> bytes:
    blocks = bytes((size - 28) * 3 // 4 // 48 * 48)
    iv = binascii.b2a_base64(KEY[:16], newline=False)
    return binascii.b2a_base64(blocks, newline=False) + b"?iv=" + iv


def invoice_of(tag: str, length: int) -> Grow:
    """Filled up with fields that nobody knows."""

    def grow(size: int) -> bytes:
        room = size - len(bolt11_forge.invoice_of(GOOD_FIELDS))
        filler: list[bolt11_forge.Field] = [(tag, [0] * length)] * (room // (length + 3))
        return bolt11_forge.invoice_of([*GOOD_FIELDS, *filler]).encode()

    return grow


def offer_of_records(size: int) -> bytes:
    first = 1_000_000_001
    count = (size - 50) // 6
    unknown = [(first + 2 * number, b"") for number in range(count)]
    return write_tlv([(22, POINT), *unknown])


def offer_of_paths(size: int) -> bytes:
    path = POINT + POINT + b"\1" + POINT + b"\0\0"
    return write_tlv([(16, path * ((size - 50) // len(path))), (22, POINT)])


AUTHORIZATION = f"nostr+walletauth:{PUBKEY}?relay=wss://r"
BEFORE_TAGS, AFTER_TAGS = around("tags")
BEFORE_CONTENT, AFTER_CONTENT = around("content")

WORST: Mapping[str, Mapping[str, Grow]] = {
    "relay_frame": {
        "an event": repeated('["EVENT","x",{"content":"', "a", '"}]'),
        "numbers": listed('["EVENT","x",{"a":[', "1", "]}]"),
        "objects": listed('["EVENT","x",{"a":[', "{}", "]}]"),
        "keys": numbered('["EVENT","x",{', '"{}":1', "}]"),
        "escapes": repeated('["NOTICE","', "\\u00e9", '"]'),
        "brackets": repeated("", "[", ""),
    },
    "embedded_frame": {
        "an event": listed('["EVENT",' + BEFORE_TAGS + "[[", '"a"', "]]" + AFTER_TAGS + "]"),
        "values": listed('["REQ","x",{"#d":[', '"a"', "]}]"),
        "keys of filters": listed('["REQ","x",{"ids":[', f'"{HEX}"', "]}]"),
        "kinds": listed('["REQ","x",{"kinds":[', "1", "]}]"),
    },
    "event": {
        "content": repeated(BEFORE_CONTENT + '"', "a", '"' + AFTER_CONTENT),
        "escapes": repeated(BEFORE_CONTENT + '"', "\\u0001", '"' + AFTER_CONTENT),
        "tags": some(2_000, BEFORE_TAGS + "[", '["a","\\u0001"]', "]" + AFTER_TAGS),
        "too many tags": listed(BEFORE_TAGS + "[", '["a"]', "]" + AFTER_TAGS),
        "a long tag": listed(BEFORE_TAGS + "[[", '"a"', "]]" + AFTER_TAGS),
    },
    "filter": {
        "values": listed('{"#d":[', '"a"', "]}"),
        "keys": listed('{"ids":[', f'"{HEX}"', "]}"),
        "kinds": listed('{"kinds":[', "1", "]}"),
    },
    "nip44": {"in order": nip44_payload, "a wrong MAC": repeated("Ag", "A", "")},
    "nip04": {"in order": nip04_payload, "two IVs": repeated("", "AAAA?iv=", "")},
    "request": {
        "text": repeated('{"method":"m","params":{"a":"', "a", '"}}'),
        "objects": some(4_000, '{"method":"m","params":[', "{}", "]}"),
        "too many objects": listed('{"method":"m","params":[', "{}", "]}"),
        "floats": listed('{"method":"m","params":[', "1.0", "]}"),
        "numbers": listed('{"method":"m","params":[', "1", "]}"),
        "long numbers": listed('{"method":"m","params":[', "9" * 4000, "]}"),
        "keys": numbered('{"method":"m","params":{', '"{}":1', "}}"),
        "escapes": repeated('{"method":"m","params":{"a":"', "\\ud83d\\ude00", '"}}'),
        "brackets": repeated('{"method":"m","params":', "[", ""),
    },
    "bolt11": {
        "many fields": invoice_of("q", 0),
        "long fields": invoice_of("q", 1023),
        "a wrong checksum": repeated("lnbc1", "q", ""),
    },
    "bolt12_fields": {"records": offer_of_records, "paths": offer_of_paths},
    "bip321": {
        "invoices": lambda size: b"bitcoin:?" + INSTRUCTION.encode() * min(16, size // 270),
        "an invoice": lambda size: b"bitcoin:?lightning=" + invoice_of("q", 0)(size - 1_103),
        "percents": repeated("bitcoin:?sp=1&label=", "%61", ""),
        "parameters": repeated("bitcoin:?sp=1&", "a&", ""),
    },
    "connection_uri": {
        "relays": repeated(
            f"nostr+walletconnect:{PUBKEY}?secret={HEX}&relays=", "wss://r.example/,", ""
        ),
        "percents": repeated(f"nostr+walletconnect:{PUBKEY}?secret={HEX}&lud16=", "%61", ""),
    },
    "walletauth": {
        "methods": repeated(f"{AUTHORIZATION}&request_methods=", "a%20", ""),
        "parameters": repeated(f"{AUTHORIZATION}&", "a&", ""),
        "metadata": repeated(f"{AUTHORIZATION}&metadata=%5B", "%7B%7D,", "%7B%7D%5D"),
    },
    "deeplink": {"a name": repeated("nostrnwc:connect?callback=a:&appname=", "%61", "")},
}
"""By the target that takes them."""
