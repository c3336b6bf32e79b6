"""NIP-42 as the embedded relay checks it."""

from collections.abc import Collection
from urllib.parse import urlsplit

from nwc_service.embedded.refused import RefusedError
from nwc_service.nostr.event import Event, InvalidEvent, is_authentic, parse_event

__all__ = ["authenticated_key", "host_of"]

KIND_AUTH = 22242
WINDOW_S = 600  # NIP-42: "within ~10 minutes"


def authenticated_key(
    raw: dict[str, object], *, challenge: str, hosts: Collection[str], now: float
) -> str:
    """The public key whose owner signed `challenge`. Raises RefusedError.

    `hosts` are the names of this relay. They must not come from the client's Host header: a
    hostile relay could write its own name there and pass on what its visitor signs.
    """
    try:
        event = parse_event(raw)
    except InvalidEvent as problem:
        raise RefusedError(f"invalid: {problem}") from None
    problem_found = _problem(event, challenge=challenge, hosts=hosts, now=now)
    if problem_found:
        raise RefusedError(f"invalid: {problem_found}")
    return event.pubkey


def _problem(event: Event, *, challenge: str, hosts: Collection[str], now: float) -> str | None:
    if event.kind != KIND_AUTH:
        return "authentication is kind 22242"
    if event.tag_value("challenge") != challenge:
        return "the challenge is another one"
    if abs(event.created_at - now) > WINDOW_S:
        return "created_at is more than ten minutes off"
    # NIP-42: "URL normalization techniques can be applied. For most cases just checking if the
    # domain name is correct should be enough."
    if host_of(event.tag_value("relay") or "") not in hosts:
        return "the relay tag names another relay"
    if not is_authentic(event):
        return "the id or the signature is wrong"
    return None


def host_of(url: str) -> str | None:
    """The host in lower case, without port; None if there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
