"""A Lightning address of alice's, and what strangers ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from nwc_service.addresses import Addresses
from nwc_service.backend import NodeInfo
from nwc_service.config import PublicSettings
from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.keys import Keypair
from nwc_service.payers import Payers
from nwc_service.wallet.invoice import Invoice
from tests.flow.world import World

DOMAIN = "example.org"
NAME = "alice"
AMOUNT_MSAT = 21_000
RELAYS = ("wss://one.example.org", "wss://two.example.org")
RECIPIENT = "63" * 32
PAYER = Keypair(b"\x61" * 32)


@dataclass(frozen=True, slots=True)
class Office:
    """What the service offers the operator and the payers of addresses."""

    addresses: Addresses
    payers: Payers

    async def ask(self, name: str = NAME, **query: str) -> Invoice:
        wanted: Mapping[str, str] = {"amount": str(AMOUNT_MSAT), **query}
        return await self.payers.invoice(name, wanted)

    async def ask_for_zap(self, *, relays: tuple[str, ...] = RELAYS) -> Invoice:
        return await self.ask(nostr=zap_request(*relays).to_json())


def zap_request(*relays: str) -> Event:
    return sign_event(
        PAYER,
        kind=9734,
        content="",
        tags=[("p", RECIPIENT), ("relays", *relays), ("amount", str(AMOUNT_MSAT))],
        created_at=1,
        aux=bytes(32),
    )


def open_office(world: World, **settings: object) -> Office:
    """`settings` are those of [public]."""
    addresses = Addresses(
        world.db,
        accounts=world.accounts,
        backends=world.edges.backends,
        domain=DOMAIN,
        clock=world.clock,
    )
    payers = Payers(
        world.db,
        receiver=world.receiver,
        backends=world.edges.backends,
        keyring=world.edges.keyring,
        node_info=lambda name: world.reconciler.node_info.get(name, NodeInfo()),
        settings=PublicSettings.model_validate({"domain": DOMAIN, **settings}),
        clock=world.clock,
    )
    return Office(addresses, payers)
