"""A relay that takes its time before it says that all stored events were sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve


@asynccontextmanager
async def slow_relay(behind: str, *, eose_after_s: float) -> AsyncIterator["SlowRelay"]:
    """All but EOSE passes between its clients and the relay `behind` it as it comes."""
    slow = SlowRelay(behind, eose_after_s)
    async with serve(slow.pass_through, "127.0.0.1", 0) as server:
        slow.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield slow


@dataclass(slots=True)
class SlowRelay:
    behind: str
    eose_after_s: float
    url: str = ""
    published: list[str] = field(default_factory=list)
    """The ids of the events that came from clients, repeats included."""

    async def pass_through(self, client: ServerConnection) -> None:
        async with connect(self.behind) as relay, asyncio.TaskGroup() as group:
            group.create_task(self._upstream(client, relay))
            group.create_task(self._downstream(relay, client))

    async def _upstream(self, client: ServerConnection, relay: ClientConnection) -> None:
        async for frame in client:
            kind, content = json.loads(frame)[:2]
            if kind == "EVENT":
                self.published.append(content["id"])
            await relay.send(frame)
        await relay.close()

    async def _downstream(self, relay: ClientConnection, client: ServerConnection) -> None:
        async with asyncio.TaskGroup() as group:
            async for frame in relay:
                is_late = json.loads(frame)[0] == "EOSE"
                group.create_task(self._send(client, frame, self.eose_after_s * is_late))

    async def _send(self, client: ServerConnection, frame: str | bytes, late_s: float) -> None:
        await asyncio.sleep(late_s)
        await client.send(frame)
