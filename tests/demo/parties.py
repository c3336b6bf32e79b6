"""Who takes part: people with an account and an app, and somebody outside."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tests.clients.alby import AlbyDriver, alby_driver
from tests.clients.client import JsonObject, NwcClient
from tests.clients.nostr_sdk_client import nostr_sdk_client

NOSTR_SDK = "nostr-sdk"
ALBY = "@getalby/sdk"
LIBRARIES = (NOSTR_SDK, ALBY)

HEARD_TIMEOUT_S = 30


class Outside(Protocol):
    """Somebody on the Lightning network beyond the service."""

    async def make_invoice(self, amount_msat: int) -> str: ...

    async def pay(self, invoice: str) -> None: ...

    def fee_msat(self, amount_msat: int) -> int:
        """What the way there costs."""


@dataclass(slots=True)
class Party:
    """Somebody with an account, and what its app should be told by now."""

    name: str
    library: str
    client: NwcClient
    heard: asyncio.Queue[JsonObject]
    balance_msat: int = 0
    transactions: list[tuple[str, int, int]] = field(default_factory=list)
    """Type, amount and fee of each."""

    async def hear(self) -> JsonObject:
        """The next notification. Raises TimeoutError."""
        return await asyncio.wait_for(self.heard.get(), HEARD_TIMEOUT_S)

    def receives(self, amount_msat: int) -> None:
        self.balance_msat += amount_msat
        self.transactions.append(("incoming", amount_msat, 0))

    def pays(self, amount_msat: int, *, fee_msat: int) -> None:
        self.balance_msat -= amount_msat + fee_msat
        self.transactions.append(("outgoing", amount_msat, fee_msat))


class Clients:
    """Opens clients of every library; one Node process serves all of @getalby/sdk's."""

    def __init__(self, driver_stack: AsyncExitStack) -> None:
        self._driver_stack = driver_stack
        self._driver: AlbyDriver | None = None
        self._opened = AsyncExitStack()

    async def open(self, uri: str, *, library: str) -> NwcClient:
        """Skips the test where the library is not installed."""
        if library == NOSTR_SDK:
            return await self._opened.enter_async_context(nostr_sdk_client(uri))
        if self._driver is None:
            self._driver = await self._driver_stack.enter_async_context(alby_driver())
        client = self._driver.client(uri)
        self._opened.push_async_callback(client.close)
        return client

    async def party(self, name: str, uri: str, *, library: str) -> Party:
        """Connected, and listening to notifications."""
        client = await self.open(uri, library=library)
        return Party(name, library, client, await client.notifications())

    async def close(self) -> None:
        """All that are open; more may be opened afterwards."""
        await self._opened.aclose()


@asynccontextmanager
async def clients() -> AsyncIterator[Clients]:
    async with AsyncExitStack() as driver_stack:
        opened = Clients(driver_stack)
        try:
            yield opened
        finally:
            await opened.close()
