"""Requests that change something: claimed once for ever, answered once."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from nwc_service.nip47.kinds import Encryption
from nwc_service.store import requests
from nwc_service.store.database import Tx
from nwc_service.store.requests import AlreadyClaimed, Claim
from nwc_service.wallet.units import ConnectionId, PaymentId
from tests.core.samples import NOW
from tests.store.books import Books

CLAIM = Claim("r1", ConnectionId("connection"), "pay_invoice", Encryption.NIP04, NOW - 7)


async def claim(books: Books, claim: Claim = CLAIM) -> None:
    await books.database.write(lambda tx: requests.claim(tx, claim, now=NOW))


@pytest.fixture
async def books(books: Books) -> Books:
    await books.connect()
    return books


async def test_a_claim_comes_back_as_it_was(books: Books) -> None:
    await claim(books)

    assert await books.database.read(lambda tx: requests.claimed(tx, "r1")) == CLAIM
    assert await books.database.read(lambda tx: requests.claimed(tx, "r2")) is None


@pytest.mark.attack("A26")
async def test_a_request_is_claimed_once_for_ever(books: Books) -> None:
    await claim(books)

    with pytest.raises(AlreadyClaimed):
        await claim(books)


async def test_of_many_copies_one_is_claimed(books: Books) -> None:
    results = await asyncio.gather(*(claim(books) for _ in range(20)), return_exceptions=True)

    assert results.count(None) == 1
    assert sum(isinstance(result, AlreadyClaimed) for result in results) == 19


async def test_a_claim_falls_with_the_effects_that_it_was_for(books: Books) -> None:
    async def claim_and_fail(tx: Tx) -> None:
        await requests.claim(tx, CLAIM, now=NOW)
        raise LookupError

    with pytest.raises(LookupError):
        await books.database.write(claim_and_fail)

    await claim(books)


async def test_a_request_is_answered_once(books: Books) -> None:
    await claim(books)

    answered = [
        await books.database.write(lambda tx: requests.mark_answered(tx, "r1", now=NOW))
        for _ in range(2)
    ]

    assert answered == [True, False]


@pytest.mark.attack("A26")
@pytest.mark.parametrize("meanwhile", ["answered", "begun"])
async def test_an_item_that_was_answered_or_begun_is_not_open_any_more(
    books: Books, meanwhile: str
) -> None:
    """It was claimed together with the other items of its event."""
    await claim(books)
    item = replace(CLAIM, is_taken=True)
    await claim(books, item)

    async def end(tx: Tx) -> None:
        if meanwhile == "answered":
            await requests.mark_answered(tx, "r1", now=NOW)
        else:
            await requests.wait_for(tx, "r1", PaymentId("p1"))

    await books.database.write(end)

    with pytest.raises(AlreadyClaimed):
        await claim(books, item)


async def test_a_request_that_nobody_claimed_is_not_answered(books: Books) -> None:
    assert not await books.database.write(lambda tx: requests.mark_answered(tx, "r1", now=NOW))


async def test_those_who_wait_for_a_payment_are_those_not_answered_yet(books: Books) -> None:
    for request_id in ("r1", "r2", "r3", "r4"):
        await books.claim(request_id)
    for request_id, payment_id in (("r1", "p"), ("r2", "p"), ("r3", "other")):
        wait = partial(
            requests.wait_for, request_id=request_id, payment_id=PaymentId(payment_id)
        )
        await books.database.write(wait)
    await books.database.write(lambda tx: requests.mark_answered(tx, "r2", now=NOW))

    waiting = await books.database.read(lambda tx: requests.waiting_for(tx, PaymentId("p")))

    assert [claim.request_id for claim in waiting] == ["r1"]
