"""NIP-98: an event that proves, for one request, who holds a key."""

from nwc_service.nostr.event import Event, is_authentic
from nwc_service.nostr.keys import PublicKey

KIND = 27_235
LASTS_S = 60
"""NIP-98: "The created_at timestamp MUST be within a reasonable time window (suggestion 60
seconds)"."""


class NotProven(ValueError):
    """It proves nothing for this request; the message says why."""


def proven_key(event: Event, *, url: str, method: str, now: int) -> PublicKey:
    """Whose request it is. Raises NotProven."""
    if event.kind != KIND:
        raise NotProven(f"the event must be of kind {KIND}")
    if abs(now - event.created_at) > LASTS_S:
        raise NotProven("the event is too old, or your clock is wrong")
    if event.tag_values("u") != [url] or event.tag_values("method") != [method]:
        raise NotProven("the event is for another request")
    if not is_authentic(event):
        raise NotProven("the signature is not valid")
    return event.pubkey
