"""Who wants to see an event that comes now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nwc_service.embedded.events import Key, event_keys, filter_keys
from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter

__all__ = ["Subscription", "Subscriptions"]


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """Told apart by identity. `deliver` gets the event and its JSON, and must not block."""

    filters: tuple[Filter, ...]
    deliver: Callable[[Event, str], None]

    @property
    def keys(self) -> list[Key]:
        return [key for wanted in self.filters for key in filter_keys(wanted)]


class Subscriptions:
    """Filed by the keys of their filters, so that an event meets only those it may match."""

    def __init__(self) -> None:
        self._by_key: dict[Key, dict[Subscription, None]] = {}

    def add(self, subscription: Subscription) -> None:
        for key in subscription.keys:
            self._by_key.setdefault(key, {})[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        for key in subscription.keys:
            filed = self._filed(key)
            filed.pop(subscription, None)
            if not filed:
                self._by_key.pop(key, None)

    def matching(self, event: Event) -> Iterator[Subscription]:
        """Each once, however many of its filters match."""
        candidates: dict[Subscription, None] = {}
        for key in event_keys(event):
            candidates.update(self._filed(key))
        for subscription in candidates:
            if any(wanted.matches(event) for wanted in subscription.filters):
                yield subscription

    def _filed(self, key: Key) -> dict[Subscription, None]:
        return self._by_key.get(key, {})
