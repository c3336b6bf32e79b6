"""What a relay says of its limits (NIP-11). What it does not say is not known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from nwc_service.nostr.event import Event
from nwc_service.outbound import fetch

__all__ = ["Limits", "fetch_limits", "parse_limits"]

FETCH_TIMEOUT_S = 3.0
MAX_DOCUMENT_BYTES = 64 * 1024

MIN_MESSAGE_BYTES = 4096
"""Below this no request or answer would pass: a relay that says less is not believed."""
KEYS_PER_FILTER = 1000  # 67 KB of a frame, which relays cap at 128 KiB
KEY_BYTES = 67  # a hex key, its quotes and a comma
FRAME_BYTES = 256  # all else of a REQ or an EVENT frame, with room to spare

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`oldest_s` and `newest_s` are how far an event's date may lie back and ahead."""

    max_message_bytes: int | None = None
    max_subscriptions: int | None = None
    max_limit: int | None = None
    max_event_tags: int | None = None
    max_content_chars: int | None = None
    oldest_s: int | None = None
    newest_s: int | None = None

    @property
    def keys_per_filter(self) -> int:
        if self.max_message_bytes is None:
            return KEYS_PER_FILTER
        room_bytes = max(self.max_message_bytes, MIN_MESSAGE_BYTES) - FRAME_BYTES
        return min(KEYS_PER_FILTER, room_bytes // KEY_BYTES)

    def keys_per_socket(self, *, default_subscriptions: int) -> int:
        subscriptions = self.max_subscriptions or default_subscriptions
        return subscriptions * self.keys_per_filter

    def objection(self, event: Event, *, now: int) -> str | None:
        """Why the relay would refuse the event, in the words of an OK; None if it would not."""
        if _exceeds(len(event.tags), self.max_event_tags):
            return "invalid: more tags than this relay takes"
        if _exceeds(len(event.content), self.max_content_chars):
            return "invalid: longer than this relay takes"
        if self.max_message_bytes is not None and self._is_too_long(event):
            return "invalid: longer than this relay takes"
        if _exceeds(now - event.created_at, self.oldest_s):
            return "invalid: older than this relay takes"
        if _exceeds(event.created_at - now, self.newest_s):
            return "error: this relay takes it only later"
        return None

    def _is_too_long(self, event: Event) -> bool:
        frame_bytes = len(f'["EVENT",{event.to_json()}]'.encode())
        return _exceeds(frame_bytes, self.max_message_bytes)


def _exceeds(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit


async def fetch_limits(relay_url: str, *, address: str | None) -> Limits | None:
    """None when the relay does not answer; none are known of one that answers anything else."""
    try:
        document = await fetch(
            relay_url.replace("ws", "http", 1),
            address=address,
            headers={"Accept": "application/nostr+json"},
            timeout_s=FETCH_TIMEOUT_S,
            max_bytes=MAX_DOCUMENT_BYTES,
        )
        return parse_limits(orjson.loads(document), relay_url=relay_url)
    except OSError:
        return None
    except ValueError:
        log.debug("relay.no_document", relay=relay_url)
        return Limits()


def parse_limits(document: object, *, relay_url: str) -> Limits:
    """Raises ValueError when this is no information document."""
    if not isinstance(document, dict):
        raise ValueError("not an object")
    limitation = document.get("limitation")
    if not isinstance(limitation, dict):
        return Limits()
    _warn_of_demands(limitation, relay_url)
    return Limits(
        max_message_bytes=_whole(limitation, "max_message_length"),
        max_subscriptions=_whole(limitation, "max_subscriptions"),
        max_limit=_whole(limitation, "max_limit"),
        max_event_tags=_whole(limitation, "max_event_tags"),
        max_content_chars=_whole(limitation, "max_content_length"),
        oldest_s=_whole(limitation, "created_at_lower_limit"),
        newest_s=_whole(limitation, "created_at_upper_limit"),
    )


def _warn_of_demands(limitation: Mapping[str, Any], relay_url: str) -> None:
    demands = ("payment_required", "restricted_writes", "min_pow_difficulty")
    demanded = [name for name in demands if limitation.get(name) not in (None, False, 0)]
    if demanded:
        log.warning("relay.demands", relay=relay_url, demands=demanded)


def _whole(limitation: Mapping[str, Any], key: str) -> int | None:
    """Zero is no limit: a relay that took nothing would not be one."""
    value = limitation.get(key)
    return value if type(value) is int and value > 0 else None
