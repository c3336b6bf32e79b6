"""A relay that does just what a test tells it, to see what `RelayConnection` makes of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.server import ServerConnection, serve

from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.relay.connection import RelayConnection
from tests.relay.raw import WALLET

TIMEOUT_S = 5
REQUESTS = Filter(kinds=frozenset({23194}), tags={"p": frozenset({WALLET.public_key})})


class Peer:
    """The relay's side of one connection, in decoded messages."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def send(self, *message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> list[object]:
        message = json.loads(await self.socket.recv())
        assert isinstance(message, list)
        return message

    async def subscribed(self) -> object:
        """Take one REQ, answer EOSE, and tell its id."""
        message = await self.receive()
        assert message[0] == "REQ"
        await self.send("EOSE", message[1])
        return message[1]


@asynccontextmanager
async def scripted_relay(play: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[str]:
    """Plays the script with each client in turn, then reads until it leaves."""

    async def handler(socket: ServerConnection) -> None:
        await play(Peer(socket))
        async for _ in socket:
            pass

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def do_nothing(peer: Peer) -> None:
    """Not even an EOSE."""


async def answer_everything(peer: Peer) -> None:
    while True:
        match await peer.receive():
            case ["REQ", name, *_]:
                await peer.send("EOSE", name)
            case ["EVENT" | "AUTH", {"id": event_id}]:
                await peer.send("OK", event_id, True, "")


class Service:
    """What a `RelayConnection` is told and tells, without any real waiting."""

    def __init__(self) -> None:
        self.wanted: dict[str, Sequence[Filter]] = {"requests": [REQUESTS]}
        self.keys: list[Keypair] = []
        self.heard_from: set[str] = set()
        self.events: asyncio.Queue[Mapping[str, object]] = asyncio.Queue()
        self.opened: asyncio.Queue[None] = asyncio.Queue()
        self.waits_s: list[float] = []
        self.clock_s = 0.0

    def subscriptions(self) -> dict[str, Sequence[Filter]]:
        return self.wanted

    def on_event(self, url: str, raw: Mapping[str, object]) -> None:
        self.heard_from.add(url)
        self.events.put_nowait(raw)

    def on_open(self) -> None:
        self.opened.put_nowait(None)

    def auth_keys(self) -> Sequence[Keypair]:
        return self.keys

    async def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        await asyncio.sleep(0.005)

    @asynccontextmanager
    async def connected_to(
        self,
        url: str,
        *,
        keeps_up: bool = False,
        public_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> AsyncIterator[RelayConnection]:
        connection = RelayConnection(
            url,
            subscriptions=self.subscriptions,
            on_event=self.on_event,
            on_open=self.on_open,
            auth_keys=self.auth_keys,
            keeps_up=keeps_up,
            public_url=public_url,
            now=now,
            clock=lambda: self.clock_s,
            sleep=self.sleep,
            jitter=lambda: 1.0,
        )
        running = asyncio.create_task(connection.run())
        try:
            yield connection
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def next_event(self) -> Mapping[str, object]:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.events.get()

    async def next_open(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self.opened.get()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():
            await asyncio.sleep(0.002)
