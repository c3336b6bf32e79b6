"""All relays together: what comes in is checked cheaply first, what goes out goes to all.

Nothing is remembered or charged to a connection before the signature holds, or anyone could
burn a victim's event id or rate limit by forging its key (A28).
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from nwc_service.metrics.meters import dropped
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event, InvalidEvent, is_authentic, parse_event
from nwc_service.nostr.keys import Keypair
from nwc_service.outbound import Outbound
from nwc_service.ratelimit import Rate
from nwc_service.relay.connection import PublishResult
from nwc_service.relay.delivery import PUBLISH_TIMEOUT_S, Deliveries
from nwc_service.relay.forgeries import Forgeries
from nwc_service.relay.relay import Relay, RelayTerms

__all__ = ["PUBLISH_TIMEOUT_S", "RelayPool"]

MAX_CONTENT_CHARS = 64 * 1024
SEEN_IDS = 100_000
ECHO_S = 2
"""The same event comes from several relays within this time; later it is a repetition."""

_foreign, _echo = map(dropped, ("foreign", "echo"))
_suspect, _forged = map(dropped, ("suspect", "forged"))

NOWHERE_PRIVATE = Outbound()
NO_OTHER_NAMES: Mapping[str, str] = {}

OnRequest = Callable[[Event, bool], bool]
"""Takes a request event, with whether it was taken before; False when it is dropped."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    is_taken: bool


class RelayPool:
    """`client_of` tells the client key of the connection that has a service key, or None;
    `keypair_of` gives the pair of a service key that is listened for, to authenticate with.
    `rate` is of the forged events that are looked at per relay. Of all metrics only those of
    `named_urls` tell which relay it is."""

    def __init__(
        self,
        *,
        client_of: Callable[[str], str | None],
        keypair_of: Callable[[str], Keypair],
        on_request: OnRequest,
        spawn: Callable[[Coroutine[object, object, None]], None],
        clock: Callable[[], int],
        rate: Rate,
        on_open: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        outbound: Outbound = NOWHERE_PRIVATE,
        kind_only_urls: Iterable[str] = (),
        public_urls: Mapping[str, str] = NO_OTHER_NAMES,
        named_urls: Iterable[str] = (),
    ) -> None:
        self._client_of = client_of
        self._on_request = on_request
        self._monotonic = monotonic
        self._terms = RelayTerms(
            keypair_of=cache(keypair_of),
            on_event=self.receive,
            on_open=on_open,
            spawn=spawn,
            clock=clock,
            outbound=outbound,
            kind_only_urls=frozenset(kind_only_urls),
            public_urls=public_urls,
            named_urls=frozenset(named_urls),
        )
        self._deliveries = Deliveries(spawn=spawn, clock=clock)
        self._relays: dict[str, Relay] = {}
        self._forgeries = Forgeries(rate)
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    # --- which relays, and which keys on them

    def listen(
        self, wallet_pubkeys: Iterable[str], *, relays: Sequence[str], are_checked: bool = False
    ) -> None:
        """Listen for requests to these service keys, connecting to relays as needed; only to
        public addresses where `are_checked`, unless somebody trusted has named the relay."""
        pubkeys = list(wallet_pubkeys)
        for url in relays:
            relay = self._relays.get(url)
            if relay is None:
                relay = Relay(url, self._terms, is_checked=are_checked)
                self._relays[url] = relay
            relay.is_checked = relay.is_checked and are_checked
            relay.add(pubkeys)

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(self._relays)

    def __iter__(self) -> Iterator[Relay]:
        return iter(tuple(self._relays.values()))

    @property
    def is_subscribed(self) -> bool:
        return any(relay.is_subscribed for relay in self._relays.values())

    # --- in

    def receive(self, relay_url: str, raw: Mapping[str, object]) -> None:
        """An event from a relay that nobody can trust to have checked anything."""
        author = self._claimed_author(raw)
        if author is None:
            _foreign.inc()
            return
        if self._is_echo(raw.get("id")):
            _echo.inc()
            return
        now = self._monotonic()
        if self._forgeries.is_suspect(relay_url, author, now=now):
            _suspect.inc()
            return
        event = _authentic(raw)
        if event is None:
            _forged.inc()
            self._forgeries.charge(relay_url, author, now=now)
        else:
            self.receive_verified(event)

    def receive_verified(self, event: Event) -> bool:
        """An event whose id and signature hold; False when it is dropped, and may come again.

        What is dropped is remembered for the sake of its echoes only: a copy that is sent
        later is the first to be taken.
        """
        if self._is_echo(event.id):
            _echo.inc()
            return self._seen[event.id].is_taken
        repeated = event.id in self._seen and self._seen[event.id].is_taken
        is_taken = self._on_request(event, repeated)
        self._remember(event.id, is_taken=is_taken or repeated)
        return is_taken

    def _claimed_author(self, raw: Mapping[str, object]) -> str | None:
        """The client whose request this may be; None if it cannot be one."""
        content = raw.get("content")
        if raw.get("kind") != kinds.REQUEST or not isinstance(content, str):
            return None
        if len(content) > MAX_CONTENT_CHARS:
            return None
        client = self._client_of(_addressed(raw))
        return client if client == raw.get("pubkey") else None

    def _is_echo(self, event_id: object) -> bool:
        seen = self._seen.get(event_id) if isinstance(event_id, str) else None
        return seen is not None and self._monotonic() - seen.at <= ECHO_S

    def _remember(self, event_id: str, *, is_taken: bool) -> None:
        self._seen[event_id] = _Seen(self._monotonic(), is_taken)
        self._seen.move_to_end(event_id)
        while len(self._seen) > SEEN_IDS:
            self._seen.popitem(last=False)

    # --- out

    async def publish(self, event: Event, *, relays: Sequence[str]) -> bool:
        """To all of `relays` at once; True as soon as one of them took it, False if none did.

        A relay that is slow or away delays nobody who has another one; it gets the same event
        later, until it takes it or the event is of no more use.
        """
        return await self._deliveries.deliver(event, self._known(relays))

    def bring(self, event: Event, *, relays: Sequence[str]) -> None:
        """To those of `relays` that may lack what another one has taken."""
        self._deliveries.bring(event, self._known(relays))

    def _known(self, urls: Sequence[str]) -> list[Relay]:
        return [self._relays[url] for url in urls if url in self._relays]

    async def publish_to(
        self, relay_url: str, event: Event, *, patience_s: float = PUBLISH_TIMEOUT_S
    ) -> PublishResult:
        """To one relay, which may have `patience_s` to be connected to."""
        relay = self._relays.get(relay_url)
        if relay is None:
            return PublishResult(False, "error: this relay is not connected to")
        timeout_s = PUBLISH_TIMEOUT_S if relay.is_connected else patience_s
        return await relay.publish(event, timeout_s=timeout_s)

    async def stored_infos(
        self, relay_url: str, pubkeys: Sequence[str]
    ) -> dict[str, Event] | None:
        """The newest info event of each author on one relay; None where it is not known."""
        return await self._relays[relay_url].stored_infos(pubkeys)


def _authentic(raw: Mapping[str, object]) -> Event | None:
    """The event, if its id and signature hold."""
    try:
        event = parse_event(raw)
    except InvalidEvent:
        return None
    return event if is_authentic(event) else None


def _addressed(raw: Mapping[str, object]) -> str:
    """The service key named by the first `p` tag, or nothing."""
    tags = raw.get("tags")
    if not isinstance(tags, list):
        return ""
    for tag in tags:
        if isinstance(tag, list) and len(tag) > 1 and tag[0] == "p":
            return tag[1] if isinstance(tag[1], str) else ""
    return ""
