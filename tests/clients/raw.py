"""Our own NWC client, for tests that need the wire itself: either encryption, any plaintext,
forged, repeated or expired events, and every answer that came."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair, PublicKey, parse_public_key
from tests.clients.client import JsonObject
from tests.clients.conversation import NIP44_V2, Conversation, encryption_of
from tests.clients.relay_link import Published, RelayLink, relay_link

RESPONSE_TIMEOUT_S = 10
MAX_NOTIFICATIONS = 1000


@dataclass(frozen=True, slots=True)
class ConnectionUri:
    wallet_pubkey: PublicKey
    relays: tuple[str, ...]
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "ConnectionUri":
        """Raises ValueError for anything but a NIP-47 connection URI."""
        parts = urlsplit(text)
        query = parse_qs(parts.query, strict_parsing=True)
        if parts.scheme != "nostr+walletconnect" or not {"relay", "secret"} <= query.keys():
            raise ValueError("not a connection URI")
        return cls(parse_public_key(parts.netloc), tuple(query["relay"]), query["secret"][0])


@dataclass(frozen=True, slots=True)
class Opened:
    """A response or notification event with what was encrypted in it."""

    event: Event
    payload: JsonObject

    @property
    def encryption(self) -> str:
        return encryption_of(self.event.content)

    @property
    def result(self) -> JsonObject:
        result: JsonObject = self.payload["result"]
        return result

    @property
    def error_code(self) -> str | None:
        error = self.payload.get("error")
        return None if error is None else error["code"]


@asynccontextmanager
async def raw_client(uri: str, *, relay: str | None = None) -> AsyncIterator["RawClient"]:
    """Connected and subscribed, on the URI's first relay unless told otherwise."""
    client = RawClient(uri)
    url = client.uri.relays[0] if relay is None else relay
    async with relay_link(url, client.keypair, on_event=client.receive) as client.link:
        await client.link.subscribe("nwc", *client.filters())
        yield client


class RawClient:
    link: RelayLink  # while it is connected

    def __init__(self, uri: str) -> None:
        self.uri = ConnectionUri.parse(uri)
        self.keypair = Keypair(bytes.fromhex(self.uri.secret))
        self.conversation = Conversation(self.keypair, self.uri.wallet_pubkey)
        self.info: Event | None = None
        """The newest info event (kind 13194) that the relay has sent."""
        self.notifications: asyncio.Queue[Opened] = asyncio.Queue(MAX_NOTIFICATIONS)
        self._responses: dict[str, dict[str, Opened]] = defaultdict(dict)
        self._arrived: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def request(
        self,
        method: str,
        params: object = None,
        *,
        encryption: str = NIP44_V2,
        created_at: int | None = None,
        expiration: int | None = None,
        timeout_s: float = RESPONSE_TIMEOUT_S,
    ) -> Opened:
        """The first response. Raises TimeoutError where none comes."""
        event = self.build_request(
            method, params, encryption=encryption, created_at=created_at, expiration=expiration
        )
        await self.send_event(event)
        return await self.response_to(event.id, timeout_s=timeout_s)

    def build_request(
        self,
        method: str,
        params: object = None,
        *,
        encryption: str = NIP44_V2,
        created_at: int | None = None,
        expiration: int | None = None,
    ) -> Event:
        """`params` is an empty object unless given."""
        body = {"method": method, "params": {} if params is None else params}
        expires = [] if expiration is None else [("expiration", str(expiration))]
        return self.build_event(
            json.dumps(body),
            encryption=encryption,
            tags=[*self.request_tags(encryption), *expires],
            created_at=created_at,
        )

    def build_event(
        self,
        plaintext: str,
        *,
        encryption: str = NIP44_V2,
        tags: Sequence[Sequence[str]] | None = None,
        kind: int = kinds.REQUEST,
        created_at: int | None = None,
    ) -> Event:
        """Any plaintext and any tags; for any content at all there is `conversation.sign`."""
        return self.conversation.sign(
            self.conversation.encrypt(plaintext, encryption),
            kind=kind,
            tags=self.request_tags(encryption) if tags is None else tags,
            created_at=created_at,
        )

    def request_tags(self, encryption: str) -> list[tuple[str, str]]:
        return [("p", self.uri.wallet_pubkey), ("encryption", encryption)]

    async def send_event(self, event: Event) -> Published:
        """To the relay; what it said, without waiting for the wallet."""
        return await self.link.publish(event)

    async def response_to(
        self, event_id: str, *, timeout_s: float = RESPONSE_TIMEOUT_S
    ) -> Opened:
        """The first response. Raises TimeoutError where none comes."""
        async with asyncio.timeout(timeout_s):
            await self._arrived[event_id].wait()
        return self.responses_to(event_id)[0]

    def responses_to(self, event_id: str) -> list[Opened]:
        """Every distinct response event that has come so far, in order of arrival."""
        return list(self._responses[event_id].values())

    def filters(self) -> list[JsonObject]:
        wallet = self.uri.wallet_pubkey
        answers = [kinds.RESPONSE, kinds.NOTIFICATION, kinds.NOTIFICATION_NIP04]
        return [
            {"kinds": answers, "authors": [wallet], "#p": [self.keypair.public_key]},
            {"kinds": [kinds.INFO], "authors": [wallet]},
        ]

    def receive(self, event: Event) -> None:
        if event.kind == kinds.INFO:
            self._receive_info(event)
            return
        opened = Opened(event, json.loads(self.conversation.decrypt(event.content)))
        if event.kind == kinds.RESPONSE:
            self._receive_response(opened)
        else:
            self.notifications.put_nowait(opened)

    def _receive_info(self, event: Event) -> None:
        if self.info is None or event.created_at >= self.info.created_at:
            self.info = event

    def _receive_response(self, opened: Opened) -> None:
        request_id = opened.event.tag_value("e") or ""
        self._responses[request_id].setdefault(opened.event.id, opened)
        self._arrived[request_id].set()
