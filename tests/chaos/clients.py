"""The users' apps: every request that changes something is kept, and delivered again in life
after life until it is answered; what was answered is delivered again to see the same bytes."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.clients.relay_link import RelayLink, relay_link

IDS_PER_REQ = 400
STRANGER = Keypair(b"\x55" * 32)
"""Whose socket it is does not matter: the events are signed by the apps."""


@dataclass(slots=True)
class Asked:
    """A request that changes something, and every distinct answer that ever came."""

    client: RawClient
    event: Event
    method: str
    payment_hash: str | None = None
    answers: set[str] = field(default_factory=set)  # signed events, byte by byte
    payload: JsonObject = field(default_factory=dict)  # of the first answer

    @property
    def result(self) -> JsonObject | None:
        result: JsonObject | None = self.payload.get("result")
        return result


class Apps:
    """All apps of all users behind one socket."""

    def __init__(self, *, on_answer: Callable[[Asked], None]) -> None:
        self.offset_s = 0
        self.asked: dict[str, Asked] = {}
        self.unanswered: dict[str, Asked] = {}
        self.heard: set[str] = set()  # requests whose answer came, since this was cleared
        self._clients: list[RawClient] = []
        self._on_answer = on_answer

    def add(self, uri: str) -> RawClient:
        client = RawClient(uri)
        self._clients.append(client)
        return client

    def build(
        self, client: RawClient, method: str, params: JsonObject, *, payment_hash: str | None
    ) -> Asked:
        event = client.build_request(method, params, created_at=self.now())
        return Asked(client, event, method, payment_hash)

    def keep(self, asked: Iterable[Asked]) -> None:
        """They will be sent now, so from now on they are owed an answer."""
        for one in asked:
            self.asked[one.event.id] = self.unanswered[one.event.id] = one

    def now(self) -> int:
        return int(time.time() + self.offset_s)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[RelayLink]:
        """Subscribed to all answers from now on."""
        url = self._clients[0].uri.relays[0]
        async with relay_link(url, STRANGER, on_event=self._receive) as link:
            live = {
                "kinds": [kinds.RESPONSE],
                "authors": [client.uri.wallet_pubkey for client in self._clients],
                "limit": 0,
            }
            await link.subscribe("live", live)
            yield link

    async def deliver(self, link: RelayLink, asked: Iterable[Asked]) -> None:
        for one in asked:
            await link.send_text(json.dumps(["EVENT", one.event.to_dict()]))

    async def read(self, link: RelayLink, client: RawClient, method: str) -> None:
        """Ask what changes nothing; nobody asks for its answer again."""
        event = client.build_request(method, created_at=self.now())
        await link.send_text(json.dumps(["EVENT", event.to_dict()]))

    async def fetch(self, link: RelayLink, request_ids: Iterable[str]) -> None:
        """What the relay has stored for these requests."""
        ids = list(request_ids)
        for first in range(0, len(ids), IDS_PER_REQ):
            some = ids[first : first + IDS_PER_REQ]
            await link.subscribe("stored", {"kinds": [kinds.RESPONSE], "#e": some})

    def _receive(self, event: Event) -> None:
        asked = self.asked.get(event.tag_value("e") or "")
        if asked is None:
            return
        self.heard.add(asked.event.id)
        is_first = not asked.answers
        asked.answers.add(event.to_json())
        if not is_first:
            return
        asked.payload = json.loads(asked.client.conversation.decrypt(event.content))
        del self.unanswered[asked.event.id]
        self._on_answer(asked)
