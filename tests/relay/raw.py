"""A client that says exactly what a test wants, and the events that it says it with."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect

from nwc_service.embedded import EmbeddedRelay, RelayLimits, open_embedded_relay
from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.keys import Keypair

# The relay under test lives at this time, however slow the tests are.
NOW = 1_800_000_000

CLIENT = Keypair(bytes(31) + b"\x01")
WALLET = Keypair(bytes(31) + b"\x02")
STRANGER = Keypair(bytes(31) + b"\x03")
OTHER_CLIENT = Keypair(bytes(31) + b"\x04")
OTHER_WALLET = Keypair(bytes(31) + b"\x05")

PARTIES = {
    (CLIENT.public_key, WALLET.public_key),
    (OTHER_CLIENT.public_key, OTHER_WALLET.public_key),
}

REPLY_TIMEOUT_S = 5
DEFAULT_LIMITS = RelayLimits()


def is_party(client: str, wallet: str) -> bool:
    return (client, wallet) in PARTIES


def an_event(
    author: Keypair,
    kind: int,
    tags: Sequence[Sequence[str]] = (),
    *,
    created_at: int = NOW,
    content: str = "?",
) -> Event:
    return sign_event(
        author,
        kind=kind,
        content=content,
        tags=tags,
        created_at=created_at,
        aux=bytes(32),
    )


def a_request(
    client: Keypair = CLIENT,
    wallet: Keypair = WALLET,
    *,
    tags: Sequence[Sequence[str]] = (),
    created_at: int = NOW,
    content: str = "?",
) -> Event:
    all_tags = [("p", wallet.public_key), *tags]
    return an_event(client, 23194, all_tags, created_at=created_at, content=content)


def a_response(request: Event, wallet: Keypair = WALLET, *, created_at: int = NOW) -> Event:
    tags = [("p", request.pubkey), ("e", request.id)]
    return an_event(wallet, 23195, tags, created_at=created_at, content="!")


def an_info(
    wallet: Keypair = WALLET, *, created_at: int = NOW, content: str = "pay_invoice"
) -> Event:
    tags = [("encryption", "nip44_v2 nip04"), ("p", CLIENT.public_key)]
    return an_event(wallet, 13194, tags, created_at=created_at, content=content)


def relay_of_its_own(
    on_request: Callable[[Event], bool | None] = lambda _: None,
    *,
    port: int = 0,
    limits: RelayLimits = DEFAULT_LIMITS,
    require_auth: bool = False,
    public_url: str | None = None,
    now: Callable[[], float] = lambda: NOW,
) -> AbstractAsyncContextManager[EmbeddedRelay]:
    return open_embedded_relay(
        "127.0.0.1",
        port,
        is_party=is_party,
        on_request=lambda event: on_request(event) is not False,
        limits=limits,
        require_auth=require_auth,
        public_url=public_url,
        now=now,
    )


class RawClient:
    """Sends and receives decoded NIP-01 messages."""

    def __init__(self, socket: ClientConnection, challenge: str) -> None:
        self.socket = socket
        self.challenge = challenge

    async def send(self, *message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> list[object]:
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            message = json.loads(await self.socket.recv())
        assert isinstance(message, list)
        return message

    async def ask(self, *message: object) -> list[object]:
        await self.send(*message)
        return await self.receive()

    async def offer(self, event: Event) -> tuple[bool, str]:
        """What the relay says of this event."""
        ok = await self.ask("EVENT", event.to_dict())
        assert ok[:2] == ["OK", event.id]
        assert isinstance(ok[2], bool)
        return ok[2], str(ok[3])

    async def stored(self, *filters: object) -> list[object]:
        """The ids of what a new subscription gets before EOSE."""
        await self.send("REQ", "stored", *filters)
        ids = []
        while (message := await self.receive())[0] == "EVENT":
            ids.append(id_of(message))
        assert message == ["EOSE", "stored"]
        return ids

    async def hears_nothing(self) -> bool:
        """Whether the relay has sent nothing before it answers one more message."""
        return (await self.ask("REQ", "nothing", {"ids": ["0" * 64]})) == ["EOSE", "nothing"]


def id_of(message: list[object]) -> object:
    event = message[2]
    assert isinstance(event, dict)
    return event["id"]


@asynccontextmanager
async def raw_client(url: str) -> AsyncIterator[RawClient]:
    async with connect(url, proxy=None, compression=None) as socket:
        greeting = json.loads(await socket.recv())
        assert greeting[0] == "AUTH"
        yield RawClient(socket, greeting[1])
