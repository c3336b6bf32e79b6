"""The one door for every way in which money leaves an account.

TX-A claims the request and reserves, TX-B marks the payment dispatched and pins its backend,
then it is sent, once ever, and TX-C records the outcome with the signed answer. Every point
between them recovers as the crash matrix in `docs/money.md` says: `resume` and `record` are
what the reconciler calls too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from nwc_service.answers import Answers, Caller, Clock
from nwc_service.backend import LightningBackend, PayRequest
from nwc_service.failpoint import failpoint
from nwc_service.keyring import Keyring
from nwc_service.nip47 import transaction
from nwc_service.nip47.envelope import error_payload, result_payload
from nwc_service.nip47.kinds import NotificationType
from nwc_service.outbox import Outbox, Spawn
from nwc_service.store import alarms, connections, invoices, ledger, payments, requests
from nwc_service.store.database import Database, Tx
from nwc_service.store.ledger import InsufficientBalance
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet.budget import period_start
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.ledger import EQUITY, Entry, EntryKind, available
from nwc_service.wallet.outcome import Failed, FailReason, Outcome, Unknown
from nwc_service.wallet.payment import (
    FeePolicy,
    Payment,
    PaymentState,
    apply_outcome,
    release,
    reserve_entries,
    settle_internally,
)
from nwc_service.wallet.refusals import refusal
from nwc_service.wallet.units import AccountId, BackendName, Msat, PaymentId

log = structlog.get_logger()

# One wording for a hash that is live or settled anywhere: it must not tell whose it is.
HASH_IN_USE = "this invoice is being paid or was paid before"
INSUFFICIENT = "not enough balance for the amount and the fee reserve"


@dataclass(frozen=True, slots=True)
class SpendPolicy:
    """Limits on open payments keep one user from locking the node's liquidity (A7)."""

    fee: FeePolicy
    payment_timeout_s: float
    max_open_payments: int
    max_open_payments_per_account: int
    max_age_s: int  # a reserved payment older than this is not sent any more


@dataclass(frozen=True, slots=True)
class _Step:
    """What TX-A leaves to do after its commit."""

    outgoing: list[Outgoing] = field(default_factory=list)
    to_send: Payment | None = None


class Spender:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        answers: Answers,
        outbox: Outbox,
        keyring: Keyring,
        policy: SpendPolicy,
        spawn: Spawn,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._answers = answers
        self._outbox = outbox
        self._keyring = keyring
        self._spawn = spawn
        self._clock = clock
        self.policy = policy
        self.active: set[PaymentId] = set()
        """Payments that a task of this process is sending now."""

    async def spend(self, caller: Caller, payment: Payment) -> None:
        """Pay for the caller; the answer comes through the outbox, however late.

        Raises RequestError when refused, with nothing changed, and AlreadyClaimed.
        """
        step = await self._db.write(lambda tx: self._reserve(tx, caller, payment=payment))
        failpoint("after_reserve")
        self._outbox.push(step.outgoing)
        if step.to_send is not None:
            self._start(step.to_send)

    async def debit(self, account_id: AccountId, amount_msat: Msat, *, reason: str) -> None:
        """The operator takes money out. Raises RequestError when there is not enough."""
        entry = Entry(EntryKind.DEBIT, available(account_id), EQUITY, amount_msat)
        await self._db.write(lambda tx: _post(tx, (entry,), now=self._clock(), reason=reason))

    async def resume(self, payment: Payment) -> None:
        """After a crash: RESERVED is proof that nothing was sent, so send or release now."""
        now = self._clock()
        too_late = now - payment.created_at > self.policy.max_age_s
        if too_late or now >= payment.expires_at or payment.backend not in self._backends:
            await self.give_back(
                payment.payment_id,
                expected=PaymentState.RESERVED,
                proof="interrupted before it was sent",
            )
        else:
            self._start(payment)

    async def record(self, payment_id: PaymentId, outcome: Outcome) -> None:
        """TX-C. Repeating it is harmless: a final payment never changes."""
        failpoint("before_record")
        outgoing = await self._db.write(lambda tx: self._apply(tx, payment_id, outcome=outcome))
        failpoint("after_record")
        log.info("payment.recorded", payment_id=payment_id, outcome=type(outcome).__name__)
        self._outbox.push(outgoing)

    async def give_back(
        self, payment_id: PaymentId, *, expected: PaymentState, proof: str
    ) -> None:
        """Release without an outcome, on a proof that is stored, if it is still as expected."""

        async def work(tx: Tx) -> list[Outgoing]:
            payment = await payments.payment(tx, payment_id)
            if payment is None or payment.state is not expected:
                return []
            released, entries = release(payment, proof=proof, now=self._clock())
            outcome = Failed(FailReason.EXPIRED)
            return await self._finish(
                tx, payment, after=released, entries=entries, outcome=outcome
            )

        self._outbox.push(await self._db.write(work))

    # --- TX-A: claim the request, and reserve or settle inside the ledger

    async def _reserve(self, tx: Tx, caller: Caller, *, payment: Payment) -> _Step:
        await requests.claim(tx, caller.claim, now=self._clock())
        if not await connections.is_live(tx, caller.connection, now=self._clock()):
            raise RequestError(ErrorCode.UNAUTHORIZED, "this connection is revoked or expired")
        standing = await payments.standing(tx, payment.payment_hash)
        if standing is not None:
            return await self._join(tx, caller, payment=payment, standing=standing)
        ours = await invoices.by_string(tx, payment.invoice)
        internal = ours and self._internal(payment, ours)
        if internal:
            return _Step(await self._settle_internally(tx, caller, *internal))
        if ours is not None and ours.state is InvoiceState.SETTLED:
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        await self._check_open_payments(tx, payment.account_id)
        payment = await self._insert(tx, caller, payment=payment)
        await _post(tx, reserve_entries(payment), now=self._clock(), payment=payment)
        await requests.wait_for(tx, caller.claim.request_id, payment.payment_id)
        return _Step(to_send=payment)

    async def _join(
        self, tx: Tx, caller: Caller, *, payment: Payment, standing: Payment
    ) -> _Step:
        """A new request for an invoice that is being paid, or was: one payment, one result."""
        if not payment.repeats(standing):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        await requests.wait_for(tx, caller.claim.request_id, standing.payment_id)
        if standing.state is not PaymentState.SETTLED:
            return _Step()
        payload = result_payload(caller.claim.method, _result(standing))
        return _Step(
            await self._answers.store(
                tx, caller.connection, claim=caller.claim, payload=payload
            )
        )

    def _internal(
        self, payment: Payment, ours: Invoice
    ) -> tuple[Payment, Invoice, tuple[Entry, ...]] | None:
        preimage = ours.preimage or self._keyring.invoice_preimage(ours.invoice_id)
        return settle_internally(payment, ours, preimage=preimage, now=self._clock())

    async def _settle_internally(
        self,
        tx: Tx,
        caller: Caller,
        payment: Payment,
        invoice: Invoice,
        entries: tuple[Entry, ...],
    ) -> list[Outgoing]:
        """Both sides, the answer, both notifications and the cancel at the node (I16)."""
        now = self._clock()
        payment = await self._insert(tx, caller, payment=payment)
        if not await invoices.update(tx, invoice, expected=(InvoiceState.PENDING,)):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        await _post(tx, entries, now=now, payment=payment)
        await invoices.queue_cancellation(
            tx, backend=invoice.backend, payment_hash=payment.payment_hash, now=now
        )
        await requests.wait_for(tx, caller.claim.request_id, payment.payment_id)
        payload = result_payload(caller.claim.method, _result(payment))
        answer = await self._answers.store(
            tx, caller.connection, claim=caller.claim, payload=payload
        )
        received = await self._answers.notify(
            tx,
            NotificationType.PAYMENT_RECEIVED,
            account_id=invoice.account_id,
            made_by=invoice.connection_id,
            body=transaction.from_invoice(invoice, now=now),
        )
        return answer + await self._notify_sent(tx, payment) + received

    async def _check_open_payments(self, tx: Tx, account_id: AccountId) -> None:
        of_account = await payments.live_count(tx, account_id=account_id)
        if of_account >= self.policy.max_open_payments_per_account:
            raise RequestError(ErrorCode.RATE_LIMITED, "too many open payments")
        if await payments.live_count(tx) >= self.policy.max_open_payments:
            raise RequestError(ErrorCode.RATE_LIMITED, "the service has too many open payments")

    async def _insert(self, tx: Tx, caller: Caller, *, payment: Payment) -> Payment:
        budget = caller.connection.budget
        if budget is not None:
            period = period_start(budget.renewal, self._clock())
            payment = replace(payment, budget_period=period)
            if not await connections.use_budget(
                tx,
                caller.connection.connection_id,
                period_start=period,
                amount_msat=payment.held_msat,
            ):
                raise RequestError(
                    ErrorCode.QUOTA_EXCEEDED, "this would exceed the connection's budget"
                )
        if not await payments.insert(tx, payment):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        failpoint("in_reserve")
        return payment

    # --- TX-B and the one send

    def _start(self, payment: Payment) -> None:
        if payment.payment_id not in self.active:
            self.active.add(payment.payment_id)
            self._spawn(self._send(payment))

    async def _send(self, payment: Payment) -> None:
        try:
            dispatched = await self._dispatch(payment)
            if dispatched is not None:
                failpoint("after_dispatch")
                outcome = await self._pay(dispatched)
                await self.record(payment.payment_id, outcome)
        finally:
            # Whatever happened, the row tells the reconciler what is left to do.
            self.active.discard(payment.payment_id)

    async def _dispatch(self, payment: Payment) -> Payment | None:
        """None when another has dispatched or released it."""
        dispatched = replace(
            payment, state=PaymentState.DISPATCHED, dispatched_at=self._clock()
        )

        async def work(tx: Tx) -> Payment | None:
            updated = await payments.update(tx, dispatched, expected=PaymentState.RESERVED)
            failpoint("in_dispatch")
            return dispatched if updated else None

        return await self._db.write(work)

    async def _pay(self, payment: Payment) -> Outcome:
        backend = self._backends[payment.backend or BackendName("")]
        request = PayRequest(
            our_id=payment.payment_id,
            invoice=payment.invoice,
            payment_hash=payment.payment_hash,
            amount_msat=payment.amount_msat,
            amount_is_override=payment.amount_is_override,
            max_fee_msat=payment.fee_reserve_msat,
            timeout_s=self.policy.payment_timeout_s,
        )
        try:
            return await backend.pay(request)
        except Exception as error:
            # A backend that breaks its word has proven nothing about the payment.
            log.exception("payment.backend_raised", payment_id=payment.payment_id)
            return Unknown(type(error).__name__)

    # --- TX-C

    async def _apply(
        self, tx: Tx, payment_id: PaymentId, *, outcome: Outcome
    ) -> list[Outgoing]:
        payment = await payments.payment(tx, payment_id)
        if payment is None:
            return []
        after, entries = apply_outcome(payment, outcome, now=self._clock())
        if payment.state is PaymentState.RELEASED:
            await self._book_late_success(tx, payment, entries=entries)
            return []
        if after.state is payment.state:
            return []
        return await self._finish(tx, payment, after=after, entries=entries, outcome=outcome)

    async def _finish(
        self,
        tx: Tx,
        before: Payment,
        *,
        after: Payment,
        entries: tuple[Entry, ...],
        outcome: Outcome,
    ) -> list[Outgoing]:
        if not await payments.update(tx, after, expected=before.state):
            return []
        await _post(tx, entries, now=self._clock(), payment=after)
        failpoint("in_record")
        if after.state is PaymentState.UNKNOWN:
            return []
        await self._give_budget_back(tx, after)
        if after.state is PaymentState.RELEASED:
            error = refusal(outcome)
            return await self._answers.store_for_waiting(
                tx, after.payment_id, payload=lambda method: error_payload(method, error)
            )
        for entry in entries:
            if entry.kind is EntryKind.OVERAGE:
                await self._alarm(tx, "fee_above_cap", after, amount_msat=entry.amount_msat)
        answers = await self._answers.store_for_waiting(
            tx, after.payment_id, payload=lambda method: result_payload(method, _result(after))
        )
        return answers + await self._notify_sent(tx, after)

    async def _give_budget_back(self, tx: Tx, payment: Payment) -> None:
        spent_msat = 0
        if payment.state is PaymentState.SETTLED:
            spent_msat = payment.amount_msat + (payment.fee_msat or 0)
        unused_msat = Msat(payment.held_msat - spent_msat)
        if payment.budget_period is not None and payment.connection_id and unused_msat:
            await connections.give_budget_back(
                tx,
                payment.connection_id,
                period_start=payment.budget_period,
                amount_msat=unused_msat,
            )

    async def _book_late_success(
        self, tx: Tx, payment: Payment, *, entries: tuple[Entry, ...]
    ) -> None:
        """A released payment settled after all: the operator's loss, booked once."""
        for entry in entries:
            if await self._alarm(tx, "late_success", payment, amount_msat=entry.amount_msat):
                await _post(tx, (entry,), now=self._clock(), payment=payment)

    async def _alarm(self, tx: Tx, kind: str, payment: Payment, *, amount_msat: Msat) -> bool:
        log.error("alarm", kind=kind, payment_id=payment.payment_id, amount_msat=amount_msat)
        return await alarms.raise_alarm(
            tx,
            kind,
            subject=payment.payment_id,
            detail=f"{amount_msat} msat charged to the operator",
            now=self._clock(),
        )

    async def _notify_sent(self, tx: Tx, payment: Payment) -> list[Outgoing]:
        return await self._answers.notify(
            tx,
            NotificationType.PAYMENT_SENT,
            account_id=payment.account_id,
            made_by=payment.connection_id,
            body=transaction.from_payment(payment),
        )


async def _post(
    tx: Tx,
    entries: tuple[Entry, ...],
    *,
    now: int,
    payment: Payment | None = None,
    reason: str | None = None,
) -> None:
    """Raises RequestError when the account has too little."""
    payment_id = payment.payment_id if payment else None
    try:
        await ledger.post(tx, entries, now=now, payment_id=payment_id, reason=reason)
    except InsufficientBalance as error:
        raise RequestError(ErrorCode.INSUFFICIENT_BALANCE, INSUFFICIENT) from error


def _result(payment: Payment) -> dict[str, object]:
    return {"preimage": payment.preimage, "fees_paid": payment.fee_msat}
