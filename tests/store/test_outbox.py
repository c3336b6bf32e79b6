"""Signed events that must reach a relay; final once one has taken them."""

from dataclasses import replace
from functools import partial

import pytest

from nwc_service.store import alarms, outbox
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet.units import ConnectionId
from tests.core.samples import NOW
from tests.store.books import Books

ANSWER = Outgoing("e1", '{"id":"e1"}', ConnectionId("connection"), "r1", NOW)
NOTIFICATION = Outgoing("e2", '{"id":"e2"}', ConnectionId("connection"), None, NOW)
FRESH = replace(ANSWER, event_id="e3", event='{"id":"e3"}', created_at=NOW + 60)


@pytest.fixture
async def books(books: Books) -> Books:
    """With an answer and a notification to publish."""
    await books.connect()
    await books.claim("r1")
    for outgoing in (ANSWER, NOTIFICATION):
        await books.database.write(partial(outbox.insert, outgoing=outgoing))
    return books


async def mark_published(books: Books) -> None:
    await books.database.write(lambda tx: outbox.mark_published(tx, "e1", now=NOW))


async def abandon(books: Books) -> None:
    await books.database.write(lambda tx: outbox.abandon(tx, "e1", now=NOW))


async def replaced(books: Books) -> bool:
    return await books.database.write(
        lambda tx: outbox.replace(tx, old_event_id="e1", fresh=FRESH)
    )


async def unpublished(books: Books) -> list[Outgoing]:
    return await books.database.read(outbox.unpublished)


async def answer(books: Books) -> Outgoing | None:
    found = await books.database.read(lambda tx: outbox.answers_to(tx, "r1"))
    return found[0] if found else None


async def test_what_is_stored_waits_in_its_order(books: Books) -> None:
    assert await unpublished(books) == [ANSWER, NOTIFICATION]


async def test_the_answer_to_a_request_is_found(books: Books) -> None:
    assert await answer(books) == ANSWER
    assert await books.database.read(lambda tx: outbox.answers_to(tx, "r2")) == []


async def test_what_is_published_waits_no_more(books: Books) -> None:
    await mark_published(books)

    assert await unpublished(books) == [NOTIFICATION]
    assert await answer(books) == replace(ANSWER, is_published=True)


async def test_what_is_abandoned_waits_no_more_and_is_not_called_published(
    books: Books,
) -> None:
    await abandon(books)

    assert await unpublished(books) == [NOTIFICATION]
    assert await answer(books) == ANSWER


async def test_an_answer_that_no_relay_took_is_replaced_in_its_place(books: Books) -> None:
    assert await replaced(books)

    assert await unpublished(books) == [FRESH, NOTIFICATION]
    assert await answer(books) == FRESH


async def test_an_answer_that_a_relay_took_is_final(books: Books) -> None:
    await mark_published(books)

    assert not await replaced(books)
    assert await answer(books) == replace(ANSWER, is_published=True)


async def test_an_answer_that_was_abandoned_is_final(books: Books) -> None:
    await abandon(books)

    assert not await replaced(books)


async def test_an_answer_is_replaced_by_whoever_comes_first(books: Books) -> None:
    await replaced(books)

    assert not await replaced(books)


async def test_a_published_answer_is_not_abandoned(books: Books) -> None:
    await mark_published(books)
    await abandon(books)

    [row] = await books.rows("SELECT abandoned_at FROM outbox WHERE event_id = 'e1'")
    assert row["abandoned_at"] is None


async def test_an_alarm_is_raised_once_per_subject(books: Books) -> None:
    async def raised(subject: str) -> bool:
        return await books.database.write(
            lambda tx: alarms.raise_alarm(tx, "stuck", subject=subject, detail="d", now=NOW)
        )

    assert [await raised("a"), await raised("a"), await raised("b")] == [True, False, True]
    rows = await books.database.read(alarms.alarms)
    assert {row["subject"] for row in rows} == {"a", "b"}
