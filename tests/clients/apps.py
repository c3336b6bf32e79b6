"""An app: an account of the real service, a connection to it, and a library that speaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex

from tests.clients.client import JsonObject, NwcClient
from tests.clients.conversation import NIP04
from tests.clients.libraries import NDK, Library
from tests.clients.node import NodeClient, NodeDriver, node_driver
from tests.clients.nostr_sdk_client import nostr_sdk_client
from tests.clients.raw import raw_client
from tests.clients.wire import Wire, watched
from tests.demo.sandbox import SandboxOutside
from tests.e2e.service import ServiceProcess

CREDIT_MSAT = 10_000_000


class Drivers:
    """One Node process for each npm library, started when it is first wanted."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._drivers: dict[str, NodeDriver] = {}
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def client(
        self, library: Library, uri: str, *, timeout_s: float | None = None
    ) -> AsyncIterator[NwcClient]:
        """It waits as long as it does by itself, unless it is told."""
        if library.module is None:
            async with nostr_sdk_client(uri, timeout_s=timeout_s) as python_client:
                yield python_client
            return
        driver = await self._driver(library.module)
        told = {} if timeout_s is None else {"timeout_ms": int(timeout_s * 1000)}
        async with closing(driver.client(uri, **told)) as client:
            yield client

    @asynccontextmanager
    async def asking(
        self, library: Library, *, relay: str, **options: object
    ) -> AsyncIterator[NodeClient]:
        """It asks for a connection with a link, which its op `link` gives; its op `granted`
        waits for what comes of it."""
        driver = await self._driver(f"{library.module}-nwa")
        async with closing(driver.client(relay, name="two teas", **options)) as client:
            yield client

    async def _driver(self, module: str) -> NodeDriver:
        async with self._starting:
            if module not in self._drivers:
                started = await self._stack.enter_async_context(node_driver(module))
                self._drivers[module] = started
        return self._drivers[module]


@dataclass(frozen=True, slots=True)
class App:
    account: str
    uri: str
    encryption: str
    client: NwcClient
    wire: Wire
    service: ServiceProcess
    wishes: JsonObject

    @property
    def outside(self) -> SandboxOutside:
        return SandboxOutside(self.service)

    async def balance_msat(self) -> int:
        """As the service itself tells it, with nothing held."""
        account = await self.service.account(self.account)
        assert account["held_msat"] == 0
        return int(account["available_msat"])

    async def ask_raw(self, method: str, **params: object) -> JsonObject:
        """What the wallet itself says, to another connection like this one."""
        async with raw_client(await self.service.connect(self.account, **self.wishes)) as raw:
            return (await raw.request(method, params)).result


class Apps:
    """Opens apps over one library and encryption, and closes them again."""

    def __init__(
        self, service: ServiceProcess, drivers: Drivers, stack: AsyncExitStack
    ) -> None:
        self._service = service
        self._drivers = drivers
        self._stack = stack

    async def open(
        self,
        library: Library,
        encryption: str,
        *,
        account: str | None = None,
        timeout_s: float | None = None,
        **wishes: object,
    ) -> App:
        """On a new account with CREDIT_MSAT, unless one is named."""
        if account is None:
            account = f"account-{token_hex(4)}"
            await self._service.create_account(account, credit_msat=CREDIT_MSAT)
        uri = await self._service.connect(
            account, encryption=offered(library, encryption), **wishes
        )
        wire = await self._stack.enter_async_context(watched(uri))
        client = await self._stack.enter_async_context(
            self._drivers.client(library, uri, timeout_s=timeout_s)
        )
        return App(account, uri, encryption, client, wire, self._service, wishes)


@asynccontextmanager
async def closing(client: NodeClient) -> AsyncIterator[NodeClient]:
    try:
        yield client
    finally:
        await client.close()


def offered(library: Library, encryption: str) -> str | None:
    """What the connection allows. A library takes NIP-44 where it has the choice, but for NDK,
    which never has."""
    return NIP04 if encryption == NIP04 and library is not NDK else None
