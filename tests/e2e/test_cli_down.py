"""The command line while the service is down: it still tells, and changes nothing."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.raw import raw_client
from tests.e2e.conftest import CREDIT_MSAT, Cli
from tests.e2e.service import ServiceProcess, service_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOKS = ["account list", "account show main", "connection list", "payment list", "audit"]

HASH = "ab" * 32
CHANGES = [
    "account create new",
    "account credit main 1 --reason x",
    "account debit main 1 --reason x",
    "connection create --account main --app x",
    f"connection revoke {'ab' * 16}",
    "sandbox invoice 1000",
    f"sandbox settle {HASH}",
    f"sandbox cancel {HASH}",
    "sandbox pay lnbcrt1",
    "sandbox mode normal",
]

Tamper = Callable[[sqlite3.Connection], object]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["SIGTERM", "SIGKILL"])
async def down(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Cli, dict[str, object]]]:
    """The command line of a service that has ended, and what it said before."""
    data_dir = tmp_path_factory.mktemp(request.param) / "data"
    async with service_process(data_dir) as service:
        await use(service)
        cli = Cli(data_dir)
        looks = [*LOOKS, "sandbox show", *await shows(cli)]
        before = {look: await cli.json(*look.split()) for look in looks}
        await (service.stop() if request.param == "SIGTERM" else service.kill())
        yield cli, before


async def test_everything_is_still_told_as_it_was(
    down: tuple[Cli, dict[str, object]],
) -> None:
    cli, before = down

    after = {look: await cli.json(*look.split()) for look in before}

    assert after == before
    assert len(before) == 9
    assert all(before.values())


@pytest.mark.parametrize("command", CHANGES)
async def test_nothing_is_changed_and_one_line_says_why(
    command: str, down: tuple[Cli, dict[str, object]]
) -> None:
    cli, before = down

    said = await cli.failure(*command.split())

    assert "is it running?" in said
    assert await cli.json("account", "show", "main") == before["account show main"]


@pytest.mark.parametrize("command", [*LOOKS, "sandbox show", *CHANGES])
async def test_where_no_service_ever_ran_one_line_says_so_and_nothing_is_made(
    command: str, tmp_path: Path
) -> None:
    data_dir = tmp_path / "nothing"

    said = await Cli(data_dir).failure(*command.split())

    assert "service" in said
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        pytest.param(
            lambda books: books.execute(
                "UPDATE account SET available_msat = available_msat + 1 WHERE name = 'main'"
            ),
            ["I1", "I2"],
            id="a-balance-without-an-entry",
        ),
        pytest.param(
            lambda books: books.execute(
                "UPDATE account SET held_msat = 1, available_msat = available_msat - 1"
                " WHERE name = 'main'"
            ),
            ["I2", "I4"],
            id="held-for-no-payment",
        ),
        pytest.param(
            lambda books: books.execute(
                "INSERT INTO entry (kind, source, destination, amount_msat, created_at)"
                " VALUES ('credit', 'equity', 'loss', 1, 1)"
            ),
            ["I2"],
            id="an-entry-without-a-balance",
        ),
        pytest.param(
            lambda books: books.executescript(
                "DROP TRIGGER entry_is_never_deleted;"
                "DELETE FROM entry WHERE entry_id = (SELECT max(entry_id) FROM entry);"
            ),
            ["I2", "I7"],
            id="an-entry-that-is-gone",
        ),
        pytest.param(
            lambda books: books.execute(f"UPDATE payment SET preimage = '{'00' * 32}'"),
            ["I8"],
            id="a-preimage-that-proves-nothing",
        ),
        pytest.param(
            lambda books: books.execute("UPDATE payment SET amount_msat = amount_msat + 1"),
            ["I7"],
            id="another-amount-than-moved",
        ),
        pytest.param(
            lambda books: books.execute("UPDATE receipt SET amount_msat = amount_msat + 1"),
            ["I6"],
            id="another-receipt-than-credited",
        ),
    ],
)
async def test_the_audit_finds_what_was_tampered_with(
    tamper: Tamper, told: list[str], used_books: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(used_books)) as books:
        books.execute("VACUUM INTO ?", (str(tmp_path / "nwc.sqlite"),))
    with closing(sqlite3.connect(tmp_path / "nwc.sqlite")) as copy, copy:
        tamper(copy)

    done = await Cli(tmp_path).run("audit", "--json")

    audit = json.loads(done.stdout)
    assert (done.code, audit["ok"]) == (1, False)
    assert {problem.partition(":")[0] for problem in audit["problems"]} == set(told)


async def test_entries_are_never_changed_nor_deleted(used_books: Path) -> None:
    with closing(sqlite3.connect(used_books)) as books:
        for statement in ("UPDATE entry SET amount_msat = 1", "DELETE FROM entry"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                books.execute(statement)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used_books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a service that was used and has ended."""
    data_dir = tmp_path_factory.mktemp("used") / "data"
    async with service_process(data_dir) as service:
        await use(service)
    return data_dir / "nwc.sqlite"


async def use(service: ServiceProcess) -> None:
    """One payment in, one out."""
    await service.create_account("main", credit_msat=CREDIT_MSAT)
    async with raw_client(await service.connect("main")) as client:
        made = await client.request("make_invoice", {"amount": 5_000})
        await service.sandbox("pay", invoice=made.result["invoice"])
        news = await client.notifications.get()
        assert news.payload["notification_type"] == "payment_received"
        outside = await service.sandbox("invoice", amount_msat=21_000)
        paid = await client.request("pay_invoice", {"invoice": outside["invoice"]})
        assert paid.result["fees_paid"] == 1_000


async def shows(cli: Cli) -> list[str]:
    connections = await cli.json("connection", "list")
    payments = await cli.json("payment", "list")
    return [
        *(f"connection show {each['connection_id']}" for each in connections),
        *(f"payment show {each['payment_id']}" for each in payments),
    ]
