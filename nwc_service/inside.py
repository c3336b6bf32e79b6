"""Payments that never leave the ledger: both sides booked in one transaction, without a fee."""

from collections.abc import Awaitable, Callable
from secrets import token_hex

from nwc_service import limits
from nwc_service.answers import Answers, Caller, Clock
from nwc_service.failpoint import failpoint
from nwc_service.holds import tell_accepted
from nwc_service.keyring import Keyring
from nwc_service.metrics.meters import payment_meter
from nwc_service.nip47 import transaction
from nwc_service.nip47.kinds import NotificationType
from nwc_service.record import Recorder, post, success_payload
from nwc_service.store import invoices, ledger, offers, payments, requests
from nwc_service.store.database import Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet import hold, keysend
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.ledger import Entry
from nwc_service.wallet.offer import received_through
from nwc_service.wallet.payment import Payment, PaymentKind, settle_internally
from nwc_service.wallet.units import AccountId, BackendName, InvoiceId

# One wording for a hash that is live or settled anywhere: it must not tell whose it is.
HASH_IN_USE = "this invoice is being paid or was paid before"

NOBODY = "no account of this wallet has this offer, or the id in TLV 696969"

Terms = tuple[Payment, Invoice, tuple[Entry, ...]]
"""A payment that the ledger alone can settle: both rows as they will be, and the entries."""


async def insert(tx: Tx, caller: Caller, *, payment: Payment, now: int) -> Payment:
    """The payment's row, counted in the budgets. Raises RequestError."""
    payment = await limits.charge(tx, caller.connection, payment, now=now)
    if not await payments.insert(tx, payment):
        raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
    return payment


class Inside:
    def __init__(
        self,
        *,
        answers: Answers,
        recorder: Recorder,
        keyring: Keyring,
        check_open: Callable[[Tx, AccountId], Awaitable[None]],
        height: Callable[[BackendName], int | None],
        clock: Clock,
    ) -> None:
        self._answers = answers
        self._recorder = recorder
        self._keyring = keyring
        self._check_open = check_open
        self._height = height
        self._clock = clock

    async def pay(self, tx: Tx, caller: Caller, *, payment: Payment) -> list[Outgoing] | None:
        """None where the payment has to leave. Raises RequestError."""
        if payment.kind is PaymentKind.INTERNAL:
            return await self._pay_without_invoice(tx, caller, payment=payment)
        ours = await invoices.by_string(tx, payment.invoice) if payment.invoice else None
        if ours is None:
            return None
        if ours.is_hold:
            return await self._pay_hold(tx, caller, payment=payment, ours=ours)
        booked = self._terms(payment, ours)
        if booked is not None:
            limits.check(caller.connection, payment, inside=True)
            return await self._pay_invoice(tx, caller, booked=booked)
        if ours.state is InvoiceState.SETTLED:
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        return None

    def _terms(self, payment: Payment, ours: Invoice) -> Terms | None:
        preimage = ours.preimage or self._keyring.invoice_preimage(ours.invoice_id)
        return settle_internally(payment, ours, preimage=preimage, now=self._clock())

    async def _pay_invoice(self, tx: Tx, caller: Caller, *, booked: Terms) -> list[Outgoing]:
        """With the cancel at the node in the same transaction (I16)."""
        payment, invoice, entries = booked
        now = payment.settled_at or self._clock()
        payment = await insert(tx, caller, payment=payment, now=now)
        if not await invoices.update(tx, invoice, expected=(InvoiceState.PENDING,)):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        await post(tx, entries, now=now, payment=payment)
        await invoices.queue_cancellation(
            tx, backend=invoice.backend, payment_hash=payment.payment_hash, now=now
        )
        return await self._answer(tx, caller, payment=payment, invoice=invoice)

    async def _pay_hold(
        self, tx: Tx, caller: Caller, *, payment: Payment, ours: Invoice
    ) -> list[Outgoing]:
        """Held until its payee decides, and answered then. An HTLC that comes from outside
        meanwhile is given back by the cancel at the node (A11). Raises RequestError."""
        now = self._clock()
        terms = hold.accept_inside(payment, ours, height=self._height(ours.backend), now=now)
        if terms is None:
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        payment, invoice, entries = terms
        limits.check(caller.connection, payment, inside=True)
        await self._check_open(tx, payment.account_id)
        payment = await insert(tx, caller, payment=payment, now=now)
        if not await invoices.accept(tx, invoice):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        await post(tx, entries, now=now, payment=payment)
        await invoices.queue_cancellation(
            tx, backend=invoice.backend, payment_hash=payment.payment_hash, now=now
        )
        await requests.wait_for(tx, caller.claim.request_id, payment.payment_id)
        failpoint("in_reserve")
        return await tell_accepted(tx, self._answers, invoice, now=now)

    async def _pay_without_invoice(
        self, tx: Tx, caller: Caller, *, payment: Payment
    ) -> list[Outgoing]:
        """To whom a keysend names, or whose offer it is; no node hears of it.

        Raises RequestError.
        """
        limits.check(caller.connection, payment, inside=True)
        received = await (
            _through_offer(tx, payment, now=self._clock())
            if payment.offer is not None
            else _by_keysend(tx, payment, now=self._clock())
        )
        if received is None or payment.own_preimage is None:
            raise RequestError(ErrorCode.PAYMENT_FAILED, NOBODY)
        if await invoices.is_known(tx, payment.payment_hash):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        now = self._clock()
        payment, invoice, entries = keysend.settle_inside(
            payment, received, preimage=payment.own_preimage, now=now
        )
        payment = await insert(tx, caller, payment=payment, now=now)
        await invoices.insert(tx, invoice)
        await post(tx, entries, now=now, payment=payment)
        return await self._answer(tx, caller, payment=payment, invoice=invoice)

    async def _answer(
        self, tx: Tx, caller: Caller, *, payment: Payment, invoice: Invoice
    ) -> list[Outgoing]:
        """And both notifications, in the transaction that books both sides."""
        now = payment.settled_at or self._clock()
        await requests.wait_for(tx, caller.claim.request_id, payment.payment_id)
        tx.on_commit(lambda: payment_meter(payment).final(payment))
        failpoint("in_reserve")
        payload = success_payload(caller.claim.method, payment)
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
        return answer + await self._recorder.notify_sent(tx, payment) + received


async def _by_keysend(tx: Tx, payment: Payment, *, now: int) -> Invoice | None:
    tlvs = keysend.from_text(payment.tlv_records)
    name = keysend.keysend_id(tlvs)
    account = await ledger.account_of_keysend(tx, name) if name else None
    if account is None or payment.backend is None:
        return None
    return keysend.unasked(
        invoice_id=InvoiceId(token_hex(16)),
        account_id=account.account_id,
        backend=payment.backend,
        payment_hash=payment.payment_hash,
        amount_msat=payment.amount_msat,
        metadata=keysend.metadata(tlvs),
        now=now,
    )


async def _through_offer(tx: Tx, payment: Payment, *, now: int) -> Invoice | None:
    offer = await offers.payable_inside(tx, payment.offer or "")
    if offer is None or (offer.expires_at is not None and now >= offer.expires_at):
        return None
    return received_through(
        offer,
        invoice_id=InvoiceId(token_hex(16)),
        payment_hash=payment.payment_hash,
        amount_msat=payment.amount_msat,
        now=now,
        invoice="",
        expires_at=now,
        payer_note=payment.payer_note,
    )
