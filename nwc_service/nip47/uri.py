"""`nostr+walletconnect://` connection URIs (NIP-47)."""

from collections.abc import Sequence
from urllib.parse import quote


def build(*, wallet_pubkey: str, relays: Sequence[str], secret: str) -> str:
    """`secret` is the client's private key as hex.

    Relays go without a trailing slash, which some clients stumble over.
    """
    query = "&".join(f"relay={quote(relay.rstrip('/'), safe='')}" for relay in relays)
    return f"nostr+walletconnect://{wallet_pubkey}?{query}&secret={secret}"
