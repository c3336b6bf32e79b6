"""nwc-service backend …: a node that is stopped, told by its alarm, and started again."""

import json
import time
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.raw import RawClient, raw_client
from tests.e2e.conftest import CREDIT_MSAT, Cli, rows, until
from tests.e2e.service import ServiceProcess, service_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = [
    "name",
    "type",
    "answering",
    "spendable_msat",
    "read_at",
    "paused",
    "stops",
    "detail",
    "paused_at",
]
REASON = "compared with the node"
HOSTILE = "\x1b[2J [/red] :boom:"
START_MSAT = 10**12  # the simulated node's


@pytest.fixture(scope="module")
def config() -> str:
    """After a restore no request is executed for as long as one may be dated ahead."""
    return "[requests]\nmax_future_s = 1\n"


@pytest_asyncio.fixture(loop_scope="module")
async def restored(service: ServiceProcess) -> None:
    """A service whose database is older than what it had reached, as after a restore."""
    await service.stop()
    mark = service.data_dir / "ledger.mark"
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"entries": 10**9}))
    await service.start()
    [[not_before]] = rows(service, "SELECT value FROM meta WHERE name = 'not_before'")

    async def is_over() -> bool:
        return time.time() > int(str(not_before)) + 1

    await until(is_over)


@pytest_asyncio.fixture(loop_scope="module")
async def customer(service: ServiceProcess) -> AsyncIterator[RawClient]:
    account = f"account-{token_hex(4)}"
    await service.create_account(account, credit_msat=CREDIT_MSAT)
    async with raw_client(await service.connect(account)) as client:
        yield client


async def ready(service: ServiceProcess) -> dict[str, Any]:
    response = await service.admin.get("/readyz")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def pay(service: ServiceProcess, customer: RawClient) -> str | None:
    """The error's code, if there is one."""
    made = await service.sandbox("invoice", amount_msat=1_000)
    return (await customer.request("pay_invoice", {"invoice": made["invoice"]})).error_code


async def test_a_backend_in_use_is_listed_with_its_balance(
    cli: Cli, service: ServiceProcess
) -> None:
    [listed] = await cli.json("backend", "list")

    assert list(listed) == KEYS
    assert listed == {
        "name": "sandbox",
        "type": "sandbox",
        "answering": True,
        "spendable_msat": START_MSAT,
        "read_at": listed["read_at"],
        **dict.fromkeys(KEYS[-4:]),
    }
    assert await cli.json("backend", "show", "sandbox") == listed
    told = await ready(service)
    assert (told["paused"], told["solvency"]) == ({}, {"covered": True})


@pytest.mark.parametrize("name", ["nobody", "..", ""], ids=repr)
@pytest.mark.parametrize("command", ["show", "resume"])
async def test_a_backend_that_is_not_configured_is_a_failure(
    cli: Cli, command: str, name: str
) -> None:
    reason = ["--reason", REASON] if command == "resume" else []

    assert await cli.failure("backend", command, name, *reason)


async def test_a_backend_that_is_not_paused_is_not_resumed(cli: Cli) -> None:
    refused = await cli.failure("backend", "resume", "sandbox", "--reason", REASON)

    assert "not paused" in refused
    assert await cli.json("decision", "list") == []


async def test_a_resumption_needs_its_reason(cli: Cli) -> None:
    told = await cli.usage("backend", "resume", "sandbox")

    assert "--reason" in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("restored")
async def test_a_paused_backend_says_why_sends_nothing_and_goes_on_when_it_is_resumed(
    cli: Cli, service: ServiceProcess, customer: RawClient
) -> None:
    paused = await cli.json("backend", "show", "sandbox")
    told = await ready(service)
    [alarm] = await cli.json("alarm", "list")
    no_reason = await cli.failure("backend", "resume", "sandbox", "--reason", " ")
    meanwhile = await pay(service, customer)
    receives = (await customer.request("make_invoice", {"amount": 5_000})).error_code
    resumed = await cli.json("backend", "resume", "sandbox", "--reason", REASON)

    assert (paused["paused"], paused["stops"]) == ("restored", "outgoing")
    assert "entries had reached 1000000000" in paused["detail"]
    assert told["paused"] == {"sandbox": "restored"}
    assert (alarm["kind"], alarm["subject"]) == ("backend_paused", "sandbox")
    assert "reason is required" in no_reason
    assert (meanwhile, receives) == ("INTERNAL", None)
    assert resumed["paused"] is None
    assert await pay(service, customer) is None
    told = await ready(service)
    assert (told["paused"], told["alarms"]) == ({}, 0)
    [newest, noticed] = await cli.json("decision", "list")
    assert (newest["kind"], newest["subject"]) == ("backend_resumed", "sandbox")
    assert newest["reason"] == REASON
    assert newest["detail"] == f"restored: {paused['detail']}"
    assert noticed["kind"] == "restored"


@pytest.mark.usefixtures("restored")
async def test_for_people_each_is_one_line_with_its_times(cli: Cli) -> None:
    backends = await cli.run("backend", "list")
    alarms = await cli.run("alarm", "list")
    await cli.json("backend", "resume", "sandbox", "--reason", REASON + HOSTILE)
    decisions = await cli.run("decision", "list")

    for done in (backends, alarms, decisions):
        assert (done.code, done.stderr) == (0, "")
    [_, backend] = backends.stdout.splitlines()
    assert backend.split()[:4] == ["sandbox", "sandbox", "True", "restored"]
    assert backend.split()[-1].endswith("Z")
    assert len(backend.rstrip()) <= 80
    assert "backend_paused" in alarms.stdout
    assert f"{REASON}\ufffd[2J [/red] :boom:" in decisions.stdout


@pytest.mark.usefixtures("restored")
async def test_while_the_service_is_down_the_books_tell_and_nothing_is_resumed(
    cli: Cli, service: ServiceProcess
) -> None:
    up = await cli.json("backend", "show", "sandbox")
    await service.stop()

    down = await cli.json("backend", "show", "sandbox")
    listed = await cli.json("backend", "list")
    nobody = await cli.failure("backend", "show", "nobody")
    refused = await cli.failure("backend", "resume", "sandbox", "--reason", REASON)
    await service.start()

    assert down == up | {"answering": None, "read_at": down["read_at"]}
    assert listed == [down]
    assert "no backend 'nobody'" in nobody
    assert "is it running?" in refused


async def test_funds_that_do_not_cover_what_is_owed_are_told_by_ready_and_an_alarm(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data_dir = tmp_path_factory.mktemp("insolvent") / "data"
    async with service_process(data_dir) as service:
        await service.create_account("main")
        await service.call(
            "POST",
            "accounts/main/credit",
            amount_msat=START_MSAT + 1,
            reason="a test",
            force=True,
        )
        await service.stop()
        await service.start()
        cli = Cli(data_dir)

        told = await ready(service)
        [alarm] = await cli.json("alarm", "list")
        refused = await cli.failure(
            "alarm", "clear", "insolvent", "solvency", "--reason", REASON
        )

        assert "when the backends cover" in refused
        assert told["solvency"] == {"covered": False}
        assert told["alarms"] == 1
        assert (alarm["kind"], alarm["subject"]) == ("insolvent", "solvency")
