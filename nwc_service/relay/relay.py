"""One relay: its limits, and as many sockets as they demand, each for a share of the keys."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from nwc_service.metrics.meters import OTHER, relay_label, relay_meter
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.outbound import Outbound
from nwc_service.relay.connection import PublishResult, RelayConnection
from nwc_service.relay.limits import Limits, fetch_limits
from nwc_service.relay.reading import READ_TIMEOUT_S, Newest

__all__ = ["Relay", "RelayTerms"]

SUBSCRIPTIONS = 10
"""On one socket, where the relay does not say how many it allows."""
KEYS_PER_READING = 100
DOCUMENT_LASTS_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayTerms:
    """What every relay is told. `on_event` gets its url and each event as it came; `on_open`
    its url whenever a socket is open. `kind_only_urls` are the relays that are asked for every
    request of all the world (kind 23194), not for those to our keys. `public_urls` are what
    relays call themselves, where that is not the URL by which they are reached; `named_urls`
    are those that metrics may name."""

    keypair_of: Callable[[str], Keypair]
    on_event: Callable[[str, Mapping[str, object]], None]
    on_open: Callable[[str], None]
    spawn: Callable[[Coroutine[object, object, None]], None]
    clock: Callable[[], int]
    outbound: Outbound
    kind_only_urls: frozenset[str]
    public_urls: Mapping[str, str]
    named_urls: frozenset[str] = frozenset()


class Relay:
    """`is_checked` where a user has named it: then only public addresses are connected to."""

    def __init__(self, url: str, terms: RelayTerms, *, is_checked: bool) -> None:
        self.url = url
        self.is_checked = is_checked
        self.label = relay_label(url) if url in terms.named_urls else OTHER
        """In metrics."""
        self._terms = terms
        self._is_kind_only = url in terms.kind_only_urls
        self._places: dict[str, int] = {}  # by key, in the order of their coming
        self._sockets: list[RelayConnection] = []
        self._limits = Limits()
        self._document_from: float | None = None
        self._reading_document = asyncio.Lock()
        self._tries = 0

    # --- the keys, and the sockets for them

    def add(self, pubkeys: Iterable[str]) -> None:
        """Listen for requests to these keys, too."""
        known = len(self._places)
        for pubkey in pubkeys:
            self._places.setdefault(pubkey, len(self._places))
        if len(self._places) > known or not self._sockets:
            self._spread(first=known)

    @property
    def is_connected(self) -> bool:
        return bool(self._sockets) and all(each.is_connected for each in self._sockets)

    @property
    def is_subscribed(self) -> bool:
        return bool(self._sockets) and all(each.is_subscribed for each in self._sockets)

    def _spread(self, *, first: int) -> None:
        """Give each key its socket; those before the key at `first` have theirs."""
        for index in range(len(self._sockets), self._share_of(len(self._places) - 1) + 1):
            self._sockets.append(self._socket(index))
            self._terms.spawn(self._sockets[index].run())
        for socket in self._sockets[self._share_of(first) :]:
            self._terms.spawn(socket.refresh())

    def _share_of(self, place: int) -> int:
        return 0 if self._is_kind_only else max(0, place) // self._share_keys

    @property
    def _share_keys(self) -> int:
        return self._limits.keys_per_socket(default_subscriptions=SUBSCRIPTIONS)

    def _socket(self, index: int) -> RelayConnection:
        return RelayConnection(
            self.url,
            subscriptions=lambda: self._subscriptions(index),
            on_event=self._terms.on_event,
            on_open=lambda: self._terms.on_open(self.url),
            auth_keys=lambda: self._keypairs(self._share(index)),
            route=self._route,
            public_url=self._public_url,
            meter=relay_meter(self.label),
            now=self._terms.clock,
        )

    @property
    def _public_url(self) -> str | None:
        return self._terms.public_urls.get(self.url)

    def _share(self, index: int) -> list[str]:
        if self._is_kind_only:
            return list(self._places)
        start = index * self._share_keys
        return list(islice(self._places, start, start + self._share_keys))

    def _keypairs(self, pubkeys: Iterable[str]) -> list[Keypair]:
        return [self._terms.keypair_of(pubkey) for pubkey in pubkeys]

    def _subscriptions(self, index: int) -> Mapping[str, Sequence[Filter]]:
        requests = frozenset({kinds.REQUEST})
        if self._is_kind_only:
            return {"0": [Filter(kinds=requests)]}
        # Short names, since relays limit them (max_subid_length), and one filter each, since
        # old relays limit those (max_filters).
        chunks = _chunks(self._share(index), size=self._limits.keys_per_filter)
        return {
            str(number): [Filter(kinds=requests, tags={"p": frozenset(chunk)})]
            for number, chunk in enumerate(chunks)
        }

    # --- the way there

    async def _route(self) -> str | None:
        """An address to connect to, after a look at the relay's limits. Raises OSError."""
        address = None
        if self.is_checked:
            addresses = await self._terms.outbound.addresses(self.url)
            # The next one at the next try, should this one not answer.
            address = addresses[self._tries % len(addresses)]
            self._tries += 1
        await self._learn_limits(address)
        return address

    async def _learn_limits(self, address: str | None) -> None:
        async with self._reading_document:
            if self._is_document_fresh:
                return
            limits = await fetch_limits(self.url, address=address)
            if limits is None:
                return
            self._document_from = time.monotonic()
            if limits != self._limits:
                self._limits = limits
                self._spread(first=0)

    @property
    def _is_document_fresh(self) -> bool:
        if self._document_from is None:
            return False
        return time.monotonic() - self._document_from < DOCUMENT_LASTS_S

    # --- out, and what is stored there

    async def publish(self, event: Event, *, timeout_s: float) -> PublishResult:
        objection = self._limits.objection(event, now=self._terms.clock())
        if objection is not None:
            return PublishResult(False, objection)
        # The socket where the author is authenticated, if the relay wants that.
        index = self._share_of(self._places.get(event.pubkey, 0))
        return await self._sockets[index].publish(event, timeout_s=timeout_s)

    async def stored_infos(self, pubkeys: Sequence[str]) -> dict[str, Event] | None:
        """The newest info event of each author, as anyone sees it who asks now; None when the
        relay did not say all of it."""
        size = min(KEYS_PER_READING, self._limits.keys_per_filter)
        chunks = _chunks(pubkeys, size=min(size, self._limits.max_limit or size))
        found: dict[str, Event] = {}
        for chunk in chunks:
            newest = await self._read(chunk)
            if newest is None:
                return None
            found |= newest
        return found

    async def _read(self, authors: Sequence[str]) -> dict[str, Event] | None:
        # On a socket of its own: the others may have no subscription to spare.
        newest = Newest(kind=kinds.INFO, authors=authors)
        # Without a limit some relays send no more than a few (NIP-11's `default_limit`).
        wanted = Filter(
            kinds=frozenset({kinds.INFO}), authors=frozenset(authors), limit=len(authors)
        )
        reader = RelayConnection(
            self.url,
            subscriptions=lambda: {"0": [wanted]},
            on_event=lambda _, raw: newest.look_at(raw),
            on_open=lambda: None,
            auth_keys=lambda: self._keypairs(authors),
            route=self._route,
            keeps_up=False,
            public_url=self._public_url,
            now=self._terms.clock,
        )
        running = asyncio.create_task(reader.run())
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await reader.until_subscribed()
        except TimeoutError:
            return None
        finally:
            running.cancel()
            await asyncio.wait([running])
        return newest.found


def _chunks(pubkeys: Sequence[str], *, size: int) -> list[Sequence[str]]:
    return [pubkeys[start : start + size] for start in range(0, len(pubkeys), size)]
