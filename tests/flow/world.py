"""The flow of the service in this process, put together as `app.py` does: a real database
file, a scripted backend, a clock that a test turns, and a relay that remembers what it took.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from nwc_service.accounts import Accounts
from nwc_service.config import PaymentSettings, RequestSettings, Settings
from nwc_service.credit import Crediter
from nwc_service.directory import Directory
from nwc_service.edges import Edges
from nwc_service.flow import Flow, build_flow
from nwc_service.keyring import Keyring
from nwc_service.methods import METHODS
from nwc_service.nip47 import kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair, PublicKey
from nwc_service.receive import Receiver
from nwc_service.reconciler import Reconciler
from nwc_service.spend import Spender
from nwc_service.store import alarms, connections, ledger, payments
from nwc_service.store.audit import audit
from nwc_service.store.database import Tx
from nwc_service.store.sqlite import SqliteDatabase, open_sqlite
from nwc_service.wallet.budget import Budget
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import AccountId, ConnectionId, PaymentHash
from tests.clients.conversation import Conversation
from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.parties import (
    WAIT_S,
    Client,
    Clock,
    Interruption,
    JsonObject,
    Relay,
    Tasks,
    uninterrupted,
)

MASTER_KEY = b"\x55" * 32

FEE_RESERVE_MSAT = 10_000
PAYMENT_TIMEOUT_S = 60
MAX_OPEN = 20
MAX_OPEN_PER_ACCOUNT = 5


@dataclass(slots=True, kw_only=True)
class World:
    db: SqliteDatabase
    path: Path
    clock: Clock
    backend: ScriptedBackend
    relay: Relay
    tasks: Tasks
    edges: Edges
    flow: Flow
    accounts: Accounts

    @property
    def spender(self) -> Spender:
        return self.flow.spender

    @property
    def receiver(self) -> Receiver:
        return self.flow.receiver

    @property
    def crediter(self) -> Crediter:
        return self.flow.crediter

    @property
    def reconciler(self) -> Reconciler:
        return self.flow.reconciler

    # --- what stands before a test begins

    async def account(self, name: str, *, credit_msat: int = 0) -> AccountId:
        account = await self.accounts.create(name)
        if credit_msat:
            await self.accounts.credit(name, credit_msat, reason="a test")
        return account.account_id

    async def connect(
        self,
        account: str,
        *,
        budget: Budget | None = None,
        expires_at: int | None = None,
        scopes: frozenset[str] = frozenset(METHODS),
    ) -> Client:
        keypair = Keypair(os.urandom(32))
        connection_id = ConnectionId(token_hex(16))
        found = await self.accounts.named(account)
        connection = Connection(
            connection_id=connection_id,
            account_id=found.account_id,
            backend=found.backend,
            app="a test",
            wallet_pubkey=self.edges.keyring.wallet_pubkey(connection_id),
            client_pubkey=keypair.public_key,
            scopes=scopes,
            notifications=frozenset(NotificationType),
            encryption=(Encryption.NIP44_V2,),
            relays=(),
            budget=budget,
            max_payment_msat=None,
            created_at=self.clock(),
            expires_at=expires_at,
        )
        await self.db.write(lambda tx: connections.insert(tx, connection))
        self.edges.directory.put(connection)
        return Client(connection, Conversation(keypair, PublicKey(connection.wallet_pubkey)))

    def lift_caps(self) -> None:
        """Let any number of payments be open."""
        self.spender.policy = replace(
            self.spender.policy, max_open_payments=10**6, max_open_payments_per_account=10**6
        )

    # --- what a client does and sees

    def ask(
        self, client: Client, method: str, params: Mapping[str, object] | None = None
    ) -> Event:
        """Send a request; what comes of it comes later."""
        event = client.request(method, params, created_at=self.clock())
        self.deliver(event)
        return event

    def deliver(self, event: Event, *, repeated: bool = False) -> None:
        self.flow.dispatcher.submit(event, repeated)

    async def call(
        self, client: Client, method: str, params: Mapping[str, object] | None = None
    ) -> JsonObject:
        """The payload of the answer, once all is quiet."""
        event = self.ask(client, method, params)
        await self.tasks.idle()
        return self.answer(client, event)

    def pay(self, client: Client, invoice: str, **others: object) -> Event:
        return self.ask(client, "pay_invoice", {"invoice": invoice, **others})

    async def invoice(self, client: Client, amount_msat: int, **others: object) -> JsonObject:
        answer = await self.call(client, "make_invoice", {"amount": amount_msat, **others})
        result: JsonObject = answer["result"]
        return result

    def answers_to(self, client: Client, request: Event) -> list[JsonObject]:
        """Every distinct event that answers this request."""
        distinct = {
            event.id: event
            for event in self.relay.taken
            if event.kind == kinds.RESPONSE and event.tag_value("e") == request.id
        }
        return [client.open(event) for event in distinct.values()]

    def answer(self, client: Client, request: Event) -> JsonObject:
        [answer] = self.answers_to(client, request)
        return answer

    def notifications(self, client: Client) -> list[JsonObject]:
        return [
            client.open(event)
            for event in self.relay.taken
            if event.kind == kinds.NOTIFICATION
            and event.pubkey == client.connection.wallet_pubkey
        ]

    # --- what the books say

    async def money(self, account: str) -> tuple[int, int]:
        """Available and held."""
        found = await self.accounts.named(account)
        return found.available_msat, found.held_msat

    async def book(self, name: str) -> int:
        async def read(tx: Tx) -> int:
            row = await tx.one("SELECT balance_msat FROM book WHERE name = :name", name=name)
            return int(row["balance_msat"]) if row else 0

        return await self.db.read(read)

    async def problems(self) -> tuple[str, ...]:
        return (await self.db.read(audit)).problems

    async def keysend_id(self, account_name: str) -> str:
        account = await self.db.read(lambda tx: ledger.account_named(tx, account_name))
        assert account is not None
        assert account.keysend_id is not None
        return account.keysend_id

    async def alarms(self) -> list[str]:
        return [str(row["kind"]) for row in await self.db.read(alarms.alarms)]

    async def payments_of(self, payment_hash: PaymentHash) -> list[Payment]:
        async def read(tx: Tx) -> list[Payment]:
            rows = await tx.all(
                f"SELECT {payments.COLUMNS} FROM payment WHERE payment_hash = :payment_hash"
                " ORDER BY created_at, payment_id",
                payment_hash=payment_hash,
            )
            return [payments.from_row(row) for row in rows]

        return await self.db.read(read)

    async def payment(self, payment_hash: PaymentHash) -> Payment:
        [payment] = await self.payments_of(payment_hash)
        return payment

    async def count(self, table: str) -> int:
        async def read(tx: Tx) -> int:
            row = await tx.one(f"SELECT count(*) AS rows FROM {table}")
            return int(row["rows"]) if row else 0

        return await self.db.read(read)

    async def forget_publishing(self) -> None:
        """As after a crash between a relay's OK and the note of it."""

        async def work(tx: Tx) -> None:
            await tx.run("UPDATE outbox SET published_at = NULL")

        await self.db.write(work)

    async def owed_msat(self) -> int:
        return int(await self.db.read(ledger.liabilities_msat))

    async def change_schema(self, statement: str) -> None:
        async def work(tx: Tx) -> None:
            await tx.run(statement)

        await self.db.write(work)

    async def follow_the_stream(self) -> None:
        """One turn of the reconciler over the stream of settled invoices."""
        before = self.backend.streams_ended
        watching = asyncio.create_task(self.reconciler._watch(self.backend.name))
        await until(lambda: self.backend.streams_ended > before)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await self.tasks.idle()

    async def look_up(self, *, after_s: int = 0) -> None:
        """One turn of the reconciler over the payments."""
        self.clock.advance(after_s)
        await self.flow.solvency.check()
        await self.reconciler.look_up_payments()
        await self.tasks.idle()


async def until(condition: Callable[[], Awaitable[bool] | bool]) -> None:
    """Raises TimeoutError when it does not come true."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.002)


@asynccontextmanager
async def open_world(
    path: Path,
    *,
    backend: ScriptedBackend,
    clock: Clock,
    relay: Relay | None = None,
    others: Sequence[ScriptedBackend] = (),
    interruption: Interruption = uninterrupted,
) -> AsyncIterator[World]:
    """Opened again on the same path it is the service after a restart; `backend` is the default
    one beside `others`."""
    for each in (backend, *others):
        each.clock = clock
    tasks = Tasks(interruption)
    async with open_sqlite(path, read_only=False) as db:
        known = await db.read(connections.connections)
        world = _world(
            db,
            path=path,
            backends=(backend, *others),
            clock=clock,
            relay=relay or Relay(),
            tasks=tasks,
            directory=Directory(known),
        )
        await world.reconciler.ask_node(backend.name)
        await world.flow.solvency.check()
        await world.flow.outbox.recover()
        try:
            yield world
        finally:
            await tasks.cancel()


@asynccontextmanager
async def reconciling(world: World) -> AsyncIterator["asyncio.Task[None]"]:
    """With the reconciler running, as in the service."""
    running = asyncio.create_task(world.reconciler.run())
    try:
        yield running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def _world(
    db: SqliteDatabase,
    *,
    path: Path,
    backends: Sequence[ScriptedBackend],
    clock: Clock,
    relay: Relay,
    tasks: Tasks,
    directory: Directory,
) -> World:
    backend = backends[0]
    edges = Edges(
        settings=_settings(path),
        db=db,
        books=db,
        keyring=Keyring(MASTER_KEY),
        backends={each.name: each for each in backends},
        default_backend=backend.name,
        directory=directory,
        spawn=tasks.spawn,
    )
    flow = build_flow(edges, publish=relay.publish, announce=relay.announce, clock=clock)
    return World(
        edges=edges,
        flow=flow,
        db=db,
        path=path,
        clock=clock,
        backend=backend,
        relay=relay,
        tasks=tasks,
        accounts=Accounts(
            db,
            backends=edges.backends,
            default_backend=edges.default_backend,
            spender=flow.spender,
            clock=clock,
        ),
    )


def _settings(path: Path) -> Settings:
    return Settings(
        data_dir=path.parent,
        requests=RequestSettings(
            rate_per_s=1_000,
            rate_burst=1_000,
            account_rate_per_s=10_000,
            account_rate_burst=10_000,
            max_in_progress=1_000,
        ),
        payments=PaymentSettings(
            fee_reserve_floor_msat=FEE_RESERVE_MSAT,
            timeout_s=PAYMENT_TIMEOUT_S,
            max_open=MAX_OPEN,
            max_open_per_account=MAX_OPEN_PER_ACCOUNT,
        ),
    )


@asynccontextmanager
async def broken(world: World, when: str, *, table: str, event: str) -> AsyncIterator[None]:
    """While inside, the database refuses every `event` on `table` where `when` holds."""
    await world.change_schema(
        f"CREATE TRIGGER broken_{table} BEFORE {event} ON {table} WHEN {when}"
        " BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END",
    )
    try:
        yield
    finally:
        await world.change_schema(f"DROP TRIGGER broken_{table}")
