"""A relay of the smallest kind, as strict as it says: its limits, its information document,
replaceable events and live subscriptions. What it does besides is for a test to say.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from nwc_service.nostr.event import Event, is_authentic, parse_event
from nwc_service.nostr.filter import Filter, parse_filter

UNLIMITED = 10**6
Answer = tuple[bool, str]


@dataclass(eq=False, slots=True)
class Subscriber:
    """One socket and what is subscribed to on it."""

    socket: ServerConnection
    subscriptions: dict[str, list[Filter]] = field(default_factory=dict)

    async def send(self, *message: object) -> None:
        with suppress(ConnectionClosed):
            await self.socket.send(json.dumps(message))


@dataclass(slots=True, kw_only=True)
class SmallRelay:
    """`document` None: it has no information document. `says` may answer an event in the
    relay's place, `forgets` says that it does not keep what it took, and `leads_to` another
    relay that it redirects to."""

    document: object = None
    max_subscriptions: int = UNLIMITED
    max_message_bytes: int = UNLIMITED
    default_limit: int = UNLIMITED
    says: Callable[[Event], Answer | None] = lambda _: None
    forgets: bool = False
    leads_to: "SmallRelay | None" = None
    was_joined: bool = False
    url: str = ""
    subscribers: list[Subscriber] = field(default_factory=list)
    infos: dict[str, Event] = field(default_factory=dict)
    offered: list[Event] = field(default_factory=list)
    asked: list[list[Filter]] = field(default_factory=list)
    accepts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    longest_frame: int = 0

    async def __call__(self, socket: ServerConnection) -> None:
        self.was_joined = True
        subscriber = Subscriber(socket)
        self.subscribers.append(subscriber)
        try:
            async for frame in socket:
                self.longest_frame = max(self.longest_frame, len(frame))
                await self._handle(json.loads(frame), subscriber)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self.refusals.append("too long a frame")
        finally:
            self.subscribers.remove(subscriber)

    async def _handle(self, message: list[object], subscriber: Subscriber) -> None:
        match message:
            case ["REQ", str(name), *filters]:
                await self._subscribe(subscriber, name, [parse_filter(f) for f in filters])
            case ["CLOSE", str(name)]:
                subscriber.subscriptions.pop(name, None)
            case ["EVENT", dict(raw)]:
                event = parse_event(raw)
                accepted, text = self.says(event) or await self._take(event)
                await subscriber.send("OK", event.id, accepted, text)

    async def _subscribe(
        self, subscriber: Subscriber, name: str, filters: list[Filter]
    ) -> None:
        self.asked.append(filters)
        if len(subscriber.subscriptions.keys() | {name}) > self.max_subscriptions:
            self.refusals.append("too many subscriptions")
            await subscriber.send("CLOSED", name, "error: too many subscriptions")
            return
        subscriber.subscriptions[name] = filters
        for event in self._stored(filters):
            await subscriber.send("EVENT", name, event.to_dict())
        await subscriber.send("EOSE", name)

    def _stored(self, filters: list[Filter]) -> list[Event]:
        found: dict[str, Event] = {}
        for wanted in filters:
            matches = [event for event in self.infos.values() if wanted.matches(event)]
            limit = self.default_limit if wanted.limit is None else wanted.limit
            found |= {event.id: event for event in matches[:limit]}
        return list(found.values())

    async def _take(self, event: Event) -> Answer:
        if not is_authentic(event):
            return False, "invalid: forged"
        self.offered.append(event)
        if event.kind == 13194 and not self.forgets:
            known = self.infos.get(event.pubkey)
            if known is None or known.created_at < event.created_at:
                self.infos[event.pubkey] = event
        for subscriber in tuple(self.subscribers):
            await self._pass_on(event, subscriber)
        return True, ""

    async def _pass_on(self, event: Event, subscriber: Subscriber) -> None:
        for name, filters in tuple(subscriber.subscriptions.items()):
            if any(wanted.matches(event) for wanted in filters):
                await subscriber.send("EVENT", name, event.to_dict())

    def tell(self, _: ServerConnection, request: Request) -> Response | None:
        """NIP-11, which is plain HTTP on the same address."""
        if request.headers.get("Upgrade"):
            return self._redirect()
        self.accepts.append(request.headers.get("Accept", ""))
        status = HTTPStatus.OK if self.document is not None else HTTPStatus.NOT_FOUND
        headers = Headers({"Content-Type": "application/nostr+json"})
        body = json.dumps(self.document).encode()
        return Response(status.value, status.phrase, headers, body)

    def _redirect(self) -> Response | None:
        if self.leads_to is None:
            return None
        headers = Headers({"Location": self.leads_to.url, "Content-Length": "0"})
        return Response(HTTPStatus.FOUND.value, HTTPStatus.FOUND.phrase, headers, b"")

    def listeners(self) -> list[Subscriber]:
        """The sockets on which requests are listened for."""
        return [each for each in self.subscribers if _asks_for_requests(each)]


def _asks_for_requests(subscriber: Subscriber) -> bool:
    return any(
        23194 in (wanted.kinds or ())
        for filters in subscriber.subscriptions.values()
        for wanted in filters
    )


@asynccontextmanager
async def small_relay(relay: SmallRelay, *, port: int = 0) -> AsyncIterator[SmallRelay]:
    async with serve(
        relay,
        "127.0.0.1",
        port,
        compression=None,
        max_size=relay.max_message_bytes,
        process_request=relay.tell,
    ) as server:
        relay.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield relay
        for subscriber in relay.subscribers:
            subscriber.socket.transport.abort()
        await asyncio.sleep(0)
