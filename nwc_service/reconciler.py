"""Asks the backends about all that is still open, at start and while running.

Whatever a crash, a lost reply or a silent node left behind is found in the rows and brought
to its end here: payments by lookup, invoices by stream and sweep, hold invoices by repeating
what was decided, cancels by their queue.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping

import structlog
from structlog.contextvars import bind_contextvars

from nwc_service.answers import Clock
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    InvoiceStatus,
    LightningBackend,
    NodeInfo,
    ReleaseRule,
    Unsupported,
    ref_to,
)
from nwc_service.credit import Crediter
from nwc_service.failpoint import failpoint
from nwc_service.guard import Guard
from nwc_service.holds import Holds
from nwc_service.offers import OfferMaker
from nwc_service.receive import Receiver
from nwc_service.spend import Spender
from nwc_service.store import alarms, invoices, payments
from nwc_service.store.database import Database, Tx
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.outcome import Failed, FailReason, Outcome, Settled, Unknown
from nwc_service.wallet.payment import (
    LIVE_STATES,
    Payment,
    PaymentState,
    Proof,
    ProofKind,
)
from nwc_service.wallet.units import BackendName, PaymentHash, PaymentId

log = structlog.get_logger()

PAYMENTS_EVERY_S = 1.0
INVOICES_EVERY_S = 60.0
CANCELS_EVERY_S = 2.0
HOLDS_EVERY_S = 2.0
NODES_EVERY_S = 10.0
OFFERS_EVERY_S = 60.0
SOLVENCY_EVERY_S = 10.0
RELEASED_EVERY_S = 60.0
STREAM_RETRY_S = 5.0
CALL_TIMEOUT_S = 30.0
FIRST_LOOKUP_S = 1
LONGEST_LOOKUP_S = 30
ALARM_AFTER_S = 3600
SWEEP_AT_MOST = 50
RELEASED_AT_MOST = 10
RELEASED_FOR_GOOD_S = 14 * 24 * 3600
"""How long a payment that was given back is asked about: no HTLC lives longer."""
EXPIRED_FOR_GOOD_S = 3600
"""How long after its expiry an invoice is still asked about, for nodes with slow clocks."""
EXPIRED_FOR_PAYERS_S = 600
"""The same for what strangers asked for, who could keep all places of their kind taken."""


class Reconciler:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        spender: Spender,
        receiver: Receiver,
        offers: OfferMaker,
        crediter: Crediter,
        holds: Holds,
        guard: Guard,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._guard = guard
        self._spender = spender
        self._receiver = receiver
        self._offers = offers
        self._crediter = crediter
        self._holds = holds
        self._clock = clock
        self._next_lookup: dict[PaymentId, tuple[int, int]] = {}
        self._looking_up: set[PaymentId] = set()
        self._swept: dict[tuple[BackendName, bool], int] = {}
        self._released_swept: dict[BackendName, PaymentId] = {}
        self.node_info: dict[BackendName, NodeInfo] = {}
        """What each node said last; a node that does not answer is missing."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_up_for_ever(tasks))
            tasks.create_task(_every(SOLVENCY_EVERY_S, self._spender.solvency.check))
            tasks.create_task(_every(HOLDS_EVERY_S, self._holds.end_overdue))
            tasks.create_task(_every(HOLDS_EVERY_S, self._holds.resolve_decided))
            tasks.create_task(_every(OFFERS_EVERY_S, self._offers.resume))
            for name in self._backends:
                tasks.create_task(_every(NODES_EVERY_S, self.ask_node, name))
                tasks.create_task(self._sweep_invoices_for_ever(name))
                tasks.create_task(_every(CANCELS_EVERY_S, self.cancel_invoices, name))
                tasks.create_task(_every(RELEASED_EVERY_S, self.sweep_released, name))
                tasks.create_task(self._watch(name))

    async def ask_node(self, name: BackendName) -> None:
        """What it is now, and whether it still knows what it knew."""
        try:
            self.node_info[name] = await self._guard.glance(name)
        except Exception as error:
            if not isinstance(error, BackendUnavailable | TimeoutError):
                log.exception("backend.broken", backend=name)
            if self.node_info.pop(name, None) is not None:
                log.warning("backend.unavailable", backend=name)

    # --- payments

    async def _look_up_for_ever(self, tasks: asyncio.TaskGroup) -> None:
        """Without waiting for the slow ones: each payment has its own lookup under way."""
        while True:
            tasks.create_task(_alone(self.look_up_payments()))
            await asyncio.sleep(PAYMENTS_EVERY_S)

    async def look_up_payments(self) -> None:
        """Ask about every open payment that is due."""
        live = await self._db.read(payments.live)
        waiting = {payment.payment_id for payment in live}
        self._next_lookup = {
            key: value for key, value in self._next_lookup.items() if key in waiting
        }
        due = [payment for payment in live if self._is_due(payment)]
        await asyncio.gather(*(_alone(self._look_up(payment)) for payment in due))

    def _is_due(self, payment: Payment) -> bool:
        if payment.payment_id in self._looking_up:
            return False
        now = self._clock()
        patience_s = self._spender.policy.payment_timeout_s + CALL_TIMEOUT_S
        is_recent = now - _sent_at(payment) <= patience_s
        if is_recent and payment.payment_id in self._spender.active:
            return False
        due_at, wait_s = self._next_lookup.get(payment.payment_id, (now, FIRST_LOOKUP_S))
        if now < due_at:
            return False
        self._next_lookup[payment.payment_id] = (
            now + wait_s,
            min(wait_s * 2, LONGEST_LOOKUP_S),
        )
        return True

    async def _look_up(self, payment: Payment) -> None:
        bind_contextvars(payment_id=payment.payment_id)  # in a task of its own
        if payment.state is PaymentState.RESERVED:
            self._spender.resume(payment)
            return
        backend = self._backends.get(payment.backend or BackendName(""))
        if backend is None:
            await self._alarm("backend_missing", payment)
            return
        self._looking_up.add(payment.payment_id)
        try:
            await self._ask(backend, payment)
        finally:
            self._looking_up.discard(payment.payment_id)
            if self._clock() - _sent_at(payment) > ALARM_AFTER_S:
                await self._alarm("payment_stuck", payment)

    async def _ask(self, backend: LightningBackend, payment: Payment) -> None:
        # Rule H counts from when the node was asked: its answer may be read much later.
        asked_at = self._clock()
        try:
            outcome = await _look_up(backend, payment)
            if outcome is None:
                await self._not_found(payment, backend, asked_at=asked_at)
                return
            if isinstance(outcome, Failed):
                await self._guard.check(backend.name)  # which believes it, or stops the node
            await self._spender.recorder.record(payment.payment_id, outcome)
        except (BackendUnavailable, TimeoutError):
            self._guard.lost(backend.name)

    async def _not_found(
        self, payment: Payment, backend: LightningBackend, *, asked_at: int
    ) -> None:
        """That the node knows nothing now proves nothing, until rule H makes it so."""
        if payment.state is PaymentState.DISPATCHED:
            await self._spender.recorder.record(
                payment.payment_id, Unknown("not known to the node")
            )
        if payment.accepted_at is not None:
            await self._alarm("node_forgot_payment", payment)
        rule_h = backend.release_rules.get(payment.kind) is ReleaseRule.EXPIRY
        if not rule_h or not payment.is_unpayable(asked_at):
            return
        # A node that was rolled back knows nothing of what it paid: so ask for that first.
        await self._guard.check(backend.name)
        await self._spender.recorder.give_back(
            payment.payment_id,
            expected=PaymentState.UNKNOWN,
            reason=FailReason.EXPIRED,
            proof=Proof(
                ProofKind.EXPIRY,
                f"rule H: {backend.name} knew nothing of it at {asked_at}",
            ),
        )

    async def sweep_released(self, name: BackendName) -> None:
        """Ask about payments that were given back: a success may come late. The newest each
        time, and some of the others in turn."""
        since = self._clock() - RELEASED_FOR_GOOD_S
        newest = await self._db.read(
            lambda tx: payments.released_lately(tx, name, since=since, limit=RELEASED_AT_MOST)
        )
        in_turn = await self._db.read(
            lambda tx: payments.released_after_sending(
                tx,
                name,
                since=since,
                after=self._released_swept.get(name, PaymentId("")),
                limit=RELEASED_AT_MOST,
            )
        )
        is_last = len(in_turn) < RELEASED_AT_MOST
        self._released_swept[name] = PaymentId("") if is_last else in_turn[-1].payment_id
        for payment in {payment.payment_id: payment for payment in newest + in_turn}.values():
            try:
                outcome = await _look_up(self._backends[name], payment)
            except (BackendUnavailable, TimeoutError):
                return
            if isinstance(outcome, Settled):
                await self._spender.recorder.record(payment.payment_id, outcome)

    async def _alarm(self, kind: str, payment: Payment) -> None:
        """Raised once, for a payment that is still open."""

        async def work(tx: Tx) -> bool:
            now = await payments.payment(tx, payment.payment_id)
            return (
                now is not None
                and now.state in LIVE_STATES
                and await alarms.raise_alarm(
                    tx,
                    kind,
                    subject=payment.payment_id,
                    detail=f"{payment.held_msat} msat held, backend {payment.backend}",
                    now=self._clock(),
                )
            )

        if await self._db.write(work):
            log.error("alarm", kind=kind, payment_id=payment.payment_id)

    # --- invoices

    async def _watch(self, name: BackendName) -> None:
        """Follow the stream of settled and accepted invoices for ever, from where it was last
        read."""
        backend = self._backends[name]
        while True:
            try:
                stored = await self._db.read(lambda tx: invoices.cursor(tx, name))
                since = None if stored is None else Cursor(stored)
                async for report, cursor in backend.watch_invoices(since):
                    await self._holds.follow(name, report, cursor=cursor)
            except BackendUnavailable:
                await self.ask_node(name)  # so that /readyz knows at once
            except Exception:
                log.exception("backend.stream_failed", backend=name)
            await asyncio.sleep(STREAM_RETRY_S)

    async def _sweep_invoices_for_ever(self, name: BackendName) -> None:
        """At the start about all of them, without a break: who knows how long it was down."""
        await _alone(self._sweep_all_invoices(name))
        await asyncio.sleep(INVOICES_EVERY_S)
        await _every(INVOICES_EVERY_S, self.sweep_invoices, name)

    async def _sweep_all_invoices(self, name: BackendName) -> None:
        for of_payers in (False, True):
            open_ones = await self._open_invoices(name, of_payers=of_payers)
            for _ in range(0, len(open_ones), SWEEP_AT_MOST):
                await _alone(self._sweep_some(name, of_payers=of_payers))

    async def sweep_invoices(self, name: BackendName) -> None:
        """Ask about the open invoices, some each time: streams have gaps (A16). What payers of
        addresses asked for comes after and apart: many of those delay nobody's own."""
        for of_payers in (False, True):
            await self._sweep_some(name, of_payers=of_payers)

    async def _sweep_some(self, name: BackendName, *, of_payers: bool) -> None:
        open_ones = await self._open_invoices(name, of_payers=of_payers)
        first = self._swept.get((name, of_payers), 0) % max(len(open_ones), 1)
        batch = (open_ones[first:] + open_ones[:first])[:SWEEP_AT_MOST]
        self._swept[name, of_payers] = first + len(batch)
        for invoice in batch:
            try:
                await self._sweep(invoice)
            except TimeoutError:
                return  # each of the others would hang as long
            except BackendUnavailable:
                continue
            except Exception:
                log.exception("invoice.sweep_failed", invoice_id=invoice.invoice_id)

    async def _sweep(self, invoice: Invoice) -> None:
        """Raises BackendUnavailable and TimeoutError."""
        if invoice.state is InvoiceState.REQUESTED or invoice.payment_hash is None:
            await self._receiver.resume(invoice)
            return
        async with asyncio.timeout(CALL_TIMEOUT_S):
            report = await self._backends[invoice.backend].lookup_invoice(invoice.payment_hash)
        if report is not None:
            await self._holds.follow(invoice.backend, report)
        is_held = report is not None and report.status is InvoiceStatus.ACCEPTED
        patience_s = EXPIRED_FOR_PAYERS_S if invoice.address else EXPIRED_FOR_GOOD_S
        if not is_held and self._clock() > invoice.expires_at + patience_s:
            await self._crediter.expire(invoice, state=InvoiceState.EXPIRED)

    async def cancel_invoices(self, name: BackendName) -> None:
        """Invoices that were paid inside the ledger shall not be paid again (A11)."""
        open_ones = await self._db.read(lambda tx: invoices.open_cancellations(tx, name))
        for payment_hash in open_ones:
            await _alone(self._cancel(name, payment_hash))

    async def _cancel(self, name: BackendName, payment_hash: PaymentHash) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._backends[name].cancel_invoice(payment_hash)
        except (BackendUnavailable, TimeoutError):
            return
        except (Unsupported, BadRequest):
            pass  # a settlement that still arrives is credited as a second receipt
        failpoint("after_cancel")
        await self._db.write(
            lambda tx: invoices.close_cancellation(
                tx, backend=name, payment_hash=payment_hash, now=self._clock()
            )
        )

    async def _open_invoices(self, name: BackendName, *, of_payers: bool) -> list[Invoice]:
        return await self._db.read(
            lambda tx: invoices.open_invoices(tx, name, of_payers=of_payers)
        )


async def _look_up(backend: LightningBackend, payment: Payment) -> Outcome | None:
    """Raises BackendUnavailable and TimeoutError."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        return await backend.lookup_payment(ref_to(payment))


def _sent_at(payment: Payment) -> int:
    return payment.dispatched_at or payment.created_at


async def _every(
    period_s: float, step: Callable[..., Coroutine[object, object, None]], *arguments: object
) -> None:
    """Run `step` again and again."""
    while True:
        await _alone(step(*arguments))
        await asyncio.sleep(period_s)


async def _alone(work: Coroutine[object, object, None]) -> None:
    """What fails is logged and tried again later, and takes nothing else with it."""
    try:
        await work
    except Exception:
        log.exception("reconciler.step_failed", step=getattr(work, "__qualname__", ""))
