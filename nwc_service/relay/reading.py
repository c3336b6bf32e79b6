"""What a relay has stored of a replaceable kind: the newest authentic event of each author."""

from collections import Counter
from collections.abc import Iterable, Mapping

from nwc_service.nostr.event import Event, InvalidEvent, is_authentic, parse_event

__all__ = ["READ_TIMEOUT_S", "Newest"]

READ_TIMEOUT_S = 10.0
LOOKS_PER_AUTHOR = 4
"""A relay that sends more than one event of an author has not replaced the old ones."""


class Newest:
    def __init__(self, *, kind: int, authors: Iterable[str]) -> None:
        self._kind = kind
        self._looks = Counter(dict.fromkeys(authors, LOOKS_PER_AUTHOR))
        self.found: dict[str, Event] = {}

    def look_at(self, raw: Mapping[str, object]) -> None:
        """An event as it came; whatever else a relay sends is passed over."""
        try:
            event = parse_event(raw)
        except InvalidEvent:
            return
        if event.kind != self._kind or self._looks[event.pubkey] <= 0:
            return
        self._looks[event.pubkey] -= 1
        known = self.found.get(event.pubkey)
        if (known is None or _replaces(event, known)) and is_authentic(event):
            self.found[event.pubkey] = event


def _replaces(event: Event, known: Event) -> bool:
    """NIP-01: of two with the same date, the one with the lowest id is kept."""
    return (-event.created_at, event.id) < (-known.created_at, known.id)
