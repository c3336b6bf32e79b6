"""`serve --welcome`: what a newcomer is shown, on a terminal and elsewhere."""

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.clients.nostr_sdk_client import nostr_sdk_client
from tests.e2e.conftest import Cli, only_ours
from tests.e2e.service import PROGRAM, START_TIMEOUT_S, service_process

URI = re.compile(r"nostr\+walletconnect://\S+")
LAST_LINE = "new URI"
QR_CHARACTERS = set("█▀▄ \xa0")


async def test_off_a_terminal_a_first_connection_is_made_and_its_uri_kept(
    tmp_path: Path,
) -> None:
    async with welcomed(tmp_path, terminal=False) as shown:
        accounts = await Cli(tmp_path).json("account", "list")
        connections = await Cli(tmp_path).json("connection", "list")

    assert URI.search(shown) is None
    assert "secret" not in shown
    assert [account["name"] for account in accounts] == ["main"]
    assert [connection["account"] for connection in connections] == ["main"]
    admin_url = (tmp_path / "admin.url").read_text().strip()
    assert re.search(rf"^admin API +{re.escape(admin_url)}$", shown, re.MULTILINE)
    assert re.search(rf"^data +{re.escape(str(tmp_path))}$", shown, re.MULTILINE)


async def test_the_command_that_is_shown_makes_a_new_uri(tmp_path: Path) -> None:
    async with welcomed(tmp_path, terminal=False) as shown:
        [command] = re.findall(rf"^{LAST_LINE} +\S+ (.+)$", shown, re.MULTILINE)

        made = await Cli(tmp_path).json(*command.split(), NWC_DATA_DIR="/nowhere")

    assert URI.fullmatch(made["uri"])
    assert made["account"] == "main"


async def test_on_a_terminal_an_app_connects_with_the_uri_that_is_shown(
    tmp_path: Path,
) -> None:
    async with welcomed(tmp_path, terminal=True) as shown:
        [uri] = URI.findall(shown)
        async with nostr_sdk_client(uri) as client:
            balance_msat = await client.balance()

    assert balance_msat == 0
    assert len(qr_lines(shown)) > 20


async def test_a_second_start_goes_on_with_the_same_data(tmp_path: Path) -> None:
    async with welcomed(tmp_path, terminal=True) as first:
        before = await Cli(tmp_path).json("connection", "list")
    async with welcomed(tmp_path, terminal=True) as second:
        after = await Cli(tmp_path).json("connection", "list")

    assert URI.search(first)
    assert URI.search(second) is None
    assert qr_lines(second) == []
    assert after == before
    assert len(after) == 1


@pytest.mark.attack("A31")
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "no-terminal"])
async def test_the_secret_is_nowhere_on_the_disk(terminal: bool, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with welcomed(data_dir, terminal=terminal) as shown:
        pass

    secrets = re.findall(r"secret=([0-9a-f]{64})", shown)
    assert len(secrets) == int(terminal)
    kept = b"".join(path.read_bytes() for path in data_dir.iterdir() if path.is_file())
    assert b"walletconnect" not in kept
    for secret in secrets:
        assert secret.encode() not in kept
        assert bytes.fromhex(secret) not in kept


async def test_an_account_that_is_there_is_used(tmp_path: Path) -> None:
    async with welcomed(tmp_path, terminal=False):
        pass
    with closing(sqlite3.connect(tmp_path / "nwc.sqlite")) as books, books:
        books.execute("DELETE FROM connection")

    async with welcomed(tmp_path, terminal=False):
        accounts = await Cli(tmp_path).json("account", "list")
        connections = await Cli(tmp_path).json("connection", "list")

    assert [account["name"] for account in accounts] == ["main"]
    assert len(connections) == 1


async def test_the_command_that_is_shown_names_an_account_that_is_there(
    tmp_path: Path,
) -> None:
    async with service_process(tmp_path) as service:
        await service.create_account("al")
        await service.connect("al")

    async with welcomed(tmp_path, terminal=False) as shown:
        assert "--account al " in shown


def qr_lines(shown: str) -> list[str]:
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    return [
        line
        for line in bare.splitlines()
        if len(line) > 20 and set(line) <= QR_CHARACTERS and line.strip()
    ]


@asynccontextmanager
async def welcomed(data_dir: Path, *, terminal: bool) -> AsyncIterator[str]:
    """What `serve --welcome` prints until it has told everything; then it is stopped."""
    ours, theirs = os.openpty() if terminal else os.pipe()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "serve",
        "--welcome",
        "--data-dir",
        str(data_dir),
        stdout=theirs,
        stderr=asyncio.subprocess.DEVNULL,
        env=only_ours(os.environ),
    )
    os.close(theirs)
    try:
        yield await asyncio.wait_for(asyncio.to_thread(read_welcome, ours), START_TIMEOUT_S)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), START_TIMEOUT_S) == 0
    finally:
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()


def read_welcome(handle: int) -> str:
    shown = b""
    while not re.search(rb"%b.*\n" % LAST_LINE.encode(), shown):
        more = os.read(handle, 65_536)
        assert more, "it ended before it had told everything"
        shown += more
    return shown.decode().replace("\r\n", "\n")
