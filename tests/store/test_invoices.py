"""Incoming invoices, receipts that credit once, cursors and cancellations."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from nwc_service.store import invoices
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.units import AccountId, BackendName, ConnectionId, InvoiceId, Msat
from tests.core.samples import (
    ALICE,
    BOB,
    NODE,
    NOW,
    PREIMAGE,
    a_settled_invoice,
    an_invoice,
    hash_of,
)
from tests.store.books import Books

HASH = hash_of(PREIMAGE)
OTHER_NODE = BackendName("other")
REQUESTED = an_invoice(state=InvoiceState.REQUESTED, payment_hash=None, invoice="")


async def insert(books: Books, invoice: Invoice) -> None:
    await books.database.write(lambda tx: invoices.insert(tx, invoice))


async def stored(books: Books, invoice_id: str = "invoice") -> Invoice | None:
    return await books.database.read(lambda tx: invoices.invoice(tx, InvoiceId(invoice_id)))


@pytest.mark.parametrize(
    "invoice",
    [
        pytest.param(REQUESTED, id="requested"),
        pytest.param(an_invoice(metadata='{"a":1}', description_hash="aa"), id="pending"),
        pytest.param(a_settled_invoice(), id="settled"),
    ],
)
async def test_an_invoice_comes_back_as_it_was(invoice: Invoice, books: Books) -> None:
    await insert(books, invoice)

    assert await stored(books) == invoice


async def test_many_may_be_requested_at_once(books: Books) -> None:
    await insert(books, REQUESTED)
    await insert(books, replace(REQUESTED, invoice_id=InvoiceId("second")))

    assert await stored(books, "second") is not None


async def test_a_change_from_an_expected_state_is_stored(books: Books) -> None:
    await insert(books, REQUESTED)
    made = an_invoice(created_at=NOW + 1, expires_at=NOW + 2)

    changed = await books.database.write(
        lambda tx: invoices.update(
            tx, made, expected=(InvoiceState.CANCELED, InvoiceState.REQUESTED)
        )
    )

    assert changed
    assert await stored(books) == made


@pytest.mark.parametrize(
    ("account_id", "expected"),
    [
        pytest.param(BOB, (InvoiceState.PENDING,), id="another-state"),
        pytest.param(ALICE, (InvoiceState.REQUESTED,), id="another-account"),
    ],
)
async def test_a_change_from_anything_else_is_not(
    account_id: AccountId, expected: tuple[InvoiceState, ...], books: Books
) -> None:
    await insert(books, REQUESTED)

    changed = await books.database.write(
        lambda tx: invoices.update(
            tx, a_settled_invoice(account_id=account_id), expected=expected
        )
    )

    assert not changed
    assert await stored(books) == REQUESTED


async def test_of_two_who_settle_one_does(books: Books) -> None:
    await insert(books, an_invoice())

    results = await asyncio.gather(
        *(
            books.database.write(
                lambda tx: invoices.update(
                    tx, a_settled_invoice(), expected=(InvoiceState.PENDING,)
                )
            )
            for _ in range(10)
        )
    )

    assert results.count(True) == 1


@pytest.mark.attack("A2")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("lnbcrt1invoice", True, id="the-exact-string"),
        pytest.param("lnbcrt1invoice2", False, id="another"),
        pytest.param("LNBCRT1INVOICE", False, id="not-canonical"),
        pytest.param(HASH, False, id="its-hash"),
        pytest.param("", False, id="nothing"),
    ],
)
async def test_an_invoice_is_recognised_by_its_string_alone(
    text: str, found: bool, books: Books
) -> None:
    await insert(books, an_invoice())
    await insert(books, replace(REQUESTED, invoice_id=InvoiceId("requested")))

    invoice = await books.database.read(lambda tx: invoices.by_string(tx, text))

    assert (invoice == an_invoice()) is found


@pytest.mark.parametrize(("backend", "found"), [(NODE, True), (OTHER_NODE, False)])
async def test_a_node_speaks_for_its_own_invoices(
    backend: BackendName, found: bool, books: Books
) -> None:
    await insert(books, an_invoice())

    invoice = await books.database.read(
        lambda tx: invoices.by_hash(tx, backend=backend, payment_hash=HASH)
    )

    assert (invoice is not None) is found


@pytest.mark.attack("A20")
@pytest.mark.parametrize(
    ("account_id", "connection_id", "found"),
    [
        pytest.param(BOB, None, True, id="its-account"),
        pytest.param(BOB, "connection", True, id="the-connection-that-made-it"),
        pytest.param(BOB, "other", False, id="another-connection"),
        pytest.param(ALICE, None, False, id="another-account"),
        pytest.param(ALICE, "connection", False, id="another-account-with-its-connection"),
    ],
)
async def test_an_invoice_is_found_by_its_own_account_only(
    account_id: AccountId, connection_id: str | None, found: bool, books: Books
) -> None:
    await books.connect(account_id=BOB)
    await insert(books, an_invoice(connection_id="connection"))

    invoice = await books.database.read(
        lambda tx: invoices.of_account(
            tx,
            account_id=account_id,
            payment_hash=HASH,
            connection_id=None if connection_id is None else ConnectionId(connection_id),
        )
    )

    assert (invoice is not None) is found


async def test_open_invoices_are_those_that_the_node_may_settle(books: Books) -> None:
    for number, state in enumerate(InvoiceState):
        await insert(
            books,
            a_settled_invoice(
                invoice_id=state.value,
                payment_hash=f"h{number}",
                invoice=f"ln{number}",
                state=state,
                expires_at=NOW - number,
            ),
        )

    found = await books.database.read(lambda tx: invoices.open_invoices(tx, NODE))
    elsewhere = await books.database.read(lambda tx: invoices.open_invoices(tx, OTHER_NODE))

    assert [invoice.state for invoice in found] == [
        InvoiceState.REQUESTED,  # somebody waits for it
        InvoiceState.ACCEPTED,
        InvoiceState.PENDING,
    ]
    assert elsewhere == []


async def receipt(books: Books, backend: BackendName = NODE, amount_msat: int = 5) -> bool:
    return await books.database.write(
        lambda tx: invoices.insert_receipt(
            tx,
            backend=backend,
            payment_hash=HASH,
            amount_msat=Msat(amount_msat),
            invoice_id=None,
            now=NOW,
        )
    )


@pytest.mark.attack("A15")
async def test_a_settlement_is_credited_once_whatever_it_says_the_second_time(
    books: Books,
) -> None:
    assert [await receipt(books), await receipt(books, amount_msat=9)] == [True, False]
    [row] = await books.rows("SELECT amount_msat FROM receipt")
    assert row["amount_msat"] == 5


@pytest.mark.attack("A15")
async def test_a_settlement_of_another_node_is_another(books: Books) -> None:
    assert [await receipt(books), await receipt(books, OTHER_NODE)] == [True, True]


@pytest.mark.attack("A15")
async def test_of_many_reports_of_one_settlement_one_is_credited(books: Books) -> None:
    results = await asyncio.gather(*(receipt(books) for _ in range(20)))

    assert results.count(True) == 1


async def test_every_stream_has_its_own_cursor(books: Books) -> None:
    for backend, cursor in ((NODE, "1"), (OTHER_NODE, "7"), (NODE, "2")):
        await books.database.write(
            partial(invoices.set_cursor, backend=backend, cursor=cursor, payment_hash=HASH)
        )

    assert await books.database.read(lambda tx: invoices.cursor(tx, NODE)) == "2"
    assert await books.database.read(lambda tx: invoices.cursor(tx, OTHER_NODE)) == "7"
    assert await books.database.read(lambda tx: invoices.cursor(tx, BackendName("x"))) is None


async def test_a_cancellation_is_queued_once_and_closed(books: Books) -> None:
    async def queue() -> None:
        await books.database.write(
            lambda tx: invoices.queue_cancellation(tx, backend=NODE, payment_hash=HASH, now=NOW)
        )

    await queue()
    await queue()
    queued = await books.database.read(lambda tx: invoices.open_cancellations(tx, NODE))
    await books.database.write(
        lambda tx: invoices.close_cancellation(tx, backend=NODE, payment_hash=HASH, now=NOW)
    )
    await queue()

    assert queued == [HASH]
    assert await books.database.read(lambda tx: invoices.open_cancellations(tx, NODE)) == []
