"""The audit finds whatever was tampered with, and names the invariant."""

import tracemalloc
from typing import Any, TypeVar, cast

import pytest

from nwc_service.store import ledger
from nwc_service.store.audit import PAGE, SHOWN, audit, audit_live
from nwc_service.store.database import Database, Work
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.outcome import Failed, FailReason, Settled
from nwc_service.wallet.payment import PaymentState
from nwc_service.wallet.units import ConnectionId, Msat, PaymentId, Preimage
from tests.core.samples import (
    ALICE,
    NOW,
    a_payment,
    a_settled_invoice,
    a_settled_payment,
    hash_of,
)
from tests.store.books import Books
from tests.store.drivers import Driver

CONNECTION = ConnectionId("connection")
UNCHECKED = "PRAGMA ignore_check_constraints = ON"
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
    """Every kind of row that the audit looks at, with nothing to keep a test from tampering."""
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
        "INSERT INTO budget_period VALUES ('connection', 0, 211000)",
        *driver.unguard,
        UNCHECKED,
    )
    return books


async def test_the_books_are_clean_when_nobody_tampers(busy: Books) -> None:
    result = await busy.database.read(audit)

    assert result.problems == ()
    assert result.ok
    assert (result.accounts, result.entries) == (2, 9)
    assert (result.payments, result.invoices) == (4, 2)


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


BEYOND = "INSERT INTO book VALUES ('loss', -2100000000000000001)"

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
        finds={"I4", "I7", "I15"},
    ),
    tampered(
        "an-open-payment-is-smaller",
        payment("live", "amount_msat = amount_msat - 1"),
        finds={"I4", "I7", "I15"},
    ),
    tampered(
        "an-open-payment-was-called-settled",
        payment("live", f"state = 'SETTLED', preimage = '{LIVE}', fee_msat = 0"),
        finds={"I4", "I7", "I13", "I15"},
    ),
    tampered(
        "an-open-payment-was-called-released",
        payment("live", "state = 'RELEASED', proof = 'none'"),
        finds={"I4", "I7", "I9", "I13", "I15"},
    ),
    tampered(
        "a-settled-payment-was-reopened",
        payment("settled", "state = 'UNKNOWN'"),
        finds={"I4", "I7", "I13", "I15"},
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
        finds={"I7", "I16"},
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
    tampered(
        "a-day-that-no-payment-counts-in",
        "INSERT INTO account_day (account_id, day, used_msat) VALUES ('alice', 0, 1)",
        finds={"I15"},
    ),
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
        finds={"I12"},
    ),
    tampered(
        "an-answer-that-nobody-marked",
        "UPDATE request SET answered_at = NULL WHERE request_id = 'request-released'",
        finds={"I12", "I13"},
    ),
    tampered(
        "an-answer-to-an-open-payment",
        "UPDATE request SET answered_at = 0 WHERE request_id = 'request-live'",
        ANSWER_TO_LIVE,
        finds={"I13"},
    ),
    # --- what a CHECK or an index would refuse
    tampered(
        "a-negative-balance",
        "UPDATE account SET available_msat = -1, held_msat = held_msat + available_msat + 1"
        " WHERE name = 'alice'",
        "UPDATE account SET available_msat = 0, held_msat = -1 WHERE name = 'bob'",
        finds={"I1", "I2", "I3", "I4", "I24"},
    ),
    tampered(
        "a-second-payment-of-a-hash",
        "DROP INDEX payment_hash_once",
        "UPDATE payment SET payment_hash = (SELECT payment_hash FROM payment"
        " WHERE payment_id = 'settled') WHERE payment_id = 'live'",
        finds={"I5"},
    ),
    tampered(
        "a-settled-payment-without-a-preimage",
        payment("settled", "preimage = NULL"),
        finds={"I8"},
    ),
    tampered(
        "a-fee-above-its-reserve",
        payment("settled", "fee_msat = 11000"),
        finds={"I7", "I8", "I15"},
    ),
    tampered("a-release-without-a-proof", payment("released", "proof = NULL"), finds={"I9"}),
    tampered(
        "a-release-by-rule-h-too-early",
        payment("released", "proof_kind = 'expiry', unpayable_at = settled_at"),
        finds={"I9"},
    ),
    tampered(
        "a-release-by-rule-h-of-what-the-node-had",
        payment("released", "proof_kind = 'expiry', unpayable_at = 0, accepted_at = 1"),
        finds={"I9"},
    ),
    tampered(
        "a-sent-payment-without-a-backend",
        payment("live", "state = 'UNKNOWN', backend = NULL"),
        finds={"I10"},
    ),
    tampered(
        "a-second-answer",
        "CREATE TABLE other AS SELECT * FROM outbox",
        "DROP TABLE outbox",
        "ALTER TABLE other RENAME TO outbox",
        "INSERT INTO outbox SELECT outbox_id, connection_id, request_id, 'e3', event,"
        " created_at, NULL, NULL FROM outbox WHERE event_id = 'e1'",
        finds={"I12"},
    ),
    tampered(
        "an-amount-beyond-all-bitcoin",
        "UPDATE invoice SET amount_msat = 2100000000000000001 WHERE invoice_id = 'received'",
        finds={"I24"},
    ),
    tampered("a-book-beyond-all-bitcoin", BEYOND, finds={"I1", "I2", "I24"}),
    # --- what belongs together
    tampered(
        "a-reservation-in-the-name-of-no-payment",
        "UPDATE entry SET payment_id = 'nobody' WHERE kind = 'release'",
        finds={"I7"},
    ),
    tampered(
        "another-user-held-the-money",
        "UPDATE entry SET source = 'available:bob', destination = 'held:bob'"
        " WHERE kind = 'reserve' AND payment_id = 'live'",
        finds={"I2", "I7"},
    ),
    tampered(
        "a-payment-pinned-to-another-backend",
        payment("settled", "backend = 'other'"),
        finds={"I10"},
    ),
    tampered(
        "an-entry-to-another-backend",
        "UPDATE entry SET destination = 'node:other' WHERE destination = 'node:node'",
        finds={"I2", "I10"},
    ),
    tampered(
        "an-answer-to-somebody-else",
        "INSERT INTO connection (connection_id, account_id, app, wallet_pubkey, client_pubkey,"
        " scopes, notifications, encryption, relays, created_at) SELECT 'another', account_id,"
        " app, 'cc', client_pubkey, scopes, notifications, encryption, relays, created_at"
        " FROM connection",
        "UPDATE outbox SET connection_id = 'another' WHERE event_id = 'e1'",
        finds={"I12"},
    ),
    tampered(
        "a-request-with-two-effects",
        "UPDATE invoice SET request_id = 'request-settled' WHERE invoice_id = 'received'",
        finds={"I12"},
    ),
    tampered(
        "a-request-that-waits-for-nothing",
        "UPDATE request SET payment_id = NULL WHERE request_id = 'request-live'",
        finds={"I25"},
    ),
    tampered(
        "a-receipt-from-another-node",
        "UPDATE entry SET source = 'node:other' WHERE kind = 'receive'",
        finds={"I2", "I6"},
    ),
    tampered(
        "a-receipt-for-somebody-else",
        "UPDATE entry SET destination = 'available:alice' WHERE kind = 'receive'",
        finds={"I2", "I6"},
    ),
    tampered(
        "a-receipt-of-another-hash",
        "INSERT INTO receipt SELECT backend, 'x', '', 1, invoice_id, created_at, NULL, NULL"
        " FROM receipt",
        "INSERT INTO entry (kind, source, destination, amount_msat, invoice_id, created_at)"
        " VALUES ('receive', 'node:node', 'available:bob', 1, 'received', 0)",
        finds={"I2", "I6"},
    ),
    tampered(
        "a-receipt-whose-invoice-it-does-not-pay",
        "UPDATE receipt SET payment_hash = 'x'",
        finds={"I6"},
    ),
    tampered(
        "suspense-money-of-no-receipt",
        "UPDATE entry SET invoice_id = NULL, destination = 'suspense' WHERE kind = 'receive'",
        finds={"I2", "I6"},
    ),
    tampered(
        "an-internal-payment-to-somebody-else",
        "UPDATE entry SET destination = 'available:carol' WHERE kind = 'internal'",
        finds={"I2", "I16"},
    ),
    tampered(
        "an-internal-payment-of-more-than-was-received",
        "UPDATE invoice SET received_msat = received_msat - 1 WHERE invoice_id = 'internal'",
        finds={"I16"},
    ),
    tampered(
        "an-internal-payment-that-its-invoice-does-not-know",
        "UPDATE invoice SET state = 'PENDING' WHERE invoice_id = 'internal'",
        finds={"I16"},
    ),
    tampered(
        "an-internal-payment-settled-on-one-side-first",
        payment("internal", "settled_at = settled_at - 1"),
        finds={"I16"},
    ),
    tampered(
        "an-internal-payment-whose-invoice-stays-payable",
        "DELETE FROM cancellation",
        finds={"I16"},
    ),
    tampered(
        "an-invoice-cancelled-in-another-transaction",
        "UPDATE cancellation SET created_at = created_at + 1",
        finds={"I16"},
    ),
    tampered(
        "a-cursor-that-moved-without-a-receipt",
        "INSERT INTO stream VALUES ('node', '17', 'a hash that nobody paid')",
        finds={"I23"},
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


# --- a great many rows

MANY_PAYMENTS = (
    "WITH RECURSIVE number (n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {many})"
    " INSERT INTO payment (payment_id, account_id, kind, state, backend, payment_hash, invoice,"
    " description, amount_msat, amount_is_override, fee_reserve_msat, fee_msat, preimage,"
    " created_at, expires_at, settled_at) SELECT 'many' || n, 'alice', 'bolt11', 'SETTLED',"
    " 'node', 'hash' || n, 'ln' || n, '', 1, 0, 0, 0, '{preimage}', 0, 0, 0 FROM number"
)


def many_unproven(many: int) -> str:
    return MANY_PAYMENTS.format(many=many, preimage=LIVE)


@pytest.mark.parametrize("many", [SHOWN, SHOWN + 1, PAGE * 2 + 1])
async def test_of_many_problems_the_first_are_told_and_the_others_counted(
    many: int, books: Books
) -> None:
    await books.run(many_unproven(many))

    problems = await books.problems()

    others = [f"and {many - SHOWN} more like these"] if many > SHOWN else []
    for number in ("I7", "I8"):
        told = [text.partition(": ") for text in problems if text.startswith(f"{number}:")]
        assert len(told) == SHOWN + len(others)
        assert [text for _, _, text in told[SHOWN:]] == others


async def test_the_last_page_of_the_preimages_is_looked_at(books: Books) -> None:
    await books.run(
        "DROP INDEX payment_hash_once",
        many_unproven(PAGE + 1),
        f"UPDATE payment SET payment_hash = '{hash_of(LIVE)}'",
        "UPDATE payment SET payment_id = 'zzz', payment_hash = 'x' WHERE payment_id = 'many1'",
    )

    problems = [text for text in await books.problems() if text.startswith("I8")]

    assert problems == ["I8: payment zzz has no valid preimage"]


async def test_the_memory_does_not_grow_with_the_rows(books: Books) -> None:
    async def peak(many: int) -> int:
        await books.run("DELETE FROM payment", many_unproven(many))
        tracemalloc.start()
        try:
            await audit_live(books.database, now=NOW, required_percent=100)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = await peak(2_000), await peak(20_000)

    assert many < few * 1.2


async def test_what_cannot_be_checked_is_told_as_well(busy: Books) -> None:
    await busy.run(*(f"INSERT INTO book VALUES ('x{n}', {2**63 - 1})" for n in range(2)))

    problems = await busy.problems()

    assert any(
        text.startswith("I1: this could not be checked: integer overflow") for text in problems
    )
    assert any(text.startswith("I24: balance_msat of book x0 is ") for text in problems)


# --- while the service is running

T = TypeVar("T")


class Restless:
    """A database on which money moves between any two reads."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def read(self, work: Work[T]) -> T:
        found = await self._books.database.read(work)
        await self._books.credit(ALICE, 1_000)
        return found


async def test_money_that_moves_meanwhile_is_no_problem(busy: Books) -> None:
    restless = cast("Database", Restless(busy))

    result = await audit_live(restless, now=NOW, required_percent=100)

    assert result.problems == ()


async def overdue(books: Books, *, after_s: int) -> tuple[str, ...]:
    return (await audit_live(books.database, now=NOW + after_s, required_percent=0)).problems


HOUR_S = 3600


async def test_an_open_payment_needs_an_alarm_in_time(busy: Books) -> None:
    in_time = await overdue(busy, after_s=2 * HOUR_S)
    late = await overdue(busy, after_s=2 * HOUR_S + 1)
    await busy.run("INSERT INTO alarm VALUES ('payment_stuck', 'live', '', 0)")
    alarmed = await overdue(busy, after_s=2 * HOUR_S + 1)

    assert in_time == alarmed == ()
    assert late == (f"I25: payment live is RESERVED since {NOW}, and there is no alarm",)


WITH_ALARM = "INSERT INTO alarm VALUES ('payment_stuck', 'live', '', 0)"
ASKED_FOR = (
    "INSERT INTO invoice (invoice_id, account_id, backend, state, invoice, description,"
    f" amount_msat, created_at, expires_at) VALUES ('asked', 'bob', 'node', 'REQUESTED', '',"
    f" '', 1, {NOW}, 0)"
)


@pytest.mark.parametrize(
    ("statement", "after_s", "problem"),
    [
        pytest.param(
            ASKED_FOR,
            2 * HOUR_S,
            f"I25: invoice asked was asked for at {NOW}, and is not made yet",
            id="an-invoice-that-nobody-makes",
        ),
        pytest.param(
            "UPDATE outbox SET published_at = 0",
            24 * HOUR_S,
            f"I25: invoice {hash_of(INTERNAL)} is to be cancelled at node since {NOW}",
            id="a-cancellation-that-nobody-does",
        ),
        pytest.param(
            "UPDATE cancellation SET done_at = 0",
            48 * HOUR_S,
            f"I25: event e1 of {NOW} is neither published nor given up",
            id="an-answer-that-nobody-publishes",
        ),
    ],
)
async def test_what_nobody_does_is_found(
    statement: str, after_s: int, problem: str, busy: Books
) -> None:
    await busy.run(WITH_ALARM, statement)

    in_time = await overdue(busy, after_s=after_s)
    late = await overdue(busy, after_s=after_s + 1)

    assert in_time == ()
    assert problem in late


# --- what is owed, and what backs it

RECEIVED_MSAT, RELEASED_MSAT, HELD_MSAT = 100_000, 110_000, 110_000


async def uncovered(
    books: Books, *, short_msat: int, read_at: int, required_percent: int = 100
) -> tuple[str, ...]:
    """What is found when the backends have so much less than is owed."""
    owed_msat = await books.database.read(ledger.liabilities_msat)
    await books.run(
        f"INSERT INTO reading VALUES ('node', {owed_msat - short_msat}, {read_at})",
    )
    found = await audit_live(books.database, now=NOW, required_percent=required_percent)
    return found.problems


LATER = NOW + 60


@pytest.mark.parametrize(
    ("short_msat", "required_percent", "is_found"),
    [(0, 100, False), (100, 100, True), (0, 101, True), (400_000, 50, False), (10, 0, False)],
)
async def test_what_is_owed_must_be_backed_by_the_operators_margin(
    short_msat: int, required_percent: int, is_found: bool, busy: Books
) -> None:
    problems = await uncovered(
        busy, short_msat=short_msat, read_at=LATER, required_percent=required_percent
    )

    assert [problem.partition(":")[0] for problem in problems] == ["I19"] * is_found


async def test_what_came_in_since_the_reading_is_not_missed_in_it(busy: Books) -> None:
    since_msat = RECEIVED_MSAT + RELEASED_MSAT

    assert await uncovered(busy, short_msat=since_msat, read_at=NOW) == ()


async def test_more_than_came_in_since_the_reading_is_missed(busy: Books) -> None:
    short_msat = RECEIVED_MSAT + RELEASED_MSAT + 100

    [problem] = await uncovered(busy, short_msat=short_msat, read_at=NOW)

    assert problem.startswith("I19: ")


async def test_money_that_may_have_left_is_not_owed_for_sure(busy: Books) -> None:
    await busy.run(payment("live", "state = 'DISPATCHED'"))

    assert await uncovered(busy, short_msat=HELD_MSAT, read_at=LATER) == ()


async def test_a_reading_that_the_books_have_left_behind_says_nothing(busy: Books) -> None:
    assert await uncovered(busy, short_msat=500_000, read_at=NOW - 601) == ()


async def test_a_backend_that_tells_nothing_any_more_backs_nothing(busy: Books) -> None:
    await busy.run(f"INSERT INTO reading VALUES ('gone', 1000000, {LATER - 601})")

    [problem] = await uncovered(busy, short_msat=100, read_at=LATER)

    assert problem.startswith("I19: ")
