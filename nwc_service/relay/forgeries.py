"""What it may cost that a relay passes on events which nobody has signed."""

from nwc_service.ratelimit import Buckets, Rate

__all__ = ["Forgeries"]

PER_AUTHOR = Rate(per_s=0.1, burst=5)
RELAY_REST_S = 1.0
AUTHOR_REST_S = 10.0
"""How long a budget that was found spent counts as spent."""


class Forgeries:
    """Two budgets that only forged events are charged to: of the relay that sent them, and of
    the author whose key they claim there.

    A relay that has spent its budget is listened to no longer where it speaks for an author who
    has spent his as well; all others go on. So whoever signs is never dropped for the number
    of his own events, nor for what is forged in other names: to stop one client on one relay
    takes a flood in that client's own name, and then the client's other relays still serve.
    """

    def __init__(self, per_relay: Rate) -> None:
        self._relays = Buckets(per_relay)
        self._authors = Buckets(PER_AUTHOR)
        # Both only ever hold relays and authors that we know.
        self._relay_rests_until: dict[str, float] = {}
        self._author_rests_until: dict[str, float] = {}

    def is_suspect(self, relay_url: str, author: str, *, now: float) -> bool:
        """Whether an event must be dropped without a look at its signature."""
        return now < self._relay_rests_until.get(
            relay_url, now
        ) and now < self._author_rests_until.get(_claim(relay_url, author), now)

    def charge(self, relay_url: str, author: str, *, now: float) -> None:
        """Of an event that turned out forged."""
        if not self._relays.take(relay_url, now=now):
            self._relay_rests_until[relay_url] = now + RELAY_REST_S
        claim = _claim(relay_url, author)
        if not self._authors.take(claim, now=now):
            self._author_rests_until[claim] = now + AUTHOR_REST_S


def _claim(relay_url: str, author: str) -> str:
    return f"{author} {relay_url}"
