"""A relay that means harm: a real websocket server, whose every misbehaviour is a switch.

With all of them off it is honest, and keeps requests for five minutes as strfry does. The test
speaks for the clients: `publish` is a client's EVENT, and `taken` and `heard` are what the
service has published here.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event, event_id, parse_event
from nwc_service.nostr.filter import Filter, parse_filter

OK_PREFIXES = (
    "duplicate",
    "pow",
    "blocked",
    "rate-limited",
    "invalid",
    "restricted",
    "mute",
    "error",
    "auth-required",
)
MAX_FRAME_BYTES = 2**20

Frame = tuple[str | bytes, str]
"""What is sent, and the id of the request that it truly carries, or nothing."""


@dataclass(slots=True, kw_only=True)
class Mischief:
    """May be changed at any time; it holds from then on."""

    duplicates: int = 0  # further copies of each request, at once
    replays_after_s: tuple[float, ...] = ()  # of each request, once more each
    holds_back: int = 0  # so many requests, and then gives them out, the newest first
    withholds: Callable[[Event], bool] = lambda _: False
    ignores_filters: bool = False
    forges: bool = False  # each request is preceded by forgeries of it
    garbage: tuple[str | bytes, ...] = ()  # sent before each request
    refuses: str = ""  # every event of the service, with this message
    answers_no_event: bool = False  # takes it, and says no OK
    drops_events: bool = False  # says OK, and shows it to nobody
    sends_no_eose: bool = False
    closes: str = ""  # every subscription as soon as it is opened, with this message
    challenges: bool = False  # a new one with every message that comes
    information: Response | None = None  # NIP-11; without it there is none


@dataclass(slots=True)
class Guest:
    """The service on one socket."""

    socket: ServerConnection
    subscriptions: dict[str, list[Filter]] = field(default_factory=dict)
    is_deaf: bool = False

    async def say(self, *message: object) -> bool:
        return await self.send(json.dumps(message))

    async def send(self, frame: str | bytes) -> bool:
        """Whether it went out."""
        if self.is_deaf:
            return False
        try:
            await self.socket.send(frame)
        except ConnectionClosed:
            return False
        return True


class HostileRelay:
    def __init__(self, *, rng: random.Random | None = None) -> None:
        self.url = ""
        self.does = Mischief()
        self.guests: list[Guest] = []
        self.kept: dict[str, Event] = {}  # requests and info events, by id
        self.delivered: set[str] = set()  # ids of requests that went to the service unharmed
        self.heard: list[Event] = []  # what the service published, refused or not
        self.taken: dict[str, Event] = {}  # what of it got an OK true, or would have
        self.said: Counter[str] = Counter()  # messages of the service, by their label
        self._rng = rng or random.Random(0)
        self._held: list[Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: Server | None = None
        self._port = 0

    # --- its life

    async def start(self) -> None:
        """Where it was before, if it ever was."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            compression=None,
            max_size=MAX_FRAME_BYTES,
            ping_interval=None,
            process_request=self._inform,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self.drop()
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def drop(self) -> None:
        """Every socket, without a word."""
        for guest in self.guests:
            guest.socket.transport.abort()

    def go_deaf(self) -> None:
        """The sockets stay, and nothing goes through them any more: not even a pong."""
        for guest in self.guests:
            guest.is_deaf = True
            guest.socket.transport.pause_reading()

    @property
    def is_subscribed(self) -> bool:
        return any(guest.subscriptions for guest in self.guests)

    # --- what a client does and sees

    async def publish(self, event: Event) -> None:
        """A client's request; what comes of it is up to `does`."""
        self.kept[event.id] = event
        if self.does.withholds(event):
            return
        self._held.append(event)
        if len(self._held) <= self.does.holds_back:
            return
        for each in reversed(self._held):
            await self._deliver(each)
            for wait_s in self.does.replays_after_s:
                self._spawn(self._deliver_later(each, wait_s))
        self._held.clear()

    def answers_to(self, request: Event) -> list[Event]:
        """Every distinct answer that was published here, refused or not."""
        return list(
            {
                event.id: event
                for event in self.heard
                if event.kind == kinds.RESPONSE and event.tag_value("e") == request.id
            }.values()
        )

    def took_answer_to(self, request: Event) -> bool:
        return any(event.id in self.taken for event in self.answers_to(request))

    # --- at any time

    async def say(self, *message: object) -> None:
        for guest in list(self.guests):
            await guest.say(*message)

    async def send(self, frame: str | bytes) -> None:
        for guest in list(self.guests):
            await guest.send(frame)

    async def close_subscriptions(self, message: str) -> None:
        for guest in list(self.guests):
            await self._close(guest, message)

    async def challenge(self) -> None:
        await self.say("AUTH", self._rng.randbytes(8).hex())

    async def flood(self, events: Iterable[Event], *, per_s: int, for_s: float) -> int:
        """Send these in turn, as if they were new and asked for; how many went out."""
        loop = asyncio.get_running_loop()
        names = [name for guest in self.guests for name in guest.subscriptions]
        frames = [self._frame(name, event) for event in events for name in names[:1]]
        started_at, sent = loop.time(), 0
        while (elapsed_s := loop.time() - started_at) < for_s:
            due = int(elapsed_s * per_s)
            for number in range(sent, due):
                await self.send(frames[number % len(frames)])
            sent = due
            await asyncio.sleep(0.001)
        return sent

    # --- inside

    async def _serve(self, socket: ServerConnection) -> None:
        guest = Guest(socket)
        self.guests.append(guest)
        try:
            async for text in socket:
                message = json.loads(text)
                self.said[message[0]] += 1
                if self.does.challenges:
                    await self.challenge()
                await self._receive(guest, message)
        except ConnectionClosed:
            return
        finally:
            self.guests.remove(guest)

    async def _inform(self, socket: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        return self.does.information or socket.respond(404, "")

    async def _receive(self, guest: Guest, message: list[object]) -> None:
        match message:
            case ["REQ", str(name), *filters]:
                guest.subscriptions[name] = [parse_filter(each) for each in filters]
                await self._open(guest, name)
            case ["CLOSE", str(name)]:
                guest.subscriptions.pop(name, None)
            case ["EVENT", raw]:
                await self._receive_event(guest, parse_event(raw))
            case ["AUTH", {"id": str(auth_id)}]:
                await guest.say("OK", auth_id, True, "")

    async def _open(self, guest: Guest, name: str) -> None:
        if self.does.closes:
            await self._close(guest, self.does.closes)
            return
        for event in list(self.kept.values()):
            if not self.does.withholds(event) and self._is_wanted(guest, name, event):
                await self._give(guest, (self._frame(name, event), event.id))
        if not self.does.sends_no_eose:
            await guest.say("EOSE", name)

    async def _close(self, guest: Guest, message: str) -> None:
        for name in list(guest.subscriptions):
            del guest.subscriptions[name]
            await guest.say("CLOSED", name, message)

    async def _receive_event(self, guest: Guest, event: Event) -> None:
        self.heard.append(event)
        if self.does.refuses:
            if self.does.refuses.startswith("duplicate:"):
                self.taken[event.id] = event
            await guest.say("OK", event.id, False, self.does.refuses)
            return
        self.taken[event.id] = event
        if event.kind == kinds.INFO and not self.does.drops_events:
            self._keep_info(event)
        if not self.does.answers_no_event:
            await guest.say("OK", event.id, True, "")

    def _keep_info(self, event: Event) -> None:
        for kept in list(self.kept.values()):
            if (kept.kind, kept.pubkey) == (event.kind, event.pubkey):
                del self.kept[kept.id]
        self.kept[event.id] = event

    async def _deliver_later(self, event: Event, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await self._deliver(event)

    async def _deliver(self, event: Event) -> None:
        for guest in list(self.guests):
            for name in list(guest.subscriptions):
                if self._is_wanted(guest, name, event):
                    for frame in self._frames(name, event):
                        await self._give(guest, frame)

    def _is_wanted(self, guest: Guest, name: str, event: Event) -> bool:
        filters = guest.subscriptions.get(name, [])
        return self.does.ignores_filters or any(each.matches(event) for each in filters)

    def _frames(self, name: str, event: Event) -> Iterator[Frame]:
        for frame in self.does.garbage:
            yield frame, ""
        for forgery in forgeries(event) if self.does.forges else ():
            yield self._frame(name, forgery), ""
        for _ in range(1 + self.does.duplicates):
            yield self._frame(name, event), event.id

    async def _give(self, guest: Guest, frame: Frame) -> None:
        sent = await guest.send(frame[0])
        if sent and frame[1]:
            self.delivered.add(frame[1])

    def _frame(self, name: str, event: Event) -> str:
        return json.dumps(["EVENT", name, event.to_dict()])

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def forgeries(event: Event) -> list[Event]:
    """In the name of its author: another signature, another id, another content under its id,
    a correct id without a signature that holds, and its signature under another event."""
    wrong_sig = event.sig[:-2] + ("00" if event.sig[-2:] != "00" else "01")
    other = replace(event, created_at=event.created_at + 1)
    identified = replace(
        other,
        id=event_id(
            other.pubkey,
            created_at=other.created_at,
            kind=other.kind,
            tags=other.tags,
            content=other.content,
        ),
    )
    return [
        replace(event, sig=wrong_sig),
        replace(event, id="0" * 64),
        replace(event, content=event.content[::-1]),
        identified,
        replace(identified, sig="0" * 128),
    ]


@asynccontextmanager
async def hostile_relay(*, rng: random.Random | None = None) -> AsyncIterator[HostileRelay]:
    relay = HostileRelay(rng=rng)
    await relay.start()
    try:
        yield relay
    finally:
        with suppress(asyncio.CancelledError):
            await relay.stop()
