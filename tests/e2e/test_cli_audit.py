"""nwc-service audit, as a person reads it, while the books are in use."""

import json
import socket
import time
from pathlib import Path

import pytest

from nwc_service.store.sqlite import open_sqlite
from nwc_service.wallet.payment import PaymentState
from tests.core.samples import ALICE, NOW, a_payment
from tests.e2e.conftest import Cli
from tests.store.books import Books


async def test_the_audit_says_what_it_looked_at_and_every_problem_on_its_line(
    tmp_path: Path,
) -> None:
    cli = Cli(tmp_path)
    async with open_sqlite(tmp_path / "nwc.sqlite", read_only=False) as database:
        books = Books(database)
        await books.open_accounts()
        await books.credit(ALICE, 5_000)
        right = await cli.run("audit")
        await books.run("UPDATE account SET available_msat = 5007 WHERE name = 'alice'")
        wrong = await cli.run("audit")

    assert (right.code, right.stdout) == (
        0,
        "2 accounts, 1 entries, 0 payments, 0 invoices: nothing is wrong\n",
    )
    assert (wrong.code, wrong.stdout.splitlines()) == (
        1,
        [
            "I1: all balances together are 7 msat, not 0",
            "I2: available:alice is 5007 msat, its entries say 5000",
            "2 accounts, 1 entries, 0 payments, 0 invoices: there are problems",
        ],
    )


@pytest.mark.parametrize(
    ("ran_for_s", "served", "problems"),
    [
        pytest.param(3600, False, 0, id="stopped-an-hour-after"),
        pytest.param(3 * 3600, False, 1, id="stopped-three-hours-after"),
        pytest.param(3600, True, 1, id="running"),
    ],
)
async def test_of_a_stopped_service_what_is_overdue_is_judged_by_when_it_ran(
    ran_for_s: int, served: bool, problems: int, tmp_path: Path
) -> None:
    """The payment is old by now; nobody could look after it since the last reading."""
    cli = Cli(tmp_path)
    assert time.time() > NOW + 3 * 3600
    async with open_sqlite(tmp_path / "nwc.sqlite", read_only=False) as database:
        books = Books(database)
        await books.open_accounts()
        await books.credit(ALICE, 1_000_000)
        await books.reserve(a_payment(state=PaymentState.RESERVED))
        await books.run(f"INSERT INTO reading VALUES ('node', 2000000, {NOW + ran_for_s})")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        (tmp_path / "admin.url").write_text(url if served else "http://127.0.0.1:1")
        found = await cli.json("audit") if not problems else await told(cli)

    assert len(found["problems"]) == problems
    assert all(problem.startswith("I25: ") for problem in found["problems"])


async def told(cli: Cli) -> dict[str, list[str]]:
    done = await cli.run("audit", "--json")
    assert done.code == 1
    return dict(json.loads(done.stdout))
