"""One relay that others run: connected, subscribed and published to, again and again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.contextvars import clear_contextvars
from websockets.asyncio import client
from websockets.exceptions import WebSocketException

from nwc_service.config import LONGEST_EXPIRATION_S
from nwc_service.metrics.instruments import Counter
from nwc_service.metrics.meters import OTHER, RelayMeter, relay_meter
from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.nostr.relay_session import OkReceived
from nwc_service.relay.backoff import RANDOM, Backoff, Jitter
from nwc_service.relay.link import LOST, Link, Terms, lost

__all__ = ["PublishResult", "RelayConnection"]

CONNECT_TIMEOUT_S = 10
SINCE_MARGIN_S = 300
"""A half-open socket is noticed late, and requests are dated by their clients' clocks."""
CLOSE_TIMEOUT_S = 1
PING_INTERVAL_S = 20  # proxies drop sockets that are idle for a minute
PING_TIMEOUT_S = 20
MAX_FRAME_BYTES = 128 * 1024  # also what bounds the time to decode one (A28)

log = structlog.get_logger()


FOR_GOOD = ("blocked:", "invalid:", "pow:", "restricted:")


@dataclass(frozen=True, slots=True)
class PublishResult:
    """`message` is the relay's, or ours when it gave none."""

    accepted: bool
    message: str

    @property
    def is_refused(self) -> bool:
        """For good; what else is not accepted may be tried again, as after `rate-limited:`,
        `error:`, or `mute:`, which says that nobody listens yet."""
        return not self.accepted and self.message.startswith(FOR_GOOD)


async def anywhere() -> None:
    """To whatever address the name of the relay has."""


class _Connect(client.connect):
    """Without redirects, which would lead past the address that was looked at."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class RelayConnection:
    """`run` keeps it up for as long as it is awaited; the rest may be called at any time.

    `subscriptions` gives what is wanted now, by subscription id. `on_event` gets the relay's
    url and each event as it came: neither parsed nor verified, and perhaps twice. `on_open` is
    called after each connect, once the subscriptions are sent. `auth_keys` are all
    authenticated when the relay gives a challenge (NIP-42). What a callback raises is logged
    and goes no further. `route` is asked before each connect for the one address to connect
    to, and raises OSError when there is none; None leaves it to the name.

    `public_url` is what the relay is called in NIP-42, where that is not `url`.

    Subscriptions ask for what was missed `since` they were last open, unless `keeps_up` is
    False: then for all that is stored.
    """

    def __init__(
        self,
        url: str,
        *,
        subscriptions: Callable[[], Mapping[str, Sequence[Filter]]],
        on_event: Callable[[str, Mapping[str, object]], None],
        on_open: Callable[[], None],
        auth_keys: Callable[[], Sequence[Keypair]] = tuple,
        route: Callable[[], Awaitable[str | None]] = anywhere,
        keeps_up: bool = True,
        public_url: str | None = None,
        meter: RelayMeter | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Jitter = RANDOM,
    ) -> None:
        self.url = url
        self._on_open = on_open
        self._meter = meter or relay_meter(OTHER)
        self._terms = Terms(
            url=url,
            public_url=public_url or url,
            subscriptions=subscriptions,
            on_event=on_event,
            events=self._meter.events,
            on_open=self._opened,
            auth_keys=auth_keys,
            since=self._since if keeps_up else lambda: None,
            on_blind=self._lost_sight,
            now=now,
            clock=clock,
            sleep=sleep,
            jitter=jitter,
        )
        self._route = route
        self._link: Link | None = None
        self._is_open = asyncio.Event()
        self._seen_until = 0

    @property
    def is_connected(self) -> bool:
        return self._is_open.is_set()

    @property
    def is_subscribed(self) -> bool:
        """Connected, and every subscription, if any is wanted, is past its stored events."""
        return self.is_connected and self._link is not None and self._link.is_subscribed

    async def until_subscribed(self) -> None:
        """May never return."""
        await self._is_open.wait()
        if self._link is not None:
            await self._link.until_subscribed()

    async def run(self) -> None:
        """For ever, whatever goes wrong; in a task of its own."""
        clear_contextvars()  # whatever request brought it about ends long before
        backoff = Backoff(jitter=self._terms.jitter)
        while True:
            started_at = self._terms.clock()
            await self._connect_once()
            lasted_s = self._terms.clock() - started_at
            await self._terms.sleep(backoff.next_s(lasted_s=lasted_s))

    async def refresh(self) -> None:
        """Send the subscriptions that have changed since they were sent, and only those."""
        if self._link is not None:
            await self._link.refresh()

    async def publish(self, event: Event, *, timeout_s: float) -> PublishResult:
        """Not accepted may also mean not known: the socket was lost, or the time was up.

        Waits for a connection, and authenticates if asked to, all within `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                ok = await self._publish(event)
        except TimeoutError:
            self._meter.unanswered.inc()
            return PublishResult(False, "error: no answer in time")
        # NIP-01: a duplicate is an event that the relay has.
        accepted = ok.accepted or ok.message.startswith("duplicate:")
        self._counter(ok, accepted=accepted).inc()
        return PublishResult(accepted, ok.message)

    def _counter(self, ok: OkReceived, *, accepted: bool) -> Counter:
        if accepted:
            return self._meter.accepted
        return self._meter.unanswered if ok.message == LOST else self._meter.refused

    async def _publish(self, event: Event) -> OkReceived:
        await self._is_open.wait()
        return lost(event.id) if self._link is None else await self._link.publish(event)

    def _opened(self) -> None:
        # Only now, so that the relay hears what is wanted before it hears what is published.
        self._meter.connects.inc()
        self._is_open.set()
        self._on_open()

    def _lost_sight(self) -> None:
        self._seen_until = int(self._terms.now())

    def _since(self) -> int:
        now = int(self._terms.now())
        # A clock that is set back must not make it ask for what is to come.
        return max(min(self._seen_until, now) - SINCE_MARGIN_S, now - LONGEST_EXPIRATION_S)

    async def _connect_once(self) -> None:
        try:
            address = await self._route()
            async with self._connect(address) as socket:
                await self._use(Link(socket, self._terms))
        except (OSError, WebSocketException, ValueError) as problem:
            # ValueError: a host name or a redirect that cannot be.
            log.warning("relay.unreachable", relay=self.url, error=type(problem).__name__)
        except Exception:  # a bug of ours must not cost the relay until the next start
            log.exception("relay.failed", relay=self.url)
        else:
            log.warning("relay.disconnected", relay=self.url)

    def _connect(self, address: str | None) -> client.connect:
        pinned: dict[str, Any] = {} if address is None else {"host": address, "proxy": None}
        return _Connect(
            self.url,
            compression=None,
            open_timeout=CONNECT_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_size=MAX_FRAME_BYTES,
            **pinned,
        )

    async def _use(self, link: Link) -> None:
        self._link = link
        try:
            await link.run()
        finally:
            self._link = None
            self._is_open.clear()
