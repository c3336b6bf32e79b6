"""Accounts and entries: one conditional statement decides every movement."""

import asyncio

import pytest

from nwc_service.store import ledger
from nwc_service.store.ledger import Account, InsufficientBalance
from nwc_service.wallet.ledger import (
    EQUITY,
    SUSPENSE,
    Entry,
    EntryKind,
    LedgerAccount,
    available,
    held,
    node,
)
from nwc_service.wallet.units import MAX_MSAT, AccountId, Msat, PaymentId
from tests.core.samples import ALICE, BOB, NODE, NOW
from tests.store.books import Books
from tests.store.drivers import Driver


async def test_a_new_account_has_nothing(books: Books) -> None:
    account = await books.database.read(lambda tx: ledger.account_named(tx, "alice"))

    assert account == Account(ALICE, "alice", Msat(0), Msat(0), NOW, NODE)


async def test_a_name_is_taken_once(books: Books) -> None:
    namesake = Account(AccountId("other"), "alice", Msat(0), Msat(0), NOW, NODE)

    created = await books.database.write(lambda tx: ledger.create_account(tx, namesake))

    assert created is False
    accounts = await books.database.read(ledger.accounts)
    assert [account.account_id for account in accounts] == [ALICE, BOB]


async def test_an_entry_and_its_balances_move_together(books: Books) -> None:
    await books.credit(ALICE, 100)

    entries = await books.rows("SELECT kind, source, destination, amount_msat FROM entry")
    assert [list(entry.values()) for entry in entries] == [
        ["credit", "equity", "available:alice", 100]
    ]
    assert await books.balance(ALICE) == (100, 0)
    assert await books.rows("SELECT * FROM book") == [{"name": "equity", "balance_msat": -100}]


@pytest.mark.parametrize(
    ("source", "destination", "amount_msat"),
    [
        pytest.param(available(ALICE), EQUITY, 101, id="out"),
        pytest.param(available(ALICE), held(ALICE), 101, id="reserved"),
        pytest.param(available(ALICE), available(BOB), 101, id="to-another"),
        pytest.param(available(ALICE), available(ALICE), 101, id="to-itself"),
        pytest.param(held(ALICE), available(ALICE), 1, id="released-but-never-reserved"),
        pytest.param(held(ALICE), node(NODE), 1, id="settled-but-never-reserved"),
        pytest.param(available(BOB), available(ALICE), 1, id="from-one-who-has-nothing"),
    ],
)
async def test_an_account_never_gives_what_it_has_not(
    source: LedgerAccount, destination: LedgerAccount, amount_msat: int, books: Books
) -> None:
    await books.credit(ALICE, 100)

    with pytest.raises(InsufficientBalance):
        await books.post(EntryKind.DEBIT, source, destination, amount_msat)

    assert await books.balance(ALICE) == (100, 0)
    assert len(await books.rows("SELECT 1 FROM entry")) == 1


async def test_an_account_gives_its_last_msat(books: Books) -> None:
    await books.credit(ALICE, 100)

    await books.debit(ALICE, 100)

    assert await books.balance(ALICE) == (0, 0)


async def test_of_entries_that_belong_together_all_are_posted_or_none(books: Books) -> None:
    await books.credit(ALICE, 100)
    entries = (
        Entry(EntryKind.INTERNAL, available(ALICE), available(BOB), Msat(100)),
        Entry(EntryKind.DEBIT, available(ALICE), EQUITY, Msat(1)),
    )

    with pytest.raises(InsufficientBalance):
        await books.database.write(lambda tx: ledger.post(tx, entries, now=NOW))

    assert await books.balance(ALICE) == (100, 0)
    assert await books.balance(BOB) == (0, 0)
    assert await books.problems() == ()


async def test_an_account_that_does_not_exist_has_nothing_to_give(books: Books) -> None:
    with pytest.raises(InsufficientBalance):
        await books.credit(AccountId("nobody"), 1)


@pytest.mark.attack("A6")
async def test_no_account_holds_more_than_all_bitcoin(books: Books, driver: Driver) -> None:
    await books.credit(ALICE, MAX_MSAT)

    with pytest.raises(driver.refusals):
        await books.credit(ALICE, 1)

    assert await books.balance(ALICE) == (MAX_MSAT, 0)


async def test_an_entry_remembers_what_it_was_for(books: Books) -> None:
    entry = Entry(EntryKind.CREDIT, EQUITY, available(ALICE), Msat(1))

    await books.database.write(
        lambda tx: ledger.post(
            tx, (entry,), now=NOW, payment_id=PaymentId("p"), reason="a gift"
        )
    )

    [row] = await books.rows("SELECT payment_id, invoice_id, reason, created_at FROM entry")
    assert list(row.values()) == ["p", None, "a gift", NOW]


@pytest.mark.attack("A1")
async def test_of_many_who_want_the_last_money_only_as_many_get_it(books: Books) -> None:
    await books.credit(ALICE, 100)

    results = await asyncio.gather(
        *(books.debit(ALICE, 30) for _ in range(20)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, InsufficientBalance)]
    assert len(refused) == 17
    assert await books.balance(ALICE) == (10, 0)
    assert await books.problems() == ()


async def test_the_operator_owes_all_that_users_have_and_what_waits(books: Books) -> None:
    await books.credit(ALICE, 100)
    await books.post(EntryKind.RESERVE, available(ALICE), held(ALICE), 40)
    await books.post(EntryKind.RECEIVE, node(NODE), SUSPENSE, 7)

    assert await books.database.read(ledger.liabilities_msat) == 107


async def test_who_has_no_accounts_owes_nothing(books: Books) -> None:
    assert await books.database.read(ledger.liabilities_msat) == 0
