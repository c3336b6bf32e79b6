"""One open websocket to a relay, from the first REQ until it is lost."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from nwc_service.metrics.instruments import Counter
from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.nostr.relay_session import (
    AuthRequested,
    ClosedReceived,
    EventReceived,
    NoticeReceived,
    OkReceived,
    RelayMessage,
    RelaySession,
    auth_event,
)
from nwc_service.relay.backoff import Backoff, Jitter

__all__ = ["LOST", "Link", "Terms", "lost"]

AUTH_TIMEOUT_S = 10
LOST = "error: the connection was lost"
FRAMES_PER_TURN = 16  # how many frames are handled before the other tasks' turn

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What every link to one relay is told; see `RelayConnection`."""

    url: str
    public_url: str
    subscriptions: Callable[[], Mapping[str, Sequence[Filter]]]
    on_event: Callable[[str, Mapping[str, object]], None]
    events: Counter
    on_open: Callable[[], None]
    auth_keys: Callable[[], Sequence[Keypair]]
    since: Callable[[], int | None]
    on_blind: Callable[[], None]
    now: Callable[[], float]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    jitter: Jitter


class Link:
    """Used once: `run`, and until it returns the rest."""

    def __init__(self, socket: ClientConnection, terms: Terms) -> None:
        self._socket = socket
        self._terms = terms
        self._session = RelaySession()
        self._sent: dict[str, tuple[Filter, ...]] = {}
        self._sending = asyncio.Lock()
        self._answers: dict[str, set[asyncio.Future[OkReceived]]] = {}  # by event id
        self._is_opened = False
        self._is_over = False
        self._is_closed_upon = asyncio.Event()
        self._auth_wanted = asyncio.Event()
        self._auth_settled = asyncio.Event()
        self._auth_tried: set[str] = set()
        self._auth_answered: set[str] = set()
        self._accepted: set[str] = set()
        self._refused: set[str] = set()
        self._is_live = asyncio.Event()

    @property
    def is_subscribed(self) -> bool:
        """Every subscription, if any is wanted, is past its stored events."""
        if not self._is_opened:
            return False
        if self._session.is_idle:
            return not self._refused
        return self._session.is_subscribed

    async def until_subscribed(self) -> None:
        """May never return, once the socket is lost."""
        while not self.is_subscribed:
            self._is_live.clear()
            await self._is_live.wait()

    async def run(self) -> None:
        """Subscribe, then read until the socket is lost."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keepers = [
                    tasks.create_task(self._open()),
                    tasks.create_task(self._keep_authenticated()),
                    tasks.create_task(self._keep_subscribed()),
                ]
                await self._read()
                for keeper in keepers:
                    keeper.cancel()
        finally:
            if self.is_subscribed:
                self._call(self._terms.on_blind)
            self._is_over = True
            self._auth_settled.set()
            for event_id in list(self._answers):
                self._resolve(lost(event_id))

    async def refresh(self) -> None:
        """Send what has changed in the subscriptions and keys since they were sent."""
        self._auth_wanted.set()
        if self._unanswered():
            self._auth_settled.clear()
        async with self._sending:
            for frame in self._call(self._changed_subscriptions) or ():
                await self._send(frame)

    async def publish(self, event: Event) -> OkReceived:
        """The relay's answer, after authentication if it wants that."""
        ok = await self._publish_once(event)
        if ok.accepted or not ok.message.startswith("auth-required:"):
            return ok
        if self._session.challenge is None or not self._keys():
            return ok
        await self._auth_settled.wait()
        return await self._publish_once(event)

    async def _publish_once(self, event: Event) -> OkReceived:
        if self._is_over:
            return lost(event.id)
        with self._answer_to(event.id) as answer:
            await self._send(self._session.publish(event))
            return await answer

    async def _open(self) -> None:
        await self.refresh()
        self._is_opened = True
        log.info("relay.connected", relay=self._terms.url)
        self._call(self._terms.on_open)

    async def _read(self) -> None:
        frames = 0
        try:
            async for frame in self._socket:
                if isinstance(frame, str):
                    self._receive(frame)
                frames += 1
                if frames % FRAMES_PER_TURN == 0:
                    await asyncio.sleep(0)
        except ConnectionClosed:
            return

    def _receive(self, frame: str) -> None:
        was_subscribed = self.is_subscribed
        self._handle(self._session.receive(frame))
        if self.is_subscribed:
            self._is_live.set()
        elif was_subscribed:
            self._call(self._terms.on_blind)

    def _handle(self, message: RelayMessage) -> None:
        match message:
            case EventReceived(_, raw):
                self._terms.events.inc()
                self._call(lambda: self._terms.on_event(self._terms.url, raw))
            case OkReceived():
                self._resolve(message)
            case ClosedReceived():
                self._is_closed_upon.set()
            case AuthRequested():
                # NIP-42: a new challenge puts the one before out of use.
                for keys in (self._auth_tried, self._auth_answered, self._accepted):
                    keys.clear()
                self._refused.clear()
                self._auth_settled.clear()
                self._auth_wanted.set()
            case NoticeReceived():
                log.debug("relay.notice", relay=self._terms.url)

    async def _keep_subscribed(self) -> None:
        """NIP-01: a relay may close a subscription at any time."""
        backoff = Backoff(jitter=self._terms.jitter)
        renewed_at = self._terms.clock()
        while True:
            await self._is_closed_upon.wait()
            lasted_s = self._terms.clock() - renewed_at
            await self._terms.sleep(backoff.next_s(lasted_s=lasted_s))
            self._is_closed_upon.clear()
            closed = self._session.closed_subscriptions
            if closed:
                log.warning("relay.resubscribing", relay=self._terms.url, count=len(closed))
            for name in closed:
                self._sent.pop(name, None)
            renewed_at = self._terms.clock()
            await self.refresh()

    async def _keep_authenticated(self) -> None:
        backoff = Backoff(jitter=self._terms.jitter)
        answered_at: float | None = None
        while True:
            await self._auth_wanted.wait()
            if answered_at is not None and not self._auth_tried:
                # Each challenge costs a signature of every key, and they may come without end.
                lasted_s = self._terms.clock() - answered_at
                await self._terms.sleep(backoff.next_s(lasted_s=lasted_s))
            self._auth_wanted.clear()
            challenge = self._session.challenge
            if challenge is None:  # the keys are many, and most relays never ask for them
                continue
            keys = [key for key in self._keys() if key.public_key not in self._auth_tried]
            if not keys:
                continue
            answered_at = self._terms.clock()
            is_first_round = not self._auth_tried
            self._auth_tried.update(key.public_key for key in keys)
            await self._authenticate(keys, challenge)
            if challenge == self._session.challenge:
                self._auth_settled.set()
            if self._accepted and is_first_round:
                # The relay may have held back, or closed, what it now may show.
                self._sent.clear()
            await self.refresh()

    async def _authenticate(self, keys: Sequence[Keypair], challenge: str) -> None:
        with ExitStack() as stack:
            answers = {}
            for key in keys:
                event = self._auth_event(key, challenge)
                answer = stack.enter_context(self._answer_to(event.id))
                answers[answer] = key.public_key
                await self._send(self._session.authenticate(event))
            await asyncio.wait(answers, timeout=AUTH_TIMEOUT_S)
            oks = {key: answer.result() for answer, key in answers.items() if answer.done()}
        accepted = {key for key, ok in oks.items() if ok.accepted}
        log.info("relay.authenticated", relay=self._terms.url, keys=len(accepted), of=len(keys))
        if challenge == self._session.challenge:
            self._auth_answered.update(answers.values())
            self._accepted |= accepted
            # NIP-42: `restricted:` says that authentication does not help this key.
            self._refused |= {
                key for key, ok in oks.items() if ok.message.startswith("restricted:")
            } - accepted

    def _auth_event(self, key: Keypair, challenge: str) -> Event:
        return auth_event(
            key,
            relay_url=self._terms.public_url,
            challenge=challenge,
            created_at=int(self._terms.now()),
            aux=secrets.token_bytes(32),
        )

    def _changed_subscriptions(self) -> list[str]:
        """The frames that make the relay's subscriptions what is wanted now."""
        wanted = self._wanted()
        since = self._terms.since()
        frames = [self._session.unsubscribe(name) for name in self._sent.keys() - wanted.keys()]
        for name, filters in wanted.items():
            if self._sent.get(name) != filters:
                dated = [replace(each, since=since) for each in filters] if since else filters
                frames.append(self._session.subscribe(name, dated))
        self._sent = wanted
        return frames

    def _wanted(self) -> dict[str, tuple[Filter, ...]]:
        """Without the keys that the relay has refused, and without those that it has yet to
        authenticate where it has authenticated others: for one such key it would close a
        subscription that all of them share."""
        left_out = self._refused | (self._unanswered() if self._accepted else set())
        wanted = self._terms.subscriptions()
        left = {name: _without(left_out, filters) for name, filters in wanted.items()}
        return {name: filters for name, filters in left.items() if filters}

    def _unanswered(self) -> set[str]:
        """The keys that are still to be authenticated."""
        if self._session.challenge is None:
            return set()
        return {str(key.public_key) for key in self._keys()} - self._auth_answered

    def _keys(self) -> Sequence[Keypair]:
        return self._call(self._terms.auth_keys) or ()

    def _call(self, callback: Callable[[], T]) -> T | None:
        """None if it raised: what is wrong with a callback must not cost the connection."""
        try:
            return callback()
        except Exception:
            log.exception("relay.callback_failed", relay=self._terms.url)
            return None

    async def _send(self, frame: str) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed:
            # `_read` ends for the same reason, and then whoever waits is told.
            return

    @contextmanager
    def _answer_to(self, event_id: str) -> Iterator[asyncio.Future[OkReceived]]:
        answer: asyncio.Future[OkReceived] = asyncio.get_running_loop().create_future()
        waiting = self._answers.setdefault(event_id, set())
        waiting.add(answer)
        try:
            yield answer
        finally:
            answer.cancel()
            waiting.discard(answer)
            if not waiting and self._answers.get(event_id) is waiting:
                del self._answers[event_id]

    def _resolve(self, ok: OkReceived) -> None:
        for answer in self._answers.pop(ok.event_id, ()):
            if not answer.done():
                answer.set_result(ok)


def _without(left_out: AbstractSet[str], filters: Sequence[Filter]) -> tuple[Filter, ...]:
    if not left_out:
        return tuple(filters)
    return tuple(
        replace(each, tags={**each.tags, "p": each.tags["p"] - left_out})
        if "p" in each.tags
        else each
        for each in filters
        if "p" not in each.tags or not each.tags["p"] <= left_out
    )


def lost(event_id: str) -> OkReceived:
    """What stands for an answer that can no longer come."""
    return OkReceived(event_id, accepted=False, message=LOST)
