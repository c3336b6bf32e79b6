"""How much was owed and could be spent, over time."""

from nwc_service.samples import KEPT_S, take_sample
from nwc_service.solvency import Solvency
from nwc_service.store import series
from nwc_service.store.database import Database
from tests.core.samples import NOW
from tests.store.books import Books

DAY_S = 86_400


def a_solvency(database: Database) -> Solvency:
    return Solvency(database, backends={}, required_percent=100, clock=lambda: NOW)


async def test_samples_are_kept_for_a_while_and_the_last_of_a_step_counts(books: Books) -> None:
    database = books.database
    solvency = a_solvency(database)
    for now in (NOW - KEPT_S - 900, NOW - 2 * DAY_S, NOW - 900, NOW):
        solvency.judged_msat = now - NOW + 5_000_000_000, 9_000
        await take_sample(database, solvency, now=now)

    kept = await database.read(lambda tx: series.samples(tx, since=0, step_s=1))
    daily = await database.read(lambda tx: series.samples(tx, since=0, step_s=DAY_S * 36_500))

    assert [row["at"] for row in kept] == [NOW - 2 * DAY_S, NOW - 900, NOW]
    assert [row["owed_msat"] for row in daily] == [5_000_000_000]


async def test_nothing_is_noted_while_nothing_is_known(books: Books) -> None:
    await take_sample(books.database, a_solvency(books.database), now=NOW)

    assert await books.database.read(lambda tx: series.samples(tx, since=0, step_s=1)) == []
