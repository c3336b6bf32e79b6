"""The command line as a whole: what every command has, and whom it speaks to."""

import asyncio
import json
import os
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
import pytest_asyncio

from tests.backends.lnbits_server import free_port
from tests.e2e.conftest import Cli, Done, only_ours
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONSOLE_SCRIPT = str(Path(sys.executable).with_name("nwc-service"))

COMMANDS = {
    "serve": ["--config"],
    "account create": [],
    "account list": [],
    "account show": [],
    "account credit": ["--reason", "--force"],
    "account debit": ["--reason"],
    "connection create": [
        "--account",
        "--app",
        "--scopes",
        "--notifications",
        "--budget-msat",
        "--budget-renewal",
        "--max-payment-msat",
        "--expires-in",
        "--encryption",
        "--client-pubkey",
        "--relay",
    ],
    "connection list": ["--account"],
    "connection show": [],
    "connection revoke": [],
    "payment list": ["--account"],
    "payment show": [],
    "payment resolve": [
        "--reason",
        "--paid",
        "--unpaid",
        "--preimage-file",
        "--fee-msat",
        "--force",
    ],
    "backend list": [],
    "backend show": [],
    "backend resume": ["--reason"],
    "sandbox invoice": ["--hold", "--fail", "--expiry-s"],
    "sandbox settle": [],
    "sandbox cancel": [],
    "sandbox pay": [],
    "sandbox offer": ["--description", "--hold", "--fail", "--expiry-s"],
    "sandbox pay-offer": ["--payer-note"],
    "sandbox keysend": ["--tlv"],
    "sandbox keysends": [],
    "sandbox mine": [],
    "sandbox mode": [],
    "sandbox show": [],
    "suspense list": [],
    "suspense assign": ["--account", "--operator", "--backend", "--reason"],
    "alarm list": [],
    "alarm clear": ["--reason"],
    "decision list": [],
    "audit": [],
}
LOOKS = [
    "account list",
    "connection list",
    "payment list",
    "backend list",
    "suspense list",
    "alarm list",
    "decision list",
    "sandbox show",
    "audit",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def main_account(service: ServiceProcess) -> None:
    await service.create_account("main", credit_msat=1_000)


@pytest.fixture
def remote(service: ServiceProcess) -> dict[str, str]:
    """What reaches the service from a machine that has none of its files."""
    return {
        "NWC_ADMIN_URL": (service.data_dir / "admin.url").read_text().strip(),
        "NWC_ADMIN_TOKEN": (service.data_dir / "admin.token").read_text().strip(),
    }


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """On a data directory that is not there."""
    return Cli(tmp_path / "nothing")


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_its_options_and_those_of_all(command: str, cli: Cli) -> None:
    done = await cli.run(*command.split(), "--help", COLUMNS="200")

    assert done.code == 0
    words = done.stdout.split()
    assert {*COMMANDS[command], "--data-dir", "--json"} <= set(words)


@pytest.mark.parametrize("command", LOOKS)
async def test_without_json_a_command_prints_text(command: str, cli: Cli) -> None:
    done = await cli.run(*command.split())

    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.strip()
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)


async def test_the_installed_program_prints_what_the_tests_here_see(
    cli: Cli, service: ServiceProcess
) -> None:
    commands = [
        ["account", "show", "main", "--json"],
        ["account", "show", "nobody", "--json"],
        ["account", "list"],
        ["connection", "create", "--app", "x", "--account", "nobody"],
    ]

    installed = await asyncio.gather(*(program(service, *command) for command in commands))

    assert installed == [await cli.run(*command) for command in commands]
    assert [done.code for done in installed] == [0, 1, 0, 1]


async def test_usage_errors_of_the_installed_program_are_exit_2(
    service: ServiceProcess,
) -> None:
    done = await asyncio.gather(
        program(service, "account", "frobnicate"),
        program(service, "account", "show"),
        program(service, "--foo"),
    )

    assert [(each.code, each.stdout) for each in done] == [(2, "")] * 3
    assert all(each.stderr for each in done)


async def test_the_data_directory_is_named_before_or_after_and_wins_over_the_environment(
    cli: Cli, service: ServiceProcess, tmp_path: Path
) -> None:
    option = ["--data-dir", str(service.data_dir)]
    elsewhere = str(tmp_path)

    before = await cli.json("account", "show", *option, "main", NWC_DATA_DIR=elsewhere)
    after = await cli.json("account", "show", "main", *option, NWC_DATA_DIR=elsewhere)
    changed = await cli.json("account", "create", "new", *option, NWC_DATA_DIR=elsewhere)

    assert before == after == await cli.json("account", "show", "main")
    assert changed in await cli.json("account", "list")


async def test_without_either_the_data_is_where_xdg_says(
    cli: Cli, service: ServiceProcess, tmp_path: Path
) -> None:
    (tmp_path / "nwc-service").symlink_to(service.data_dir)

    shown = await cli.json(
        "account", "show", "main", NWC_DATA_DIR=None, XDG_DATA_HOME=str(tmp_path)
    )

    assert shown["name"] == "main"


@pytest.mark.attack("A34")
async def test_the_admin_files_are_their_owners_alone(service: ServiceProcess) -> None:
    url, token = (service.data_dir / name for name in ("admin.url", "admin.token"))

    assert {stat.S_IMODE(path.stat().st_mode) for path in (url, token)} == {0o600}
    assert url.read_text().startswith("http://127.0.0.1:")
    assert len(token.read_text().strip()) >= 32


async def test_with_url_and_token_every_command_works_from_anywhere(
    bare: Cli, cli: Cli, remote: dict[str, str]
) -> None:
    created = await bare.json(
        "connection", "create", "--account", "main", "--app", "x", **remote
    )
    invoice = await bare.json("sandbox", "invoice", "1000", **remote)
    seen = [await bare.json(*command.split(), **remote) for command in LOOKS]
    shown = await bare.json("connection", "show", created["connection_id"], **remote)
    account = await bare.json("account", "show", "main", **remote)
    of_main = await bare.json("connection", "list", "--account", "main", **remote)

    assert seen == [await cli.json(*command.split()) for command in LOOKS]
    told_once = {"uri": created["uri"], "warnings": created["warnings"]}
    assert shown | told_once == created
    assert account == await cli.json("account", "show", "main")
    assert shown in of_main
    assert invoice["payment_hash"]


async def test_a_token_alone_goes_with_the_url_of_the_data_directory(
    cli: Cli, remote: dict[str, str]
) -> None:
    token = remote["NWC_ADMIN_TOKEN"]

    said = await cli.failure("account", "create", "never", NWC_ADMIN_TOKEN="wrong")
    made = await cli.json("account", "create", "by-token", NWC_ADMIN_TOKEN=token)

    assert "token" in said
    assert made["name"] == "by-token"


@pytest.mark.attack("A34")
@pytest.mark.parametrize("token", ["wrong", "ä", "two words", "x" * 10_000])
@pytest.mark.parametrize("command", ["account list", "account create never"])
async def test_a_wrong_token_is_refused_and_not_repeated(
    token: str, command: str, bare: Cli, cli: Cli, remote: dict[str, str]
) -> None:
    said = await bare.failure(*command.split(), **{**remote, "NWC_ADMIN_TOKEN": token})

    assert "token" in said
    assert token not in said
    assert "never" not in [each["name"] for each in await cli.json("account", "list")]


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://127.0.0.1:{free_port()}", id="nobody-there"),
        pytest.param("here", id="no-url"),
        pytest.param("http://", id="no-host"),
        pytest.param("ftp://127.0.0.1", id="another-scheme"),
        pytest.param("http://127.0.0.1:port", id="no-port"),
    ],
)
async def test_a_url_where_no_service_answers_is_told_in_one_line(
    url: str, bare: Cli, remote: dict[str, str]
) -> None:
    said = await bare.failure("account", "list", **{**remote, "NWC_ADMIN_URL": url})

    assert url in said


async def program(service: ServiceProcess, *arguments: str) -> Done:
    process = await asyncio.create_subprocess_exec(
        CONSOLE_SCRIPT,
        *arguments,
        stdout=PIPE,
        stderr=PIPE,
        env=only_ours(os.environ) | {"NWC_DATA_DIR": str(service.data_dir)},
    )
    stdout, stderr = await process.communicate()
    return Done(process.returncode or 0, stdout.decode(), stderr.decode())


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("nosuch",), id="no-such-command"),
        pytest.param(("account", "credit", "alice", "5"), id="missing-option"),
        pytest.param(("account", "credit", "alice", "x", "--reason", "r"), id="no-number"),
        pytest.param(("audit", "--nosuch"), id="no-such-option"),
    ],
)
async def test_a_command_that_cannot_be_understood_is_told_in_one_line(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    said = await cli.usage(*arguments)

    assert said.count("\n") == 1
    assert said.startswith("nwc-service: ")


async def test_a_list_for_people_cuts_no_id(cli: Cli) -> None:
    account = await cli.json("account", "create", "whole-ids")
    connection = await cli.json(
        "connection", "create", "--account", account["name"], "--app", "a" * 100
    )

    shown = await cli.run("connection", "list", "--account", account["name"])

    assert connection["connection_id"] in shown.stdout
