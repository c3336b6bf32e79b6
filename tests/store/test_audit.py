"""The audit finds whatever was tampered with, and names the invariant."""

from typing import Any

import pytest

from nwc_service.store.audit import audit
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.outcome import Failed, FailReason, Settled
from nwc_service.wallet.payment import PaymentState
from nwc_service.wallet.units import ConnectionId, Msat, PaymentId, Preimage
from tests.core.samples import (
    ALICE,
    a_payment,
    a_settled_invoice,
    a_settled_payment,
    hash_of,
)
from tests.store.books import Books
from tests.store.drivers import Driver

CONNECTION = ConnectionId("connection")
LIVE, SETTLED, RELEASED, INTERNAL, RECEIVED = (
    Preimage(f"{number:064x}") for number in range(1, 6)
)


def a_payment_of(preimage: Preimage, name: str) -> dict[str, object]:
    return {
        "payment_id": PaymentId(name),
        "payment_hash": hash_of(preimage),
        "invoice": f"ln{name}",
        "connection_id": CONNECTION,
        "budget_period": 0,
    }


@pytest.fixture
async def busy(books: Books, driver: Driver) -> Books:
    """Every kind of row that the audit looks at, without a guard on the entries."""
    await books.connect(budget=Budget(Msat(10**9), Renewal.NEVER))
    await books.credit(ALICE, 1_000_000)
    for preimage, name in ((LIVE, "live"), (SETTLED, "settled"), (RELEASED, "released")):
        await books.claim(f"request-{name}")
        await books.reserve(
            a_payment(state=PaymentState.RESERVED, **a_payment_of(preimage, name))
        )
        await books.run(
            f"UPDATE request SET payment_id = '{name}' WHERE request_id = 'request-{name}'"
        )
    await books.apply(
        a_payment(state=PaymentState.RESERVED, **a_payment_of(SETTLED, "settled")),
        Settled(SETTLED, Msat(1_000)),
    )
    await books.apply(
        a_payment(state=PaymentState.RESERVED, **a_payment_of(RELEASED, "released")),
        Failed(FailReason.NO_ROUTE),
    )
    await books.answer("request-settled", event_id="e1")
    await books.answer("request-released", event_id="e2")
    await books.receive(
        a_settled_invoice(
            invoice_id="received", payment_hash=hash_of(RECEIVED), invoice="lnreceived"
        )
    )
    internal = {
        "payment_hash": hash_of(INTERNAL),
        "preimage": INTERNAL,
        "invoice": "lninternal",
    }
    await books.pay_internally(
        a_settled_payment(
            payment_id="internal",
            kind="internal",
            backend=None,
            fee_msat=0,
            fee_reserve_msat=0,
            **internal,
        ),
        a_settled_invoice(invoice_id="internal", **internal),
    )
    await books.run(
        "INSERT INTO budget_period VALUES ('connection', 0, 211000)", *driver.unguard
    )
    return books


async def test_the_books_are_clean_when_nobody_tampers(busy: Books) -> None:
    result = await busy.database.read(audit)

    assert result.problems == ()
    assert result.ok
    assert (result.accounts, result.entries) == (2, 9)


async def test_an_empty_database_is_clean(books: Books) -> None:
    result = await books.database.read(audit)

    assert (result.ok, result.accounts, result.entries) == (True, 2, 0)


PAYMENT = "UPDATE payment SET {change} WHERE payment_id = '{name}'"
ONE_FREED = (
    "UPDATE account SET held_msat = held_msat - 1, available_msat = available_msat + 1"
    " WHERE name = 'alice'"
)
ONE_MORE = "UPDATE account SET available_msat = available_msat + 1 WHERE name = '{name}'"
ONE_LESS = "UPDATE account SET available_msat = available_msat - 1 WHERE name = '{name}'"
ENTRY = (
    "INSERT INTO entry (kind, source, destination, amount_msat, created_at)"
    " VALUES ('{kind}', '{source}', 'available:alice', 1, 0)"
)
SETTLED_INVOICE = (
    "INSERT INTO invoice (invoice_id, account_id, backend, state, payment_hash, invoice,"
    " description, amount_msat, received_msat, created_at, expires_at, settled_at)"
    " VALUES ('x', 'bob', 'node', 'SETTLED', 'hx', 'lnx', '', 1, 1, 0, 0, 0)"
)
ANSWER_TO_LIVE = (
    "INSERT INTO outbox (connection_id, request_id, event_id, event, created_at)"
    " VALUES ('connection', 'request-live', 'e9', 'e', 0)"
)


def tampered(name: str, *statements: str, finds: set[str]) -> Any:
    return pytest.param(statements, finds, id=name)


def payment(name: str, change: str) -> str:
    return PAYMENT.format(name=name, change=change)


TAMPERED = [
    tampered("money-made", ONE_MORE.format(name="alice"), finds={"I1", "I2"}),
    tampered("money-lost", ONE_LESS.format(name="bob"), finds={"I1", "I2"}),
    tampered(
        "money-moved-without-an-entry",
        ONE_LESS.format(name="alice"),
        ONE_MORE.format(name="bob"),
        finds={"I2"},
    ),
    tampered(
        "money-made-with-a-book-to-match",
        ONE_MORE.format(name="alice"),
        "UPDATE book SET balance_msat = balance_msat - 1 WHERE name = 'equity'",
        finds={"I2"},
    ),
    tampered(
        "a-book-that-nothing-moved", "INSERT INTO book VALUES ('loss', 5)", finds={"I1", "I2"}
    ),
    tampered("held-money-freed", ONE_FREED, finds={"I2", "I4"}),
    tampered(
        "held-money-freed-with-an-entry-to-match",
        ONE_FREED,
        ENTRY.format(kind="release", source="held:alice"),
        finds={"I4"},
    ),
    tampered("an-entry-is-missing", "DELETE FROM entry WHERE kind = 'credit'", finds={"I2"}),
    tampered(
        "an-entry-was-changed",
        "UPDATE entry SET amount_msat = amount_msat + 1 WHERE kind = 'credit'",
        finds={"I2"},
    ),
    tampered(
        "an-entry-was-invented", ENTRY.format(kind="credit", source="equity"), finds={"I2"}
    ),
    tampered(
        "an-open-payment-is-missing",
        "DELETE FROM payment WHERE payment_id = 'live'",
        finds={"I4", "I15"},
    ),
    tampered(
        "an-open-payment-is-smaller",
        payment("live", "amount_msat = amount_msat - 1"),
        finds={"I4", "I15"},
    ),
    tampered(
        "an-open-payment-was-called-settled",
        payment("live", f"state = 'SETTLED', preimage = '{LIVE}', fee_msat = 0"),
        finds={"I4", "I7", "I15"},
    ),
    tampered(
        "an-open-payment-was-called-released",
        payment("live", "state = 'RELEASED', proof = 'none'"),
        finds={"I4", "I7", "I15"},
    ),
    tampered(
        "a-settled-payment-was-reopened",
        payment("settled", "state = 'UNKNOWN'"),
        finds={"I4", "I13", "I15"},
    ),
    tampered(
        "a-released-payment-was-called-settled",
        payment("released", f"state = 'SETTLED', preimage = '{RELEASED}', fee_msat = 0"),
        finds={"I7", "I15"},
    ),
    tampered(
        "a-settled-payment-cost-less",
        payment("settled", "fee_msat = fee_msat - 1"),
        finds={"I7", "I15"},
    ),
    tampered(
        "an-internal-payment-was-smaller",
        payment("internal", "amount_msat = amount_msat - 1"),
        finds={"I7"},
    ),
    tampered(
        "a-preimage-of-something-else",
        payment("settled", f"preimage = '{LIVE}'"),
        finds={"I8"},
    ),
    tampered(
        "a-preimage-that-is-not-hex",
        payment("settled", "preimage = 'paid, honestly'"),
        finds={"I8"},
    ),
    tampered(
        "a-budget-used-less",
        "UPDATE budget_period SET used_msat = used_msat - 1",
        finds={"I15"},
    ),
    tampered(
        "a-budget-used-more",
        "UPDATE budget_period SET used_msat = used_msat + 1",
        finds={"I15"},
    ),
    tampered("a-budget-forgotten", "DELETE FROM budget_period", finds={"I15"}),
    tampered("a-receipt-is-missing", "DELETE FROM receipt", finds={"I6"}),
    tampered(
        "a-receipt-of-more",
        "UPDATE receipt SET amount_msat = amount_msat + 1",
        finds={"I6"},
    ),
    tampered("an-invoice-settled-by-nothing", SETTLED_INVOICE, finds={"I6"}),
    tampered(
        "a-credited-invoice-that-is-not-settled",
        "UPDATE invoice SET state = 'EXPIRED' WHERE invoice_id = 'received'",
        finds={"I6"},
    ),
    tampered(
        "an-answer-is-missing",
        "DELETE FROM outbox WHERE request_id = 'request-settled'",
        finds={"I13"},
    ),
    tampered(
        "an-answer-that-nobody-marked",
        "UPDATE request SET answered_at = NULL WHERE request_id = 'request-released'",
        finds={"I13"},
    ),
    tampered(
        "an-answer-to-an-open-payment",
        "UPDATE request SET answered_at = 0 WHERE request_id = 'request-live'",
        ANSWER_TO_LIVE,
        finds={"I13"},
    ),
]


@pytest.mark.parametrize(("statements", "finds"), TAMPERED)
async def test_tampering_is_found(
    statements: tuple[str, ...], finds: set[str], busy: Books
) -> None:
    await busy.run(*statements)

    problems = await busy.problems()

    assert {problem.partition(":")[0] for problem in problems} == finds


async def test_a_problem_names_what_is_wrong_and_by_how_much(busy: Books) -> None:
    [before] = await busy.rows("SELECT available_msat FROM account WHERE name = 'bob'")

    await busy.run("UPDATE account SET available_msat = available_msat + 7 WHERE name = 'bob'")

    money = before["available_msat"]
    assert await busy.problems() == (
        "I1: all balances together are 7 msat, not 0",
        f"I2: available:bob is {money + 7} msat, its entries say {money}",
    )
