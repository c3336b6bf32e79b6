"""An event to several relays: taken once one has it, and brought to the others as well."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol

import structlog

from nwc_service.nostr.event import Event
from nwc_service.relay.connection import PublishResult

__all__ = ["LATE_S", "PUBLISH_TIMEOUT_S", "Deliveries", "Taker"]

PUBLISH_TIMEOUT_S = 5.0
LATE_S = 300
"""What is older is brought to no further relay: those that store ephemeral events have
forgotten it by then."""
LATE_PER_RELAY = 1000
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0

log = structlog.get_logger()


class Taker(Protocol):
    """A relay, as far as this is concerned."""

    @property
    def url(self) -> str: ...

    async def publish(self, event: Event, *, timeout_s: float) -> PublishResult: ...


class Deliveries:
    def __init__(
        self,
        *,
        spawn: Callable[[Coroutine[object, object, None]], None],
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spawn = spawn
        self._clock = clock
        self._sleep = sleep
        self._late: dict[str, set[str]] = {}

    async def deliver(self, event: Event, relays: Sequence[Taker]) -> bool:
        """True as soon as one of them took it, False if none did. Once one has it, its bytes
        are final, and those that do not have it yet are tried again."""
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._spawn(self._deliver(event, relays, taken=taken))
        return await taken

    async def _deliver(
        self, event: Event, relays: Sequence[Taker], *, taken: asyncio.Future[bool]
    ) -> None:
        async def to_one(relay: Taker) -> Taker | None:
            """The relay, if it is to be tried again."""
            result = await relay.publish(event, timeout_s=PUBLISH_TIMEOUT_S)
            if result.accepted and not taken.done():
                taken.set_result(True)
            return None if result.accepted or result.is_refused else relay

        try:
            left = await asyncio.gather(*map(to_one, relays))
        finally:
            if not taken.done():
                taken.set_result(False)
        if not taken.cancelled() and taken.result():
            self.bring(event, list(filter(None, left)))

    def bring(self, event: Event, relays: Sequence[Taker]) -> None:
        """What another relay has: the same bytes, until they take it or it is of no use."""
        for relay in relays:
            self._spawn(self._bring(event, relay))

    async def _bring(self, event: Event, relay: Taker) -> None:
        late = self._late.setdefault(relay.url, set())
        if event.id in late or len(late) >= LATE_PER_RELAY:
            return
        late.add(event.id)
        try:
            await self._bring_in_time(event, relay)
        finally:
            late.discard(event.id)

    async def _bring_in_time(self, event: Event, relay: Taker) -> None:
        retry_s = FIRST_RETRY_S
        while self._clock() - event.created_at <= LATE_S:
            await self._sleep(retry_s)
            result = await relay.publish(event, timeout_s=LONGEST_RETRY_S)
            if result.accepted or result.is_refused:
                log.debug("relay.late", relay=relay.url, accepted=result.accepted)
                return
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)
