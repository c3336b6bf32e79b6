"""The events that the embedded relay holds, and how a filter finds them."""

from collections import deque
from collections.abc import Iterable, Iterator

from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter

__all__ = [
    "EventIndex",
    "InfoEvents",
    "RecentEvents",
    "event_keys",
    "filter_keys",
    "is_narrow",
    "newest_first",
]

Key = tuple[str, str]
"""What an event is filed under: a field or a tag letter, and a value."""


def event_keys(event: Event) -> list[Key]:
    """Every key under which a filter may look for this event."""
    keys = [("ids", event.id), ("authors", event.pubkey)]
    keys += [(tag[0], tag[1]) for tag in event.tags if tag[0] in ("e", "p") and len(tag) > 1]
    return keys


def is_narrow(wanted: Filter) -> bool:
    """Whether it names anything that events are filed under."""
    return any(values is not None for _, values in _named(wanted))


def filter_keys(wanted: Filter) -> list[Key]:
    """Keys of which every match has at least one; the narrowest condition gives them.

    A filter that is not narrow has no keys, and so no matches.
    """
    for name, values in _named(wanted):
        if values is not None:
            return [(name, value) for value in values]
    return []


def _named(wanted: Filter) -> Iterator[tuple[str, frozenset[str] | None]]:
    """The narrowest condition first."""
    yield "ids", wanted.ids
    yield "e", wanted.tags.get("e")
    yield "p", wanted.tags.get("p")
    yield "authors", wanted.authors


class EventIndex:
    """Events by key."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Key, dict[str, Event]] = {}

    def __contains__(self, event_id: str) -> bool:
        return self.has(("ids", event_id))

    def has(self, key: Key) -> bool:
        """Whether any event is filed under it."""
        return key in self._by_key

    def add(self, event: Event) -> None:
        for key in event_keys(event):
            self._by_key.setdefault(key, {})[event.id] = event

    def remove(self, event: Event) -> None:
        for key in event_keys(event):
            filed = self._by_key.get(key, {})
            filed.pop(event.id, None)
            if not filed:
                self._by_key.pop(key, None)

    def candidates(self, keys: Iterable[Key]) -> Iterator[Event]:
        """May repeat an event that has several of the keys."""
        for key in keys:
            yield from self._by_key.get(key, {}).values()


class InfoEvents:
    """The newest info event of each author, for as long as the service wants."""

    def __init__(self) -> None:
        self.index = EventIndex()
        self._by_author: dict[str, Event] = {}

    def add(self, event: Event) -> bool:
        """Whether it is now the author's current one."""
        current = self._by_author.get(event.pubkey)
        # NIP-01: of two with the same timestamp "the event with the lowest id (first in
        # lexical order) should be retained".
        if current is not None and newest_first(current) <= newest_first(event):
            return False
        self.remove(event.pubkey)
        self._by_author[event.pubkey] = event
        self.index.add(event)
        return True

    def remove(self, author: str) -> None:
        event = self._by_author.pop(author, None)
        if event is not None:
            self.index.remove(event)


class RecentEvents:
    """Events that came in the last `kept_s` seconds; the oldest go first when room is short."""

    def __init__(self, *, kept_s: float, max_count: int, max_bytes: int) -> None:
        self.index = EventIndex()
        self._kept_s = kept_s
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._arrivals: deque[tuple[float, int, Event]] = deque()
        self._size_bytes = 0

    def add(self, event: Event, *, size_bytes: int, now: float) -> bool:
        """Whether it is new here."""
        if event.id in self.index:
            return False
        self._arrivals.append((now, size_bytes, event))
        self._size_bytes += size_bytes
        self.index.add(event)
        self.forget_old(now)
        return True

    def forget_old(self, now: float) -> None:
        while self._arrivals and self._is_due(now):
            _, size_bytes, event = self._arrivals.popleft()
            self._size_bytes -= size_bytes
            self.index.remove(event)

    def _is_due(self, now: float) -> bool:
        return (
            self._arrivals[0][0] + self._kept_s <= now
            or len(self._arrivals) > self._max_count
            or self._size_bytes > self._max_bytes
        )


def newest_first(event: Event) -> tuple[int, str]:
    """A sorting key, with the order of ties that NIP-01 demands."""
    return -event.created_at, event.id
