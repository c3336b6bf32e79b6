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

from backends.sandbox.chain import block_height
from backends.sandbox.schema import STEPS
from nwc_service.backend import BackendUnavailable
from nwc_service.wallet.units import Msat

START_MSAT = Msat(10**12)  # the liquidity of the service's node at first
BUSY_TIMEOUT_S = 5.0

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
        self.service_pubkey = self.outside_pubkey = ""  # 33 bytes as hex
        self._mined_blocks = 0
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()
        self._events: dict[str, asyncio.Event] = {}

    def exist(self) -> bool:
        return self.path.is_file()

    def now(self) -> int:
        return int(self.clock())

    @property
    def block_height(self) -> int:
        return block_height(now=self.now(), mined_blocks=self._mined_blocks)

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

    async def mine(self, blocks: int) -> None:
        async with self.transaction() as tx:
            [node] = await tx.rows(
                "UPDATE node SET mined_blocks = mined_blocks + :blocks RETURNING mined_blocks",
                blocks=blocks,
            )
        self._mined_blocks = node["mined_blocks"]

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
        await _migrate(connection)
        async with _transaction(connection) as tx:
            await tx.rows(
                """INSERT INTO node (one, service_key, outside_key, mode, available_msat)
                   VALUES (1, :service_key, :outside_key, :mode, :msat)
                   ON CONFLICT DO NOTHING""",
                service_key=PrivateKey().secret,
                outside_key=PrivateKey().secret,
                mode=Mode.NORMAL,
                msat=START_MSAT,
            )
            [node] = await tx.rows("SELECT * FROM node")
        self.service_key, self.outside_key = node["service_key"], node["outside_key"]
        self.service_pubkey = pubkey(self.service_key)
        self.outside_pubkey = pubkey(self.outside_key)
        self.mode = Mode(node["mode"])
        self._mined_blocks = node["mined_blocks"]


def pubkey(secret_key: bytes) -> str:
    return PrivateKey(secret_key).public_key.format().hex()


@asynccontextmanager
async def read_only(path: Path) -> AsyncIterator[Tx]:
    """The books as they are now, whoever else has them open. Never creates or migrates them."""
    with _file_errors():
        async with aiosqlite.connect(
            _read_only_uri(path), uri=True, isolation_level=None
        ) as connection:
            connection.row_factory = sqlite3.Row
            await connection.execute_fetchall("BEGIN")
            if await _version(connection) != len(STEPS):
                raise BackendUnavailable(
                    "the sandbox's file is an older one: start the service"
                )
            yield Tx(connection)


async def _migrate(connection: aiosqlite.Connection) -> None:
    """Each step once, with the number that says so."""
    for number in range(await _version(connection), len(STEPS)):
        await connection.executescript(
            f"BEGIN IMMEDIATE; {STEPS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
        )


async def _version(connection: aiosqlite.Connection) -> int:
    [row] = await connection.execute_fetchall("PRAGMA user_version")
    return int(row[0])


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
