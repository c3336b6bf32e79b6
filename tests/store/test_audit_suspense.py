"""The audit of what waits in suspense, and of whom it was assigned to."""

from functools import partial
from typing import Any

import pytest

from nwc_service.store import invoices, ledger, receipts
from nwc_service.store.database import Tx
from nwc_service.store.receipts import Receipt
from nwc_service.wallet.ledger import (
    SUSPENSE,
    Entry,
    EntryKind,
    LedgerAccount,
    available,
    node,
)
from nwc_service.wallet.units import InvoiceId, Msat, PaymentHash
from tests.core.samples import ALICE, BOB, NODE, NOW, a_settled_invoice
from tests.store.books import Books

FOREIGN, FULL = PaymentHash("foreign"), PaymentHash("full")
AMOUNT_MSAT = Msat(500)
ASSIGN = Entry(EntryKind.ASSIGN, SUSPENSE, available(ALICE), AMOUNT_MSAT)


@pytest.fixture
async def assigned(books: Books) -> Books:
    """One receipt of nobody and one that had no room, both assigned; a third still waits."""
    invoice = a_settled_invoice(
        payment_hash=FULL, received_msat=AMOUNT_MSAT, account_id=BOB, preimage=None
    )
    await books.database.write(lambda tx: invoices.insert(tx, invoice))
    await wait(books, FOREIGN, invoice_id=None)
    await wait(books, FULL, invoice_id=invoice.invoice_id)
    await wait(books, PaymentHash("third"), invoice_id=None)
    for payment_hash in (FOREIGN, FULL):
        await assign(books, payment_hash)
    return books


async def wait(
    books: Books, payment_hash: PaymentHash, *, invoice_id: InvoiceId | None
) -> None:
    async def work(tx: Tx) -> None:
        await invoices.insert_receipt(
            tx,
            backend=NODE,
            payment_hash=payment_hash,
            amount_msat=AMOUNT_MSAT,
            invoice_id=invoice_id,
            now=NOW,
        )
        entry = Entry(EntryKind.RECEIVE, node(NODE), SUSPENSE, AMOUNT_MSAT)
        await ledger.post(tx, (entry,), now=NOW, invoice_id=invoice_id)

    await books.database.write(work)


async def assign(books: Books, payment_hash: PaymentHash) -> None:
    async def work(tx: Tx) -> None:
        [receipt] = await receipts.waiting_of(tx, payment_hash)
        await receipts.claim(tx, receipt, assigned_to=available(ALICE), now=NOW)
        await ledger.post(tx, (ASSIGN,), now=NOW, invoice_id=receipt.invoice_id)

    await books.database.write(work)


async def move(books: Books, entry: Entry) -> None:
    await books.database.write(partial(ledger.post, entries=(entry,), now=NOW))


async def test_what_was_assigned_once_is_in_order(assigned: Books) -> None:
    waiting: list[Receipt] = await assigned.database.read(receipts.waiting)

    assert [receipt.payment_hash for receipt in waiting] == ["third"]
    assert await assigned.balance(ALICE) == (2 * AMOUNT_MSAT, 0)
    assert await assigned.problems() == ()


async def test_a_receipt_that_was_assigned_twice_is_found(assigned: Books) -> None:
    await move(assigned, ASSIGN)

    [problem] = await assigned.problems()

    assert problem == (
        f"I6: of invoice of nobody 500 msat were assigned at {NOW},"
        " and 1000 moved from suspense to available:alice"
    )


def tampered(name: str, change: str) -> Any:
    return pytest.param(f"UPDATE receipt SET {change}", id=name)


@pytest.mark.parametrize(
    "statement",
    [
        tampered(
            "assigned-and-never-moved",
            f"assigned_to = 'equity', assigned_at = {NOW} WHERE payment_hash = 'third'",
        ),
        tampered("moved-to-another", "assigned_to = 'equity' WHERE payment_hash = 'foreign'"),
        tampered("moved-at-another-time", "assigned_at = 1 WHERE payment_hash = 'full'"),
        tampered(
            "moved-and-still-waiting",
            "assigned_to = NULL, assigned_at = NULL WHERE payment_hash = 'full'",
        ),
    ],
)
async def test_a_receipt_that_does_not_say_what_moved_is_found(
    statement: str, assigned: Books
) -> None:
    await assigned.run(statement)

    problems = await assigned.problems()

    assert {problem.partition(":")[0] for problem in problems} == {"I6"}


async def test_a_receipt_that_was_credited_and_then_assigned_is_found(
    assigned: Books,
) -> None:
    """It did not wait: the money of another receipt was given away."""
    credited = a_settled_invoice(
        invoice_id="credited", payment_hash=PaymentHash("credited"), invoice="lncredited"
    )
    await assigned.receive(credited)
    amount_msat = Msat(credited.received_msat or 0)
    entry = Entry(EntryKind.ASSIGN, SUSPENSE, available(ALICE), amount_msat)

    async def work(tx: Tx) -> None:
        await tx.run(
            "UPDATE receipt SET assigned_to = 'available:alice', assigned_at = :now"
            " WHERE payment_hash = 'credited'",
            now=NOW,
        )
        await ledger.post(tx, (entry,), now=NOW, invoice_id=credited.invoice_id)

    await assigned.database.write(work)

    assert await assigned.problems() == (
        f"I6: of invoice credited {amount_msat} msat were assigned, 0 waited",
    )


@pytest.mark.parametrize(
    ("kind", "source", "destination"),
    [
        pytest.param(EntryKind.DEBIT, SUSPENSE, "equity", id="out-by-another-kind"),
        pytest.param(EntryKind.CREDIT, "equity", SUSPENSE, id="in-by-another-kind"),
        pytest.param(EntryKind.ASSIGN, SUSPENSE, "loss", id="assigned-to-a-book"),
    ],
)
async def test_suspense_moves_in_by_a_receipt_and_out_by_an_assignment(
    kind: EntryKind, source: str, destination: str, assigned: Books
) -> None:
    await move(
        assigned, Entry(kind, LedgerAccount(source), LedgerAccount(destination), Msat(1))
    )

    problems = await assigned.problems()

    assert any(
        f"of kind {kind}, moves money from {source} to {destination}" in problem
        for problem in problems
    )
