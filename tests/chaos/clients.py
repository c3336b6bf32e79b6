"""The users' apps: every request that changes something is kept, and delivered again in life
after life until it is answered; what was answered is delivered again to see the same bytes."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
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


@dataclass(frozen=True, slots=True)
class Wish:
    """One payment that an app asks for. The hash of a keysend is the service's to choose where
    the app names no preimage."""

    params: JsonObject
    payment_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice that can be paid."""

    invoice: str
    payment_hash: str

    @property
    def wish(self) -> Wish:
        return Wish({"invoice": self.invoice}, self.payment_hash)


@dataclass(slots=True)
class Asked:
    """A request that changes something, and every distinct answer that ever came: one, or one
    to each of its items."""

    client: RawClient
    event: Event
    method: str
    params: JsonObject
    wishes: tuple[Wish, ...] = ()
    d_tags: tuple[str, ...] = ()  # of its items, where it may have several
    answers: dict[str | None, set[str]] = field(default_factory=dict)
    """By the d tag: signed events, byte by byte. A refusal of the whole has none."""
    payloads: dict[str | None, JsonObject] = field(default_factory=dict)  # of the first ones

    @property
    def is_answered(self) -> bool:
        return None in self.answers or (
            bool(self.d_tags) and self.answers.keys() >= set(self.d_tags)
        )

    @property
    def result(self) -> JsonObject | None:
        """What was answered to it as a whole."""
        result: JsonObject | None = self.payloads.get(None, {}).get("result")
        return result


class Apps:
    """All apps of all users behind one socket."""

    def __init__(self, *, on_answer: Callable[[Asked], None]) -> None:
        self.offset_s = 0
        self.asked: dict[str, Asked] = {}
        self.unanswered: dict[str, Asked] = {}
        self.heard: set[str] = set()  # answers that came, since this was cleared
        self._clients: list[RawClient] = []
        self._on_answer = on_answer

    def add(self, uri: str) -> RawClient:
        client = RawClient(uri)
        self._clients.append(client)
        return client

    def build(
        self,
        client: RawClient,
        method: str,
        params: JsonObject,
        *,
        wishes: Sequence[Wish] = (),
        d_tags: Sequence[str] = (),
    ) -> Asked:
        event = client.build_request(method, params, created_at=self.now())
        return Asked(client, event, method, params, tuple(wishes), tuple(d_tags))

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
        signed, d_tag = event.to_json(), event.tag_value("d")
        self.heard.add(signed)
        asked.answers.setdefault(d_tag, set()).add(signed)
        if d_tag in asked.payloads:
            return
        content = asked.client.conversation.decrypt(event.content)
        asked.payloads[d_tag] = json.loads(content)
        if asked.is_answered and asked.event.id in self.unanswered:
            del self.unanswered[asked.event.id]
            self._on_answer(asked)
