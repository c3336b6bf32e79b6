"""One service per module, and couples of accounts with an app each, whose library varies."""

import asyncio
import json
import os
import sqlite3
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from nwc_service.cli import app
from tests.demo.parties import ALBY, NOSTR_SDK, Clients, Party, clients
from tests.demo.sandbox import SandboxOutside
from tests.e2e.service import PROGRAM, START_TIMEOUT_S, ServiceProcess, service_process

CREDIT_MSAT = 10_000_000
WAIT_S = 15


@dataclass(frozen=True, slots=True)
class Flavour:
    """Which library the apps are built on, and the scheme that their connections allow."""

    library: str
    encryption: str | None = None


class AssertedStory:
    """The tour of the demo, as a test."""

    def chapter(self, title: str) -> None:
        self._title = title

    def check(self, what: str, found: object, *, expected: object) -> None:
        assert found == expected, f"{self._title}: {what}"


every_library = pytest.mark.parametrize(
    "library",
    [
        pytest.param(NOSTR_SDK, id="nostr-sdk"),
        pytest.param(ALBY, id="alby", marks=pytest.mark.real),
    ],
)


@pytest.fixture(scope="module")
def config() -> str:
    """The settings of a module's service, in TOML; the defaults where it says nothing."""
    return ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    tmp_path_factory: pytest.TempPathFactory, config: str
) -> AsyncIterator[ServiceProcess]:
    """On the sandbox and the embedded relay; at the end its books are in order."""
    directory = tmp_path_factory.mktemp("service")
    file = directory / "config.toml"
    file.write_text(config)
    chosen = {"NWC_CONFIG": str(file)} if config else {}
    async with service_process(directory / "data", **chosen) as started:
        yield started
        assert (await started.audit())["problems"] == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_clients() -> AsyncIterator[Clients]:
    async with clients() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def opened(module_clients: Clients) -> AsyncIterator[Clients]:
    """What a test opens is closed after it."""
    yield module_clients
    await module_clients.close()


@pytest.fixture(
    params=[
        pytest.param(Flavour(NOSTR_SDK), id="nostr-sdk-nip44"),
        pytest.param(Flavour(NOSTR_SDK, "nip04"), id="nostr-sdk-nip04"),
        pytest.param(Flavour(ALBY), id="alby-nip44", marks=pytest.mark.real),
        pytest.param(Flavour(ALBY, "nip04"), id="alby-nip04", marks=pytest.mark.real),
    ]
)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    found: Flavour = request.param
    return found


@pytest.fixture
def outside(service: ServiceProcess) -> SandboxOutside:
    return SandboxOutside(service)


@pytest_asyncio.fixture(loop_scope="module")
async def alice(service: ServiceProcess, opened: Clients, flavour: Flavour) -> Party:
    """With a credit of CREDIT_MSAT."""
    return await join(service, opened, flavour=flavour, credit_msat=CREDIT_MSAT)


@pytest_asyncio.fixture(loop_scope="module")
async def bob(service: ServiceProcess, opened: Clients, flavour: Flavour) -> Party:
    """With nothing."""
    return await join(service, opened, flavour=flavour)


async def join(
    service: ServiceProcess, opened: Clients, *, flavour: Flavour, credit_msat: int = 0
) -> Party:
    """A new account and a connected app."""
    name = f"account-{token_hex(4)}"
    await service.create_account(name, credit_msat=credit_msat)
    uri = await service.connect(name, encryption=flavour.encryption)
    party = await opened.party(name, uri, library=flavour.library)
    party.balance_msat = credit_msat
    return party


def rows(service: ServiceProcess, query: str, *values: str) -> list[tuple[object, ...]]:
    """Read from the service's own database, for what it tells nobody."""
    path = service.data_dir / "nwc.sqlite"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def proves(preimage: str, payment_hash: str) -> bool:
    return sha256(bytes.fromhex(preimage)).hexdigest() == payment_hash


async def node_rows(service: ServiceProcess, payment_hash: str) -> list[tuple[object, ...]]:
    """What reached the simulated node of this payment."""
    books = await service.sandbox("show")
    return [
        (one["direction"], one["amount_msat"], one["fee_msat"], one["state"])
        for one in books["payments"]
        if one["payment_hash"] == payment_hash
    ]


async def node_holds(service: ServiceProcess, payment_hash: str) -> None:
    """Wait until a payment has reached the node."""

    async def arrived() -> bool:
        return bool(await node_rows(service, payment_hash))

    await until(arrived)


async def until(is_so: Callable[[], Awaitable[bool]], *, timeout_s: float = WAIT_S) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            if await is_so():
                return
            await asyncio.sleep(0.05)


async def refused_start(data_dir: Path, *arguments: str, **environment: str) -> str:
    """The one line with which `serve` ends, exit 1, instead of starting."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "serve",
        *arguments,
        stdout=PIPE,
        stderr=PIPE,
        env=only_ours(os.environ) | {"NWC_DATA_DIR": str(data_dir)} | environment,
    )
    async with asyncio.timeout(START_TIMEOUT_S):
        stdout, stderr = await process.communicate()
    # What it says of itself before is the log: one JSON object a line.
    said = [line for line in stderr.decode().splitlines() if not line.startswith("{")]
    assert (process.returncode, stdout, len(said)) == (1, b"", 1), stderr.decode()
    return said[0]


def only_ours(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what the machine may have set for a service of its own."""
    return {name: value for name, value in variables.items() if not name.startswith("NWC_")}


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


class Cli:
    """The command line on one data directory.

    It runs in this process: the same program, without half a second of start each time.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    async def run(self, *arguments: str, **environment: str | None) -> Done:
        inherited: dict[str, str | None] = dict.fromkeys(
            os.environ.keys() - only_ours(os.environ)
        )
        variables = inherited | {"NWC_DATA_DIR": str(self._data_dir)} | environment
        result = await asyncio.to_thread(
            CliRunner().invoke, app, arguments, env=variables, prog_name="nwc-service"
        )
        assert isinstance(result.exception, SystemExit | None), result.exc_info
        return Done(result.exit_code, result.stdout, result.stderr)

    async def json(self, *arguments: str, **environment: str | None) -> Any:
        """One JSON document is all that it prints."""
        done = await self.run(*arguments, "--json", **environment)
        assert (done.code, done.stderr) == (0, ""), done
        return json.loads(done.stdout)

    async def failure(self, *arguments: str, **environment: str | None) -> str:
        """One line on standard error is all that it prints; exit 1."""
        done = await self.run(*arguments, **environment)
        assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
        assert done.stderr.startswith("nwc-service: ")
        return done.stderr.strip()

    async def usage(self, *arguments: str) -> str:
        """Exit 2, and nothing on standard output."""
        done = await self.run(*arguments)
        assert (done.code, done.stdout) == (2, ""), done
        return done.stderr


@pytest.fixture
def cli(service: ServiceProcess) -> Cli:
    return Cli(service.data_dir)
