"""nwc-service serve: how it starts, where it listens, what it keeps, and how it ends."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.backends.lnbits_server import free_port
from tests.clients.raw import ConnectionUri, raw_client
from tests.e2e.conftest import Cli, only_ours, refused_start
from tests.e2e.service import PROGRAM, START_TIMEOUT_S, service_process


async def test_ports_and_connections_are_the_same_after_a_restart(tmp_path: Path) -> None:
    async with service_process(tmp_path / "data") as service:
        await service.create_account("main", credit_msat=1_000)
        uri = await service.connect("main")
        ready = await service.admin.get("/readyz")
        first_url = str(service.admin.base_url)

        await service.kill()
        await service.start()
        second_url = str(service.admin.base_url)
        async with raw_client(uri) as client:
            after_kill = await client.request("get_balance")
        await service.stop()
        await service.start()
        async with raw_client(uri) as client:
            after_stop = await client.request("get_balance")
        third = await service.connect("main")

    assert first_url == second_url == str(service.admin.base_url)
    assert ready.status_code == 200
    assert after_kill.result == after_stop.result == {"balance": 1_000}
    assert ConnectionUri.parse(third).relays == ConnectionUri.parse(uri).relays


@pytest.mark.attack("A34")
async def test_health_needs_no_token_and_everything_else_does(tmp_path: Path) -> None:
    async with service_process(tmp_path / "data") as service:
        url = str(service.admin.base_url)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as stranger:
            health, ready = await stranger.get("/healthz"), await stranger.get("/readyz")
            refused = {
                path: (await stranger.get(f"/api/v1/{path}")).status_code
                for path in (
                    *("accounts", "connections", "payments", "backends"),
                    *("suspense", "alarms", "decisions", "audit"),
                )
            }
            made = await stranger.post("/api/v1/accounts", json={"name": "never"})
        accounts = (await service.call("GET", "accounts"))["items"]

    assert health.status_code == 200
    assert health.json()["ok"] is True
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "ready": True,
            "database": True,
            "backends": {"sandbox": True},
            "relays": True,
            "alarms": 0,
            "paused": {},
            "solvency": {"covered": True},
            "notice": "simulated Lightning: no real money moves",
        },
    )
    assert set(refused.values()) == {401}
    assert made.status_code == 401
    assert accounts == []


@pytest.mark.attack("A31")
async def test_what_it_keeps_is_its_owners_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "deep" / "data"

    async with serving("--data-dir", str(data_dir)):
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()}

    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert {"admin.url", "admin.token", "master.key", "nwc.sqlite"} <= files.keys()
    assert set(files.values()) == {0o600}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_well_on_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    async with serving(NWC_DATA_DIR=str(tmp_path / "data")) as (process, _):
        process.send_signal(number)
        async with asyncio.timeout(START_TIMEOUT_S):
            code = await process.wait()

    assert code == 0


async def test_with_json_it_tells_where_it_is_once_it_is_there(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"

    async with (
        serving(NWC_DATA_DIR=str(data_dir)) as (_, told),
        httpx.AsyncClient(trust_env=False) as stranger,
    ):
        ready = await stranger.get(f"{told['admin_url']}/readyz")

    assert list(told) == ["admin_url", "relays", "data_dir"]
    assert ready.status_code == 200
    assert re.fullmatch(r"ws://127\.0\.0\.1:[0-9]+", told["relays"][0])
    assert told["data_dir"] == str(data_dir)


@pytest.mark.attack("A1")
async def test_one_service_at_a_time_on_a_data_directory(tmp_path: Path) -> None:
    async with service_process(tmp_path / "data") as service:
        said = await refused_start(service.data_dir)

        assert str(service.data_dir) in said
        assert (await service.admin.get("/readyz")).status_code == 200


async def test_it_listens_where_it_is_told(tmp_path: Path) -> None:
    admin, relay = free_port(), free_port()
    listen = {
        "NWC_ADMIN_LISTEN": f"127.0.0.1:{admin}",
        "NWC_EMBEDDED_RELAY_LISTEN": f"127.0.0.1:{relay}",
        "NWC_PUBLIC_RELAY_URL": "wss://relay.example/nwc",
    }

    async with service_process(tmp_path / "data", **listen) as service:
        await service.create_account("main")
        uri = await service.connect("main")
        async with raw_client(uri, relay=f"ws://127.0.0.1:{relay}") as client:
            answer = await client.request("get_balance")

    assert str(service.admin.base_url) == f"http://127.0.0.1:{admin}"
    assert ConnectionUri.parse(uri).relays == ("wss://relay.example/nwc",)
    assert answer.result == {"balance": 0}


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("NWC_ADMIN_LISTEN", "the admin API cannot listen"),
        ("NWC_EMBEDDED_RELAY_LISTEN", "the embedded relay cannot listen"),
    ],
)
async def test_an_address_that_is_taken_is_told(
    variable: str, told: str, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        said = await refused_start(tmp_path / "data", **{variable: address})

    assert told in said
    assert address in said


async def test_the_database_is_where_it_is_told(tmp_path: Path) -> None:
    database = tmp_path / "books" / "main.sqlite"
    variable = {"NWC_DATABASE_URL": f"sqlite:///{database}"}

    async with service_process(tmp_path / "data", **variable) as service:
        account = await service.create_account("main", credit_msat=1_000)
        cli = Cli(service.data_dir)
        shown = await cli.json("account", "show", "main", **variable)
        audit = await cli.json("audit", **variable)
    down = await cli.json("account", "show", "main", **variable)

    assert shown == down == account
    assert audit["ok"] is True
    assert database.is_file()
    assert not (tmp_path / "data" / "nwc.sqlite").exists()


async def test_a_database_belongs_to_its_master_key(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with service_process(data_dir):
        pass
    key = data_dir / "master.key"
    kept = key.read_text()

    key.unlink()
    missing = await refused_start(data_dir)
    key.write_text("ab" * 32 + "\n")
    another = await refused_start(data_dir)
    key.write_text(kept)
    async with service_process(data_dir) as service:
        ready = await service.admin.get("/readyz")

    assert "master.key is missing" in missing
    assert "not the master key of this database" in another
    assert ready.status_code == 200


@asynccontextmanager
async def serving(
    *options: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """`serve --json`, and what it tells."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "serve",
        "--json",
        *options,
        stdout=PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=only_ours(os.environ) | environment,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            told = json.loads(await process.stdout.readline())
        yield process, told
        if process.returncode is None:
            process.terminate()
        rest, _ = await process.communicate()
        assert rest == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
