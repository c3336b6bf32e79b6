"""What the embedded relay accepts, holds and passes on, without its sockets."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import structlog

from nwc_service.embedded.events import (
    EventIndex,
    InfoEvents,
    RecentEvents,
    filter_keys,
    newest_first,
)
from nwc_service.embedded.limits import RelayLimits
from nwc_service.embedded.refused import RefusedError
from nwc_service.embedded.subscriptions import Subscriptions
from nwc_service.nostr.event import Event, InvalidEvent, is_authentic, parse_event
from nwc_service.nostr.filter import Filter

__all__ = ["Found", "Hub", "Verdict", "asks_for_private", "parties"]

KIND_INFO = 13194  # NIP-47
KIND_REQUEST = 23194
KIND_RESPONSE = 23195
KIND_NOTIFICATION_LEGACY = 23196
KIND_NOTIFICATION = 23197
PUBLISHED_KINDS = frozenset(
    {KIND_INFO, KIND_RESPONSE, KIND_NOTIFICATION_LEGACY, KIND_NOTIFICATION}
)
RESTORED_KINDS = PUBLISHED_KINDS - {KIND_INFO}
PRIVATE_KINDS = RESTORED_KINDS | {KIND_REQUEST}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an OK message says of an event; `is_proof` if a known key has signed it, as a
    duplicate, which anyone can send, is not."""

    accepted: bool
    message: str = ""
    is_proof: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Stored events, newest first, and how many had to be looked at for them."""

    events: list[Event]
    looked_at: int


class Hub:
    """One per relay; every socket's session shares it."""

    def __init__(
        self,
        limits: RelayLimits,
        *,
        is_party: Callable[[str, str], bool],
        on_request: Callable[[Event], bool],
        require_auth: bool,
        now: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.require_auth = require_auth
        self.now = now
        self.subscriptions = Subscriptions()
        self._is_party = is_party
        self._on_request = on_request
        self._info = InfoEvents()
        # Apart, so that no client can push out what the service has published.
        self._requests = _recent(limits)
        self._published = _recent(limits)
        self._forget_at: dict[str, float] = {}  # by id; about in the order of the times

    def publish(self, event: Event) -> None:
        """Store and pass on an event of the service's own, which is not verified."""
        if event.kind not in PUBLISHED_KINDS:
            raise ValueError(f"kind {event.kind} is not for the wallet service to publish")
        if event.kind == KIND_INFO:
            if self._info.add(event):
                self._pass_on(event, event.to_json())
        else:
            self._store(self._published, event, arrived_at=self.now())

    def restore(self, events: Iterable[Event]) -> None:
        """Take back what was published before a restart, as if it had been held all along."""
        now = self.now()
        for event in sorted(events, key=lambda event: event.created_at):
            if event.kind in RESTORED_KINDS and event.created_at > now - self.limits.kept_s:
                self._store(self._published, event, arrived_at=min(event.created_at, now))

    def is_known(self, pubkey: str) -> bool:
        """Whether the key is of a connection, as the info events tell."""
        return self._info.index.has(("authors", pubkey)) or self._info.index.has(("p", pubkey))

    def names_known_key(self, wanted: Filter) -> bool:
        named = (wanted.authors or frozenset()) | wanted.tags.get("p", frozenset())
        return any(map(self.is_known, named))

    def remove_info(self, pubkey: str) -> None:
        self._info.remove(pubkey)

    def offer(self, raw: dict[str, object], *, auth_keys: AbstractSet[str]) -> Verdict:
        """Judge an event from the network; an accepted one is routed before this returns."""
        try:
            event = self._admissible(raw, auth_keys)
            if event.id in self._forget_at:
                # NIP-01: a duplicate is accepted, since the sender has what it wanted.
                return Verdict(True, "duplicate: already have this event")
            self._check_time(event)
            if not is_authentic(event):
                raise RefusedError("invalid: the id or the signature is wrong")
        except RefusedError as refused:
            return Verdict(False, str(refused))
        except InvalidEvent as problem:
            return Verdict(False, f"invalid: {problem}")
        return self._route(event)

    def find(self, filters: Sequence[Filter], *, may_read: Callable[[Event], bool]) -> Found:
        self._requests.forget_old(self.now())
        self._published.forget_old(self.now())
        found: dict[str, Event] = {}
        looked_at = 0
        for wanted in filters:
            limit = self._limit(wanted)
            candidates = list(self._candidates(wanted)) if limit else []
            looked_at += len(candidates)
            matches = {e.id: e for e in candidates if wanted.matches(e) and may_read(e)}
            newest = sorted(matches.values(), key=newest_first)[:limit]
            found.update((event.id, event) for event in newest)
        return Found(sorted(found.values(), key=newest_first), looked_at)

    def _admissible(self, raw: dict[str, object], auth_keys: AbstractSet[str]) -> Event:
        """The cheap checks, cheapest first. Raises RefusedError or InvalidEvent."""
        if raw.get("kind") != KIND_REQUEST:
            raise RefusedError("blocked: only NIP-47 requests (kind 23194) are taken")
        if len(_sized(raw.get("tags"))) > self.limits.tags_per_event:
            raise RefusedError("invalid: too many tags")
        if len(_sized(raw.get("content"))) > self.limits.content_chars:
            raise RefusedError("invalid: the content is too long")
        event = parse_event(raw)
        recipients = event.tag_values("p")
        if len(recipients) != 1:
            raise RefusedError("invalid: a request has exactly one p tag")
        if not self._is_party(event.pubkey, recipients[0]):
            raise RefusedError("restricted: not a connection of this wallet service")
        if self.require_auth and event.pubkey not in auth_keys:
            raise RefusedError("auth-required: authenticate as the author")
        return event

    def _check_time(self, event: Event) -> None:
        now = self.now()
        if event.created_at < now - self.limits.max_age_s:
            raise RefusedError("invalid: created_at is too old")
        if event.created_at > now + self.limits.max_ahead_s:
            raise RefusedError("invalid: created_at is in the future")
        # NIP-40: "Relays SHOULD drop any events that are published to them if they are
        # expired."
        expiration = event.tag_value("expiration")
        if expiration is not None and not _is_after(expiration, now):
            raise RefusedError("invalid: expired, or without a valid expiration")

    def _route(self, event: Event) -> Verdict:
        try:
            is_taken = self._on_request(event)
        except Exception:  # whatever the service's trouble is, the relay goes on
            log.exception("embedded_relay.request_not_taken")
            return Verdict(
                False, "error: the wallet service cannot take requests now", is_proof=True
            )
        if not is_taken:
            return Verdict(
                False, "error: the wallet service does not take this request now", is_proof=True
            )
        self._remember(event)
        self._store(self._requests, event, arrived_at=self.now())
        return Verdict(True, is_proof=True)

    def _remember(self, event: Event) -> None:
        now = self.now()
        self._forget_at[event.id] = now + self.limits.kept_s
        while len(self._forget_at) > self.limits.remembered_ids or self._oldest_due(now):
            del self._forget_at[next(iter(self._forget_at))]

    def _oldest_due(self, now: float) -> bool:
        return next(iter(self._forget_at.values()), now + 1) <= now

    def _store(self, recent: RecentEvents, event: Event, *, arrived_at: float) -> None:
        text = event.to_json()
        if recent.add(event, size_bytes=len(text), now=arrived_at):
            self._pass_on(event, text)

    def _pass_on(self, event: Event, text: str) -> None:
        for subscription in self.subscriptions.matching(event):
            subscription.deliver(event, text)

    def _candidates(self, wanted: Filter) -> Iterator[Event]:
        keys = filter_keys(wanted)
        for index in self._indexes():
            yield from index.candidates(keys)

    def _indexes(self) -> tuple[EventIndex, ...]:
        return self._info.index, self._requests.index, self._published.index

    def _limit(self, wanted: Filter) -> int:
        most = self.limits.stored_per_filter
        return most if wanted.limit is None else min(wanted.limit, most)


def parties(event: Event) -> set[str]:
    """Those whom an event is between: NIP-42 lets a relay show it to them alone."""
    return {event.pubkey, *event.tag_values("p")}


def asks_for_private(wanted: Filter) -> bool:
    return wanted.kinds is None or not wanted.kinds.isdisjoint(PRIVATE_KINDS)


def _recent(limits: RelayLimits) -> RecentEvents:
    return RecentEvents(
        kept_s=limits.kept_s, max_count=limits.stored_count, max_bytes=limits.stored_bytes
    )


def _sized(value: object) -> str | list[object]:
    """What has a length; anything else is for `parse_event` to refuse."""
    return value if isinstance(value, str | list) else ""


def _is_after(expiration: str, now: float) -> bool:
    return expiration.isascii() and expiration.isdecimal() and int(expiration[:20]) > now
