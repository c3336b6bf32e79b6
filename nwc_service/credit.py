"""Money in, second half: the one door through which a settled invoice is credited.

Stream events are hints; what is credited is what the backend says was received, once per
settlement, in the transaction that moves state and cursor. The money is there whatever happens
here, so nothing that a node or a payer wrote may keep it from being booked (A17).
"""

from collections import Counter
from dataclasses import replace
from functools import partial

import structlog

from nwc_service.answers import Answers, Clock
from nwc_service.backend import Cursor, InvoiceReport, InvoiceStatus
from nwc_service.failpoint import failpoint
from nwc_service.hold_end import HoldEnd
from nwc_service.metrics.meters import count_receipt
from nwc_service.nip47 import transaction
from nwc_service.nip47.kinds import NotificationType
from nwc_service.outbox import Outbox
from nwc_service.store import alarms, invoices, ledger, meta
from nwc_service.store.database import Database, Tx
from nwc_service.store.meta import BORN_AT
from nwc_service.store.outbox import Outgoing
from nwc_service.unasked import unasked
from nwc_service.wallet import hold
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.payment import CLOCK_SKEW_S, told_time
from nwc_service.wallet.receipt import UNSETTLED, receive_entry, settle_invoice
from nwc_service.wallet.units import MAX_MSAT, BackendName, Msat, PaymentHash

log = structlog.get_logger()

NOTIFY_ATTEMPTS = 3
"""So often a credit may fail before it is booked without its notifications."""


class Crediter:
    def __init__(
        self,
        db: Database,
        *,
        answers: Answers,
        hold_end: HoldEnd,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._db = db
        self._answers = answers
        self._hold_end = hold_end
        self._outbox = outbox
        self._clock = clock
        self._failures: Counter[PaymentHash] = Counter()

    async def credit(
        self, backend: BackendName, report: InvoiceReport, *, cursor: Cursor | None = None
    ) -> None:
        """Book a settled invoice, once, and move the stream's cursor with it (I6, I23).

        A settlement that nobody here asked for goes to the suspense account.
        """
        if report.status is not InvoiceStatus.SETTLED:
            return
        failpoint("before_credit")
        try:
            outgoing = await self._db.write(
                lambda tx: self._credit(tx, backend, report=report, cursor=cursor)
            )
        except Exception:
            self._failures[report.payment_hash] += 1
            raise
        del self._failures[report.payment_hash]
        failpoint("after_credit")
        self._outbox.push(outgoing)

    async def expire(self, invoice: Invoice, *, state: InvoiceState) -> None:
        """The node says it is open no more; should it settle all the same, it is credited."""

        async def work(tx: Tx) -> list[Outgoing]:
            before = await invoices.invoice(tx, invoice.invoice_id)
            if before is None or hold.is_inside(before):
                return []  # paid inside meanwhile, which is why the node gave it up
            gone = replace(before, state=state)
            if not await invoices.update(tx, gone, expected=hold.OPEN):
                return []
            return await self._hold_end.end(tx, before, after=gone)

        self._outbox.push(await self._db.write(work))

    async def _credit(
        self, tx: Tx, backend: BackendName, *, report: InvoiceReport, cursor: Cursor | None
    ) -> list[Outgoing]:
        now = self._clock()
        invoice = await self._meant(tx, backend, report=report)
        received_msat = _received_msat(report, invoice)
        is_ours = invoice is not None or not await self._is_before_us(tx, report)
        has_receipt = received_msat > 0 and is_ours
        if cursor is not None:
            payment_hash = report.payment_hash if has_receipt else None
            await invoices.set_cursor(tx, backend, cursor, payment_hash=payment_hash)
        if not has_receipt:
            return []
        is_new = invoice is None
        if invoice is None:
            invoice = await unasked(tx, backend, report, amount_msat=received_msat, now=now)
        invoice_id = invoice.invoice_id if invoice else None
        if not await invoices.insert_receipt(
            tx,
            backend=backend,
            payment_hash=report.payment_hash,
            htlc_set=report.htlc_set,
            amount_msat=received_msat,
            invoice_id=invoice_id,
            now=now,
        ):
            return []
        if is_new and invoice is not None:
            await invoices.insert(tx, invoice)
        has_room = invoice is None or await self._has_room(tx, invoice, received_msat)
        entry = receive_entry(
            invoice, backend=backend, received_msat=received_msat, has_room=has_room
        )
        await ledger.post(tx, (entry,), now=now, invoice_id=invoice_id)
        to_account = invoice is not None and has_room
        tx.on_commit(partial(count_receipt, backend, to_account=to_account, msat=received_msat))
        failpoint("in_credit")
        if invoice is None:
            await self._ask_whose(tx, report, amount_msat=received_msat)
            return []
        return await self._settle(tx, invoice, report=report, received_msat=received_msat)

    async def _meant(
        self, tx: Tx, backend: BackendName, *, report: InvoiceReport
    ) -> Invoice | None:
        """The invoice that was paid. A hold invoice that was only asked for, with the hash of
        something else, gives the hash up: the node has not made it, and need not any more."""
        payment_hash = report.payment_hash
        invoice = await invoices.by_hash(tx, backend=backend, payment_hash=payment_hash)
        if invoice is None or hold.is_meant(invoice, report.invoice):
            return invoice
        log.warning("hold.hash_of_another", invoice_id=invoice.invoice_id)
        if invoice.state is InvoiceState.REQUESTED:
            await invoices.give_hash_up(tx, invoice)
        return None

    async def _is_before_us(self, tx: Tx, report: InvoiceReport) -> bool:
        """What a node received for others before these books were opened."""
        born_at = await meta.get(tx, BORN_AT)
        settled_at = told_time(report.settled_at)
        if born_at is None or settled_at is None:
            return False
        return settled_at + CLOCK_SKEW_S < int(born_at)

    async def _ask_whose(self, tx: Tx, report: InvoiceReport, *, amount_msat: Msat) -> None:
        log.error("alarm", kind="unattributed", payment_hash=report.payment_hash)
        await alarms.raise_alarm(
            tx,
            "unattributed",
            subject=report.payment_hash,
            detail=f"{amount_msat} msat came in that nobody here asked for",
            now=self._clock(),
        )

    async def _has_room(self, tx: Tx, invoice: Invoice, amount_msat: Msat) -> bool:
        if await ledger.has_room(tx, invoice.account_id, amount_msat=amount_msat):
            return True
        log.error("alarm", kind="account_full", invoice_id=invoice.invoice_id)
        await alarms.raise_alarm(
            tx,
            "account_full",
            subject=invoice.invoice_id,
            detail=f"{amount_msat} msat wait in suspense",
            now=self._clock(),
        )
        return False

    async def _settle(
        self, tx: Tx, invoice: Invoice, *, report: InvoiceReport, received_msat: Msat
    ) -> list[Outgoing]:
        settled = settle_invoice(
            invoice,
            received_msat=received_msat,
            preimage=report.preimage,
            settled_at=report.settled_at,
            now=self._clock(),
        )
        await invoices.update(tx, settled, expected=UNSETTLED)
        ended = await self._hold_end.end(tx, invoice, after=settled)
        if self._failures[report.payment_hash] >= NOTIFY_ATTEMPTS:
            return ended
        return ended + await self._answers.notify(
            tx,
            NotificationType.PAYMENT_RECEIVED,
            account_id=invoice.account_id,
            made_by=invoice.connection_id,
            body=transaction.from_invoice(settled, now=self._clock()),
        )


def _received_msat(report: InvoiceReport, invoice: Invoice | None) -> Msat:
    """What arrived, which may be more or less than was asked (A18)."""
    if report.received_msat is not None:
        received_msat = report.received_msat
    else:
        asked_msat = invoice.amount_msat if invoice else None
        received_msat = report.amount_msat or asked_msat or Msat(0)
    return Msat(min(max(received_msat, 0), MAX_MSAT))
