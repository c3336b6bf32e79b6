"""Incoming and outgoing together, newest first, page by page."""

from functools import partial
from typing import Any

import pytest

from nwc_service.store import history, invoices, payments
from nwc_service.store.history import Query
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.units import ConnectionId
from tests.core.samples import (
    ALICE,
    BOB,
    NOW,
    SAID_SO,
    a_payment,
    a_settled_invoice,
    a_settled_payment,
    an_invoice,
)
from tests.store.books import Books

MINE = ConnectionId("mine")


def invoice(name: str, make: Any = a_settled_invoice, **changes: object) -> Invoice:
    unique = {"invoice_id": name, "payment_hash": name, "invoice": name}
    made: Invoice = make(**{"account_id": ALICE} | unique | changes)
    return made


def payment(name: str, make: Any = a_settled_payment, **changes: object) -> Payment:
    made: Payment = make(**{"payment_id": name, "payment_hash": name} | changes)
    return made


ROWS: list[Invoice | Payment] = [
    invoice("in-1", created_at=NOW + 1),
    payment("out-2", created_at=NOW + 2),
    invoice("in-3-mine", created_at=NOW + 3, connection_id=MINE),
    payment("out-4-mine", created_at=NOW + 4, connection_id=MINE),
    invoice("in-5-pending", an_invoice, created_at=NOW + 5),
    payment("out-6-pending", a_payment, created_at=NOW + 6),
    invoice("in-7-expired", an_invoice, created_at=NOW + 7, state=InvoiceState.EXPIRED),
    payment(
        "out-8-failed",
        a_payment,
        created_at=NOW + 8,
        state=PaymentState.RELEASED,
        proof=SAID_SO,
    ),
    # Never shown: the node has not made it yet, or never did.
    invoice("in-9", an_invoice, invoice="", created_at=NOW, state=InvoiceState.REQUESTED),
    invoice("in-10", an_invoice, invoice="", created_at=NOW, state=InvoiceState.CANCELED),
    invoice("in-bob", created_at=NOW + 1, account_id=BOB),
    payment("out-bob", created_at=NOW + 2, account_id=BOB),
]
ALL = [
    "out-8-failed",
    "in-7-expired",
    "out-6-pending",
    "in-5-pending",
    "out-4-mine",
    "in-3-mine",
    "out-2",
    "in-1",
]
SETTLED = ALL[4:]


@pytest.fixture
async def books(books: Books) -> Books:
    await books.connect(connection_id=MINE)
    for row in ROWS:
        await insert(books, row)
    return books


async def insert(books: Books, row: Invoice | Payment) -> None:
    if isinstance(row, Invoice):
        await books.database.write(partial(invoices.insert, invoice=row))
    else:
        await books.database.write(partial(payments.insert, payment=row))


async def search(books: Books, **query: Any) -> list[str]:
    return [name_of(row) for row in await rows_of(books, **query)]


async def count(books: Books, **query: Any) -> int:
    wanted = Query(**{"account_id": ALICE} | query)
    return await books.database.read(lambda tx: history.count(tx, wanted))


QUERIES = [
    pytest.param({}, ALL, id="everything"),
    pytest.param({"outgoing": False}, [n for n in ALL if n.startswith("in")], id="incoming"),
    pytest.param({"incoming": False}, [n for n in ALL if n.startswith("out")], id="outgoing"),
    pytest.param({"incoming": False, "outgoing": False}, [], id="neither"),
    pytest.param({"unpaid_incoming": False, "unpaid_outgoing": False}, SETTLED, id="settled"),
    pytest.param(
        {"unpaid_incoming": False}, [n for n in ALL if n not in ALL[1:4:2]], id="paid-in"
    ),
    pytest.param(
        {"unpaid_outgoing": False}, [n for n in ALL if n not in ALL[0:3:2]], id="paid-out"
    ),
    pytest.param({"since": NOW + 4}, ALL[:5], id="since-is-inclusive"),
    pytest.param({"until": NOW + 4}, ALL[4:], id="until-is-inclusive"),
    pytest.param({"since": NOW + 4, "until": NOW + 4}, ["out-4-mine"], id="one-second"),
    pytest.param({"since": NOW + 5, "until": NOW + 4}, [], id="an-empty-span"),
    pytest.param({"connection_id": MINE}, ["out-4-mine", "in-3-mine"], id="one-connection"),
    pytest.param({"connection_id": "other"}, [], id="a-connection-that-made-none"),
    pytest.param({"account_id": "nobody"}, [], id="no-account"),
]


@pytest.mark.parametrize(("query", "found"), QUERIES)
async def test_a_search_finds_newest_first(
    query: dict[str, Any], found: list[str], books: Books
) -> None:
    assert await search(books, **query) == found
    assert await count(books, **query) == len(found)


async def test_without_an_account_it_finds_those_of_all(books: Books) -> None:
    found = await search(books, account_id=None)

    assert set(found) == {*ALL, "in-bob", "out-bob"}


@pytest.mark.parametrize("limit", [1, 3, 8, 100])
async def test_pages_together_are_the_whole_each_once(limit: int, books: Books) -> None:
    pages = [
        await search(books, limit=limit, offset=offset)
        for offset in range(0, len(ALL) + limit, limit)
    ]

    assert [name for page in pages for name in page] == ALL
    assert all(len(page) <= limit for page in pages)


async def test_the_count_ignores_limit_and_offset(books: Books) -> None:
    assert await count(books, limit=2, offset=7) == len(ALL)


async def test_rows_of_one_second_keep_their_order_from_page_to_page(books: Books) -> None:
    for number in range(6):
        await insert(books, invoice(f"same-{number}", created_at=NOW + 99))

    whole = await search(books, since=NOW + 99)
    pages = [await search(books, since=NOW + 99, limit=1, offset=n) for n in range(6)]

    assert sorted(whole) == [f"same-{number}" for number in range(6)]
    assert [page[0] for page in pages] == whole


SAME_SECOND: list[Invoice | Payment] = [
    *(invoice(f"in-a{number}", created_at=NOW + 50 + number // 3) for number in range(7)),
    *(payment(f"out-a{number}", created_at=NOW + 50 + number // 2) for number in range(7)),
]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("side", [{}, {"incoming": False}, {"outgoing": False}])
async def test_pages_after_a_place_are_all_of_it_once(
    books: Books, limit: int, side: dict[str, bool]
) -> None:
    """Of one second too, and whatever comes in meanwhile is newer than all of them."""
    for row in SAME_SECOND:
        await insert(books, row)
    expected = await search(books, **side)

    found: list[str] = []
    after = None
    while page := await rows_of(books, limit=limit, after=after, **side):
        found += map(name_of, page)
        after = history.place_of(page[-1])
        await insert(books, invoice(f"in-new-{len(found)}", created_at=NOW + 500))

    assert found == expected
    assert len(found) == len(set(found)) > len(SAME_SECOND) // 2


async def rows_of(books: Books, **query: Any) -> list[Invoice | Payment]:
    wanted = Query(**{"account_id": ALICE} | query)
    return await books.database.read(lambda tx: history.search(tx, wanted))


def name_of(row: Invoice | Payment) -> str:
    return row.invoice_id if isinstance(row, Invoice) else row.payment_id
