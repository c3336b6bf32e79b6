"""Publishes what is stored until a relay has taken it, and the answers to reads once.

A stored answer is published as it was signed. If no relay has taken it yet and it has grown
too old for relays that refuse old ephemeral events, it is dated anew by one conditional
update; after the first OK the bytes are final.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace

import orjson
import structlog

from nwc_service import metrics
from nwc_service.answers import Answers, Clock
from nwc_service.directory import Directory
from nwc_service.failpoint import failpoint
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event, parse_event
from nwc_service.store import outbox
from nwc_service.store.database import Database
from nwc_service.store.outbox import Outgoing
from nwc_service.tracing import traced
from nwc_service.wallet.units import ConnectionId

log = structlog.get_logger()

_published = metrics.OUTBOX_PUBLISHED.of()
_abandoned = metrics.OUTBOX_ABANDONED.of()

REDATE_AFTER_S = 45
GIVE_UP_STORED_S = 24 * 3600
GIVE_UP_READ_S = 60
MAX_UNDER_WAY = 200
"""Of one connection."""
RECOVER_EVERY_S = 30.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0

Publish = Callable[[Connection, Event], Awaitable[bool]]
"""Publish to the relays of a connection; True when at least one of them took it."""
Spawn = Callable[[Coroutine[object, object, None]], None]
"""Run a coroutine in a task that the application owns."""


class Outbox:
    def __init__(
        self,
        db: Database,
        *,
        answers: Answers,
        directory: Directory,
        publish: Publish,
        spawn: Spawn,
        clock: Clock,
    ) -> None:
        self._db = db
        self._answers = answers
        self._directory = directory
        self._publish = publish
        self._spawn = spawn
        self._clock = clock
        self._under_way: dict[str, int] = {}
        """By event id, when each was stored."""
        self._per_connection: Counter[ConnectionId] = Counter()

    async def run(self) -> None:
        """What was stored and not published, at the start and whenever there is room again."""
        while True:
            try:
                await self.recover()
            except Exception:
                log.exception("outbox.recover_failed")
            await asyncio.sleep(RECOVER_EVERY_S)

    async def recover(self) -> None:
        stored = await self._db.read(
            lambda tx: outbox.unpublished(tx, per_connection=MAX_UNDER_WAY)
        )
        # Since it was read another task may have marked it, or dated it anew.
        self._push(stored, is_sure=False)

    async def recent(self, *, max_age_s: int) -> list[Event]:
        """What was stored lately, published or not, for a relay that has lost its memory."""
        since = self._clock() - max_age_s
        stored = await self._db.read(lambda tx: outbox.stored_since(tx, since))
        return [event_of(outgoing) for outgoing in stored]

    async def taken(self, *, max_age_s: int) -> list[tuple[Connection, Event]]:
        """What a relay has taken lately, newest first: its bytes are final, and other relays
        of its connection may lack it since a restart."""
        since = self._clock() - max_age_s
        stored = await self._db.read(lambda tx: outbox.stored_since(tx, since))
        return [
            (connection, event_of(outgoing))
            for outgoing in reversed(stored)
            if outgoing.is_published
            and (connection := self._directory.by_id(outgoing.connection_id)) is not None
        ]

    def push(self, stored: Iterable[Outgoing]) -> None:
        """Publish events whose transaction has committed.

        Of one connection only so many at a time: a relay that takes nothing must not fill the
        memory. The others stay in the table until there is room.
        """
        self._push(stored, is_sure=True)

    def _push(self, stored: Iterable[Outgoing], *, is_sure: bool) -> None:
        for outgoing in stored:
            room = self._per_connection[outgoing.connection_id] < MAX_UNDER_WAY
            if room and outgoing.event_id not in self._under_way:
                self._enter(outgoing, stored_at=outgoing.created_at)
                self._spawn(self._deliver(outgoing, is_sure=is_sure))

    def send(self, connection: Connection, event: Event) -> None:
        """Publish an answer that is not stored: of a read, which the client may repeat."""
        self._spawn(self._send(connection, event))

    def resend(self, connection_id: ConnectionId, outgoing: Outgoing) -> None:
        """Publish a stored answer once more, byte for byte."""
        connection = self._directory.by_id(connection_id)
        if connection is not None:
            self._spawn(self._send(connection, event_of(outgoing)))

    @traced("nwc.publish")
    async def _send(self, connection: Connection, event: Event) -> None:
        retry_s = FIRST_RETRY_S
        while not await self._publish(connection, event):
            if self._clock() - event.created_at > GIVE_UP_READ_S:
                return
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    @property
    def oldest_stored_at(self) -> int | None:
        """Of those under way, however often they were dated anew since this start."""
        return min(self._under_way.values(), default=None)

    def _enter(self, outgoing: Outgoing, *, stored_at: int) -> None:
        self._under_way[outgoing.event_id] = stored_at
        self._per_connection[outgoing.connection_id] += 1

    def _leave(self, outgoing: Outgoing) -> None:
        del self._under_way[outgoing.event_id]
        self._per_connection[outgoing.connection_id] -= 1
        if not self._per_connection[outgoing.connection_id]:
            del self._per_connection[outgoing.connection_id]

    async def _deliver(self, outgoing: Outgoing, *, is_sure: bool) -> None:
        """`is_sure`: the table has just these bytes, still to be published."""
        connection = self._directory.by_id(outgoing.connection_id)
        if connection is None:
            self._leave(outgoing)
            return
        stored_at = outgoing.created_at
        give_up_at = stored_at + GIVE_UP_STORED_S
        retry_s = FIRST_RETRY_S
        while True:
            left: Outgoing | None = outgoing
            try:
                # After a commit that nobody heard of, only the table knows whether these bytes
                # were marked or dated anew.
                if not is_sure and not await self._is_open(outgoing):
                    left = None
                else:
                    left = await self._attempt(connection, outgoing, give_up_at=give_up_at)
            except Exception:
                log.exception("outbox.attempt_failed", connection_id=outgoing.connection_id)
            self._leave(outgoing)
            if left is None or left.event_id in self._under_way:
                return
            is_sure = False
            outgoing = left
            self._enter(outgoing, stored_at=stored_at)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    async def _is_open(self, outgoing: Outgoing) -> bool:
        return await self._db.read(lambda tx: outbox.is_open(tx, outgoing.event_id))

    @traced("nwc.publish")
    async def _attempt(
        self, connection: Connection, outgoing: Outgoing, *, give_up_at: int
    ) -> Outgoing | None:
        """What is left to publish; None when nothing is."""
        # As it was signed before it is dated anew: after a crash these bytes may be out.
        if await self._publish(connection, event_of(outgoing)):
            failpoint("after_publish")
            await self._db.write(
                lambda tx: outbox.mark_published(tx, outgoing.event_id, now=self._clock())
            )
            failpoint("after_mark")
            _published.inc()
            return None
        if self._clock() > give_up_at:
            await self._abandon(outgoing)
            return None
        return await self._freshly_dated(connection, outgoing)

    async def _freshly_dated(
        self, connection: Connection, outgoing: Outgoing
    ) -> Outgoing | None:
        """`outgoing`, or a fresh one in its place; None when it was published meanwhile."""
        event = event_of(outgoing)
        # A second id of one item's answer would be counted as a second item (js-sdk).
        if event.tag_value("d") or self._clock() - outgoing.created_at <= REDATE_AFTER_S:
            return outgoing
        event = self._answers.redate(connection, event)
        fresh = replace(
            outgoing, event_id=event.id, event=event.to_json(), created_at=event.created_at
        )
        replaced = await self._db.write(
            lambda tx: outbox.replace(tx, old_event_id=outgoing.event_id, fresh=fresh)
        )
        return fresh if replaced else None

    async def _abandon(self, outgoing: Outgoing) -> None:
        log.warning("outbox.abandoned", connection_id=outgoing.connection_id)
        await self._db.write(
            lambda tx: outbox.abandon(tx, outgoing.event_id, now=self._clock())
        )
        _abandoned.inc()


def event_of(outgoing: Outgoing) -> Event:
    return parse_event(orjson.loads(outgoing.event))
