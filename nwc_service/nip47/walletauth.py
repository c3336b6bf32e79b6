"""Requests for a connection that a client makes for its own key.

`nostr+walletauth://` in its two forms, the older one and NWC-08, and the same parameters at an
HTTP page. Name, icon and metadata are the client's own words, and proven by nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from nwc_service.nip47 import strict_json
from nwc_service.nip47.link import InvalidLink, Link, parse_link, relay_urls
from nwc_service.nostr.keys import InvalidKey, PublicKey, parse_public_key
from nwc_service.wallet.budget import Renewal
from nwc_service.wallet.units import MAX_MSAT, Msat

MAX_EXPIRES_AT = 2**53
MAX_METADATA_CHARACTERS = 4096  # NWC-06

_SCHEME = re.compile(r"nostr\+walletauth(?:\+(?P<wallet>[a-z0-9.-]{1,64}))?")
# NWC-08: "Lowercase hex-encoded random value with at least 128 bits of entropy."
_is_state = re.compile(r"[0-9a-f]{32,128}").fullmatch
_is_word = re.compile(r"[a-z0-9_]{1,64}").fullmatch
_ONLY_NWC_08 = frozenset({"state", "renewal_period", "optional_request_methods"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletAuth:
    """What a client asks for. `state` is None in the older form, and only there.

    `wallet` is the name in `nostr+walletauth+<wallet>`. `renewal` is never without
    `max_amount_msat`.
    """

    client_pubkey: PublicKey
    wallet: str | None
    relays: tuple[str, ...]
    state: str | None
    request_methods: tuple[str, ...]
    optional_request_methods: tuple[str, ...]
    notification_types: tuple[str, ...]
    max_amount_msat: Msat | None
    renewal: Renewal | None
    expires_at: int | None
    isolated: bool
    name: str | None
    icon: str | None
    return_to: str | None
    metadata: Mapping[str, object] | None


def parse(text: str) -> WalletAuth:
    """`nostr+walletauth://<client pubkey>?relay=..`. Raises InvalidLink."""
    link = parse_link(text)
    scheme = _SCHEME.fullmatch(link.scheme)
    if scheme is None:
        raise InvalidLink("the scheme is not nostr+walletauth")
    return _read(
        link, pubkey=link.body, wallet=scheme["wallet"], relays=relay_urls(link.all("relay"))
    )


def parse_page(query: str) -> WalletAuth:
    """The query of an HTTP confirmation page, whose `pubkey` is the client's and whose relays
    are the wallet's to choose. Raises InvalidLink."""
    link = parse_link(f"page:?{query}")
    return _read(link, pubkey=link.one("pubkey") or "", wallet=None, relays=())


def _read(
    link: Link, *, pubkey: str, wallet: str | None, relays: tuple[str, ...]
) -> WalletAuth:
    max_amount_msat = link.number("max_amount", maximum=MAX_MSAT)
    return WalletAuth(
        client_pubkey=_client_pubkey(pubkey),
        wallet=wallet,
        relays=relays,
        state=_state(link),
        request_methods=_words(link, "request_methods"),
        optional_request_methods=_words(link, "optional_request_methods"),
        notification_types=_words(link, "notification_types"),
        max_amount_msat=None if max_amount_msat is None else Msat(max_amount_msat),
        renewal=_renewal(link, has_amount=max_amount_msat is not None),
        expires_at=link.number("expires_at", maximum=MAX_EXPIRES_AT),
        isolated=link.flag("isolated"),
        name=link.text("name"),
        icon=link.web_url("icon"),
        return_to=link.opened_url("return_to"),
        metadata=_metadata(link),
    )


def _client_pubkey(text: str) -> PublicKey:
    try:
        return parse_public_key(text)
    except InvalidKey as error:
        raise InvalidLink(f"pubkey: {error}") from None


def _state(link: Link) -> str | None:
    state = link.one("state")
    if state is None:
        if not _ONLY_NWC_08.isdisjoint(link.parameters):
            raise InvalidLink("state is missing")
        return None
    if not _is_state(state):
        raise InvalidLink("state is not 32 to 128 lowercase hex digits")
    return state


def _words(link: Link, key: str) -> tuple[str, ...]:
    words = link.words(key)
    if not all(map(_is_word, words)):
        raise InvalidLink(f"{key} is not a list of names with spaces between")
    return words


def _renewal(link: Link, *, has_amount: bool) -> Renewal | None:
    """`renewal_period` of NWC-08 is invalid without `max_amount`; the `budget_renewal` of the
    older form is then of no effect, since apps send it with every link."""
    new, old = link.one("renewal_period"), link.one("budget_renewal")
    if new is not None and not has_amount:
        raise InvalidLink("renewal_period is given without max_amount")
    if new is not None and old is not None and new != old:
        raise InvalidLink("renewal_period and budget_renewal differ")
    try:
        renewal = Renewal(new or old or Renewal.NEVER)
    except ValueError:
        name = "budget_renewal" if new is None else "renewal_period"
        raise InvalidLink(f"{name} is not one of {', '.join(Renewal)}") from None
    return renewal if has_amount else None


def _metadata(link: Link) -> Mapping[str, object] | None:
    """NWC-06: what is too long is dropped, and the rest proceeds."""
    text = link.one("metadata")
    if text is None or len(text) > MAX_METADATA_CHARACTERS:
        return None
    # applesauce encodes it twice.
    for readable in (text, unquote(text)):
        try:
            metadata = strict_json.loads(readable)
        except strict_json.NotStrictJson:
            continue
        if isinstance(metadata, dict):
            return metadata
    raise InvalidLink("metadata is not a JSON object")
