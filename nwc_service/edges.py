"""What the flow stands on, opened at the start: lock, database, keys, nodes, a task owner."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from nwc_service import backend as port
from nwc_service import datadir
from nwc_service.backend import BackendUnavailable, Cap, LightningBackend
from nwc_service.config import Settings
from nwc_service.directory import Directory
from nwc_service.keyring import Keyring, open_master_key
from nwc_service.methods import METHODS, announced
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.keys import Keypair
from nwc_service.outbox import Spawn
from nwc_service.store import connections, ledger, meta
from nwc_service.store.database import Database
from nwc_service.store.sqlite import open_sqlite
from nwc_service.wallet.units import MSAT_PER_SAT, BackendName, Msat

log = structlog.get_logger()

NODE_START_TIMEOUT_S = 30.0


class StartError(Exception):
    """The service cannot start; the message says what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Edges:
    settings: Settings
    db: Database
    books: Database  # read only and apart, so that an operator's long list delays no user
    keyring: Keyring
    backends: Mapping[BackendName, LightningBackend]
    default_backend: BackendName
    directory: Directory
    spawn: Spawn

    def methods_of(self, connection: Connection) -> list[str]:
        """What its account's backend can do, and nothing where that is gone."""
        backend = self.backends.get(connection.backend)
        return announced(connection.scopes, backend.caps) if backend else []

    @property
    def supported_methods(self) -> list[str]:
        return announced(METHODS, self.backends[self.default_backend].caps)

    def client_of(self, wallet_pubkey: str) -> str | None:
        connection = self.directory.by_wallet(wallet_pubkey)
        return None if connection is None else connection.client_pubkey

    def keypair_of(self, wallet_pubkey: str) -> Keypair:
        """Raises LookupError where no connection has this service key."""
        connection = self.directory.by_wallet(wallet_pubkey)
        if connection is None:
            raise LookupError("no connection has this service key")
        return self.keyring.wallet_keypair(connection.connection_id)


async def open_edges(settings: Settings, stack: AsyncExitStack) -> Edges:
    """Raises StartError, StoreError, InUse and ValueError, each with its one line."""
    stack.enter_context(datadir.locked(settings.data_dir))
    db = await stack.enter_async_context(open_sqlite(settings.database_path, read_only=False))
    books = await stack.enter_async_context(open_sqlite(settings.database_path, read_only=True))
    keyring = await _keyring(settings, db)
    backends = await _backends(settings, stack)
    default_backend = BackendName(settings.default_backend or "")
    await db.write(lambda tx: ledger.pin_accounts(tx, default_backend))
    spawn = await stack.enter_async_context(_task_owner())
    return Edges(
        settings=settings,
        db=db,
        books=books,
        keyring=keyring,
        backends=backends,
        default_backend=default_backend,
        directory=Directory(await db.read(connections.connections)),
        spawn=spawn,
    )


async def stable_address(db: Database, purpose: str, *, listen: str) -> tuple[str, int]:
    """Host and port to listen on. Port 0 means: a free one, and that one again ever after."""
    host, _, text = listen.rpartition(":")
    port_number = int(text)
    if port_number == 0:
        known = await db.read(lambda tx: meta.get(tx, _port_of(purpose)))
        port_number = int(known or 0)
    return host.strip("[]"), port_number


async def remember_port(db: Database, purpose: str, *, port_number: int) -> None:
    await db.write(lambda tx: meta.put(tx, _port_of(purpose), str(port_number)))


def _port_of(purpose: str) -> str:
    return f"{purpose}_port"


async def _keyring(settings: Settings, db: Database) -> Keyring:
    """Raises StartError when the database belongs to another master key."""
    path = settings.data_dir / datadir.MASTER_KEY
    known = await db.read(lambda tx: meta.get(tx, "master_key"))
    if known is not None and not path.exists():
        raise StartError(f"{path} is missing; without it no connection can be served")
    keyring = Keyring(open_master_key(path))
    if known is not None and known != keyring.fingerprint:
        raise StartError(f"{path} is not the master key of this database")
    await db.write(lambda tx: meta.put(tx, "master_key", keyring.fingerprint))
    return keyring


async def _backends(
    settings: Settings, stack: AsyncExitStack
) -> dict[BackendName, LightningBackend]:
    """Raises StartError that names the backend."""
    backends: dict[BackendName, LightningBackend] = {}
    for name, configured in settings.backends.items():
        try:
            entry = port.find(configured.type)
            backend = port.load(configured.type)(
                BackendName(name), configured.options, data_dir=settings.data_dir
            )
        except ValueError as error:
            raise StartError(f"backends.{name}: {error}") from error
        stack.push_async_callback(backend.close)
        # A shadowed package would show here.
        found = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        log.info("backend.loaded", backend=name, type=configured.type, distribution=found)
        await _start_node(backend)
        backends[backend.name] = backend
    return backends


async def _start_node(backend: LightningBackend) -> None:
    try:
        async with asyncio.timeout(NODE_START_TIMEOUT_S):
            await backend.start()
    except ValueError as error:
        raise StartError(f"backends.{backend.name}: {error}") from error
    except (BackendUnavailable, TimeoutError) as error:
        # It may come back; until then /readyz tells, and nothing is lost.
        log.error("backend.unavailable", backend=backend.name, problem=str(error))
    declared_msat = backend.fee_cap_msat(Msat(MSAT_PER_SAT))
    if Cap.FEE_LIMIT not in backend.caps and declared_msat is None:
        raise StartError(
            f"backends.{backend.name}: it obeys no fee limit, so its own cap must be declared"
        )
    if Cap.SIMULATED in backend.caps:
        log.warning("backend.simulated", backend=backend.name, notice="no real money moves")


@asynccontextmanager
async def _task_owner() -> AsyncIterator[Spawn]:
    """Owns every background task: a failure is logged and ends no other; all end on leaving."""
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(_logged(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        yield spawn
    finally:
        while tasks:
            for task in tuple(tasks):
                task.cancel()
            await asyncio.wait(tuple(tasks))


async def _logged(work: Coroutine[object, object, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("task.failed", task=getattr(work, "__qualname__", ""))
