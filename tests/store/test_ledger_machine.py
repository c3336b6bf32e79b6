"""Any sequence of movements, against a model of plain numbers; the audit looks after each."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from nwc_service.store import payments
from nwc_service.store.ledger import InsufficientBalance
from nwc_service.wallet.ledger import LOSS, LedgerAccount, node
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import LIVE_STATES, Payment, PaymentState
from nwc_service.wallet.units import AccountId, Msat, PaymentId, Preimage
from tests.core.samples import (
    ALICE,
    BOB,
    NODE,
    OTHER_PREIMAGE,
    a_payment,
    a_settled_invoice,
    a_settled_payment,
    hash_of,
)
from tests.store.books import Books
from tests.store.drivers import Driver

users = st.sampled_from([ALICE, BOB])
amounts = st.integers(1, 1_000)
unproven: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        Failed(FailReason.NO_ROUTE),
        NotSent(FailReason.UNAVAILABLE),
        InFlight(),
        Unknown("timeout"),
        Settled(OTHER_PREIMAGE, Msat(1)),
    ]
)


class LedgerMachine(RuleBasedStateMachine):
    driver: ClassVar[Driver]
    reserved: Bundle[Payment] = Bundle("reserved")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.available: Counter[AccountId] = Counter()
        self.held: Counter[AccountId] = Counter()
        self.book: Counter[LedgerAccount] = Counter()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        directory = Path(self.stack.enter_context(TemporaryDirectory()))
        opening = self.stack.enter_async_context(self.driver.open(directory))
        self.books = Books(self.run(opening))
        self.run(self.books.open_accounts())

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def succeeds(self, work: Coroutine[Any, Any, Any]) -> bool:
        try:
            self.run(work)
        except InsufficientBalance:
            return False
        return True

    def preimage(self) -> Preimage:
        """Another one each time."""
        self.number += 1
        return Preimage(f"{self.number:064x}")

    @rule(user=users, amount=amounts)
    def credit(self, user: AccountId, amount: int) -> None:
        self.run(self.books.credit(user, amount))
        self.available[user] += amount

    @rule(user=users, amount=amounts)
    def debit(self, user: AccountId, amount: int) -> None:
        debited = self.succeeds(self.books.debit(user, amount))

        assert debited is (self.available[user] >= amount)
        self.available[user] -= amount if debited else 0

    @rule(user=users, amount=amounts)
    def receive(self, user: AccountId, amount: int) -> None:
        preimage = self.preimage()
        invoice = a_settled_invoice(
            invoice_id=preimage,
            account_id=user,
            payment_hash=hash_of(preimage),
            invoice=preimage,
            preimage=preimage,
            amount_msat=amount,
            received_msat=amount,
        )

        self.run(self.books.receive(invoice))

        self.available[user] += amount
        self.book[node(NODE)] -= amount

    @rule(payer=users, payee=users, amount=amounts)
    def pay_internally(self, payer: AccountId, payee: AccountId, amount: int) -> None:
        preimage = self.preimage()
        shared = {
            "payment_hash": hash_of(preimage),
            "invoice": preimage,
            "preimage": preimage,
            "amount_msat": amount,
        }
        payment = a_settled_payment(
            payment_id=preimage,
            account_id=payer,
            kind="internal",
            fee_msat=0,
            fee_reserve_msat=0,
            backend=None,
            **shared,
        )
        invoice = a_settled_invoice(
            invoice_id=preimage, account_id=payee, received_msat=amount, **shared
        )

        paid = self.succeeds(self.books.pay_internally(payment, invoice))

        assert paid is (self.available[payer] >= amount)
        if paid:
            self.available[payer] -= amount
            self.available[payee] += amount

    @rule(target=reserved, user=users, amount=amounts, fee_reserve=st.integers(0, 50))
    def reserve(self, user: AccountId, amount: int, fee_reserve: int) -> Any:
        preimage = self.preimage()
        payment = a_payment(
            payment_id=PaymentId(preimage),
            account_id=user,
            payment_hash=hash_of(preimage),
            invoice=preimage,
            state=PaymentState.RESERVED,
            amount_msat=Msat(amount),
            fee_reserve_msat=Msat(fee_reserve),
        )

        done = self.succeeds(self.books.reserve(payment))

        assert done is (self.available[user] >= payment.held_msat)
        if not done:
            return multiple()
        self.available[user] -= payment.held_msat
        self.held[user] += payment.held_msat
        return payment

    @rule(payment=reserved, outcome=unproven)
    def hear(self, payment: Payment, outcome: Outcome) -> None:
        before, after = self.apply(payment, outcome)

        if before.state in LIVE_STATES and after.state is PaymentState.RELEASED:
            self.held[payment.account_id] -= payment.held_msat
            self.available[payment.account_id] += payment.held_msat

    @rule(payment=reserved, fee=st.none() | st.integers(0, 60))
    def settle(self, payment: Payment, fee: int | None) -> None:
        told = None if fee is None else Msat(fee)
        before, _ = self.apply(payment, Settled(Preimage(payment.payment_id), told))

        if before.state is PaymentState.RELEASED:
            charged = payment.fee_reserve_msat if fee is None else fee
            self.operator_pays(payment.amount_msat + charged)
        elif before.state in LIVE_STATES:
            charged = payment.fee_reserve_msat if fee is None else fee
            from_user = min(charged, payment.fee_reserve_msat)
            self.held[payment.account_id] -= payment.held_msat
            self.available[payment.account_id] += payment.fee_reserve_msat - from_user
            self.book[node(NODE)] += payment.amount_msat + from_user
            self.operator_pays(charged - from_user)

    def apply(self, payment: Payment, outcome: Outcome) -> tuple[Payment, Payment]:
        """The stored payment before and after."""
        stored = self.run(
            self.books.database.read(lambda tx: payments.payment(tx, payment.payment_id))
        )
        return stored, self.run(self.books.apply(stored, outcome))

    def operator_pays(self, amount: int) -> None:
        self.book[LOSS] -= amount
        self.book[node(NODE)] += amount

    @invariant()
    def every_balance_is_the_models(self) -> None:
        for user in (ALICE, BOB):
            balance = self.run(self.books.balance(user))
            assert balance == (self.available[user], self.held[user])
            assert min(balance) >= 0
        rows = self.run(self.books.rows("SELECT name, balance_msat FROM book"))
        stored = {row["name"]: row["balance_msat"] for row in rows if row["name"] != "equity"}
        assert {name: value for name, value in stored.items() if value} == {
            name: value for name, value in self.book.items() if value
        }

    @invariant()
    def the_audit_is_clean(self) -> None:
        assert self.run(self.books.problems()) == ()


@pytest.mark.attack("A1")
def test_no_sequence_of_movements_loses_or_makes_money(driver: Driver) -> None:
    machine = type("Machine", (LedgerMachine,), {"driver": driver})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
