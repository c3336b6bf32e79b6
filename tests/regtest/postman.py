"""Carries what the apps ask to whichever life of the service there is, until it is answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from websockets.exceptions import WebSocketException

from tests.chaos.clients import Apps, Asked, Wish
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.clients.relay_link import RelayLink

AGAIN_EVERY_S = 1.0
PATIENCE_S = 15.0
RECENT_S = 200  # the relay takes nothing that is older than 300 s
DEAD = (OSError, WebSocketException, TimeoutError)


class Postman:
    def __init__(self) -> None:
        self.apps = Apps(on_answer=self._answered)
        self._link: RelayLink | None = None
        self._waiting: dict[str, asyncio.Event] = {}

    async def ask(
        self,
        client: RawClient,
        method: str,
        params: JsonObject,
        *,
        wishes: tuple[Wish, ...] = (),
    ) -> Asked:
        """Returns when it is answered; or, for the time being without an answer, when that
        takes long: it is asked again all the same."""
        asked = self.apps.build(client, method, params, wishes=wishes)
        answered = self._waiting[asked.event.id] = asyncio.Event()
        self.apps.keep([asked])
        if self._link is not None:
            with suppress(*DEAD):
                await self.apps.deliver(self._link, [asked])
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await answered.wait()
        return asked

    async def ask_again(self) -> None:
        """Once more what was answered lately: whatever comes is compared with what came."""
        assert self._link is not None
        since = self.apps.now() - RECENT_S
        recent = [one for one in self.apps.asked.values() if one.event.created_at > since]
        await self.apps.deliver(self._link, recent)
        await asyncio.sleep(AGAIN_EVERY_S)
        await self.apps.fetch(self._link, [one.event.id for one in recent])

    @asynccontextmanager
    async def on_his_way(self) -> AsyncIterator[None]:
        going = asyncio.create_task(self._go())
        try:
            yield
        finally:
            going.cancel()
            with suppress(asyncio.CancelledError):
                await going

    async def _go(self) -> None:
        while True:
            with suppress(*DEAD):
                async with self.apps.connected() as self._link:
                    await self._again(self._link)
            self._link = None
            await asyncio.sleep(0.1)

    async def _again(self, link: RelayLink) -> None:
        while True:
            unanswered = list(self.apps.unanswered.values())
            await self.apps.deliver(link, unanswered)
            await self.apps.fetch(link, [one.event.id for one in unanswered])
            await asyncio.sleep(AGAIN_EVERY_S)

    def _answered(self, asked: Asked) -> None:
        self._waiting.pop(asked.event.id).set()
