"""Any sequence of payments under budgets, through the one door that the service has.

TX-A, TX-B and TX-C are the service's own, on the driver's database; beside them stands a model
of plain numbers. The budgets of two connections on one account are apart, their money is not.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from nwc_service.answers import Caller
from nwc_service.config import PaymentSettings, Settings
from nwc_service.directory import Directory
from nwc_service.edges import Edges
from nwc_service.flow import build_flow
from nwc_service.keyring import Keyring
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr.keys import Keypair
from nwc_service.store import connections, invoices, nodes
from nwc_service.store.requests import Claim
from nwc_service.wallet.budget import Budget, Renewal, period_start
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.units import (
    AccountId,
    ConnectionId,
    InvoiceId,
    Msat,
    PaymentId,
    Preimage,
)
from tests.core.samples import ALICE, BOB, NODE, a_connection, a_payment, an_invoice, hash_of
from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.parties import Clock, Relay, Tasks, uninterrupted
from tests.store.books import Books
from tests.store.drivers import Driver

HOUR_S = 3_600
EXPIRY_S = 240 * HOUR_S

DESK = a_connection(
    connection_id=ConnectionId("desk"), budget=Budget(Msat(1_000), Renewal.DAILY)
)
PHONE = a_connection(
    connection_id=ConnectionId("phone"),
    budget=Budget(Msat(1_500), Renewal.WEEKLY),
    max_payment_msat=Msat(400),
)
SHOP = a_connection(
    connection_id=ConnectionId("shop"),
    account_id=BOB,
    budget=Budget(Msat(2_000), Renewal.NEVER),
)
FREE = a_connection(connection_id=ConnectionId("free"), account_id=BOB)

names = st.sampled_from([c.connection_id for c in (DESK, PHONE, SHOP, FREE)])
users = st.sampled_from([ALICE, BOB])
amounts = st.integers(1, 600)
reserves = st.integers(0, 60)
failures: st.SearchStrategy[Outcome] = st.sampled_from(
    [Failed(FailReason.NO_ROUTE), NotSent(FailReason.UNAVAILABLE)]
)
open_ends: st.SearchStrategy[Outcome] = st.sampled_from([InFlight(), Unknown("timeout")])


@dataclass(frozen=True, slots=True)
class Wish:
    connection_id: ConnectionId
    amount_msat: int
    fee_reserve_msat: int

    @property
    def cost_msat(self) -> int:
        return self.amount_msat + self.fee_reserve_msat


wishes = st.builds(Wish, names, amounts, reserves)


class BudgetMachine(RuleBasedStateMachine):
    driver: ClassVar[Driver]
    sent: Bundle[Payment] = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.used: Counter[tuple[ConnectionId, int]] = Counter()
        self.available: Counter[AccountId] = Counter()
        self.held: Counter[AccountId] = Counter()
        self.states: dict[PaymentId, PaymentState] = {}
        self.clock = Clock()
        self.backend = ScriptedBackend(NODE)
        self.tasks = Tasks(uninterrupted)
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.run(self.open())

    async def open(self) -> None:
        directory = Path(self.stack.enter_context(TemporaryDirectory()))
        db = await self.stack.enter_async_context(self.driver.open(directory))
        self.books = Books(db)
        await self.books.open_accounts()
        self.keyring = Keyring(b"\x55" * 32)
        self.apps = {c.connection_id: self.keyed(c) for c in (DESK, PHONE, SHOP, FREE)}
        for app in self.apps.values():
            await db.write(partial(connections.insert, connection=app))
        edges = Edges(
            settings=Settings(
                data_dir=directory,
                payments=PaymentSettings(max_open=10_000, max_open_per_account=10_000),
            ),
            db=db,
            books=db,
            keyring=self.keyring,
            backends={NODE: self.backend},
            default_backend=NODE,
            directory=Directory(list(self.apps.values())),
            spawn=self.tasks.spawn,
        )
        relay = Relay()
        self.flow = build_flow(
            edges, publish=relay.publish, announce=relay.announce, clock=self.clock
        )
        await self.flow.solvency.check()

    def keyed(self, connection: Connection) -> Connection:
        """With keys that an answer can be sealed with."""
        return replace(
            connection,
            wallet_pubkey=self.keyring.wallet_pubkey(connection.connection_id),
            client_pubkey=Keypair(connection.connection_id.encode().rjust(32)).public_key,
        )

    def teardown(self) -> None:
        self.run(self.tasks.cancel())
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # --- what is asked

    @initialize(amount=st.integers(1_000, 4_000))
    def fund(self, amount: int) -> None:
        for user in (ALICE, BOB):
            self.credit(user, amount)

    @rule(user=users, amount=st.integers(1, 1_000))
    def fund_more(self, user: AccountId, amount: int) -> None:
        self.credit(user, amount)

    @rule(hours=st.sampled_from([1, 24, 8 * 24]))
    def let_time_pass(self, hours: int) -> None:
        self.clock.advance(hours * HOUR_S)
        self.run(self.flow.solvency.check())

    @rule(target=sent, wish=wishes, first=open_ends)
    def pay(self, wish: Wish, first: Outcome) -> Any:
        expected = self.expected(wish)

        [(payment, refusal)] = self.run(self.ask([wish], inside=False, reply=first))

        assert refusal is expected
        return multiple() if refusal else self.reserved(payment)

    @rule(target=sent, wanted=st.lists(wishes, min_size=2, max_size=6))
    def pay_at_once(self, wanted: list[Wish]) -> Any:
        """In whatever order they are taken: who is refused would not fit in now either."""
        asked = self.run(self.ask(wanted, inside=False, reply=InFlight()))

        admitted = [self.reserved(payment) for payment, refusal in asked if not refusal]
        for wish, (_, refusal) in zip(wanted, asked, strict=True):
            assert refusal is None or self.expected(wish) is not None
        return multiple(*admitted)

    @rule(wish=wishes, payee=users)
    def pay_inside(self, wish: Wish, payee: AccountId) -> None:
        wish = replace(wish, fee_reserve_msat=0)
        expected = self.expected(wish)

        [(payment, refusal)] = self.run(self.ask([wish], inside=payee))

        assert refusal is expected
        if refusal is None:
            self.count(payment.connection_id, wish.amount_msat)
            self.available[payment.account_id] -= wish.amount_msat
            self.available[payee] += wish.amount_msat

    # --- what becomes of it

    @rule(payment=sent, failure=failures)
    def fail(self, payment: Payment, failure: Outcome) -> None:
        self.run(self.hear(payment, failure))

        if self.states[payment.payment_id] is PaymentState.DISPATCHED:
            self.end(payment, PaymentState.RELEASED, spent_msat=0)

    @rule(payment=sent, outcome=open_ends)
    def hear_nothing_final(self, payment: Payment, outcome: Outcome) -> None:
        self.run(self.hear(payment, outcome))

    @rule(payment=sent, fee=st.none() | st.integers(0, 80))
    def settle(self, payment: Payment, fee: int | None) -> None:
        """In time, with a fee above the reserve, or after it was given back."""
        told = Settled(Preimage(payment.payment_id), None if fee is None else Msat(fee))
        self.backend.known[payment.payment_hash] = told
        self.run(self.hear(payment, told))

        if self.states[payment.payment_id] is PaymentState.DISPATCHED:
            reserve_msat = payment.fee_reserve_msat
            charged_msat = reserve_msat if fee is None else min(fee, reserve_msat)
            spent_msat = payment.amount_msat + charged_msat
            self.end(payment, PaymentState.SETTLED, spent_msat=spent_msat)

    # --- how

    def credit(self, user: AccountId, amount_msat: int) -> None:
        self.run(self.books.credit(user, amount_msat))
        self.available[user] += amount_msat

    async def ask(
        self, wanted: Sequence[Wish], *, inside: AccountId | bool, reply: Outcome | None = None
    ) -> list[tuple[Payment, ErrorCode | None]]:
        """All at once; each payment, and why it was refused."""
        planned = [await self.plan(wish, inside=inside) for wish in wanted]
        if reply is not None:
            self.backend.replies |= {p.payment_hash: (reply, None) for p in planned}
        results = await asyncio.gather(
            *(self.flow.spender.spend(self.caller(p), p) for p in planned),
            return_exceptions=True,
        )
        await self.tasks.idle()
        assert self.tasks.failures == []
        return [(p, _code(result)) for p, result in zip(planned, results, strict=True)]

    async def plan(self, wish: Wish, *, inside: AccountId | bool) -> Payment:
        """To an account here, whose invoice is then made, or to somebody outside."""
        self.number += 1
        name = f"{self.number:064x}"
        preimage = Preimage(name)
        now = self.clock()
        if inside:
            preimage = self.keyring.invoice_preimage(InvoiceId(name))
            invoice = an_invoice(
                invoice_id=name,
                account_id=inside,
                payment_hash=hash_of(preimage),
                invoice=name,
                amount_msat=Msat(wish.amount_msat),
                state=InvoiceState.PENDING,
                created_at=now,
                expires_at=now + HOUR_S,
            )
            await self.books.database.write(lambda tx: invoices.insert(tx, invoice))
        return a_payment(
            payment_id=PaymentId(name),
            account_id=self.apps[wish.connection_id].account_id,
            connection_id=wish.connection_id,
            state=PaymentState.RESERVED,
            payment_hash=hash_of(preimage),
            invoice=name,
            amount_msat=Msat(wish.amount_msat),
            fee_reserve_msat=Msat(wish.fee_reserve_msat),
            created_at=now,
            expires_at=now + EXPIRY_S,
        )

    def caller(self, payment: Payment) -> Caller:
        assert payment.connection_id is not None
        app = self.apps[payment.connection_id]
        claim = Claim(
            payment.payment_id,
            app.connection_id,
            "pay_invoice",
            Encryption.NIP44_V2,
            self.clock(),
        )
        return Caller(app, claim)

    async def hear(self, payment: Payment, outcome: Outcome) -> None:
        await self.flow.spender.recorder.record(payment.payment_id, outcome)
        await self.tasks.idle()
        # What costs the operator money pauses the backend; here he always starts it again.
        await self.books.database.write(lambda tx: nodes.resume(tx, NODE))

    # --- the model

    def expected(self, wish: Wish) -> ErrorCode | None:
        """Why it would be refused now."""
        app = self.apps[wish.connection_id]
        if app.max_payment_msat is not None and wish.amount_msat > app.max_payment_msat:
            return ErrorCode.QUOTA_EXCEEDED
        if app.budget is not None:
            used = self.used[wish.connection_id, self.period(app.budget)]
            if used + wish.cost_msat > app.budget.limit_msat:
                return ErrorCode.QUOTA_EXCEEDED
        if wish.cost_msat > self.available[app.account_id]:
            return ErrorCode.INSUFFICIENT_BALANCE
        return None

    def period(self, budget: Budget) -> int:
        return period_start(budget.renewal, self.clock())

    def count(self, connection_id: ConnectionId | None, amount_msat: int) -> int | None:
        """Against the budget of now, whose period is told."""
        assert connection_id is not None
        budget = self.apps[connection_id].budget
        if budget is None:
            return None
        self.used[connection_id, self.period(budget)] += amount_msat
        return self.period(budget)

    def reserved(self, payment: Payment) -> Payment:
        period = self.count(payment.connection_id, payment.held_msat)
        self.available[payment.account_id] -= payment.held_msat
        self.held[payment.account_id] += payment.held_msat
        self.states[payment.payment_id] = PaymentState.DISPATCHED
        return replace(payment, budget_period=period)

    def end(self, payment: Payment, state: PaymentState, *, spent_msat: int) -> None:
        """The period in which it was reserved gets back what it did not take."""
        unused_msat = payment.held_msat - spent_msat
        self.states[payment.payment_id] = state
        self.held[payment.account_id] -= payment.held_msat
        self.available[payment.account_id] += unused_msat
        if payment.budget_period is not None and payment.connection_id is not None:
            self.used[payment.connection_id, payment.budget_period] -= unused_msat

    # --- what always holds

    @invariant()
    def a_period_has_used_what_the_model_says_and_never_more_than_its_limit(self) -> None:
        rows = self.run(self.books.rows("SELECT * FROM budget_period"))
        stored = {(row["connection_id"], row["period_start"]): row["used_msat"] for row in rows}

        assert +Counter(stored) == +self.used
        for (connection_id, _), used_msat in stored.items():
            budget = self.apps[connection_id].budget
            assert budget is not None
            assert 0 <= used_msat <= budget.limit_msat

    @invariant()
    def a_period_has_used_what_was_settled_with_its_fees_and_all_that_is_held(self) -> None:
        rows = self.run(self.books.rows(_USED_BY_PAYMENTS))

        assert +self.used == +Counter(
            {(row["connection_id"], row["budget_period"]): row["used_msat"] for row in rows}
        )

    @invariant()
    def two_budgets_never_spend_more_than_their_account_has(self) -> None:
        for user in (ALICE, BOB):
            balance = self.run(self.books.balance(user))
            assert balance == (self.available[user], self.held[user])
            assert min(balance) >= 0

    @invariant()
    def the_audit_is_clean(self) -> None:
        assert self.run(self.books.problems()) == ()


_USED_BY_PAYMENTS = (
    "SELECT connection_id, budget_period, sum(CASE state"
    " WHEN 'RELEASED' THEN 0 WHEN 'SETTLED' THEN amount_msat + fee_msat"
    " ELSE amount_msat + fee_reserve_msat END) AS used_msat"
    " FROM payment WHERE budget_period IS NOT NULL GROUP BY connection_id, budget_period"
)


def _code(result: object) -> ErrorCode | None:
    if isinstance(result, RequestError):
        return result.code
    assert result is None, result
    return None


@pytest.mark.attack("A1", "A3")
def test_no_sequence_of_payments_passes_a_budget_or_loses_count_of_it(driver: Driver) -> None:
    machine = type("Machine", (BudgetMachine,), {"driver": driver})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=50, stateful_step_count=30, deadline=None)
    )
