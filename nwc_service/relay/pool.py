"""All relays together: what comes in is checked cheaply first, what goes out goes to all.

Nothing is remembered or charged to a connection before the signature holds, or anyone could
burn a victim's event id or rate limit by forging its key (A28).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cache
from itertools import islice

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event, InvalidEvent, is_authentic, parse_event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.ratelimit import Rate
from nwc_service.relay.connection import RelayConnection
from nwc_service.relay.forgeries import Forgeries

MAX_CONTENT_CHARS = 64 * 1024
KEYS_PER_SUBSCRIPTION = 1000  # 67 KB of a frame, which relays cap at 128 KiB
PUBLISH_TIMEOUT_S = 5.0
BACKFILL_S = 300
SEEN_IDS = 100_000
ECHO_S = 2
"""The same event comes from several relays within this time; later it is a repetition."""

OnRequest = Callable[[Event, bool], None]
"""A request event, and whether it was handed over before."""


class RelayPool:
    """`client_of` tells the client key of the connection that has a service key, or None;
    `keypair_of` gives the pair of a service key that is listened for, to authenticate with.
    `rate` is of the forged events that are looked at per relay."""

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
    ) -> None:
        self._client_of = client_of
        self.keypair_of = cache(keypair_of)
        self._on_request = on_request
        self.spawn = spawn
        self._clock = clock
        self._monotonic = monotonic
        self._on_open = on_open
        self._relays: dict[str, _Relay] = {}
        self._forgeries = Forgeries(rate)
        self._seen: OrderedDict[str, float] = OrderedDict()

    # --- which relays, and which keys on them

    def listen(self, wallet_pubkeys: Iterable[str], *, relays: Sequence[str]) -> None:
        """Listen for requests to these service keys, connecting to relays as needed."""
        pubkeys = list(wallet_pubkeys)
        for url in relays:
            relay = self._relays.get(url)
            if relay is None:
                relay = self._relays[url] = _Relay(url, pool=self)
                self.spawn(relay.connection.run())
            relay.add(pubkeys)

    @property
    def is_subscribed(self) -> bool:
        return any(relay.connection.is_subscribed for relay in self._relays.values())

    # --- in

    def receive(self, relay_url: str, raw: Mapping[str, object]) -> None:
        """An event from a relay that nobody can trust to have checked anything."""
        author = self._claimed_author(raw)
        if author is None or self._is_echo(raw.get("id")):
            return
        now = self._monotonic()
        if self._forgeries.is_suspect(relay_url, author, now=now):
            return
        event = _authentic(raw)
        if event is None:
            self._forgeries.charge(relay_url, author, now=now)
        else:
            self.receive_verified(event)

    def receive_verified(self, event: Event) -> None:
        """An event whose id and signature hold."""
        if self._is_echo(event.id):
            return
        repeated = event.id in self._seen
        self._remember(event.id)
        self._on_request(event, repeated)

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
        seen_at = self._seen.get(event_id) if isinstance(event_id, str) else None
        return seen_at is not None and self._monotonic() - seen_at <= ECHO_S

    def _remember(self, event_id: str) -> None:
        self._seen[event_id] = self._monotonic()
        self._seen.move_to_end(event_id)
        while len(self._seen) > SEEN_IDS:
            self._seen.popitem(last=False)

    # --- out

    async def publish(self, event: Event, *, relays: Sequence[str]) -> bool:
        """To all of `relays` at once; True as soon as one of them took it, False if none did.

        A relay that is slow or away delays nobody who has another one.
        """
        connections = [self._relays[url].connection for url in relays if url in self._relays]
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.spawn(_publish(event, connections, taken=taken))
        return await taken

    def opened(self, relay_url: str) -> None:
        self._on_open(relay_url)

    def now(self) -> int:
        return self._clock()


async def _publish(
    event: Event, connections: Sequence[RelayConnection], *, taken: asyncio.Future[bool]
) -> None:
    async def to_one(connection: RelayConnection) -> None:
        result = await connection.publish(event, timeout_s=PUBLISH_TIMEOUT_S)
        if result.accepted and not taken.done():
            taken.set_result(True)

    try:
        await asyncio.gather(*map(to_one, connections))
    finally:
        if not taken.done():
            taken.set_result(False)


class _Relay:
    """One relay and the service keys that are listened for on it, in chunks."""

    def __init__(self, url: str, *, pool: RelayPool) -> None:
        self._pool = pool
        self._pubkeys: dict[str, None] = {}
        self.connection = RelayConnection(
            url,
            subscriptions=self._subscriptions,
            on_event=pool.receive,
            on_open=lambda: pool.opened(url),
            auth_keys=lambda: [pool.keypair_of(pubkey) for pubkey in self._pubkeys],
        )

    def add(self, pubkeys: Iterable[str]) -> None:
        known = len(self._pubkeys)
        self._pubkeys.update(dict.fromkeys(pubkeys))
        if len(self._pubkeys) > known:
            self._pool.spawn(self.connection.refresh())

    def _subscriptions(self) -> Mapping[str, Sequence[Filter]]:
        # Whole hours, so that an unchanged chunk stays the same filter; it only bounds what
        # a relay that keeps requests for ever would send again.
        since = (self._pool.now() - BACKFILL_S) // 3600 * 3600
        keys = iter(self._pubkeys)
        chunks: dict[str, Sequence[Filter]] = {}
        while chunk := frozenset(islice(keys, KEYS_PER_SUBSCRIPTION)):
            chunks[f"nwc{len(chunks)}"] = [
                Filter(kinds=frozenset({kinds.REQUEST}), tags={"p": chunk}, since=since)
            ]
        return chunks


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
