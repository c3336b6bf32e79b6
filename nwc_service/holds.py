"""Hold invoices (NWC-03), second half: held, and then settled or cancelled by their owner.

One conditional statement decides how each will end, once, whoever comes first: its owner, or
the deadline. Inside the ledger the same transaction ends it. What a node holds is ended by the
node, and is booked by what the node says became of it (I17); it is told again and again until
it is final, for telling it twice is harmless.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from nwc_service import limits
from nwc_service.answers import Answers, Caller, Clock
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    InvoiceReport,
    InvoiceStatus,
    LightningBackend,
)
from nwc_service.credit import NOTIFY_ATTEMPTS, Crediter
from nwc_service.failpoint import failpoint
from nwc_service.hold_end import STUCK, HoldEnd
from nwc_service.nip47 import transaction
from nwc_service.nip47.kinds import NotificationType
from nwc_service.outbox import Outbox
from nwc_service.record import Recorder
from nwc_service.store import alarms, invoices, payments, requests
from nwc_service.store.database import Database, Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet import hold
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.outcome import Settled
from nwc_service.wallet.units import BackendName, InvoiceId, Msat, PaymentHash, Preimage

log = structlog.get_logger()

CALL_TIMEOUT_S = 30.0
STUCK_AFTER_S = 3600

# One wording for what is not there and what is another's.
NOT_FOUND = "there is no such hold invoice"
CHANGED = "this hold invoice has just changed"

Decision = Callable[[Invoice], Invoice]


class Holds:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        answers: Answers,
        outbox: Outbox,
        recorder: Recorder,
        crediter: Crediter,
        hold_end: HoldEnd,
        height: Callable[[BackendName], int | None],
        longest_hold_s: int,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._answers = answers
        self._outbox = outbox
        self._recorder = recorder
        self._crediter = crediter
        self._hold_end = hold_end
        self._height = height
        self._longest_hold_s = longest_hold_s
        self._clock = clock
        self._resolving: set[InvoiceId] = set()
        self._failures: Counter[PaymentHash] = Counter()

    # --- what a node says

    async def follow(
        self, name: BackendName, report: InvoiceReport, *, cursor: Cursor | None = None
    ) -> None:
        """Take the node's word about an invoice, of whatever kind."""
        if report.status is InvoiceStatus.SETTLED:
            await self._crediter.credit(name, report, cursor=cursor)
        elif report.status is InvoiceStatus.ACCEPTED:
            await self._accept(name, report, cursor=cursor)
        elif report.status is InvoiceStatus.CANCELED:
            payment_hash = report.payment_hash
            invoice = await self._db.read(
                lambda tx: invoices.by_hash(tx, backend=name, payment_hash=payment_hash)
            )
            if invoice is not None and hold.is_meant(invoice, report.invoice):
                await self._crediter.expire(invoice, state=InvoiceState.CANCELED)

    async def _accept(
        self, name: BackendName, report: InvoiceReport, *, cursor: Cursor | None
    ) -> None:
        """Of others behind it in the stream: nothing that this one says may stop it (A17)."""

        async def work(tx: Tx) -> list[Outgoing]:
            if cursor is not None:
                await invoices.set_cursor(tx, name, cursor, payment_hash=None)
            return await self._take(tx, name, report=report)

        try:
            outgoing = await self._db.write(work)
        except Exception:
            self._failures[report.payment_hash] += 1
            raise
        del self._failures[report.payment_hash]
        failpoint("after_accept")
        self._outbox.push(outgoing)

    async def _take(
        self, tx: Tx, name: BackendName, *, report: InvoiceReport
    ) -> list[Outgoing]:
        invoice = await invoices.by_hash(tx, backend=name, payment_hash=report.payment_hash)
        if invoice is None or not invoice.is_hold or not hold.is_meant(invoice, report.invoice):
            return []
        if hold.is_short(invoice, report.received_msat):
            log.error("hold.too_little", invoice_id=invoice.invoice_id)
            canceled = replace(invoice, resolution=Resolution.CANCEL)
            await invoices.decide(tx, canceled, expected=InvoiceState.PENDING)
            return []
        height, now = self._height(name), self._clock()
        accepted = hold.accept(
            invoice, settle_deadline=report.settle_deadline, height=height, now=now
        )
        if accepted is not None and accepted.settle_deadline is None:
            return []  # taken by the sweep, once the node tells where its chain is
        if accepted is None or not await invoices.accept(tx, accepted):
            await self._refuse(tx, invoice)
            return []
        failpoint("in_accept")
        if self._failures[report.payment_hash] >= NOTIFY_ATTEMPTS:
            return []
        return await tell_accepted(tx, self._answers, accepted, now=now)

    async def _refuse(self, tx: Tx, invoice: Invoice) -> None:
        """What the node holds of an invoice that was paid inside, or is over, goes back."""
        is_over = hold.is_final(invoice) and invoice.state is not InvoiceState.SETTLED
        if invoice.payment_hash and (invoice.payer_payment_id is not None or is_over):
            await invoices.reopen_cancellation(
                tx,
                backend=invoice.backend,
                payment_hash=invoice.payment_hash,
                now=self._clock(),
            )

    # --- what its owner says

    async def settle(self, caller: Caller, preimage: Preimage) -> None:
        """Answered when it is settled. Raises RequestError when refused, with nothing changed,
        and AlreadyClaimed."""
        await self._decide(
            caller,
            hold.hash_of(preimage),
            decision=lambda invoice: hold.settle(invoice, preimage),
        )

    async def cancel(self, caller: Caller, payment_hash: PaymentHash) -> None:
        """Answered when nobody can pay it any more. Raises as `settle`."""
        await self._decide(caller, payment_hash, decision=hold.cancel)

    async def _decide(
        self, caller: Caller, payment_hash: PaymentHash, *, decision: Decision
    ) -> None:
        async def work(tx: Tx) -> tuple[Invoice, list[Outgoing]]:
            await requests.claim(tx, caller.claim, now=self._clock())
            before = await self._owned(tx, caller, payment_hash=payment_hash)
            after = decision(before)
            await requests.wait_for_invoice(tx, caller.claim.request_id, after.invoice_id)
            outgoing = await self._apply(tx, before, after=after)
            failpoint("in_hold_decision")
            return after, outgoing

        decided, outgoing = await self._db.write(work)
        failpoint("after_hold_decision")
        self._outbox.push(outgoing)
        if not hold.is_final(decided) and not hold.is_inside(decided):
            await self._resolve(decided)

    async def _owned(self, tx: Tx, caller: Caller, *, payment_hash: PaymentHash) -> Invoice:
        """The hold invoice, as far as this connection may see it. Raises RequestError."""
        connection = caller.connection
        await limits.must_be_served(tx, connection, now=self._clock())
        invoice = await invoices.of_account(
            tx,
            account_id=connection.account_id,
            payment_hash=payment_hash,
            connection_id=None if connection.sees_account else connection.connection_id,
        )
        if invoice is None or not invoice.is_hold or invoice.state is InvoiceState.REQUESTED:
            raise RequestError(ErrorCode.NOT_FOUND, NOT_FOUND)
        return invoice

    async def _apply(self, tx: Tx, before: Invoice, *, after: Invoice) -> list[Outgoing]:
        if hold.is_final(before):
            return await self._hold_end.end(tx, before, after=before)
        if after.resolution is before.resolution:
            return []
        if not await invoices.decide(tx, after, expected=before.state):
            raise RequestError(ErrorCode.OTHER, CHANGED)
        return await self._end_inside(tx, after) if hold.is_inside(after) else []

    async def _end_inside(self, tx: Tx, decided: Invoice) -> list[Outgoing]:
        """Both sides in one transaction (I16)."""
        now = self._clock()
        if decided.resolution is Resolution.CANCEL:
            canceled = replace(decided, state=InvoiceState.CANCELED)
            await _update(tx, canceled)
            return await self._hold_end.end(tx, decided, after=canceled)
        payer = decided.payer_payment_id and await payments.payment(
            tx, decided.payer_payment_id
        )
        if not payer or decided.preimage is None:
            raise ValueError(f"nobody pays hold invoice {decided.invoice_id}")
        paid, settled, entries = hold.settle_inside(payer, decided, now=now)
        await _update(tx, settled)
        outcome = Settled(decided.preimage, Msat(0))
        outgoing = await self._recorder.finish(
            tx, payer, after=paid, entries=entries, outcome=outcome
        )
        outgoing += await self._hold_end.end(tx, decided, after=settled)
        return outgoing + await self._answers.notify(
            tx,
            NotificationType.PAYMENT_RECEIVED,
            account_id=settled.account_id,
            made_by=settled.connection_id,
            body=transaction.from_invoice(settled, now=now),
        )

    # --- what the node is still to do

    async def resolve_decided(self) -> None:
        """Tell the nodes what was decided, once more: they may not have heard of it, or their
        answer was lost."""
        decided = await self._db.read(invoices.decided_holds)
        await asyncio.gather(*(self._resolve(invoice) for invoice in decided))
        for invoice in decided:
            await self._alarm_if_stuck(invoice)

    async def _resolve(self, invoice: Invoice) -> None:
        if invoice.invoice_id in self._resolving:
            return
        self._resolving.add(invoice.invoice_id)
        try:
            report = await self._tell(invoice)
            failpoint("after_hold_resolved")
            if report is not None:
                await self.follow(invoice.backend, report)
        except (BackendUnavailable, TimeoutError):
            log.warning("hold.backend_unavailable", backend=invoice.backend)
        except Exception:
            # A backend that breaks its word, or a database that fails: it is tried again.
            log.exception("hold.unresolved", invoice_id=invoice.invoice_id)
        finally:
            self._resolving.discard(invoice.invoice_id)

    async def _tell(self, invoice: Invoice) -> InvoiceReport | None:
        """Raises BackendUnavailable and TimeoutError."""
        backend = self._backends.get(invoice.backend)
        if backend is None or invoice.payment_hash is None:
            return None
        settles = invoice.resolution is Resolution.SETTLE
        async with asyncio.timeout(CALL_TIMEOUT_S):
            try:
                return await backend.resolve_hold(
                    invoice.payment_hash, invoice.preimage if settles else None
                )
            except BadRequest:
                # It is over at the node: what became of it is told by the lookup.
                return await backend.lookup_invoice(invoice.payment_hash)

    async def _alarm_if_stuck(self, invoice: Invoice) -> None:
        since = invoice.accepted_at or invoice.expires_at
        now = self._clock()
        if now <= since + self._longest_hold_s + STUCK_AFTER_S:
            return

        async def work(tx: Tx) -> bool:
            current = await invoices.invoice(tx, invoice.invoice_id)
            return (
                current is not None
                and not hold.is_final(current)
                and await alarms.raise_alarm(
                    tx,
                    STUCK,
                    subject=invoice.invoice_id,
                    detail=f"to {invoice.resolution}, and {invoice.backend} has not done it",
                    now=now,
                )
            )

        if await self._db.write(work):
            log.error("alarm", kind=STUCK, invoice_id=invoice.invoice_id)

    # --- deadlines

    async def end_overdue(self) -> None:
        """NWC-03: a hold invoice "SHOULD be settled or canceled within a few minutes", and "can
        only be safely settled or canceled before" the block of its `settle_deadline`."""
        for invoice in await self._db.read(invoices.undecided_holds):
            if self._is_overdue(invoice):
                await self._end_for_sure(invoice)

    async def _end_for_sure(self, invoice: Invoice) -> None:
        """Trouble with one must not keep the next from being given back in time."""
        try:
            await self._end_overdue(invoice)
        except Exception:
            log.exception("hold.not_ended", invoice_id=invoice.invoice_id)

    def _is_overdue(self, invoice: Invoice) -> bool:
        return hold.is_overdue(
            invoice,
            height=self._height(invoice.backend),
            now=self._clock(),
            longest_s=self._longest_hold_s,
        )

    async def _end_overdue(self, invoice: Invoice) -> None:
        canceled = replace(invoice, resolution=Resolution.CANCEL)

        async def work(tx: Tx) -> list[Outgoing] | None:
            if not await invoices.decide(tx, canceled, expected=InvoiceState.ACCEPTED):
                return None  # its owner was faster
            outgoing = await self._end_inside(tx, canceled) if hold.is_inside(canceled) else []
            failpoint("in_hold_decision")
            return outgoing

        outgoing = await self._db.write(work)
        failpoint("after_hold_decision")
        if outgoing is not None:
            log.warning("hold.overdue", invoice_id=invoice.invoice_id)
            self._outbox.push(outgoing)


async def _update(tx: Tx, ended: Invoice) -> None:
    """Both sides are booked together, or neither is."""
    if not await invoices.update(tx, ended, expected=(InvoiceState.ACCEPTED,)):
        raise RequestError(ErrorCode.OTHER, CHANGED)


async def tell_accepted(
    tx: Tx, answers: Answers, accepted: Invoice, *, now: int
) -> list[Outgoing]:
    return await answers.notify(
        tx,
        NotificationType.HOLD_INVOICE_ACCEPTED,
        account_id=accepted.account_id,
        made_by=accepted.connection_id,
        body=transaction.from_invoice(accepted, now=now),
    )
