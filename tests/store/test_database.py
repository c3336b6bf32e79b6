"""What every driver owes to a unit of work."""

import asyncio
from pathlib import Path

import pytest

from nwc_service.store import meta
from nwc_service.store.database import Database, StoreError, Tx, Work
from nwc_service.store.schema import MIGRATIONS
from tests.store.drivers import Driver


class Refused(Exception):
    pass


async def put_and_raise(tx: Tx) -> None:
    await meta.put(tx, "refused", "1")
    raise Refused


def putting(name: str) -> Work[None]:
    return lambda tx: meta.put(tx, name, "1")


async def names(tx: Tx) -> list[str]:
    return [row["name"] for row in await tx.all("SELECT name FROM meta ORDER BY name")]


async def test_a_unit_of_work_gives_its_result(database: Database) -> None:
    async def work(tx: Tx) -> tuple[int, str | None]:
        touched = await tx.run("INSERT INTO meta VALUES ('a', '1'), ('b', '2')")
        return touched, await meta.get(tx, "b")

    assert await database.write(work) == (2, "2")


async def test_a_unit_of_work_that_raises_undoes_itself(database: Database) -> None:
    with pytest.raises(Refused):
        await database.write(put_and_raise)

    assert await database.read(names) == []


async def test_of_many_writers_each_keeps_its_own_refusal(database: Database) -> None:
    works = [
        database.write(put_and_raise)
        if number % 3 == 0
        else database.write(putting(f"{number:02}"))
        for number in range(30)
    ]

    results = await asyncio.gather(*works, return_exceptions=True)

    refused = [number for number, result in enumerate(results) if result is not None]
    assert refused == list(range(0, 30, 3))
    assert all(isinstance(results[number], Refused) for number in refused)
    assert await database.read(names) == [f"{n:02}" for n in range(30) if n % 3]


async def test_a_refusal_of_the_database_undoes_one_unit_of_work(
    database: Database, driver: Driver
) -> None:
    async def clash(tx: Tx) -> None:
        await tx.run("INSERT INTO meta VALUES ('before the clash', '1')")
        await tx.run("INSERT INTO meta VALUES ('one', '2')")

    results = await asyncio.gather(
        database.write(putting("one")),
        database.write(clash),
        database.write(putting("two")),
        return_exceptions=True,
    )

    assert [type(result) in driver.refusals for result in results] == [False, True, False]
    assert await database.read(names) == ["one", "two"]


async def test_a_reader_sees_what_was_acknowledged_before(database: Database) -> None:
    for number in range(20):
        await database.write(putting(f"{number:02}"))

        assert (await database.read(names))[-1] == f"{number:02}"


async def test_a_reader_that_raises_gets_its_own_error(database: Database) -> None:
    async def fail(tx: Tx) -> None:
        raise Refused

    failed, found = await asyncio.gather(
        database.read(fail), database.read(names), return_exceptions=True
    )

    assert isinstance(failed, Refused)
    assert found == []


@pytest.mark.attack("A24")
async def test_who_stops_waiting_stops_nobody_else(database: Database) -> None:
    impatient = asyncio.create_task(database.write(putting("impatient")))
    patient = asyncio.create_task(database.write(putting("patient")))
    await asyncio.sleep(0)

    impatient.cancel()

    await patient
    assert "patient" in await database.read(names)
    assert impatient.cancelled()


async def test_what_waits_when_it_closes_is_done_first(driver: Driver, tmp_path: Path) -> None:
    async with driver.open(tmp_path) as database:
        writers = [asyncio.create_task(database.write(putting(str(n)))) for n in range(20)]
        await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(*writers), 5)
    async with driver.open(tmp_path) as database:
        assert len(await database.read(names)) == 20


async def test_who_comes_while_it_closes_is_served_or_turned_away(database: Database) -> None:
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)

    late = asyncio.gather(database.write(names), database.read(names), return_exceptions=True)

    for result in await asyncio.wait_for(late, 5):
        assert result == [] or isinstance(result, StoreError)
    await closing


async def test_opened_again_it_has_its_data_and_its_schema(
    driver: Driver, tmp_path: Path
) -> None:
    async with driver.open(tmp_path) as database:
        await database.write(putting("kept"))

    async with driver.open(tmp_path) as database:
        kept = await database.read(names)
        versions = await database.read(lambda tx: tx.all("SELECT version FROM schema_version"))

    assert kept == ["kept"]
    assert [row["version"] for row in versions] == list(range(1, len(MIGRATIONS) + 1))


async def test_a_newer_schema_is_refused_and_left_alone(driver: Driver, tmp_path: Path) -> None:
    newer = len(MIGRATIONS) + 1
    async with driver.open(tmp_path) as database:
        await database.write(
            lambda tx: tx.run("INSERT INTO schema_version VALUES (:newer)", newer=newer)
        )

    with pytest.raises(StoreError, match=f"schema {newer}.*run the newer program"):
        async with driver.open(tmp_path):
            pass


async def test_lists_in_meta_come_back_in_order(database: Database) -> None:
    await database.write(lambda tx: meta.put_list(tx, "relays", ["ws://b", "ws://a"]))
    await database.write(lambda tx: meta.put_list(tx, "relays", ["ws://c", "ws://b"]))

    assert await database.read(lambda tx: meta.get_list(tx, "relays")) == ("ws://c", "ws://b")
    assert await database.read(lambda tx: meta.get_list(tx, "others")) == ()
