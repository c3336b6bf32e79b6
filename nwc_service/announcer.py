"""Keeps the info event (13194) of every live connection on its relays, and of no other."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from nwc_service.answers import Clock
from nwc_service.directory import Directory
from nwc_service.keyring import Keyring
from nwc_service.nip47 import info, kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.outbox import Spawn
from nwc_service.relays import Relays
from nwc_service.wallet.units import ConnectionId

__all__ = ["Announcer"]

KIND_DELETION = 5  # NIP-09
ATTEMPTS = 3
AT_ONCE = 50
RETRIES_S = (0.0, 1.0, 4.0, 16.0)
"""After these a relay that takes no info event is left alone until the next look at it."""
FRESH_EVERY_S = 12 * 3600
LOOK_EVERY_S = 3600.0
EXPIRED_EVERY_S = 15.0
UNTAKEN = (
    "no relay has taken the info event of this connection yet, and apps look for it first;"
    " the service goes on trying"
)

log = structlog.get_logger()


class Announcer:
    """`newest` is the date of the newest info event that this deployment has ever signed, and
    `remember` stores it: a clock that is set back must not make a new one look old."""

    def __init__(
        self,
        relays: Relays,
        *,
        directory: Directory,
        keyring: Keyring,
        methods: Callable[[Connection], Sequence[str]],
        entropy: Callable[[int], bytes],
        spawn: Spawn,
        clock: Clock,
        newest: int,
        remember: Callable[[int], Awaitable[None]],
    ) -> None:
        self._relays = relays
        self._directory = directory
        self._keyring = keyring
        self._methods = methods
        self._entropy = entropy
        self._spawn = spawn
        self._clock = clock
        self._signed_before = newest
        self._remembered = newest
        self._remember = remember
        self._current: dict[ConnectionId, Event] = {}
        self._dates: dict[ConnectionId, int] = {}
        # Whoever was dead before is looked at with the relays, once they are there.
        self._retired = {c.connection_id for c in directory if not c.is_live(clock())}
        self._tending: dict[str, bool] = {}
        self._untaken: set[ConnectionId] = set()

    # --- one connection

    async def announce(self, connection: Connection) -> None:
        """Listen for the connection, and have its info event on its relays before its URI is
        shown or its change counts; or, once dead, take back what it may do."""
        self._relays.listen(connection)
        if not connection.is_live(self._clock()):
            await self._retire(connection)
            return
        self._retired.discard(connection.connection_id)
        event = await self._anew(connection)
        for _ in range(ATTEMPTS):
            if await self._is_taken(connection, event):
                break
        else:
            self._untaken.add(connection.connection_id)
            log.warning("announcer.no_relay", connection_id=connection.connection_id)
        for url in self._relays.outside(connection):
            self._spawn(self._look(url, [connection]))

    def warnings(self, connection: Connection) -> list[str]:
        """What whoever made the connection should know of it by now."""
        return [UNTAKEN] if connection.connection_id in self._untaken else []

    async def _is_taken(self, connection: Connection, event: Event) -> bool:
        taken = await self._relays.publish_to_each(connection, event)
        if taken:
            self._untaken.discard(connection.connection_id)
        return taken

    async def _retire(self, connection: Connection) -> None:
        """An empty event in its place for relays that know no deletions, and then a deletion
        of all up to it (NIP-09)."""
        self._retired.add(connection.connection_id)
        self._untaken.discard(connection.connection_id)
        event = await self._anew(connection)
        await self._relays.publish_to_each(connection, event)
        await self._relays.delete(connection, self._deletion(connection, event))
        self._relays.forget(connection)

    # --- all of them

    def listen_all(self) -> None:
        self._relays.connect()
        for connection in self._directory:
            self._relays.listen(connection)

    async def show_all(self) -> None:
        """On the embedded relay, from the start; the others are tended once they are open."""
        await _in_batches([c for c in self._directory if c.is_live(self._clock())], self._show)

    async def run(self, *, jitter: Callable[[], float]) -> None:
        """For ever: take back what has expired, and look at all about once an hour."""
        next_look_s = LOOK_EVERY_S * (0.75 + jitter() / 2)
        while True:
            await asyncio.sleep(EXPIRED_EVERY_S)
            next_look_s -= EXPIRED_EVERY_S
            try:
                await self.retire_expired()
                if next_look_s <= 0:
                    next_look_s = LOOK_EVERY_S * (0.75 + jitter() / 2)
                    await self.look_at_all()
            except Exception:
                log.exception("announcer.failed")

    async def look_at_all(self) -> None:
        """Relays drop info events after days, silently: see what is left, and renew it."""
        await self.show_all()
        await asyncio.gather(*map(self.tend, self._relays.outside_urls))

    async def retire_expired(self) -> None:
        now = self._clock()
        for connection in self._directory:
            if not connection.is_live(now) and connection.connection_id not in self._retired:
                await self._retire(connection)

    # --- one relay

    async def tend(self, relay_url: str) -> None:
        """Have on one relay what belongs there, and see that it is: after each connect, and
        now and then. Called again meanwhile, it begins again when it is through."""
        is_busy = relay_url in self._tending
        self._tending[relay_url] = True
        if is_busy:
            return
        try:
            while self._tending[relay_url]:
                self._tending[relay_url] = False
                await self._tend(relay_url)
        finally:
            del self._tending[relay_url]

    async def _tend(self, relay_url: str) -> None:
        chosen = [c for c in self._directory if self._relays.uses(c, relay_url)]
        await self._publish_on(relay_url, [c for c in chosen if c.is_live(self._clock())])
        await self._look(relay_url, chosen)

    async def _publish_on(self, relay_url: str, left: Sequence[Connection]) -> None:
        """Those that the relay does not take at once, as when it limits the rate, later."""
        refused: list[Connection] = []

        async def publish(connection: Connection) -> None:
            event = await self._fresh(connection)
            if await self._relays.publish_to(relay_url, event):
                self._untaken.discard(connection.connection_id)
            else:
                refused.append(connection)

        for wait_s in RETRIES_S:
            await asyncio.sleep(wait_s)
            await _in_batches(left, publish)
            if not refused:
                return
            left = tuple(refused)
            refused.clear()
        log.warning("announcer.refused", relay=relay_url, count=len(left))

    async def _look(self, relay_url: str, chosen: Sequence[Connection]) -> None:
        """Read back what the relay shows, and mend what is gone, or old, or should be."""
        keys = [connection.wallet_pubkey for connection in chosen]
        # One that is signed while the relay is read will come there, and is not amiss.
        before = dict(self._current)
        found = await self._relays.stored_infos(relay_url, keys)
        if found is None:
            log.debug("announcer.not_read", relay=relay_url)
            return
        await _in_batches(
            [c for c in chosen if not self._is_right(c, found=found, before=before)],
            lambda connection: self._mend(connection, found),
        )

    def _is_right(
        self,
        connection: Connection,
        *,
        found: Mapping[str, Event],
        before: Mapping[ConnectionId, Event],
    ) -> bool:
        there = found.get(connection.wallet_pubkey)
        if not connection.is_live(self._clock()):
            return there is None or not there.content
        name = connection.connection_id
        return there is not None and there in (before.get(name), self._current.get(name))

    async def _mend(self, connection: Connection, found: Mapping[str, Event]) -> None:
        there = found.get(connection.wallet_pubkey)
        if there is not None:
            last = self._last_date(connection)
            self._dates[connection.connection_id] = max(last, there.created_at)
        log.info("announcer.mended", connection_id=connection.connection_id, gone=not there)
        if connection.is_live(self._clock()):
            await self._is_taken(connection, await self._anew(connection))
        else:
            await self._retire(connection)

    async def _show(self, connection: Connection) -> None:
        self._relays.show(connection, await self._fresh(connection))

    # --- the events

    async def _fresh(self, connection: Connection) -> Event:
        """The same on every relay, since a client believes whichever answers first."""
        current = self._current.get(connection.connection_id)
        if current is not None and self._clock() - current.created_at < FRESH_EVERY_S:
            return current
        return await self._anew(connection)

    async def _anew(self, connection: Connection) -> Event:
        event = self._sign(connection)
        if event.created_at > self._remembered:
            # Before anything of this date is out.
            self._remembered = event.created_at
            await self._remember(event.created_at)
        return event

    def _sign(self, connection: Connection) -> Event:
        """Replaceable: on equal dates the lowest id wins and an older one is dropped silently,
        so each is dated later than the last."""
        is_live = connection.is_live(self._clock())
        created_at = max(self._clock(), self._last_date(connection) + 1)
        self._dates[connection.connection_id] = created_at
        methods = self._methods(connection)
        event = self._keyring.channel(connection).sign(
            kind=kinds.INFO,
            content=info.content(connection, methods) if is_live else "",
            tags=info.tags(connection, methods),
            created_at=created_at,
            aux=self._entropy(32),
        )
        self._current[connection.connection_id] = event
        return event

    def _last_date(self, connection: Connection) -> int:
        return self._dates.get(connection.connection_id, self._signed_before)

    def _deletion(self, connection: Connection, event: Event) -> Event:
        return self._keyring.channel(connection).sign(
            kind=KIND_DELETION,
            content="",
            tags=(
                ("a", f"{kinds.INFO}:{connection.wallet_pubkey}:"),
                ("k", str(kinds.INFO)),
            ),
            created_at=event.created_at,
            aux=self._entropy(32),
        )


async def _in_batches(
    connections: Sequence[Connection], work: Callable[[Connection], Awaitable[None]]
) -> None:
    for start in range(0, len(connections), AT_ONCE):
        await asyncio.gather(*map(work, connections[start : start + AT_ONCE]))
