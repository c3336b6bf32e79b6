"""nwc-service audit, as a person reads it, while the books are in use."""

from pathlib import Path

from nwc_service.store.sqlite import open_sqlite
from tests.core.samples import ALICE
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
