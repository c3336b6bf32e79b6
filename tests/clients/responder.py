"""A wallet that answers from a script: it proves the clients where there is no service."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from tests.clients.client import ClientError, JsonObject
from tests.clients.conversation import NIP04, NIP44_V2, Conversation, encryption_of
from tests.clients.relay_link import RelayLink, relay_link

MAX_REQUESTS = 1000

Script = Mapping[str, JsonObject | ClientError]
"""What to answer to each method; every other one is refused with NOT_IMPLEMENTED."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the wallet read it."""

    method: str
    params: JsonObject
    encryption: str


@asynccontextmanager
async def responder(
    relay: str, script: Script, *, encryption: str = f"{NIP44_V2} {NIP04}"
) -> AsyncIterator["Responder"]:
    """Subscribed, with its info event published."""
    wallet = Responder(relay, script, encryption=encryption)
    keypair = wallet.conversation.keypair
    async with relay_link(relay, keypair, on_event=wallet.requests.put_nowait) as wallet.link:
        await wallet.subscribe()
        await wallet.publish_info()
        serving = asyncio.create_task(wallet.serve())
        try:
            yield wallet
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


class Responder:
    link: RelayLink

    def __init__(self, relay: str, script: Script, *, encryption: str) -> None:
        wallet = Keypair(secrets.token_bytes(32))
        client_secret = secrets.token_bytes(32)
        self.conversation = Conversation(wallet, Keypair(client_secret).public_key)
        self.uri = (
            f"nostr+walletconnect://{wallet.public_key}"
            f"?relay={quote(relay, safe='')}&secret={client_secret.hex()}"
        )
        self.requests: asyncio.Queue[Event] = asyncio.Queue(MAX_REQUESTS)
        self.seen: list[Seen] = []
        self._script = script
        self._encryption = encryption

    async def subscribe(self) -> None:
        wallet = self.conversation.keypair.public_key
        await self.link.subscribe("requests", {"kinds": [kinds.REQUEST], "#p": [wallet]})

    async def publish_info(self) -> None:
        methods = " ".join([*self._script, "notifications"])
        tags = [("encryption", self._encryption), ("notifications", "payment_received")]
        await self.link.publish(self.conversation.sign(methods, kind=kinds.INFO, tags=tags))

    async def serve(self) -> None:
        while True:
            await self.link.publish(self._respond(await self.requests.get()))

    async def notify(self, notification_type: str, notification: JsonObject) -> None:
        body = {"notification_type": notification_type, "notification": notification}
        for kind, encryption in (
            (kinds.NOTIFICATION, NIP44_V2),
            (kinds.NOTIFICATION_NIP04, NIP04),
        ):
            await self.link.publish(self._seal(body, kind=kind, encryption=encryption))

    def _respond(self, request: Event) -> Event:
        body = json.loads(self.conversation.decrypt(request.content))
        encryption = encryption_of(request.content)
        self.seen.append(Seen(body["method"], body["params"], encryption))
        return self._seal(
            self._payload(body["method"]),
            kind=kinds.RESPONSE,
            encryption=encryption,
            tags=[("e", request.id)],
        )

    def _payload(self, method: str) -> JsonObject:
        answer = self._script.get(method, ClientError("NOT_IMPLEMENTED", "not in the script"))
        if isinstance(answer, ClientError):
            error = {"code": answer.code, "message": answer.message}
            return {"result_type": method, "error": error}
        return {"result_type": method, "error": None, "result": answer}

    def _seal(
        self,
        payload: JsonObject,
        *,
        kind: int,
        encryption: str,
        tags: list[tuple[str, str]] | None = None,
    ) -> Event:
        return self.conversation.sign(
            self.conversation.encrypt(json.dumps(payload), encryption),
            kind=kind,
            tags=[("p", self.conversation.other), *(tags or [])],
        )
