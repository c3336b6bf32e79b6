"""One client of the embedded relay, without its socket: NIP-01 and NIP-42."""

from collections.abc import Callable, Collection, Iterator, Sequence

import orjson

from nwc_service.embedded.auth import authenticated_key
from nwc_service.embedded.events import is_narrow
from nwc_service.embedded.hub import KIND_INFO, Hub, asks_for_private, parties
from nwc_service.embedded.limits import TokenBucket
from nwc_service.embedded.refused import RefusedError
from nwc_service.embedded.subscriptions import Subscription
from nwc_service.metrics.meters import count_refusal
from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter, InvalidFilter, parse_filter

__all__ = ["Session"]

# What a message costs, in tokens, beside the one for itself. An event that is sent is one more.
REFUSAL_TOKENS = 9
SIGNATURE_TOKENS = 9
CHARS_PER_TOKEN = 4_096
STEPS_PER_TOKEN = 20  # a value of a filter, or a stored event looked at

EVENT_ID_CHARS = 64

NOT_NIP_01 = "invalid: not a NIP-01 message in a text frame"


class Session:
    """Takes frames and gives the replies; live events go out by `deliver`, which must not
    block. `hosts` are this relay's own names, `clock` counts seconds from anywhere.

    Who is not trusted draws on the `shared` buckets too, and waits for them. Trust comes with a
    signature of a known key and goes with a refusal: so those who sign well wait for nobody,
    forgers wait for each other, and a newcomer waits as long as the others of his turn.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        challenge: str,
        hosts: Collection[str],
        deliver: Callable[[str], None],
        shared: Sequence[TokenBucket],
        clock: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._limits = hub.limits
        self._challenge = challenge
        self._hosts = hosts
        self._deliver = deliver
        self._clock = clock
        self._bucket = TokenBucket(
            rate_per_s=hub.limits.tokens_per_s, burst=hub.limits.token_burst, now=clock()
        )
        self._shared = tuple(shared)
        self._auth_keys: set[str] = set()
        self._subscriptions: dict[str, Subscription] = {}
        self._names_known_key = False
        self.is_trusted = False
        self.has_proof = False
        """Whether it was trusted ever."""

    @property
    def names_known_key(self) -> bool:
        """Whether a filter of its has named a key that we know."""
        if not self._names_known_key:
            self._names_known_key = any(map(self._hub.names_known_key, self._held_filters()))
        return self._names_known_key

    def greeting(self) -> str:
        return _frame("AUTH", self._challenge)

    def wait_s(self) -> float:
        """How long this client's next frame has to wait, for what it has cost already."""
        buckets = (self._bucket,) if self.is_trusted else (self._bucket, *self._shared)
        now = self._clock()
        return max(bucket.wait_s(now) for bucket in buckets)

    def receive(self, frame: str | bytes) -> Iterator[str]:
        """The replies, in order. Whatever the frame is, nothing raises."""
        self._bucket.take(1 + len(frame) / CHARS_PER_TOKEN)
        if not self.is_trusted:
            self._take_shared()
        try:
            message: object = orjson.loads(frame) if isinstance(frame, str) else None
        except orjson.JSONDecodeError:
            message = None
        match message:
            case ["EVENT", dict(raw)] if _has_id(raw):
                yield self._event(raw)
            case ["REQ", str(name), *filters] if self._is_name(name):
                yield from self._req(name, filters)
            case ["CLOSE", str(name)]:
                self._unsubscribe(name)
            case ["AUTH", dict(raw)] if _has_id(raw):
                yield self._auth(raw)
            case _:
                self._refused(NOT_NIP_01)
                yield _frame("NOTICE", NOT_NIP_01)

    def close(self) -> None:
        for name in list(self._subscriptions):
            self._unsubscribe(name)

    def _event(self, raw: dict[str, object]) -> str:
        verdict = self._hub.offer(raw, auth_keys=self._auth_keys)
        if verdict.is_proof:
            self._proved()
        elif not verdict.accepted:
            self._refused(verdict.message)
        return _frame("OK", raw["id"], verdict.accepted, verdict.message)

    def _auth(self, raw: dict[str, object]) -> str:
        self._bucket.take(SIGNATURE_TOKENS)
        try:
            key = authenticated_key(
                raw, challenge=self._challenge, hosts=self._hosts, now=self._hub.now()
            )
            self._add_key(key)
        except RefusedError as refused:
            self._refused(str(refused))
            return _frame("OK", raw["id"], False, str(refused))
        return _frame("OK", raw["id"], True, "")

    def _add_key(self, key: str) -> None:
        if len(self._auth_keys | {key}) > self._limits.keys_per_socket:
            raise RefusedError("rate-limited: too many keys on this connection")
        self._auth_keys.add(key)
        if self._hub.is_known(key):
            self._proved()

    def _proved(self) -> None:
        self.is_trusted = self.has_proof = True

    def _refused(self, message: str) -> None:
        count_refusal(message)
        self._bucket.take(REFUSAL_TOKENS)
        if self.is_trusted:
            self.is_trusted = False
            self._take_shared()

    def _take_shared(self) -> None:
        for bucket in self._shared:
            bucket.take(1)

    def _req(self, name: str, raw_filters: Sequence[object]) -> Iterator[str]:
        # NIP-01: a REQ with an id in use replaces that subscription.
        self._unsubscribe(name)
        try:
            filters = self._filters(raw_filters)
            self._subscribe(name, filters)
        except RefusedError as refused:
            self._refused(str(refused))
            yield _frame("CLOSED", name, str(refused))
            return
        found = self._hub.find(filters, may_read=self._may_read)
        self._bucket.take(len(found.events) + found.looked_at / STEPS_PER_TOKEN)
        for event in found.events:
            yield _event_frame(name, event.to_json())
        yield _frame("EOSE", name)

    def _filters(self, raw_filters: Sequence[object]) -> tuple[Filter, ...]:
        """Raises RefusedError."""
        if not 1 <= len(raw_filters) <= self._limits.filters_per_req:
            raise RefusedError(f"invalid: 1 to {self._limits.filters_per_req} filters, please")
        try:
            filters = tuple(map(parse_filter, raw_filters))
        except InvalidFilter as problem:
            raise RefusedError(f"invalid: {problem}") from None
        self._bucket.take(sum(map(_value_count, filters)) / STEPS_PER_TOKEN)
        if max(map(_value_count, filters)) > self._limits.values_per_filter:
            raise RefusedError("invalid: too many values in a filter")
        # Any other would list the connections and their traffic to whoever asks.
        if not all(map(is_narrow, filters)):
            raise RefusedError("restricted: name ids, authors, #e or #p")
        if (
            self._hub.require_auth
            and not self._auth_keys
            and any(map(asks_for_private, filters))
        ):
            raise RefusedError(
                "auth-required: authenticate as one of those whom the events concern"
            )
        return filters

    def _subscribe(self, name: str, filters: tuple[Filter, ...]) -> None:
        """Raises RefusedError."""
        if len(self._subscriptions) >= self._limits.subscriptions_per_socket:
            raise RefusedError("rate-limited: too many subscriptions")
        if (
            sum(map(_value_count, (*self._held_filters(), *filters)))
            > self._limits.values_per_socket
        ):
            raise RefusedError("rate-limited: too many values in all subscriptions")
        subscription = Subscription(filters, self._deliver_for(name))
        self._hub.subscriptions.add(subscription)
        self._subscriptions[name] = subscription

    def _held_filters(self) -> Iterator[Filter]:
        return (each for held in self._subscriptions.values() for each in held.filters)

    def _unsubscribe(self, name: str) -> None:
        subscription = self._subscriptions.pop(name, None)
        if subscription is not None:
            self._hub.subscriptions.remove(subscription)

    def _deliver_for(self, name: str) -> Callable[[Event, str], None]:
        def deliver(event: Event, event_json: str) -> None:
            if self._may_read(event):
                self._deliver(_event_frame(name, event_json))

        return deliver

    def _may_read(self, event: Event) -> bool:
        return (
            not self._hub.require_auth
            or event.kind == KIND_INFO
            or not self._auth_keys.isdisjoint(parties(event))
        )

    def _is_name(self, name: str) -> bool:
        return 1 <= len(name) <= self._limits.subscription_id_chars


def _has_id(raw: dict[str, object]) -> bool:
    """Whether an OK can name this event."""
    event_id = raw.get("id")
    return isinstance(event_id, str) and len(event_id) == EVENT_ID_CHARS


def _value_count(wanted: Filter) -> int:
    lists = (wanted.ids, wanted.authors, wanted.kinds, *wanted.tags.values())
    return sum(len(values) for values in lists if values is not None)


def _event_frame(name: str, event_json: str) -> str:
    return f'["EVENT",{orjson.dumps(name).decode()},{event_json}]'


def _frame(*parts: object) -> str:
    return orjson.dumps(parts).decode()
