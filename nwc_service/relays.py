"""The relays of every connection: the service's own, or those that it names."""

import asyncio
from collections.abc import Iterator, Sequence

from nwc_service.embedded import EmbeddedRelay
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.relay.pool import RelayPool
from nwc_service.relay.relay import Relay

PATIENCE_S = 1.5
"""How long a relay that is not connected may delay what is to be on all of them."""


class Relays:
    """`own_urls` are the service's relays, an embedded one under each of its names;
    `advertised_urls` is what connection URIs show of them."""

    def __init__(self, pool: RelayPool) -> None:
        self._pool = pool
        self._embedded: EmbeddedRelay | None = None
        self.own_urls: tuple[str, ...] = ()
        self.advertised_urls: tuple[str, ...] = ()

    def own(
        self,
        *,
        urls: Sequence[str],
        advertised_urls: Sequence[str],
        embedded: EmbeddedRelay | None = None,
    ) -> None:
        """Until this is called nothing can be published, and what is tried is tried again."""
        self._embedded = embedded
        self.own_urls = tuple(urls)
        self.advertised_urls = tuple(advertised_urls)

    def is_own(self, url: str) -> bool:
        """Whether the operator configured it, under either name: such a relay may be on any
        address."""
        return url in self.own_urls or url in self.advertised_urls

    def advertised(self, connection: Connection) -> tuple[str, ...]:
        """The relays that the connection's client is told of."""
        return connection.relays or self.advertised_urls

    async def publish(self, connection: Connection, event: Event) -> bool:
        """True once a relay of the connection took the event; the others get it, too."""
        outside, embedded = self._routes(connection)
        taken_here = embedded is not None and embedded.publish(event)
        taken = bool(outside) and await self._pool.publish(event, relays=outside)
        return taken or taken_here

    def bring(self, connection: Connection, event: Event) -> None:
        """An event that one relay of the connection took before a restart, to the others."""
        outside, embedded = self._routes(connection)
        if len(outside) > 1 or embedded is not None:  # a single one is the one that took it
            self._pool.bring(event, relays=outside)

    async def publish_to_each(self, connection: Connection, event: Event) -> bool:
        """To every relay of the connection that can be reached before this returns; whether
        any of them took it."""
        outside, embedded = self._routes(connection)
        taken_here = embedded is not None and embedded.publish(event)
        taken = await asyncio.gather(*(self.publish_to(url, event) for url in outside))
        return taken_here or any(taken)

    async def publish_to(self, relay_url: str, event: Event) -> bool:
        result = await self._pool.publish_to(relay_url, event, patience_s=PATIENCE_S)
        return result.accepted

    async def delete(self, connection: Connection, deletion: Event) -> None:
        """Publish a deletion (NIP-09); the embedded relay needs none to forget."""
        outside, _ = self._routes(connection)
        await asyncio.gather(*(self.publish_to(url, deletion) for url in outside))

    async def stored_infos(
        self, relay_url: str, wallet_pubkeys: Sequence[str]
    ) -> dict[str, Event] | None:
        """The info events that one relay shows of these keys; None where it is not known."""
        return await self._pool.stored_infos(relay_url, wallet_pubkeys)

    def show(self, connection: Connection, event: Event) -> None:
        """On the embedded relay, where it serves this connection."""
        _, embedded = self._routes(connection)
        if embedded is not None:
            embedded.publish(event)

    @property
    def outside_urls(self) -> tuple[str, ...]:
        """Of the relays that are reached by a socket."""
        return self._pool.urls

    def outside(self, connection: Connection) -> tuple[str, ...]:
        return self._routes(connection)[0]

    def connect(self) -> None:
        """To the service's own relays, though there may be no connection to listen for yet."""
        if self._embedded is None:
            self._pool.listen((), relays=self.own_urls)

    def listen(self, connection: Connection) -> None:
        """The embedded relay hands requests over by itself."""
        outside, _ = self._routes(connection)
        keys = [connection.wallet_pubkey]
        of_the_operator = [url for url in outside if self.is_own(url)]
        named = [url for url in outside if not self.is_own(url)]
        self._pool.listen(keys, relays=of_the_operator)
        self._pool.listen(keys, relays=named, are_checked=connection.relays_by_user)

    def forget(self, connection: Connection) -> None:
        """The embedded relay shows the info event of a dead connection no longer."""
        if self._embedded is not None:
            self._embedded.remove_info(connection.wallet_pubkey)

    def uses(self, connection: Connection, relay_url: str) -> bool:
        return relay_url in self.outside(connection)

    @property
    def embedded(self) -> EmbeddedRelay | None:
        return self._embedded

    @property
    def reached(self) -> Iterator[Relay]:
        """By a socket."""
        return iter(self._pool)

    @property
    def is_ready(self) -> bool:
        return self._embedded is not None or self._pool.is_subscribed

    def _routes(self, connection: Connection) -> tuple[tuple[str, ...], EmbeddedRelay | None]:
        """The relays to reach by a socket, and the embedded one where it serves this one."""
        urls = connection.relays or self.own_urls
        if self._embedded is None:
            return urls, None
        outside = tuple(url for url in urls if url not in self.own_urls)
        return outside, self._embedded if len(outside) < len(urls) else None
