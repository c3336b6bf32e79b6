from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nwc_service.store.database import Database
from tests.store.books import Books
from tests.store.drivers import DRIVERS, Driver


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


@pytest.fixture
async def database(driver: Driver, tmp_path: Path) -> AsyncIterator[Database]:
    async with driver.open(tmp_path) as opened:
        yield opened


@pytest.fixture
async def books(database: Database) -> Books:
    """A database with two accounts, alice and bob, who have nothing."""
    books = Books(database)
    await books.open_accounts()
    return books
