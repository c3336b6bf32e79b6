"""One client connection to a relay, without the socket: NIP-01 and NIP-42.

Text comes in and is told as a value; what is to be sent comes out as text. Nothing that a
relay sends raises.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import orjson

from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair

__all__ = [
    "AuthRequested",
    "ClosedReceived",
    "EoseReceived",
    "EventReceived",
    "Garbage",
    "NoticeReceived",
    "OkReceived",
    "RelayMessage",
    "RelaySession",
    "auth_event",
]

KIND_AUTH = 22242  # NIP-42
MAX_SUBSCRIPTION_ID_CHARS = 64  # NIP-01


@dataclass(frozen=True, slots=True)
class EventReceived:
    """`raw` is decoded JSON and nothing more: neither parsed nor verified."""

    subscription_id: str
    raw: dict[str, object]


@dataclass(frozen=True, slots=True)
class OkReceived:
    """Answers a published or an authenticating event, by its id."""

    event_id: str
    accepted: bool
    message: str


@dataclass(frozen=True, slots=True)
class EoseReceived:
    subscription_id: str


@dataclass(frozen=True, slots=True)
class ClosedReceived:
    subscription_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class NoticeReceived:
    text: str


@dataclass(frozen=True, slots=True)
class AuthRequested:
    challenge: str


@dataclass(frozen=True, slots=True)
class Garbage:
    """Not a relay message; `detail` says why without repeating it."""

    detail: str


RelayMessage = (
    EventReceived
    | OkReceived
    | EoseReceived
    | ClosedReceived
    | NoticeReceived
    | AuthRequested
    | Garbage
)


class _State(Enum):
    REQUESTED = auto()
    LIVE = auto()
    CLOSED = auto()


class RelaySession:
    """Remembers the subscriptions of one connection and its newest NIP-42 challenge."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self.challenge: str | None = None

    def reset(self) -> None:
        """The connection is new: the relay knows no subscription and gave no challenge."""
        self._states.clear()
        self.challenge = None

    @property
    def is_subscribed(self) -> bool:
        """Whether something is subscribed, and all of it is past its stored events."""
        return bool(self._states) and all(
            state is _State.LIVE for state in self._states.values()
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is subscribed to, and nothing was closed."""
        return not self._states

    @property
    def closed_subscriptions(self) -> tuple[str, ...]:
        """What the relay closed, to be subscribed again."""
        return tuple(name for name, state in self._states.items() if state is _State.CLOSED)

    def receive(self, text: str) -> RelayMessage:
        message = parse_message(text)
        match message:
            case EoseReceived(name):
                self._move(name, _State.LIVE)
            case ClosedReceived(name):
                self._move(name, _State.CLOSED)
            case AuthRequested(challenge):
                self.challenge = challenge
        return message

    def subscribe(self, subscription_id: str, filters: Sequence[Filter]) -> str:
        """A REQ frame. An id in use is replaced, as in NIP-01."""
        if not 1 <= len(subscription_id) <= MAX_SUBSCRIPTION_ID_CHARS:
            raise ValueError("a subscription id has 1 to 64 characters")
        self._states[subscription_id] = _State.REQUESTED
        return _frame("REQ", subscription_id, *(each.to_dict() for each in filters))

    def unsubscribe(self, subscription_id: str) -> str:
        self._states.pop(subscription_id, None)
        return _frame("CLOSE", subscription_id)

    def publish(self, event: Event) -> str:
        return _frame("EVENT", event.to_dict())

    def authenticate(self, event: Event) -> str:
        """An AUTH frame of an `auth_event`; several keys may authenticate one connection."""
        return _frame("AUTH", event.to_dict())

    def _move(self, subscription_id: str, state: _State) -> None:
        # A relay may still speak of what we unsubscribed; that does not bring it back.
        if subscription_id in self._states:
            self._states[subscription_id] = state


def auth_event(
    keypair: Keypair, *, relay_url: str, challenge: str, created_at: int, aux: bytes
) -> Event:
    """NIP-42: proves to one relay, for one challenge, who is connected."""
    return sign_event(
        keypair,
        kind=KIND_AUTH,
        content="",
        tags=[("relay", relay_url), ("challenge", challenge)],
        created_at=created_at,
        aux=aux,
    )


def parse_message(text: str) -> RelayMessage:
    """What a relay sent. Elements past those of NIP-01 are ignored."""
    try:
        message: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Garbage("not JSON")
    match message:
        case ["EVENT", str(subscription_id), dict(raw), *_]:
            return EventReceived(subscription_id, raw)
        case ["OK", str(event_id), bool(accepted), *rest]:
            return OkReceived(event_id, accepted, _first_text(rest))
        case ["EOSE", str(subscription_id), *_]:
            return EoseReceived(subscription_id)
        case ["CLOSED", str(subscription_id), *rest]:
            return ClosedReceived(subscription_id, _first_text(rest))
        case ["NOTICE", str(notice), *_]:
            return NoticeReceived(notice)
        case ["AUTH", str(challenge), *_]:
            return AuthRequested(challenge)
    return Garbage("not a relay message")


def _first_text(rest: list[object]) -> str:
    # NIP-01 makes the message mandatory, but its loss is no reason to lose the answer.
    return rest[0] if rest and isinstance(rest[0], str) else ""


def _frame(*parts: object) -> str:
    return orjson.dumps(parts).decode()
