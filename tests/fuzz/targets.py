"""The parsers under fuzzing. A target takes any bytes and raises only what is a bug.

Where a checksum or a MAC would stop all noise at the door, a second target of the same parser
puts the right one on first (`_sealed`).
"""

import binascii
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

from nwc_service.embedded import RelayLimits
from nwc_service.embedded import session as embedded_session
from nwc_service.embedded.hub import Hub
from nwc_service.methods import METHODS
from nwc_service.methods.method import Params, validated
from nwc_service.nip47 import deeplink, envelope, link, strict_json, uri, walletauth
from nwc_service.nostr import event, keys, nip04, nip44, relay_session
from nwc_service.nostr import filter as filters
from nwc_service.nostr.event import Event
from nwc_service.relay.connection import MAX_FRAME_BYTES
from nwc_service.wallet import address, bech32, bip321, bolt11, bolt12, tlv, uri_query
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.bolt12 import Offer
from nwc_service.wallet.errors import ErrorCode, RequestError
from tests.core.bolt11_forge import CHARSET
from tests.core.bolt11_forge import sealed as sealed_invoice

KEY = bytes(range(32))
REFUSAL = RequestError(ErrorCode.OTHER, "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`read` is what the service does with the input, `refusals` its one answer to what is
    wrong, and `check` holds of all that was read.

    `modules` are those whose lines guide the search, `tokens` what their inputs are made of;
    nothing longer than `max_bytes` reaches the parser in the service.
    """

    read: Callable[[bytes], Any]
    refusals: tuple[type[Exception], ...] = ()
    check: Callable[[Any], object] = lambda read: None
    modules: tuple[ModuleType, ...]
    tokens: tuple[bytes, ...]
    max_bytes: int

    def feed(self, data: bytes) -> None:
        """Raises only what is a bug."""
        try:
            read = self.read(data)
        except self.refusals:
            return
        self.check(read)


def _text(data: bytes) -> str:
    """With lone surrogates for what is not UTF-8, as an escape in JSON can write them."""
    return data.decode("utf-8", "surrogateescape")


def _plaintext(data: bytes) -> str:
    """What was decrypted is Unicode; only an escape in it can write half a surrogate pair."""
    return data.decode("utf-8", "replace")


def relay_frame(data: bytes) -> relay_session.RelayMessage:
    session = relay_session.RelaySession()
    session.subscribe("x", [filters.Filter()])
    return session.receive(_text(data))


def embedded_frame(data: bytes) -> list[str]:
    hub = Hub(
        RelayLimits(),
        is_party=lambda client, wallet: True,
        on_request=lambda request: True,
        require_auth=False,
        now=lambda: 1_800_000_000,
    )
    session = embedded_session.Session(
        hub, challenge="", hosts=(), deliver=lambda frame: None, shared=(), clock=lambda: 0
    )
    return list(session.receive(_text(data)))


def are_frames(replies: list[str]) -> None:
    assert all(isinstance(orjson.loads(reply), list) for reply in replies)


def nostr_event(data: bytes) -> Event:
    parsed = event.parse_event(orjson.loads(data))
    event.is_authentic(parsed)
    return parsed


def is_read_again(parsed: Event) -> None:
    """Where it can be written: what holds half a surrogate pair is read from no JSON."""
    assert event.parse_event(orjson.loads(parsed.to_json())) == parsed


def filter_is_read_again(parsed: filters.Filter) -> None:
    assert filters.parse_filter(parsed.to_dict()) == parsed


def nip19(data: bytes) -> bytes:
    text = _text(data)
    if text[:4].lower() == "nsec":
        return keys.secret_from_nsec(text)
    return bytes.fromhex(keys.public_key_from_npub(text))


def nip44_sealed(data: bytes) -> str:
    """Anything, padded or not, under the right MAC."""
    chacha_key, chacha_nonce, hmac_key = nip44._message_keys(KEY, KEY)
    sealed = KEY + nip44._chacha20(data, key=chacha_key, nonce=chacha_nonce)
    payload = b"\x02" + sealed + nip44._mac(sealed, key=hmac_key)
    return nip44.decrypt(binascii.b2a_base64(payload, newline=False).decode(), key=KEY)


def nip44_is_read_again(text: str) -> None:
    if len(text.encode()) <= nip44.MAX_PLAINTEXT_BYTES:
        payload = nip44.encrypt(text, key=KEY, nonce=KEY)
        assert nip44.decrypt(payload, key=KEY) == text


def nip04_sealed(data: bytes) -> str:
    """Whole blocks of anything, padded or not."""
    blocks = data[: len(data) // 16 * 16]
    ciphertext = Cipher(AES256(KEY), CBC(KEY[:16])).encryptor().update(blocks)
    content = "?iv=".join(
        binascii.b2a_base64(part, newline=False).decode() for part in (ciphertext, KEY[:16])
    )
    return nip04.decrypt(content, shared_x=KEY)


def nip04_is_read_again(text: str) -> None:
    content = nip04.encrypt(text, shared_x=KEY, iv=KEY[:16])
    assert nip04.decrypt(content, shared_x=KEY) == text


def can_be_answered(read: envelope.Request) -> None:
    assert envelope.error_payload(read.method, REFUSAL).encode()


def params(data: bytes) -> Params:
    read = envelope.parse_request(_plaintext(data))
    method = METHODS.get(read.method, METHODS["pay_invoice"])
    return validated(method.params, read.params, bad_params=method.bad_params)


def params_can_be_written(read: Params) -> None:
    assert read.model_dump_json()


def invoice(data: bytes) -> Bolt11:
    return bolt11.decode(_text(data))


def invoice_sealed(data: bytes) -> Bolt11:
    """An invoice that ends before its signature is signed and summed well."""
    prefix, _, rest = _text(data).rpartition("1")
    if not prefix.isascii() or not rest:
        raise bolt11.InvalidInvoice
    words = [CHARSET.find(char) % 32 for char in rest]
    return bolt11.decode(sealed_invoice(prefix, words))


def invoice_is_read_again(read: Bolt11) -> None:
    assert bolt11.decode(read.invoice.upper()) == read


def offer_fields(data: bytes) -> Offer:
    return bolt12.decode("lno1" + bech32.chars_from_digits(bech32.digits_from_bytes(data)))


def offer_is_read_again(read: Offer) -> None:
    assert bolt12.decode(read.offer) == read
    assert len(bolt12.offer_id(read)) == 64


def is_payable_in_part(read: bip321.PaymentUri) -> None:
    assert set(read.on("mainnet")) <= set(read.instructions)


def connection_is_read_again(read: uri.ConnectionUri) -> None:
    built = uri.build(
        wallet_pubkey=read.wallet_pubkey,
        relays=read.relays,
        secret=read.secret,
        lud16=read.lud16,
    )
    assert uri.parse(built) == read


def can_be_shown(read: walletauth.WalletAuth) -> None:
    assert read.renewal is None or read.max_amount_msat is not None
    orjson.dumps([read.name, read.icon, read.return_to, read.relays, read.request_methods])


def can_be_opened(read: deeplink.DeepLink) -> None:
    assert read.answer("nostr+walletconnect:x").isascii()


_JSON = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"1e999", b"NaN", b"-0",
         b"1.0", b"9007199254740993", b"18446744073709551616", b"\\ud800", b"\\u0000",
         b'"a":1,"a":2')  # fmt: skip
_HEX = (b"00" * 32, b"ff" * 32, b"02" * 32, b"ab" * 64)
_EVENT = (b'"id":', b'"pubkey":', b'"created_at":', b'"kind":', b'"tags":', b'"content":',
          b'"sig":', b'["p","', b'["e","')  # fmt: skip
_FILTER = (b'"ids":', b'"authors":', b'"kinds":', b'"#p":', b'"#e":', b'"since":', b'"limit":')
_FRAME = (b'["EVENT",', b'["OK",', b'["EOSE",', b'["CLOSED",', b'["NOTICE",', b'["AUTH",',
          b'["REQ",', b'["CLOSE",')  # fmt: skip
_REQUEST = (b'"method":', b'"params":', b'"pay_invoice"', b'"amount":', b'"invoice":')
_PARAMS = tuple(
    f'"{name}":'.encode() for each in METHODS.values() for name in each.params.model_fields
)
_URI = (b"%00", b"%ff", b"%C3%A9", b"%", b"&", b"=", b"?", b"#", b"//", b":", b"+", b"req-")
_LINK = (b"relay=wss://r.example", b"relays=", b"secret=" + b"02" * 32, b"lud16=", b"state=",
         b"max_amount=1", b"renewal_period=", b"budget_renewal=daily", b"isolated=true",
         b"metadata=%7B%7D", b"return_to=", b"icon=https://i.example", b"name=", b"expires_at=",
         b"request_methods=", b"optional_request_methods=", b"nostr+walletauth+a:",
         b"callback=", b"appname=", b"appicon=")  # fmt: skip
_BITCOIN = (b"bitcoin:", b"BITCOIN:?", b"lightning=", b"lno=", b"amount=", b"label=", b"pop=",
            b"req-pop=", b"sp=", b"bc=", b"tb=", b"bcrt=", b"0.00000001", b".")  # fmt: skip
_INVOICE = (b"lnbc", b"lntb", b"lntbs", b"lnbcrt", b"1", b"10u", b"25m", b"9p", b"qqqqqqq")
_FIELDS = (b"sp5" + b"q" * 52, b"pp5" + b"q" * 52, b"hp5" + b"q" * 52, b"dqq", b"xqzpu",
           b"cqps", b"9q9", b"np4" + b"q" * 53, b"mqq", b"fpp3")  # fmt: skip
_OFFER = (b"lno1", b"LNO1", b"+", b"+ \n", b"pg", b"qgs", b"zcss")
_TLV = (b"\x02\x20", b"\x06\x03USD", b"\x08\x01\x01", b"\x0a\x00", b"\x10\x45", b"\x16\x21\x02",
        b"\xfd\x00\xfd", b"\xfe\x3b\x9a\xca\x01", b"\xff" * 9)  # fmt: skip

FRAME_BYTES = MAX_FRAME_BYTES
CONTENT_BYTES = envelope.MAX_CONTENT_CHARS
PLAINTEXT_BYTES = CONTENT_BYTES * 3 // 4

NOT_JSON = orjson.JSONDecodeError

TARGETS: Mapping[str, Target] = {
    "relay_frame": Target(
        read=relay_frame,
        modules=(relay_session,),
        tokens=_FRAME + _JSON + _HEX,
        max_bytes=FRAME_BYTES,
    ),
    "embedded_frame": Target(
        read=embedded_frame,
        check=are_frames,
        modules=(embedded_session, event, filters),
        tokens=_FRAME + _JSON + _HEX + _EVENT + _FILTER,
        max_bytes=RelayLimits().frame_bytes,
    ),
    "event": Target(
        read=nostr_event,
        refusals=(NOT_JSON, event.InvalidEvent),
        check=is_read_again,
        modules=(event,),
        tokens=_EVENT + _JSON + _HEX,
        max_bytes=FRAME_BYTES,
    ),
    "filter": Target(
        read=lambda data: filters.parse_filter(orjson.loads(data)),
        refusals=(NOT_JSON, filters.InvalidFilter),
        check=filter_is_read_again,
        modules=(filters,),
        tokens=_FILTER + _JSON + _HEX,
        max_bytes=FRAME_BYTES,
    ),
    "nip19": Target(
        read=nip19,
        refusals=(keys.InvalidKey,),
        modules=(keys,),
        tokens=(b"npub1", b"nsec1"),
        max_bytes=8_192,
    ),
    "nip44": Target(
        read=lambda data: nip44.decrypt(_text(data), key=KEY),
        refusals=(nip44.DecryptError,),
        check=nip44_is_read_again,
        modules=(nip44,),
        tokens=(b"Ag", b"=", b"#"),
        max_bytes=FRAME_BYTES,
    ),
    "nip44_sealed": Target(
        read=nip44_sealed,
        refusals=(nip44.DecryptError,),
        check=nip44_is_read_again,
        modules=(nip44,),
        tokens=(b"\0\1a", b"\0\0\0\1\0\0", b"\0" * 32),
        max_bytes=CONTENT_BYTES,
    ),
    "nip04": Target(
        read=lambda data: nip04.decrypt(_text(data), shared_x=KEY),
        refusals=(nip04.DecryptError,),
        check=nip04_is_read_again,
        modules=(nip04,),
        tokens=(b"?iv=", b"=="),
        max_bytes=FRAME_BYTES,
    ),
    "nip04_sealed": Target(
        read=nip04_sealed,
        refusals=(nip04.DecryptError,),
        check=nip04_is_read_again,
        modules=(nip04,),
        tokens=(b"\x10" * 16, b"\1"),
        max_bytes=CONTENT_BYTES,
    ),
    "request": Target(
        read=lambda data: envelope.parse_request(_plaintext(data)),
        refusals=(envelope.BadEnvelope,),
        check=can_be_answered,
        modules=(envelope, strict_json),
        tokens=_REQUEST + _JSON,
        max_bytes=PLAINTEXT_BYTES,
    ),
    "params": Target(
        read=params,
        refusals=(envelope.BadEnvelope, RequestError),
        check=params_can_be_written,
        modules=tuple(sys.modules[each.params.__module__] for each in METHODS.values()),
        tokens=_PARAMS + _JSON + _HEX,
        max_bytes=PLAINTEXT_BYTES,
    ),
    "bolt11": Target(
        read=invoice,
        refusals=(bolt11.InvalidInvoice,),
        check=invoice_is_read_again,
        modules=(bolt11,),
        tokens=_INVOICE,
        max_bytes=bolt11.MAX_INVOICE_LENGTH,
    ),
    "bolt11_sealed": Target(
        read=invoice_sealed,
        refusals=(bolt11.InvalidInvoice,),
        check=invoice_is_read_again,
        modules=(bolt11,),
        tokens=(*_INVOICE, *_FIELDS),
        max_bytes=1_000,
    ),
    "bolt12": Target(
        read=lambda data: bolt12.decode(_text(data)),
        refusals=(bolt12.InvalidOffer,),
        check=offer_is_read_again,
        modules=(bolt12, tlv),
        tokens=_OFFER,
        max_bytes=bolt12.MAX_OFFER_LENGTH,
    ),
    "bolt12_fields": Target(
        read=offer_fields,
        refusals=(bolt12.InvalidOffer,),
        check=offer_is_read_again,
        modules=(bolt12, tlv),
        tokens=_TLV,
        max_bytes=(bolt12.MAX_OFFER_LENGTH - len("lno1")) * 5 // 8,
    ),
    "bip321": Target(
        read=lambda data: bip321.parse(_text(data)),
        refusals=(bip321.InvalidUri,),
        check=is_payable_in_part,
        modules=(bip321, uri_query, address),
        tokens=_BITCOIN + _URI,
        max_bytes=bip321.MAX_URI_LENGTH,
    ),
    "connection_uri": Target(
        read=lambda data: uri.parse(_text(data)),
        refusals=(link.InvalidLink,),
        check=connection_is_read_again,
        modules=(uri, link, uri_query),
        tokens=_LINK + _URI,
        max_bytes=link.MAX_LINK_CHARACTERS,
    ),
    "walletauth": Target(
        read=lambda data: walletauth.parse(_text(data)),
        refusals=(link.InvalidLink,),
        check=can_be_shown,
        modules=(walletauth, link, uri_query),
        tokens=_LINK + _URI + _HEX,
        max_bytes=link.MAX_LINK_CHARACTERS,
    ),
    "deeplink": Target(
        read=lambda data: deeplink.parse(_text(data)),
        refusals=(link.InvalidLink,),
        check=can_be_opened,
        modules=(deeplink, link, uri_query),
        tokens=_LINK + _URI,
        max_bytes=link.MAX_LINK_CHARACTERS,
    ),
}
