"""Outgoing payments: one per hash, and every change names the state that it expects."""

import asyncio
from dataclasses import replace

import pytest

from nwc_service.store import payments
from nwc_service.wallet.payment import LIVE_STATES, Payment, PaymentState
from nwc_service.wallet.units import AccountId, BackendName, ConnectionId, Msat, PaymentId
from tests.core.samples import (
    ALICE,
    BOB,
    NOW,
    OTHER_PREIMAGE,
    PREIMAGE,
    SAID_SO,
    a_payment,
    a_settled_payment,
    hash_of,
)
from tests.store.books import Books

HASH = hash_of(PREIMAGE)
RESERVED = a_payment(state=PaymentState.RESERVED)


async def insert(books: Books, payment: Payment) -> bool:
    return await books.database.write(lambda tx: payments.insert(tx, payment))


async def stored(books: Books, payment_id: str = "payment") -> Payment | None:
    return await books.database.read(lambda tx: payments.payment(tx, PaymentId(payment_id)))


async def update(books: Books, payment: Payment, *, expected: PaymentState) -> bool:
    return await books.database.write(
        lambda tx: payments.update(tx, payment, expected=expected)
    )


@pytest.mark.parametrize(
    "payment",
    [
        pytest.param(RESERVED, id="reserved"),
        pytest.param(a_payment(dispatched_at=NOW), id="dispatched"),
        pytest.param(
            a_settled_payment(
                amount_is_override=True,
                metadata='{"a":1}',
                description_hash="aa",
                proof=SAID_SO,
            ),
            id="settled",
        ),
        pytest.param(
            a_payment(state=PaymentState.RELEASED, proof=SAID_SO, budget_period=5),
            id="released",
        ),
    ],
)
async def test_a_payment_comes_back_as_it_was(payment: Payment, books: Books) -> None:
    await insert(books, payment)

    assert await stored(books) == payment


async def test_what_is_not_there_is_none(books: Books) -> None:
    assert await stored(books) is None
    assert await books.database.read(lambda tx: payments.standing(tx, HASH)) is None


@pytest.mark.attack("A12")
@pytest.mark.parametrize("standing", [*LIVE_STATES, PaymentState.SETTLED])
async def test_a_hash_that_is_live_or_settled_is_burnt_for_every_account(
    standing: PaymentState, books: Books
) -> None:
    await insert(books, a_settled_payment(state=standing))

    inserted = await insert(
        books, a_payment(payment_id="second", account_id=BOB, invoice="lnother")
    )

    assert inserted is False
    assert await stored(books, "second") is None


async def test_a_hash_that_was_released_may_be_paid_again(books: Books) -> None:
    await insert(books, a_payment(state=PaymentState.RELEASED, proof=SAID_SO))

    assert await insert(books, a_payment(payment_id="second"))


@pytest.mark.attack("A1", "A12")
async def test_of_many_payments_of_one_hash_one_stands(books: Books) -> None:
    results = await asyncio.gather(
        *(insert(books, a_payment(payment_id=f"p{number}")) for number in range(20))
    )

    assert results.count(True) == 1


async def test_the_standing_payment_is_the_one_not_released(books: Books) -> None:
    await insert(books, a_payment(state=PaymentState.RELEASED, proof=SAID_SO))
    await insert(books, a_payment(payment_id="second", account_id=BOB))

    found = await books.database.read(lambda tx: payments.standing(tx, HASH))

    assert found is not None
    assert found.payment_id == "second"


async def test_a_change_in_the_expected_state_is_stored(books: Books) -> None:
    await insert(books, RESERVED)
    dispatched = replace(RESERVED, state=PaymentState.DISPATCHED, dispatched_at=NOW + 1)

    assert await update(books, dispatched, expected=PaymentState.RESERVED)
    assert await stored(books) == dispatched


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, PaymentState.DISPATCHED, id="another-state"),
        pytest.param({"account_id": BOB}, PaymentState.RESERVED, id="another-account"),
        pytest.param(
            {"backend": BackendName("other")}, PaymentState.RESERVED, id="another-backend"
        ),
        pytest.param({"payment_id": "other"}, PaymentState.RESERVED, id="another-payment"),
    ],
)
async def test_a_change_of_anything_else_is_not(
    changes: dict[str, object], expected: PaymentState, books: Books
) -> None:
    await insert(books, RESERVED)
    changed = a_settled_payment(**changes)

    assert not await update(books, changed, expected=expected)
    assert await stored(books) == RESERVED


@pytest.mark.attack("A1")
async def test_of_two_who_dispatch_one_does(books: Books) -> None:
    await insert(books, RESERVED)
    dispatched = replace(RESERVED, state=PaymentState.DISPATCHED)

    results = await asyncio.gather(
        *(update(books, dispatched, expected=PaymentState.RESERVED) for _ in range(10))
    )

    assert results.count(True) == 1


async def test_the_amount_and_the_reserve_never_change(books: Books) -> None:
    await insert(books, RESERVED)

    await update(
        books,
        replace(RESERVED, amount_msat=Msat(1), fee_reserve_msat=Msat(1), invoice="lnother"),
        expected=PaymentState.RESERVED,
    )

    assert await stored(books) == RESERVED


async def test_live_payments_are_found_and_counted(books: Books) -> None:
    for number, state in enumerate(PaymentState):
        await insert(
            books,
            a_settled_payment(
                payment_id=f"p{number}",
                payment_hash=f"h{number}",
                state=state,
                proof=SAID_SO,
                account_id=ALICE if number else BOB,
                created_at=NOW - number,
            ),
        )

    found = await books.database.read(payments.live)
    everywhere = await books.database.read(payments.live_count)
    of_alice = await books.database.read(lambda tx: payments.live_count(tx, account_id=ALICE))

    assert [payment.state for payment in found] == [
        PaymentState.UNKNOWN,
        PaymentState.DISPATCHED,
        PaymentState.RESERVED,
    ]
    assert (everywhere, of_alice) == (3, 2)


@pytest.mark.attack("A20")
@pytest.mark.parametrize(
    ("account_id", "connection_id", "found"),
    [
        pytest.param(ALICE, None, "second", id="the-newest-of-the-account"),
        pytest.param(ALICE, "connection", "first", id="of-one-connection"),
        pytest.param(ALICE, "other", None, id="of-a-connection-that-made-none"),
        pytest.param(BOB, None, None, id="of-another-account"),
    ],
)
async def test_a_payment_is_found_by_its_own_account_only(
    account_id: AccountId, connection_id: str | None, found: str | None, books: Books
) -> None:
    await books.connect()
    await insert(
        books,
        a_payment(
            payment_id="first",
            connection_id="connection",
            state=PaymentState.RELEASED,
            proof=SAID_SO,
        ),
    )
    await insert(books, a_payment(payment_id="second", created_at=NOW + 1))
    await insert(books, a_payment(payment_id="third", payment_hash=hash_of(OTHER_PREIMAGE)))

    payment = await books.database.read(
        lambda tx: payments.of_account(
            tx,
            account_id=account_id,
            payment_hash=HASH,
            connection_id=None if connection_id is None else ConnectionId(connection_id),
        )
    )

    assert (payment and payment.payment_id) == found
