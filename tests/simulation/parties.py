"""Clients and the relay between them and the service: it loses, repeats, delays, reorders."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nwc_service.nip47 import kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.envelope import Channel
from nwc_service.nostr import nip44
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair, PublicKey

JsonObject = dict[str, Any]


@dataclass(slots=True)
class Client:
    """An app; `connection` is what the service knows of it."""

    connection: Connection
    channel: Channel
    random: Random

    @classmethod
    def of(cls, connection: Connection, *, keypair: Keypair, random: Random) -> "Client":
        channel = Channel.between(keypair, PublicKey(connection.wallet_pubkey))
        return cls(connection, channel, random)

    def request(self, method: str, params: Mapping[str, object], *, created_at: int) -> Event:
        body = json.dumps({"method": method, "params": dict(params)})
        key = self.channel.conversation_key
        return self.channel.sign(
            kind=kinds.REQUEST,
            content=nip44.encrypt(body, key=key, nonce=self.random.randbytes(32)),
            tags=(("p", self.connection.wallet_pubkey), ("encryption", "nip44_v2")),
            created_at=created_at,
            aux=self.random.randbytes(32),
        )

    def open(self, event: Event) -> JsonObject:
        payload: JsonObject = json.loads(
            nip44.decrypt(event.content, key=self.channel.conversation_key)
        )
        return payload


@dataclass(slots=True)
class Asked:
    """One request, its ways to the service, and what came back."""

    client: Client
    event: Event
    method: str
    params: Mapping[str, object]
    items: int = 1
    deliveries: list[tuple[int, float, int]] = field(default_factory=list)
    """In which life, when, and how old it was by the service's clock."""
    answers: dict[str, JsonObject] = field(default_factory=dict)
    """By the id of the event."""
    d_tags: dict[str, str | None] = field(default_factory=dict)
    """By the same: which item it answers."""


@dataclass(frozen=True, slots=True)
class RelayFaults:
    """Probabilities, each of one event on its way."""

    request_lost: float = 0.0
    request_twice: float = 0.0
    not_taken: float = 0.0
    ok_lost: float = 0.0
    delay_s: float = 0.05


class SimulatedRelay:
    def __init__(
        self,
        random: Random,
        *,
        on_taken: Callable[[Event], None],
        happened: Callable[[str], None],
    ) -> None:
        self.faults = RelayFaults()
        self.is_down = False
        self._random = random
        self._on_taken = on_taken
        self._happened = happened

    def ways(self) -> list[float]:
        """After how long each copy of a request arrives."""
        delays_s = [self._random.random() * self.faults.delay_s]
        if self._happens("request_twice"):
            delays_s.append(self._random.random() * 20 * self.faults.delay_s)
        if self.is_down or self._happens("request_lost"):
            delays_s.pop(0)
        return delays_s

    async def publish(self, _connection: Connection, event: Event) -> bool:
        await asyncio.sleep(self._random.random() * self.faults.delay_s)
        if self.is_down or self._happens("not_taken"):
            return False
        self._on_taken(event)
        if self._happens("ok_lost"):
            return False
        await asyncio.sleep(self._random.random() * self.faults.delay_s)
        return True

    def _happens(self, fault: str) -> bool:
        probability: float = getattr(self.faults, fault)
        happens = probability > 0 and self._random.random() < probability
        if happens:
            self._happened(fault)
        return happens
