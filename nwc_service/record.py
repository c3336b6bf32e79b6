"""TX-C: what becomes of a payment, booked with its answer, its notifications and its alarms."""

from dataclasses import replace
from functools import partial

import structlog

from nwc_service import limits, metrics
from nwc_service.answers import Answers, Clock
from nwc_service.failpoint import failpoint
from nwc_service.guard import is_distrusted, stop
from nwc_service.metrics.meters import payment_meter
from nwc_service.nip47 import transaction
from nwc_service.nip47.envelope import error_payload, result_payload
from nwc_service.nip47.kinds import NotificationType
from nwc_service.outbox import Outbox
from nwc_service.store import alarms, decisions, ledger, payments
from nwc_service.store.database import Database, Tx
from nwc_service.store.ledger import InsufficientBalance
from nwc_service.store.nodes import Stops
from nwc_service.store.outbox import Outgoing
from nwc_service.tracing import traced
from nwc_service.wallet.errors import ErrorCode, NotFound, Refused, RequestError
from nwc_service.wallet.ledger import Entry, EntryKind
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import (
    LIVE_STATES,
    Payment,
    PaymentState,
    Proof,
    ProofKind,
    apply_outcome,
    proves,
    release,
)
from nwc_service.wallet.refusals import refusal
from nwc_service.wallet.units import BackendName, PaymentId

log = structlog.get_logger()

_losses_msat = metrics.LOSSES_MSAT.of()

STUCK_ALARMS = ("payment_stuck", "node_forgot_payment", "backend_missing")
"""Raised by the reconciler about payments that stay open; over when they are final."""

INSUFFICIENT = "not enough balance for the amount and the fee reserve"


class Recorder:
    def __init__(self, db: Database, *, answers: Answers, outbox: Outbox, clock: Clock) -> None:
        self._db = db
        self._answers = answers
        self._outbox = outbox
        self._clock = clock

    @traced("nwc.tx_c")
    async def record(self, payment_id: PaymentId, outcome: Outcome) -> None:
        """TX-C. Repeating it is harmless: a final payment never changes."""
        failpoint("before_record")
        outgoing = await self._db.write(lambda tx: self._apply(tx, payment_id, outcome=outcome))
        failpoint("after_record")
        self._outbox.push(outgoing)

    async def give_back(
        self, payment_id: PaymentId, *, expected: PaymentState, reason: FailReason, proof: Proof
    ) -> None:
        """Release without an outcome, on a proof that is stored, if it is still as expected."""

        async def work(tx: Tx) -> list[Outgoing]:
            payment = await payments.payment(tx, payment_id)
            if payment is None or payment.state is not expected:
                return []
            if proof.kind is ProofKind.EXPIRY and not await self._may_expire(tx, payment):
                return []
            outgoing = await self._release(tx, payment, proof=proof, outcome=Failed(reason))
            failpoint("in_give_back")
            return outgoing

        failpoint("before_give_back")
        outgoing = await self._db.write(work)
        failpoint("after_give_back")
        self._outbox.push(outgoing)

    async def resolve(
        self, payment_id: PaymentId, outcome: Settled | Failed, *, reason: str, by: str = ""
    ) -> None:
        """The operator states what became of a payment that its backend says nothing final of.

        Raises NotFound and Refused.
        """
        if not reason.strip():
            raise Refused("a reason is required")

        async def work(tx: Tx) -> list[Outgoing]:
            payment = await payments.payment(tx, payment_id)
            if payment is None:
                raise NotFound(f"there is no outgoing payment {payment_id!r}")
            if payment.state not in (PaymentState.DISPATCHED, PaymentState.UNKNOWN):
                raise Refused(f"the payment is {payment.state}: only a sent one is resolved")
            proof = Proof(ProofKind.OPERATOR, reason)
            now = self._clock()
            await decisions.record(
                tx,
                "payment_resolved",
                subject=payment_id,
                reason=reason,
                detail="unpaid" if isinstance(outcome, Failed) else "paid",
                by=by,
                now=now,
            )
            if isinstance(outcome, Failed):
                return await self._release(tx, payment, proof=proof, outcome=outcome)
            if not proves(outcome.preimage, payment.payment_hash):
                raise Refused("the preimage does not hash to the payment hash")
            after, entries = apply_outcome(payment, outcome, now=now)
            after = replace(after, proof=proof)
            return await self.finish(tx, payment, after=after, entries=entries, outcome=outcome)

        failpoint("before_resolve")
        outgoing = await self._db.write(work)
        failpoint("after_resolve")
        log.warning("payment.resolved", payment_id=payment_id, outcome=type(outcome).__name__)
        self._outbox.push(outgoing)

    async def _may_expire(self, tx: Tx, payment: Payment) -> bool:
        """Rule H, once more where it is acted upon: never for what the backend has had, and not
        when the clock was set back since the node was asked."""
        is_unpayable = payment.is_unpayable(self._clock())
        return is_unpayable and not await is_distrusted(tx, payment.backend)

    async def _release(
        self, tx: Tx, payment: Payment, *, proof: Proof, outcome: Failed
    ) -> list[Outgoing]:
        released, entries = release(payment, proof=proof, now=self._clock())
        return await self.finish(tx, payment, after=released, entries=entries, outcome=outcome)

    async def _apply(
        self, tx: Tx, payment_id: PaymentId, *, outcome: Outcome
    ) -> list[Outgoing]:
        payment = await payments.payment(tx, payment_id)
        if payment is None:
            return []
        if isinstance(outcome, Failed) and await is_distrusted(tx, payment.backend):
            outcome = Unknown("its backend was rolled back: its failure proves nothing")
        after, entries = apply_outcome(payment, outcome, now=self._clock())
        if payment.state is PaymentState.RELEASED:
            await self._book_late_success(tx, payment, entries=entries)
            return []
        if after == payment:
            return []
        return await self.finish(tx, payment, after=after, entries=entries, outcome=outcome)

    async def finish(
        self,
        tx: Tx,
        before: Payment,
        *,
        after: Payment,
        entries: tuple[Entry, ...],
        outcome: Outcome,
    ) -> list[Outgoing]:
        """Book what became of it, with all answers and notifications, if it is as `before`."""
        if not await payments.update(tx, after, expected=before.state):
            return []
        if after.state in LIVE_STATES:
            return []
        log.info("payment.final", payment_id=after.payment_id, state=after.state)
        tx.on_commit(partial(payment_meter(after).final, after))
        for kind in STUCK_ALARMS:
            await alarms.clear(tx, kind, subject=after.payment_id)
        # The budget before the account, as in TX-A: one order of locks.
        await limits.give_back(tx, after)
        await post(tx, entries, now=self._clock(), payment=after)
        failpoint("in_record")
        if after.state is PaymentState.RELEASED:
            return await self._answers.store_for_waiting(
                tx,
                after.payment_id,
                payload=lambda method: error_payload(method, refusal(outcome, method=method)),
            )
        for entry in entries:
            if entry.kind is EntryKind.OVERAGE:
                await self._operator_pays(tx, "fee_above_cap", after, entry=entry)
        answers = await self._answers.store_for_waiting(
            tx, after.payment_id, payload=lambda method: success_payload(method, after)
        )
        return answers + await self.notify_sent(tx, after)

    async def _book_late_success(
        self, tx: Tx, payment: Payment, *, entries: tuple[Entry, ...]
    ) -> None:
        """A released payment settled after all: the operator's loss, booked once.

        A node pays a hash once, however many attempts at it were given back; what it says of
        the hash belongs to a later attempt, where there is one.
        """
        if not entries:
            return
        later = await payments.standing(tx, payment.payment_hash)
        if later is not None and later.backend == payment.backend:
            return
        if await payments.was_paid_late(tx, payment.payment_hash, backend=payment.backend):
            return
        await post(tx, entries, now=self._clock(), payment=payment)
        for entry in entries:
            await self._operator_pays(tx, "late_success", payment, entry=entry)

    async def _operator_pays(
        self, tx: Tx, kind: str, payment: Payment, *, entry: Entry
    ) -> None:
        """A backend that costs money is paused: what it did once it would do again."""
        now, amount_msat = self._clock(), entry.amount_msat
        log.error("alarm", kind=kind, payment_id=payment.payment_id, amount_msat=amount_msat)
        tx.on_commit(partial(_losses_msat.inc, amount_msat))
        await alarms.raise_alarm(
            tx,
            kind,
            subject=payment.payment_id,
            detail=f"{amount_msat} msat charged to the operator",
            now=now,
        )
        await stop(
            tx,
            payment.backend or BackendName(""),
            stops=Stops.OUTGOING,
            reason=kind,
            detail=f"payment {payment.payment_id}: {amount_msat} msat",
            now=now,
        )

    async def notify_sent(self, tx: Tx, payment: Payment) -> list[Outgoing]:
        return await self._answers.notify(
            tx,
            NotificationType.PAYMENT_SENT,
            account_id=payment.account_id,
            made_by=payment.connection_id,
            body=transaction.from_payment(payment),
        )


async def post(
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


def success_payload(method: str, payment: Payment) -> str:
    """The answer of the method that asked for a settled payment."""
    return result_payload(method, transaction.paid_result(method, payment))
