"""The books of the simulated network: one SQLite file, durable before anything is answered."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from pathlib import Path

import aiosqlite
from coincurve import PrivateKey

from nwc_service.backend import BackendUnavailable
from nwc_service.wallet.units import Msat

START_MSAT = Msat(10**12)  # the liquidity of the service's node at first
BUSY_TIMEOUT_S = 5.0

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    service_key BLOB NOT NULL CHECK (length(service_key) = 32),
    outside_key BLOB NOT NULL CHECK (length(outside_key) = 32),
    mode TEXT NOT NULL,
    available_msat INTEGER NOT NULL  -- at most all bitcoin
        CHECK (available_msat BETWEEN 0 AND 2100000000000000000)
) STRICT;
CREATE TABLE IF NOT EXISTS invoice (
    our_id TEXT PRIMARY KEY,
    payment_hash TEXT NOT NULL UNIQUE,
    preimage TEXT NOT NULL,
    invoice TEXT NOT NULL,
    amount_msat INTEGER CHECK (amount_msat > 0),
    status TEXT NOT NULL CHECK (status IN ('open', 'settled', 'canceled')),
    received_msat INTEGER CHECK (received_msat > 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER,
    settle_index INTEGER UNIQUE,
    CHECK ((status = 'settled') = (settle_index IS NOT NULL)),
    CHECK ((status = 'settled') = (received_msat IS NOT NULL))
) STRICT;
CREATE TABLE IF NOT EXISTS outside_invoice (
    payment_hash TEXT PRIMARY KEY,
    preimage TEXT NOT NULL,
    invoice TEXT NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN ('settle', 'hold', 'fail'))
) STRICT;
CREATE TABLE IF NOT EXISTS payment (
    payment_id INTEGER PRIMARY KEY AUTOINCREMENT,
    direction TEXT NOT NULL CHECK (direction IN ('incoming', 'outgoing')),
    our_id TEXT,
    payment_hash TEXT NOT NULL,
    amount_msat INTEGER NOT NULL CHECK (amount_msat > 0),
    fee_msat INTEGER NOT NULL CHECK (fee_msat >= 0),
    state TEXT NOT NULL CHECK (state IN ('pending', 'settled', 'failed', 'duplicate')),
    reason TEXT,
    created_at INTEGER NOT NULL,
    resolved_at INTEGER,
    CHECK ((state = 'failed') = (reason IS NOT NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS payment_of_hash ON payment (payment_hash);
CREATE UNIQUE INDEX IF NOT EXISTS one_live_payment ON payment (payment_hash)
    WHERE direction = 'outgoing' AND state IN ('pending', 'settled');
CREATE VIEW IF NOT EXISTS send AS
    SELECT payment.*, CASE state WHEN 'settled' THEN preimage END AS proof
    FROM payment LEFT JOIN outside_invoice USING (payment_hash)
    WHERE direction = 'outgoing';
COMMIT;
"""

Value = str | int | bytes | None


class Mode(StrEnum):
    """How the service's node behaves towards the service."""

    NORMAL = "normal"
    UNREACHABLE = "unreachable"
    LOSE_REPLY = "lose-reply"  # does what it is asked, and the answer is lost
    SLOW = "slow"


class Tx:
    """An open transaction; every statement has its rows fetched."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def rows(self, sql: str, **values: Value) -> list[sqlite3.Row]:
        return list(await self._connection.execute_fetchall(sql, values))

    async def row(self, sql: str, **values: Value) -> sqlite3.Row | None:
        rows = await self.rows(sql, **values)
        return rows[0] if rows else None


class Books:
    """The file, opened by `open`; before and after, everything is BackendUnavailable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock: Callable[[], float] = time.time  # the only one in this package
        self.mode = Mode.NORMAL
        self.service_key = self.outside_key = b""
        self.service_pubkey = ""  # 33 bytes as hex
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()
        self._events: dict[str, asyncio.Event] = {}

    def exist(self) -> bool:
        return self.path.is_file()

    def now(self) -> int:
        return int(self.clock())

    async def open(self) -> None:
        """Create what is missing, and read what stays the same. May be called again."""
        async with self._turn:
            if self._connection is None:
                self._connection = await self._connect()

    async def close(self) -> None:
        """Ends every wait; what is being written is written first."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
        self.announce(*self._events)

    def check_open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise BackendUnavailable("the sandbox is not started")
        return self._connection

    async def set_mode(self, mode: Mode) -> None:
        async with self.transaction() as tx:
            await tx.rows("UPDATE node SET mode = :mode", mode=mode)
        self.mode = mode

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Committed and on the disk at its end. Also for reading, so that nothing is seen, and
        told, before it is on the disk."""
        async with self._turn:
            connection = self.check_open()
            with _file_errors():
                async with _transaction(connection) as tx:
                    yield tx

    def event(self, key: str) -> asyncio.Event:
        """The next announcement of `key`: take it before reading the books."""
        return self._events.setdefault(key, asyncio.Event())

    def announce(self, *keys: str) -> None:
        for key in keys:
            if (event := self._events.pop(key, None)) is not None:
                event.set()

    async def _connect(self) -> aiosqlite.Connection:
        with _file_errors():
            _create(self.path)
            connection = await aiosqlite.connect(
                self.path, isolation_level=None, timeout=BUSY_TIMEOUT_S
            )
            try:
                await self._load(connection)
            except BaseException:
                await connection.close()
                raise
            return connection

    async def _load(self, connection: aiosqlite.Connection) -> None:
        connection.row_factory = sqlite3.Row
        await connection.execute_fetchall("PRAGMA journal_mode = WAL")
        await connection.execute_fetchall("PRAGMA synchronous = FULL")
        await connection.executescript(SCHEMA)
        async with _transaction(connection) as tx:
            await tx.rows(
                """INSERT INTO node VALUES (1, :service_key, :outside_key, :mode, :msat)
                   ON CONFLICT DO NOTHING""",
                service_key=PrivateKey().secret,
                outside_key=PrivateKey().secret,
                mode=Mode.NORMAL,
                msat=START_MSAT,
            )
            [node] = await tx.rows("SELECT * FROM node")
        self.service_key, self.outside_key = node["service_key"], node["outside_key"]
        self.service_pubkey = PrivateKey(self.service_key).public_key.format().hex()
        self.mode = Mode(node["mode"])


@asynccontextmanager
async def read_only(path: Path) -> AsyncIterator[Tx]:
    """The books as they are now, whoever else has them open. Never creates them."""
    with _file_errors():
        async with aiosqlite.connect(
            _read_only_uri(path), uri=True, isolation_level=None
        ) as connection:
            connection.row_factory = sqlite3.Row
            await connection.execute_fetchall("BEGIN")
            yield Tx(connection)


@asynccontextmanager
async def _transaction(connection: aiosqlite.Connection) -> AsyncIterator[Tx]:
    try:
        await connection.execute_fetchall("BEGIN IMMEDIATE")
        yield Tx(connection)
        await connection.commit()
    except BaseException:
        # Also when cancelled: what was queued before runs first, so this leaves nothing open,
        # and does nothing if the commit has been made.
        await connection.rollback()
        raise


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise BackendUnavailable(f"the sandbox's file: {type(error).__name__}") from error


def _read_only_uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _create(path: Path) -> None:
    """It holds keys, if only of play money."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
