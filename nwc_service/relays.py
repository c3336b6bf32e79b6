"""The relays of every connection: the service's own, or those that it names."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from nwc_service.answers import Clock
from nwc_service.directory import Directory
from nwc_service.embedded import EmbeddedRelay
from nwc_service.keyring import Keyring
from nwc_service.nip47 import info, kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.relay.pool import RelayPool
from nwc_service.wallet.units import ConnectionId

log = structlog.get_logger()

ANNOUNCE_ATTEMPTS = 3
ANNOUNCE_AT_ONCE = 50


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

    def advertised(self, connection: Connection) -> tuple[str, ...]:
        """The relays that the connection's client is told of."""
        return connection.relays or self.advertised_urls

    async def publish(
        self, connection: Connection, event: Event, *, only: str | None = None
    ) -> bool:
        """True when at least one relay of the connection took the event; to `only` one of them
        where given."""
        outside, embedded = self._routes(connection)
        if only is not None:
            outside, embedded = (only,), None
        taken_here = embedded is not None and embedded.publish(event)
        taken = bool(outside) and await self._pool.publish(event, relays=outside)
        return taken or taken_here

    def connect(self) -> None:
        """To the service's own relays, though there may be no connection to listen for yet."""
        if self._embedded is None:
            self._pool.listen((), relays=self.own_urls)

    def listen(self, connection: Connection) -> None:
        """The embedded relay hands requests over by itself."""
        outside, _ = self._routes(connection)
        if outside:
            self._pool.listen([connection.wallet_pubkey], relays=outside)

    def forget(self, connection: Connection) -> None:
        """The embedded relay shows a revoked connection's info event no longer."""
        if self._embedded is not None:
            self._embedded.remove_info(connection.wallet_pubkey)

    def uses(self, connection: Connection, relay_url: str) -> bool:
        return relay_url in self._routes(connection)[0]

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


class Announcer:
    """Keeps the info event (13194) of every connection on its relays."""

    def __init__(
        self,
        relays: Relays,
        *,
        directory: Directory,
        keyring: Keyring,
        methods: Callable[[Connection], Sequence[str]],
        entropy: Callable[[int], bytes],
        clock: Clock,
    ) -> None:
        self._relays = relays
        self._directory = directory
        self._keyring = keyring
        self._methods = methods
        self._entropy = entropy
        self._clock = clock
        self._last_created_at: dict[ConnectionId, int] = {}

    async def announce(self, connection: Connection) -> None:
        """Listen for the connection, and have its info event on a relay before its URI is
        shown; or, once revoked, take back what it may do."""
        self._relays.listen(connection)
        event = self._event(connection)
        for _ in range(ANNOUNCE_ATTEMPTS):
            if await self._relays.publish(connection, event):
                break
        else:
            log.warning("announcer.no_relay", connection_id=connection.connection_id)
        if connection.revoked_at is not None:
            self._relays.forget(connection)

    def listen_all(self) -> None:
        self._relays.connect()
        for connection in self._directory:
            self._relays.listen(connection)

    async def announce_all(self, *, relay_url: str | None = None) -> None:
        """Of every live connection; where given, of those on one relay and on it alone."""
        chosen = [
            connection
            for connection in self._directory
            if connection.is_live(self._clock())
            and (relay_url is None or self._relays.uses(connection, relay_url))
        ]
        for first in range(0, len(chosen), ANNOUNCE_AT_ONCE):
            await asyncio.gather(
                *(
                    self._relays.publish(connection, self._event(connection), only=relay_url)
                    for connection in chosen[first : first + ANNOUNCE_AT_ONCE]
                )
            )

    def _event(self, connection: Connection) -> Event:
        """Replaceable: on equal dates the lowest id wins and an older one is dropped silently,
        so each is dated later than the last."""
        live = connection.revoked_at is None
        last = self._last_created_at.get(connection.connection_id, 0)
        created_at = max(self._clock(), last + 1)
        self._last_created_at[connection.connection_id] = created_at
        return self._keyring.channel(connection).sign(
            kind=kinds.INFO,
            content=info.content(connection, self._methods(connection)) if live else "",
            tags=info.tags(connection),
            created_at=created_at,
            aux=self._entropy(32),
        )
