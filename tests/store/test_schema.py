"""The last wall: what STRICT, CHECK, UNIQUE, references and triggers refuse by themselves."""

import pytest

from tests.store.books import Books
from tests.store.drivers import Driver

MAX = 21 * 10**17

ACCOUNT = (
    "INSERT INTO account (account_id, name, available_msat, held_msat, created_at)"
    " VALUES ('{id}', '{name}', {available}, {held}, 0)"
)
CONNECTION = (
    "INSERT INTO connection (connection_id, account_id, app, wallet_pubkey, client_pubkey,"
    " scopes, notifications, encryption, relays, budget_msat, budget_renewal,"
    " max_payment_msat, created_at) VALUES ('{id}', '{account}', 'app', '{wallet}', 'bb', '',"
    " '', '', '[]', {budget}, {renewal}, {cap}, 0)"
)
ENTRY = (
    "INSERT INTO entry (kind, source, destination, amount_msat, created_at)"
    " VALUES ('credit', 'equity', 'loss', {amount}, 0)"
)
REQUEST = (
    "INSERT INTO request (request_id, connection_id, method, encryption, created_at,"
    " claimed_at) VALUES ('{id}', '{connection}', 'm', 'nip04', 0, 0)"
)
OUTBOX = (
    "INSERT INTO outbox (connection_id, request_id, event_id, event, created_at)"
    " VALUES ('connection', {request}, '{event}', 'e', 0)"
)
PAYMENT = (
    "INSERT INTO payment (payment_id, account_id, kind, state, backend, payment_hash, invoice,"
    " description, amount_msat, amount_is_override, fee_reserve_msat, fee_msat, preimage,"
    " proof, created_at, expires_at) VALUES ('{id}', '{account}', 'bolt11', '{state}',"
    " {backend}, '{hash}', 'ln', '', {amount}, 0, {reserve}, {fee}, {preimage}, {proof}, 0, 0)"
)
INVOICE = (
    "INSERT INTO invoice (invoice_id, account_id, request_id, backend, state, payment_hash,"
    " invoice, description, amount_msat, received_msat, created_at, expires_at, settled_at)"
    " VALUES ('{id}', '{account}', {request}, 'node', '{state}', {hash}, '{invoice}', '',"
    " {amount}, {received}, 0, 0, {settled_at})"
)
RECEIPT = (
    "INSERT INTO receipt (backend, payment_hash, htlc_set, amount_msat, created_at)"
    " VALUES ('{backend}', '{hash}', '{set}', {amount}, 0)"
)

ROWS: dict[str, dict[str, object]] = {
    ACCOUNT: {"id": "carol", "name": "carol", "available": 0, "held": 0},
    CONNECTION: {
        "id": "c2",
        "account": "alice",
        "wallet": "cc",
        "budget": "NULL",
        "renewal": "NULL",
        "cap": "NULL",
    },
    ENTRY: {"amount": 1},
    REQUEST: {"id": "r2", "connection": "connection"},
    OUTBOX: {"request": "NULL", "event": "e2"},
    PAYMENT: {
        "id": "p2",
        "account": "alice",
        "state": "DISPATCHED",
        "backend": "'node'",
        "hash": "h2",
        "amount": 1,
        "reserve": 10,
        "fee": "NULL",
        "preimage": "NULL",
        "proof": "NULL",
    },
    INVOICE: {
        "id": "i2",
        "account": "bob",
        "request": "NULL",
        "state": "PENDING",
        "hash": "'h2'",
        "invoice": "ln2",
        "amount": 1,
        "received": "NULL",
        "settled_at": "NULL",
    },
    RECEIPT: {"backend": "node", "hash": "h2", "set": "", "amount": 1},
}


def row(statement: str, **changes: object) -> str:
    return statement.format(**ROWS[statement] | changes)


@pytest.fixture
async def filled(books: Books) -> Books:
    """One row in every table that another row may clash with."""
    await books.connect()
    await books.run(
        row(REQUEST, id="r1"),
        row(OUTBOX, request="'r1'", event="e1"),
        row(PAYMENT, id="p1", hash="h1"),
        row(INVOICE, id="i1", request="'r1'", hash="'h1'", invoice="ln1"),
        row(RECEIPT, hash="h1"),
        row(ENTRY),
        "INSERT INTO budget_period VALUES ('connection', 0, 5)",
        "INSERT INTO cancellation VALUES ('node', 'h1', 0, NULL)",
        "INSERT INTO alarm VALUES ('kind', 'subject', '', 0)",
    )
    return books


SETTLED = {"state": "SETTLED", "fee": 1, "preimage": "'aa'"}
RELEASED = {"state": "RELEASED", "proof": "'said so'"}

ACCEPTED = {
    "an-account": row(ACCOUNT),
    "all-bitcoin": row(ACCOUNT, available=MAX),
    "a-connection": row(CONNECTION),
    "a-budget": row(CONNECTION, budget=1, renewal="'daily'"),
    "an-entry": row(ENTRY),
    "a-request": row(REQUEST),
    "a-notification": row(OUTBOX),
    "a-payment": row(PAYMENT),
    "a-settled-payment": row(PAYMENT, **SETTLED),
    "a-released-payment": row(PAYMENT, **RELEASED),
    "another-released-payment-of-one-hash": row(PAYMENT, hash="h1", **RELEASED),
    "a-reserved-payment-without-a-node": row(PAYMENT, state="RESERVED", backend="NULL"),
    "an-invoice": row(INVOICE),
    "an-invoice-not-made-yet": row(INVOICE, state="REQUESTED", hash="NULL", invoice=""),
    "a-settled-invoice": row(INVOICE, state="SETTLED", received=1, settled_at=0),
    "a-receipt": row(RECEIPT),
    "a-receipt-of-another-node": row(RECEIPT, backend="other", hash="h1"),
    "a-receipt-of-another-htlc-set": row(RECEIPT, hash="h1", set="2"),
}

REFUSED = {
    "available-below-zero": "UPDATE account SET available_msat = -1",
    "held-below-zero": "UPDATE account SET held_msat = -1",
    "available-above-all-bitcoin": row(ACCOUNT, available=MAX + 1),
    "held-above-all-bitcoin": row(ACCOUNT, held=MAX + 1),
    "an-account-name-twice": row(ACCOUNT, name="alice"),
    "an-account-id-twice": row(ACCOUNT, id="alice"),
    "a-balance-that-is-text": row(ACCOUNT, available="'many'"),
    "a-balance-that-is-a-fraction": row(ACCOUNT, available=1.5),
    "a-balance-that-is-null": row(ACCOUNT, available="NULL"),
    "a-book-that-is-a-fraction": "INSERT INTO book VALUES ('loss', 0.5)",
    "an-entry-of-zero": row(ENTRY, amount=0),
    "an-entry-below-zero": row(ENTRY, amount=-1),
    "an-entry-above-all-bitcoin": row(ENTRY, amount=MAX + 1),
    "an-entry-of-text": row(ENTRY, amount="'x'"),
    "an-entry-changed": "UPDATE entry SET amount_msat = 2",
    "an-entry-relabelled": "UPDATE entry SET reason = 'better'",
    "an-entry-deleted": "DELETE FROM entry",
    "a-connection-of-nobody": row(CONNECTION, account="nobody"),
    "a-service-key-twice": row(CONNECTION, wallet="aa" * 32),
    "a-budget-of-zero": row(CONNECTION, budget=0, renewal="'daily'"),
    "a-budget-below-zero": row(CONNECTION, budget=-1, renewal="'daily'"),
    "a-budget-without-renewal": row(CONNECTION, budget=1),
    "a-renewal-without-budget": row(CONNECTION, renewal="'daily'"),
    "a-cap-of-zero": row(CONNECTION, cap=0),
    "a-budget-used-below-zero": "UPDATE budget_period SET used_msat = -1",
    "a-budget-of-no-connection": "INSERT INTO budget_period VALUES ('nobody', 0, 0)",
    "a-budget-period-twice": "INSERT INTO budget_period VALUES ('connection', 0, 0)",
    "a-request-twice": row(REQUEST, id="r1"),
    "a-request-of-no-connection": row(REQUEST, connection="nobody"),
    "a-second-answer": row(OUTBOX, request="'r1'"),
    "an-answer-to-no-request": row(OUTBOX, request="'nothing'"),
    "an-event-twice": row(OUTBOX, event="e1"),
    "a-second-live-payment-of-one-hash": row(PAYMENT, hash="h1"),
    "a-settled-payment-beside-a-live-one": row(PAYMENT, hash="h1", **SETTLED),
    "a-payment-of-nobody": row(PAYMENT, account="nobody"),
    "a-payment-of-zero": row(PAYMENT, amount=0),
    "a-payment-above-all-bitcoin": row(PAYMENT, amount=MAX + 1),
    "a-reserve-below-zero": row(PAYMENT, reserve=-1),
    "a-fee-below-zero": row(PAYMENT, fee=-1),
    "a-fee-above-the-reserve": row(PAYMENT, fee=11),
    "a-payment-in-no-known-state": row(PAYMENT, state="PAID"),
    "settled-without-a-preimage": row(PAYMENT, state="SETTLED", fee=1),
    "settled-without-a-fee": row(PAYMENT, state="SETTLED", preimage="'aa'"),
    "released-without-a-proof": row(PAYMENT, state="RELEASED"),
    "dispatched-without-a-node": row(PAYMENT, backend="NULL"),
    "unknown-without-a-node": row(PAYMENT, state="UNKNOWN", backend="NULL"),
    "an-invoice-of-nobody": row(INVOICE, account="nobody"),
    "an-invoice-of-zero": row(INVOICE, amount=0),
    "an-invoice-above-all-bitcoin": row(INVOICE, amount=MAX + 1),
    "an-invoice-in-no-known-state": row(INVOICE, state="PAID"),
    "an-invoice-hash-twice": row(INVOICE, hash="'h1'"),
    "an-invoice-string-twice": row(INVOICE, invoice="ln1"),
    "two-invoices-of-one-request": row(INVOICE, request="'r1'"),
    "an-invoice-settled-with-nothing": row(INVOICE, state="SETTLED", settled_at=0),
    "an-invoice-settled-at-no-time": row(INVOICE, state="SETTLED", received=1),
    "an-invoice-that-received-zero": row(INVOICE, received=0),
    "a-second-receipt-of-one-settlement": row(RECEIPT, hash="h1"),
    "a-receipt-of-zero": row(RECEIPT, amount=0),
    "a-cancellation-twice": "INSERT INTO cancellation VALUES ('node', 'h1', 0, NULL)",
    "an-alarm-twice": "INSERT INTO alarm VALUES ('kind', 'subject', '', 0)",
}


@pytest.mark.parametrize("statement", ACCEPTED.values(), ids=ACCEPTED)
async def test_a_row_in_order_is_accepted(statement: str, filled: Books) -> None:
    await filled.run(statement)


@pytest.mark.attack("A6")
@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
async def test_the_database_refuses(statement: str, filled: Books, driver: Driver) -> None:
    with pytest.raises(driver.refusals):
        await filled.run(statement)


async def test_a_refused_row_leaves_nothing(filled: Books, driver: Driver) -> None:
    with pytest.raises(driver.refusals):
        await filled.run(row(ACCOUNT), row(PAYMENT, hash="h1"))

    assert await filled.rows("SELECT name FROM account WHERE name = 'carol'") == []
