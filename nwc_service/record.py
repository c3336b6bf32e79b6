"""TX-C: what becomes of a payment, booked with its answer, its notifications and its alarms."""

import structlog

from nwc_service.answers import Answers, Clock
from nwc_service.failpoint import failpoint
from nwc_service.nip47 import transaction
from nwc_service.nip47.envelope import error_payload, result_payload
from nwc_service.nip47.kinds import NotificationType
from nwc_service.outbox import Outbox
from nwc_service.store import alarms, connections, ledger, payments
from nwc_service.store.database import Database, Tx
from nwc_service.store.ledger import InsufficientBalance
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.ledger import Entry, EntryKind
from nwc_service.wallet.outcome import Failed, FailReason, InFlight, Outcome, Unknown
from nwc_service.wallet.payment import (
    LIVE_STATES,
    Payment,
    PaymentState,
    apply_outcome,
    release,
)
from nwc_service.wallet.refusals import refusal
from nwc_service.wallet.units import Msat, PaymentId

log = structlog.get_logger()

INSUFFICIENT = "not enough balance for the amount and the fee reserve"


class Recorder:
    def __init__(self, db: Database, *, answers: Answers, outbox: Outbox, clock: Clock) -> None:
        self._db = db
        self._answers = answers
        self._outbox = outbox
        self._clock = clock

    async def record(self, payment_id: PaymentId, outcome: Outcome) -> None:
        """TX-C. Repeating it is harmless: a final payment never changes."""
        failpoint("before_record")
        outgoing = await self._db.write(lambda tx: self._apply(tx, payment_id, outcome=outcome))
        failpoint("after_record")
        if not isinstance(outcome, InFlight | Unknown):
            log.info("payment.final", payment_id=payment_id, outcome=type(outcome).__name__)
        self._outbox.push(outgoing)

    async def give_back(
        self, payment_id: PaymentId, *, expected: PaymentState, reason: FailReason, proof: str
    ) -> None:
        """Release without an outcome, on a proof that is stored, if it is still as expected."""

        async def work(tx: Tx) -> list[Outgoing]:
            payment = await payments.payment(tx, payment_id)
            if payment is None or payment.state is not expected:
                return []
            released, entries = release(payment, proof=proof, now=self._clock())
            outcome = Failed(reason)
            return await self._finish(
                tx, payment, after=released, entries=entries, outcome=outcome
            )

        self._outbox.push(await self._db.write(work))

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
        if after == payment:
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
        if after.state in LIVE_STATES:
            return []
        # The budget before the account, as in TX-A: one order of locks.
        await self._give_budget_back(tx, after)
        await post(tx, entries, now=self._clock(), payment=after)
        failpoint("in_record")
        if after.state is PaymentState.RELEASED:
            error = refusal(outcome)
            return await self._answers.store_for_waiting(
                tx, after.payment_id, payload=lambda method: error_payload(method, error)
            )
        for entry in entries:
            if entry.kind is EntryKind.OVERAGE:
                await self._alarm(tx, "fee_above_cap", after, amount_msat=entry.amount_msat)
        answers = await self._answers.store_for_waiting(
            tx,
            after.payment_id,
            payload=lambda method: result_payload(method, payment_result(after)),
        )
        return answers + await self.notify_sent(tx, after)

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
                await post(tx, (entry,), now=self._clock(), payment=payment)

    async def _alarm(self, tx: Tx, kind: str, payment: Payment, *, amount_msat: Msat) -> bool:
        log.error("alarm", kind=kind, payment_id=payment.payment_id, amount_msat=amount_msat)
        return await alarms.raise_alarm(
            tx,
            kind,
            subject=payment.payment_id,
            detail=f"{amount_msat} msat charged to the operator",
            now=self._clock(),
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


def payment_result(payment: Payment) -> dict[str, object]:
    return {"preimage": payment.preimage, "fees_paid": payment.fee_msat}
