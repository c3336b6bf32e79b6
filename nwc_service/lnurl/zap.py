"""Zap requests (kind 9734) as a payer sends them, and receipts (kind 9735) for them: NIP-57."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from nwc_service.nip47 import strict_json
from nwc_service.nostr.event import Event, InvalidEvent, is_authentic, parse_event, sign_event
from nwc_service.nostr.keys import Keypair, is_hex64
from nwc_service.wallet.units import Msat, Preimage

KIND_ZAP_REQUEST = 9734
KIND_ZAP_RECEIPT = 9735

MAX_ZAP_REQUEST_CHARACTERS = 5000
MAX_RELAYS = 5
MAX_RELAY_CHARACTERS = 200

_RELAY = re.compile(r"wss?://[!-~]+")
_COORDINATE = re.compile(r"[0-9]{1,5}:[0-9a-f]{64}:.*", re.DOTALL)
_COPIED = ("p", "e", "a", "k")


class InvalidZap(ValueError):
    """No zap request that can be receipted; the message is for the payer."""


@dataclass(frozen=True, slots=True)
class ZapRequest:
    """`raw` is the text as it was sent, which the invoice's description hash is of."""

    raw: str
    event: Event
    relays: tuple[str, ...]
    """Where the receipt is to go: the first few, each once."""


def parse_zap_request(raw: str, *, amount_msat: Msat, signer: str) -> ZapRequest:
    """Judged as in appendix D of NIP-57; `signer` is the public key of the receipts.

    Raises InvalidZap.
    """
    if len(raw) > MAX_ZAP_REQUEST_CHARACTERS:
        raise InvalidZap(f"nostr: more than {MAX_ZAP_REQUEST_CHARACTERS} characters")
    event = _event(raw)
    amounts = _values(event, "amount")
    if amounts and amounts != [str(amount_msat)]:
        raise InvalidZap("nostr: its amount is not that of the request")
    if any(key != signer for key in _values(event, "P")):
        raise InvalidZap("nostr: its P tag is not the key that signs the receipt")
    relays = _relays(event)
    if not relays:
        raise InvalidZap("nostr: it names no relay for the receipt")
    return ZapRequest(raw, event, relays)


def receipt(
    keypair: Keypair,
    raw: str,
    *,
    invoice: str,
    preimage: Preimage | None,
    settled_at: int,
    aux: bytes,
) -> Event:
    """Appendix E; `raw` is a zap request that was judged when it came. `aux` is 32 fresh random
    bytes; the id depends on nothing random."""
    request = parse_event(strict_json.loads(raw))
    tags = [list(tag) for tag in request.tags if tag[0] in _COPIED and len(tag) > 1]
    tags += [["P", request.pubkey], ["bolt11", invoice], ["description", raw]]
    if preimage is not None:
        tags.append(["preimage", preimage])
    return sign_event(
        keypair,
        kind=KIND_ZAP_RECEIPT,
        content="",
        tags=tags,
        created_at=settled_at,
        aux=aux,
    )


def _event(raw: str) -> Event:
    try:
        event = parse_event(strict_json.loads(raw))
    except (strict_json.NotStrictJson, InvalidEvent):
        raise InvalidZap("nostr: not an event") from None
    if event.kind != KIND_ZAP_REQUEST:
        raise InvalidZap(f"nostr: not of kind {KIND_ZAP_REQUEST}")
    recipients, events = _values(event, "p"), _values(event, "e")
    if len(recipients) != 1 or not is_hex64(recipients[0]):
        raise InvalidZap("nostr: one p tag with a public key is needed")
    if len(events) > 1 or not all(map(is_hex64, events)):
        raise InvalidZap("nostr: at most one e tag, with an event id")
    if not all(map(_COORDINATE.fullmatch, _values(event, "a"))):
        raise InvalidZap("nostr: an a tag is no coordinate of an event")
    if not is_authentic(event):
        raise InvalidZap("nostr: the signature is not its author's")
    return event


def _values(event: Event, name: str) -> list[str]:
    """A tag without a value has an empty one."""
    return [tag[1] if len(tag) > 1 else "" for tag in event.tags if tag[0] == name]


def _relays(event: Event) -> tuple[str, ...]:
    """Addresses that are no public ones are told from these only when they are resolved."""
    named = [url for tag in event.tags if tag[0] == "relays" for url in tag[1:]]
    usable = (url.rstrip("/") for url in named if _is_relay(url))
    return tuple(dict.fromkeys(usable))[:MAX_RELAYS]


def _is_relay(url: str) -> bool:
    if len(url) > MAX_RELAY_CHARACTERS or not _RELAY.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False
