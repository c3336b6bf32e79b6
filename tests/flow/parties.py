"""Who stands around the service in these tests: apps, a relay, a clock, an owner of tasks."""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from nwc_service.nip47 import kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from tests.clients.conversation import NIP44_V2, Conversation

START = 1_800_000_000
WAIT_S = 10.0

JsonObject = dict[str, Any]
Work = Coroutine[object, object, None]


@dataclass(slots=True)
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Client:
    """The app at the other end of a connection; it outlives a restart of the service."""

    connection: Connection
    conversation: Conversation

    def request(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        created_at: int,
        tags: Sequence[tuple[str, str]] = (),
    ) -> Event:
        body = json.dumps({"method": method, "params": dict(params or {})})
        return self.conversation.sign(
            self.conversation.encrypt(body, NIP44_V2),
            kind=kinds.REQUEST,
            tags=[("p", self.connection.wallet_pubkey), ("encryption", NIP44_V2), *tags],
            created_at=created_at,
        )

    def open(self, event: Event) -> JsonObject:
        """What the service has encrypted in an answer or a notification."""
        payload: JsonObject = json.loads(self.conversation.decrypt(event.content))
        return payload


class Relay:
    """Takes what is published unless it is down; asked by name, it recalls."""

    def __init__(self) -> None:
        self.is_up = True
        self.taken: list[Event] = []
        self.refused: list[Event] = []
        self.announced: list[Connection] = []

    async def publish(self, connection: Connection, event: Event) -> bool:
        await asyncio.sleep(0)
        (self.taken if self.is_up else self.refused).append(event)
        return self.is_up

    async def announce(self, connection: Connection) -> None:
        self.announced.append(connection)


class Interruption(Protocol):
    def __call__(self, work: Work) -> Work: ...


def uninterrupted(work: Work) -> Work:
    return work


class Tasks:
    """Owns what is spawned, as the application does; failures are kept for the test."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption
        self._running: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    def spawn(self, work: Work) -> None:
        task = asyncio.create_task(self.interruption(work))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def idle(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while self._running:
                await asyncio.wait(tuple(self._running))

    async def idle_for_now(self) -> None:
        """Until what is left only waits to try again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while self._running:
                    await asyncio.wait(tuple(self._running))

    async def cancel(self) -> None:
        while self._running:
            for task in tuple(self._running):
                task.cancel()
            await asyncio.wait(tuple(self._running))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.append(error)
