"""The whole way: payments, a backup, more payments, a lost disk, and back again."""

import asyncio
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clients.raw import raw_client
from tests.e2e.service import CommandFailed, ServiceProcess, service_process

WORDS = "correct horse battery staple"


async def run(data_dir: Path, *arguments: str, **environment: str) -> str:
    """What the real program prints. Raises CommandFailed."""
    code, stdout, stderr = await told(data_dir, *arguments, **environment)
    if code:
        raise CommandFailed(code, stderr)
    return stdout


async def told(
    data_dir: Path, *arguments: str, **environment: str
) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "nwc_service",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"NWC_DATA_DIR": str(data_dir)} | environment,
    )
    stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


async def pay(service: ServiceProcess, uri: str, *, amount_msat: int) -> str | None:
    """The error's code. Requests from before a restore, by its clock and a second, get none."""
    invoice = (await service.sandbox("invoice", amount_msat=amount_msat))["invoice"]
    async with raw_client(uri) as client:
        for _ in range(10):
            with suppress(TimeoutError):
                answer = await client.request(
                    "pay_invoice", {"invoice": invoice}, timeout_s=1.5
                )
                return answer.error_code
    raise TimeoutError("no answer came")


@pytest.mark.attack("A21")
async def test_a_lost_disk_costs_nobody_money(tmp_path: Path) -> None:
    """The node goes on: it knows payments that the restored books do not."""
    words, first, second = tmp_path / "words", tmp_path / "first", tmp_path / "second"
    words.write_text(WORDS)
    config = tmp_path / "config.toml"
    config.write_text("[requests]\nmax_future_s = 1\n")
    option = ("--passphrase-file", str(words))
    async with service_process(first) as service:
        await service.create_account("ann", credit_msat=1_000_000)
        uri = await service.connect("ann")
        assert await pay(service, uri, amount_msat=100_000) is None
        file = (await run(first, "backup", str(tmp_path), *option)).strip()
        saved = await service.account("ann")
        assert await pay(service, uri, amount_msat=200_000) is None
    with pytest.raises(CommandFailed, match="empty place"):
        await run(first, "restore", file, *option)

    await run(second, "restore", file, *option)
    shutil.copy(first / "sandbox.sqlite", second / "sandbox.sqlite")
    async with service_process(second, NWC_CONFIG=str(config)) as service:
        account = await service.account("ann")
        [backend] = await service.call("GET", "backends")
        uri = await service.connect("ann")
        refused = await pay(service, uri, amount_msat=1_000)
        await service.call("POST", "backends/sandbox/resume", reason="compared with the node")
        paid = await pay(service, uri, amount_msat=1_000)
        audit = await service.audit()

    assert account["available_msat"] == saved["available_msat"] < 900_001
    assert (backend["paused"], backend["stops"]) == ("restored", "outgoing")
    assert (refused, paid) == ("INTERNAL", None)
    assert audit["problems"] == []


async def test_a_key_under_a_passphrase_opens_the_service_and_nothing_does_without(
    tmp_path: Path,
) -> None:
    data_dir, words, wrong = tmp_path / "data", tmp_path / "words", tmp_path / "wrong"
    words.write_text(WORDS)
    wrong.write_text("something else")
    async with service_process(data_dir) as service:
        await service.create_account("ann")
        uri = await service.connect("ann")
    plain = (data_dir / "master.key").read_text().strip()
    await run(data_dir, "key", "encrypt", "--passphrase-file", str(words))
    sealed = (data_dir / "master.key").read_text()

    with pytest.raises(CommandFailed, match="NWC_PASSPHRASE_FILE"):
        await run(data_dir, "serve")
    with pytest.raises(CommandFailed, match="does not open") as raised:
        await run(data_dir, "serve", NWC_PASSPHRASE_FILE=str(wrong))
    async with (
        service_process(data_dir, NWC_PASSPHRASE_FILE=str(words)) as service,
        raw_client(uri) as client,
    ):
        balance = await client.request("get_balance", {})
        log = service.log_text()
        _, doctor, _ = await told(data_dir, "doctor", NWC_PASSPHRASE_FILE=str(words))
    await run(data_dir, "key", "decrypt", "--passphrase-file", str(words))

    assert balance.result == {"balance": 0}
    assert plain not in sealed
    assert (data_dir / "master.key").stat().st_mode & 0o077 == 0
    assert (data_dir / "master.key").read_text().strip() == plain
    for text in (log, doctor, raised.value.stderr):
        assert WORDS not in text
        assert plain not in text
        assert "something else" not in text
