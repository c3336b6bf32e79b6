"""What a client really sent: its requests, as they pass the relay."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from tests.clients.conversation import encryption_of
from tests.clients.raw import ConnectionUri
from tests.clients.relay_link import relay_link


@dataclass(slots=True)
class Wire:
    """One connection's requests, repeats included."""

    requests: list[Event] = field(default_factory=list)

    def schemes(self) -> set[str]:
        return {encryption_of(event.content) for event in self.requests}


@asynccontextmanager
async def watched(uri: str) -> AsyncIterator[Wire]:
    """Listens on the URI's first relay with the client's own key."""
    parsed = ConnectionUri.parse(uri)
    client = Keypair(bytes.fromhex(parsed.secret))
    wire = Wire()
    async with relay_link(parsed.relays[0], client, on_event=wire.requests.append) as link:
        wanted = {"kinds": [kinds.REQUEST], "authors": [client.public_key]}
        await link.subscribe("wire", wanted)
        yield wire
