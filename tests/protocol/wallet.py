"""The whole flow in this process: requests go straight to the dispatcher, and what it publishes
goes straight to its client. So silence needs no waiting: it is sure when nothing runs."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from backends.sandbox import SandboxBackend
from nwc_service.accounts import Accounts
from nwc_service.addresses import lud16_reader
from nwc_service.config import load_settings
from nwc_service.connections import Connections
from nwc_service.edges import Edges, open_edges
from nwc_service.flow import build_flow
from nwc_service.methods import resolve_scopes
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.store import ledger
from nwc_service.store.audit import Audit, audit
from nwc_service.wallet.units import BackendName
from nwc_service.wishes import Wish
from tests.clients.client import JsonObject
from tests.clients.raw import Opened, RawClient
from tests.clients.relay_link import Published, RelayLink

RELAY = "ws://127.0.0.1:1"
IDLE_TIMEOUT_S = 20
PLENTY_MSAT = 100_000_000


@asynccontextmanager
async def wallet_in_process(
    data_dir: Path, *, config: Path | None = None, **environment: str
) -> AsyncIterator["WalletInProcess"]:
    """As `app.running`, without relays and admin API."""
    settings = load_settings(file=config, data_dir=data_dir, environment=environment)
    async with AsyncExitStack() as stack:
        wallet = WalletInProcess(await open_edges(settings, stack))
        await wallet.start()
        yield wallet


class Client(RawClient):
    """The client of one connection; `account` is its account's name, `events` are all that
    came for it, in order."""

    def __init__(
        self, uri: str, *, connection: Connection, account: str, wallet: "WalletInProcess"
    ) -> None:
        super().__init__(uri)
        self.connection = connection
        self.account = account
        self.wallet = wallet
        self.link = cast("RelayLink", _Link(wallet))
        self.events: list[Event] = []

    def receive(self, event: Event) -> None:
        self.events.append(event)
        super().receive(event)

    async def ask(self, plaintext: str, **how: Any) -> list[Opened]:
        """All answers to any plaintext at all; none is an empty list."""
        return await self.answers(self.build_event(plaintext, **how))

    async def answers(self, event: Event) -> list[Opened]:
        await self.send_event(event)
        await self.wallet.idle()
        return self.responses_to(event.id)

    async def request(self, method: str, params: object = None, **how: Any) -> Opened:
        """At the wallet's time unless told otherwise."""
        return await super().request(
            method, params, **{"created_at": self.wallet.clock()} | how
        )

    async def invoice(self, amount_msat: int = 100_000, **others: object) -> str:
        opened = await self.request("make_invoice", {"amount": amount_msat, **others})
        return str(opened.result["invoice"])

    async def pay(self, invoice: str, **others: object) -> Opened:
        return await self.request("pay_invoice", {"invoice": invoice, **others})

    @asynccontextmanager
    async def holding(self, amount_msat: int = 100_000) -> AsyncIterator[str]:
        """A payment that the outside node holds, by its payment hash; given back on leaving."""
        held = await self.wallet.outside("invoice", amount_msat=amount_msat, hold=True)
        await self.send_event(self.build_request("pay_invoice", {"invoice": held["invoice"]}))
        await self.until_known(held["payment_hash"])
        try:
            yield held["payment_hash"]
        finally:
            await self.wallet.outside("cancel", payment_hash=held["payment_hash"])
            await self.wallet.idle()

    async def until_known(self, payment_hash: str) -> JsonObject:
        """What lookup_invoice shows, as soon as it shows anything."""
        while True:
            found = await self.request("lookup_invoice", {"payment_hash": payment_hash})
            if found.error_code is None:
                return found.result
            await asyncio.sleep(0.01)

    async def transactions(self, **params: object) -> list[JsonObject]:
        result = (await self.request("list_transactions", params)).result
        return list(result["transactions"])

    async def balance_msat(self) -> int:
        account_id = self.connection.account_id
        account = await self.wallet.db.read(lambda tx: ledger.account(tx, account_id))
        assert account is not None
        return account.available_msat

    def notification_types(self) -> list[str]:
        """Of all notifications that have come since the last look."""
        found = []
        while not self.notifications.empty():
            found.append(self.notifications.get_nowait().payload["notification_type"])
        return found


class WalletInProcess:
    def __init__(self, edges: Edges) -> None:
        self.ahead_s = 0  # of the real time, the node too
        self._own = edges.spawn
        self._running = 0
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()
        self._clients: dict[str, Client] = {}
        self._seen: set[str] = set()
        edges = replace(edges, spawn=self._spawn)
        self._flow = build_flow(
            edges, publish=self._publish, announce=_announce, clock=self.clock
        )
        self.db = edges.db
        self.directory = edges.directory
        self.backend = cast("SandboxBackend", edges.backends[BackendName("sandbox")])
        self.backend.books.clock = self.clock
        self._accounts = Accounts(
            edges.db,
            backends=edges.backends,
            default_backend=edges.default_backend,
            spender=self._flow.spender,
            clock=self.clock,
        )
        self._connections = Connections(
            edges.db,
            accounts=self._accounts,
            directory=edges.directory,
            keyring=edges.keyring,
            resolve_scopes=resolve_scopes,
            relays_of=lambda connection: (RELAY,),
            lud16_of=lud16_reader(edges.db, edges.settings.public.domain),
            announce=_announce,
            clock=self.clock,
        )

    def clock(self) -> int:
        return now() + self.ahead_s

    async def start(self) -> None:
        await self._flow.reconciler.ask_node(BackendName("sandbox"))
        self._own(self._flow.reconciler.run())

    async def account(self, *, credit_msat: int = PLENTY_MSAT) -> str:
        """The name of a new account."""
        name = secrets.token_hex(8)
        await self._accounts.create(name)
        if credit_msat:
            await self._accounts.credit(name, credit_msat, reason="a test")
        return name

    async def connect(self, account: str | None = None, **wishes: Any) -> Client:
        """A client of a new connection, on an account with plenty of money unless named, that
        may do everything unless wished otherwise."""
        wishes = {"scopes": "all", **wishes}
        account = account or await self.account()
        created = await self._connections.create(Wish(account=account, app="a test", **wishes))
        client = Client(
            created.uri or "", connection=created.connection, account=account, wallet=self
        )
        self._clients[created.connection.connection_id] = client
        return client

    async def expired(self, account: str | None = None) -> Client:
        """A client whose connection has just ended."""
        self.ahead_s -= 2
        client = await self.connect(account, expires_in_s=1)
        self.ahead_s += 2
        return client

    async def revoke(self, client: Client) -> None:
        await self._connections.revoke(client.connection.connection_id)

    async def outside(self, command: str, **arguments: object) -> JsonObject:
        """A command to the sandbox's outside node."""
        return dict(await self.backend.command(command, arguments))

    async def outside_invoice(self, amount_msat: int | None = 100_000, **how: object) -> str:
        amount = {} if amount_msat is None else {"amount_msat": amount_msat}
        return str((await self.outside("invoice", **amount, **how))["invoice"])

    async def idle(self) -> None:
        """Until nothing runs: whatever was to be answered is answered."""
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            await self._nothing_runs.wait()

    async def audit(self) -> Audit:
        return await self.db.read(audit)

    def submit(self, event: Event) -> None:
        """As the pool does: it tells whether an event was taken before."""
        repeated = event.id in self._seen
        if self._flow.dispatcher.submit(event, repeated):
            self._seen.add(event.id)

    async def _publish(self, connection: Connection, event: Event) -> bool:
        client = self._clients.get(connection.connection_id)
        if client is not None:
            client.receive(event)
        return True

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        self._running += 1
        self._nothing_runs.clear()
        self._own(self._counted(work))

    async def _counted(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        finally:
            self._running -= 1
            if not self._running:
                self._nothing_runs.set()


class _Link:
    """What a client publishes arrives at once."""

    def __init__(self, wallet: WalletInProcess) -> None:
        self._wallet = wallet

    async def publish(self, event: Event) -> Published:
        self._wallet.submit(event)
        return Published(True, "")


async def _announce(connection: Connection) -> None:
    """There is no relay."""


def now() -> int:
    return int(time.time())
