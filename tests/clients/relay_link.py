"""One websocket to one relay, by hand: publish, subscribe, and NIP-42 when the relay asks."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from nwc_service.nostr.event import Event, is_authentic, parse_event, sign_event
from nwc_service.nostr.keys import Keypair
from tests.clients.client import JsonObject

AUTH_KIND = 22242  # NIP-42
ANSWER_TIMEOUT_S = 10
MAX_FRAME_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Published:
    """What the relay said to an event: its `OK` message."""

    accepted: bool
    message: str


@asynccontextmanager
async def relay_link(
    url: str, keypair: Keypair, *, on_event: Callable[[Event], None]
) -> AsyncIterator["RelayLink"]:
    """`on_event` gets every authentic event of every subscription, repeats included."""
    async with connect(url, max_size=MAX_FRAME_BYTES) as socket:
        link = RelayLink(socket, keypair, url=url, on_event=on_event)
        reader = asyncio.create_task(link.read())
        try:
            yield link
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader


class RelayLink:
    def __init__(
        self,
        socket: ClientConnection,
        keypair: Keypair,
        *,
        url: str,
        on_event: Callable[[Event], None],
    ) -> None:
        self.said: list[list[object]] = []  # NOTICE and CLOSED, as they came
        self._socket = socket
        self._keypair = keypair
        self._url = url
        self._on_event = on_event
        self._filters: dict[str, tuple[JsonObject, ...]] = {}
        self._stored_sent: dict[str, asyncio.Event] = {}
        self._published: dict[str, asyncio.Future[Published]] = {}

    async def subscribe(self, subscription_id: str, *filters: JsonObject) -> None:
        """Returns once the relay has sent what it had stored, so the subscription stands."""
        self._filters[subscription_id] = filters
        stored_sent = self._stored_sent[subscription_id] = asyncio.Event()
        await self._send("REQ", subscription_id, *filters)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await stored_sent.wait()

    async def publish(self, event: Event) -> Published:
        answer = self._published[event.id] = asyncio.get_running_loop().create_future()
        await self._send("EVENT", event.to_dict())
        return await asyncio.wait_for(answer, ANSWER_TIMEOUT_S)

    async def send_text(self, text: str) -> None:
        """Any frame at all."""
        await self._socket.send(text)

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._socket:
                await self._receive(json.loads(text))

    async def _receive(self, message: list[object]) -> None:
        match message:
            case ["EVENT", str(), raw]:
                self._receive_event(parse_event(raw))
            case ["EOSE", str(subscription_id)]:
                self._stored_sent[subscription_id].set()
            case ["OK", str(event_id), bool(accepted), str(text)]:
                self._receive_ok(event_id, Published(accepted, text))
            case ["AUTH", str(challenge)]:
                await self._authenticate(challenge)
            case _:
                self.said.append(message)

    def _receive_event(self, event: Event) -> None:
        if is_authentic(event):
            self._on_event(event)

    def _receive_ok(self, event_id: str, published: Published) -> None:
        answer = self._published.pop(event_id, None)
        if answer is not None and not answer.done():
            answer.set_result(published)

    async def _authenticate(self, challenge: str) -> None:
        event = sign_event(
            self._keypair,
            kind=AUTH_KIND,
            content="",
            tags=[("relay", self._url), ("challenge", challenge)],
            created_at=int(time.time()),
            aux=secrets.token_bytes(32),
        )
        await self._send("AUTH", event.to_dict())
        # A relay that wants authentication first has refused these; it reads in order.
        for subscription_id, filters in self._filters.items():
            await self._send("REQ", subscription_id, *filters)

    async def _send(self, *message: object) -> None:
        await self._socket.send(json.dumps(message))
