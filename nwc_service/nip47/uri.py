"""`nostr+walletconnect://` connection URIs (NIP-47)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from nwc_service.nip47.link import InvalidLink, Link, parse_link, relay_urls
from nwc_service.nostr.keys import (
    InvalidKey,
    Keypair,
    PublicKey,
    is_hex64,
    parse_public_key,
    public_key_from_npub,
    secret_from_nsec,
)

SCHEMES = ("nostr+walletconnect", "nostrwalletconnect")


@dataclass(frozen=True, slots=True)
class ConnectionUri:
    wallet_pubkey: PublicKey
    relays: tuple[str, ...]
    secret: str = field(repr=False)
    """The client's secret key as hex."""
    lud16: str | None


def build(
    *, wallet_pubkey: str, relays: Sequence[str], secret: str, lud16: str | None = None
) -> str:
    """`secret` is the client's private key as hex.

    Relays go without a trailing slash, which some clients stumble over.
    """
    query = [f"relay={quote(relay.rstrip('/'), safe='')}" for relay in relays]
    query.append(f"secret={secret}")
    if lud16 is not None:
        query.append(f"lud16={quote(lud16, safe='')}")
    return f"nostr+walletconnect://{wallet_pubkey}?{'&'.join(query)}"


def parse(text: str) -> ConnectionUri:
    """As tolerant as the clients are: either scheme, `//` or not, `relays` with commas, npub
    and nsec, parameters of others. Raises InvalidLink."""
    link = parse_link(text)
    if link.scheme not in SCHEMES:
        raise InvalidLink("the scheme is not nostr+walletconnect")
    return ConnectionUri(
        wallet_pubkey=_wallet_pubkey(link.body),
        relays=relay_urls(_relays(link)),
        secret=_secret(link.one("secret") or ""),
        lud16=link.text("lud16"),
    )


def _relays(link: Link) -> list[str]:
    listed = (relay for value in link.all("relays") for relay in value.split(","))
    return [*link.all("relay"), *listed]


def _wallet_pubkey(text: str) -> PublicKey:
    try:
        return (
            public_key_from_npub(text) if text.startswith("npub1") else parse_public_key(text)
        )
    except InvalidKey:
        raise InvalidLink("the wallet's key is not a public key") from None


def _secret(text: str) -> str:
    try:
        secret = secret_from_nsec(text) if text.startswith("nsec1") else _bytes(text)
        Keypair(secret)
    except InvalidKey:
        raise InvalidLink("secret is not a secret key") from None
    return secret.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text) if is_hex64(text) else b""
