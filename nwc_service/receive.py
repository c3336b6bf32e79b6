"""Money in, first half: an invoice is claimed, made by its node, and stored with the answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex

import structlog

from nwc_service import limits
from nwc_service.answers import Answers, Caller, Clock
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    LightningBackend,
)
from nwc_service.failpoint import failpoint
from nwc_service.guard import is_distrusted
from nwc_service.keyring import Keyring
from nwc_service.nip47 import transaction
from nwc_service.nip47.envelope import error_payload, result_payload
from nwc_service.outbox import Outbox
from nwc_service.store import connections, invoices, offers, receipts, requests
from nwc_service.store.database import Database, Tx, Work
from nwc_service.store.outbox import Outgoing
from nwc_service.store.requests import Claim
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.payment import CLOCK_SKEW_S
from nwc_service.wallet.refusals import NODE_PAUSED
from nwc_service.wallet.units import (
    BackendName,
    InvoiceId,
    Msat,
    PaymentHash,
)

log = structlog.get_logger()

# One wording for a hash that is known in any role: it must not tell whose it is (A2).
HASH_KNOWN = "payment_hash: it is in use, or was used before"

CREATE_TIMEOUT_S = 30.0
CREATE_ATTEMPTS = 3
CREATE_RETRY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceOrder:
    """What a client asks for; `metadata` is a JSON object as text."""

    amount_msat: Msat | None
    description: str
    description_hash: str | None
    expiry_s: int
    metadata: str | None
    hold_hash: PaymentHash | None = None
    min_cltv_expiry_delta: int | None = None


class _Reused(Exception):
    """The node gave out an invoice that it had given out before."""


class Receiver:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        answers: Answers,
        outbox: Outbox,
        keyring: Keyring,
        max_age_s: int,
        max_open_invoices: int,
        max_open_holds: int,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._answers = answers
        self._outbox = outbox
        self._keyring = keyring
        self._max_age_s = max_age_s
        self._max_open_invoices = max_open_invoices
        self._max_open_holds = max_open_holds
        self._clock = clock
        self.active: set[InvoiceId] = set()
        """Invoices that a task of this process is having made now."""

    # --- issue

    async def issue(
        self,
        caller: Caller,
        order: InvoiceOrder,
        *,
        backend: BackendName,
        beside: Callable[[Invoice], Awaitable[None]] | None = None,
    ) -> None:
        """Claim the request, have the node make the invoice, store it with the answer.

        `beside` is done once the request is claimed, and before the invoice is made. Raises
        RequestError when refused before anything was done, and AlreadyClaimed.
        """
        now = self._clock()
        invoice = _requested(caller, order, backend=backend, now=now)

        async def work(tx: Tx) -> None:
            await requests.claim(tx, caller.claim, now=now)
            if await is_distrusted(tx, backend):
                raise RequestError(ErrorCode.INTERNAL, NODE_PAUSED)
            await limits.must_be_served(tx, caller.connection, now=now)
            open_ones = await invoices.open_count(tx, invoice.account_id, now=now)
            if open_ones >= self._max_open_invoices:
                raise RequestError(ErrorCode.RATE_LIMITED, "too many open invoices")
            await limits.check_room(tx, invoice.account_id, amount_msat=invoice.amount_msat)
            await self._check_hold(tx, invoice, now=now)
            await invoices.insert(tx, invoice)
            failpoint("in_invoice_claim")

        with self._making(invoice):
            await self._db.write(work)
            failpoint("after_invoice_claim")
            if beside is not None:
                await beside(invoice)
            await self.make(invoice)

    async def issue_to_payer(
        self, invoice: Invoice, *, claim: Work[None], hashed_text: str
    ) -> Invoice:
        """Have the node make what the payer of an address asks for; nobody is answered but him.

        `claim` is done in the transaction that stores the REQUESTED invoice, and may refuse;
        `hashed_text` is what the description hash is of. Raises RequestError.
        """

        async def work(tx: Tx) -> None:
            if await is_distrusted(tx, invoice.backend):
                raise RequestError(ErrorCode.INTERNAL, NODE_PAUSED)
            await invoices.insert(tx, invoice)
            await claim(tx)
            failpoint("in_invoice_claim")

        with self._making(invoice):
            await self._db.write(work)
            failpoint("after_invoice_claim")
            await self.make(invoice, hashed_text=hashed_text)
        made = await self._db.read(lambda tx: invoices.invoice(tx, invoice.invoice_id))
        if made is None or made.state is not InvoiceState.PENDING:
            raise RequestError(ErrorCode.INTERNAL, "the node made no invoice")
        return made

    @contextmanager
    def _making(self, invoice: Invoice) -> Iterator[None]:
        self.active.add(invoice.invoice_id)
        try:
            yield
        finally:
            self.active.discard(invoice.invoice_id)

    async def _check_hold(self, tx: Tx, invoice: Invoice, *, now: int) -> None:
        """Raises RequestError."""
        if invoice.payment_hash is None:
            return
        if await invoices.is_hash_known(tx, invoice.payment_hash):
            raise RequestError(ErrorCode.OTHER, HASH_KNOWN)
        open_ones = await invoices.open_holds_count(tx, invoice.account_id, now=now)
        if open_ones >= self._max_open_holds:
            raise RequestError(ErrorCode.RATE_LIMITED, "too many open hold invoices")

    async def resume(self, invoice: Invoice) -> None:
        """After a crash: have a claimed invoice made, unless nobody waits for it any more."""
        if invoice.invoice_id in self.active:
            return
        if invoice.address is not None:
            # The payer's call ended with the process.
            await self._fail(invoice, RequestError(ErrorCode.INTERNAL, "interrupted"))
        elif await self._db.read(lambda tx: is_distrusted(tx, invoice.backend)):
            await self._fail(invoice, RequestError(ErrorCode.INTERNAL, NODE_PAUSED))
        elif self._clock() - invoice.created_at > self._max_age_s:
            await self._fail(invoice, RequestError(ErrorCode.INTERNAL, "interrupted"))
        else:
            await self.make(invoice)

    async def make(self, invoice: Invoice, *, hashed_text: str | None = None) -> None:
        """Have a REQUESTED invoice made and answer for it.

        `hashed_text` is what its description hash is of, where that is not its description.
        """
        spec = self._spec(invoice, hashed_text=hashed_text)
        try:
            made = _checked(invoice, await self._create(invoice, spec))
        except BadRequest as error:
            await self._fail(invoice, RequestError(ErrorCode.OTHER, str(error)))
        except (BackendUnavailable, TimeoutError):
            log.warning("invoice.backend_unavailable", backend=invoice.backend)
            unavailable = RequestError(ErrorCode.INTERNAL, "the node cannot be reached")
            await self._fail(invoice, unavailable)
        except Exception:
            # A backend that breaks its word: nobody has seen what it may have made.
            log.exception("invoice.backend_raised", backend=invoice.backend)
            await self._fail(invoice, RequestError(ErrorCode.INTERNAL, "the node failed"))
        else:
            failpoint("after_invoice_created")
            await self._store(invoice, made)

    async def _create(self, invoice: Invoice, spec: InvoiceSpec) -> InvoiceReport:
        """A lost reply is repaired by asking again: the same preimage, or `our_id`, gives the
        same invoice. Raises BackendUnavailable, BadRequest and TimeoutError."""
        async with asyncio.timeout(CREATE_TIMEOUT_S):
            for _ in range(CREATE_ATTEMPTS - 1):
                try:
                    return await self._backends[invoice.backend].create_invoice(spec)
                except BackendUnavailable:
                    await asyncio.sleep(CREATE_RETRY_S)
            return await self._backends[invoice.backend].create_invoice(spec)

    def _spec(self, invoice: Invoice, *, hashed_text: str | None) -> InvoiceSpec:
        caps = self._backends[invoice.backend].caps
        own_preimage = Cap.OWN_PREIMAGE in caps
        hashes_itself = hashed_text is not None and Cap.DESCRIPTION_HASH not in caps
        preimage = self._keyring.invoice_preimage(invoice.invoice_id)
        return InvoiceSpec(
            our_id=invoice.invoice_id,
            amount_msat=invoice.amount_msat,
            description=(hashed_text or "") if hashes_itself else invoice.description,
            description_hash=invoice.description_hash,
            expiry_s=invoice.expires_at - invoice.created_at,
            preimage=preimage if own_preimage and not invoice.is_hold else None,
            hold_hash=invoice.payment_hash if invoice.is_hold else None,
            min_cltv_expiry_delta=invoice.min_cltv_expiry_delta,
        )

    async def _store(self, requested: Invoice, made: Invoice) -> None:
        async def work(tx: Tx) -> list[Outgoing]:
            if made.payment_hash and await _is_reused(tx, made, made.payment_hash):
                raise _Reused
            if not await invoices.update(tx, made, expected=(InvoiceState.REQUESTED,)):
                return []
            failpoint("in_invoice_store")
            return await self._answer(tx, requested, outcome=made)

        try:
            outgoing = await self._db.write(work)
            failpoint("after_invoice_store")
            self._outbox.push(outgoing)
        except _Reused:
            log.error("invoice.hash_reused", backend=requested.backend)
            error = RequestError(ErrorCode.INTERNAL, "the node made an invoice twice")
            await self._fail(requested, error)

    async def _fail(self, invoice: Invoice, error: RequestError) -> None:
        # Without its hash, so that a hold invoice can be asked for again.
        canceled = replace(invoice, state=InvoiceState.CANCELED, payment_hash=None)

        async def work(tx: Tx) -> list[Outgoing]:
            if not await invoices.update(tx, canceled, expected=(InvoiceState.REQUESTED,)):
                return []
            return await self._answer(tx, invoice, outcome=error)

        self._outbox.push(await self._db.write(work))

    async def _answer(
        self, tx: Tx, invoice: Invoice, *, outcome: Invoice | RequestError
    ) -> list[Outgoing]:
        """`outcome`: the invoice as it was made, or why it was not."""
        claim = await self._claim_of(tx, invoice)
        connection = claim and await connections.connection(tx, claim.connection_id)
        if claim is None or not connection:
            return []
        if isinstance(outcome, RequestError):
            payload = error_payload(claim.method, outcome)
        else:
            offer = await offers.beside_invoice(tx, claim.request_id)
            result = transaction.made_result(
                claim.method, outcome, offer=offer, now=self._clock()
            )
            payload = result_payload(claim.method, result)
        return await self._answers.store(tx, connection, claim=claim, payload=payload)

    async def _claim_of(self, tx: Tx, invoice: Invoice) -> Claim | None:
        if invoice.request_id is None:
            return None
        return await requests.claimed(tx, invoice.request_id)


def _requested(
    caller: Caller, order: InvoiceOrder, *, backend: BackendName, now: int
) -> Invoice:
    return Invoice(
        invoice_id=InvoiceId(token_hex(16)),
        account_id=caller.connection.account_id,
        connection_id=caller.connection.connection_id,
        request_id=caller.claim.request_id,
        backend=backend,
        state=InvoiceState.REQUESTED,
        payment_hash=order.hold_hash,
        invoice="",
        description=order.description,
        description_hash=order.description_hash,
        amount_msat=order.amount_msat,
        received_msat=None,
        preimage=None,
        metadata=order.metadata,
        created_at=now,
        expires_at=now + order.expiry_s,
        settled_at=None,
        is_hold=order.hold_hash is not None,
        min_cltv_expiry_delta=order.min_cltv_expiry_delta,
    )


async def _is_reused(tx: Tx, made: Invoice, payment_hash: PaymentHash) -> bool:
    """Another invoice has the hash, or something was received with it already."""
    known = await invoices.is_known(tx, payment_hash, besides=made.invoice_id)
    return known or await receipts.is_received(tx, payment_hash)


def _checked(invoice: Invoice, report: InvoiceReport) -> Invoice:
    """The invoice as the node made it. Raises BackendUnavailable when it is not what was asked.

    Two parsers must agree on it (A5): the node's report and our own decoder. One that the node
    had before, whose hash somebody has learnt, is not his.
    """
    try:
        decoded = bolt11.decode(report.invoice)
    except bolt11.InvalidInvoice as error:
        raise BackendUnavailable("the node made an invoice that cannot be read") from error
    same = (
        decoded.payment_hash == report.payment_hash
        and decoded.payment_hash == (invoice.payment_hash or decoded.payment_hash)
        and decoded.amount_msat == invoice.amount_msat
        and decoded.description_hash == invoice.description_hash
    )
    if not same or not _is_new(invoice, report=report, decoded=decoded):
        raise BackendUnavailable("the node made another invoice than it was asked for")
    return replace(
        invoice,
        state=InvoiceState.PENDING,
        payment_hash=PaymentHash(decoded.payment_hash),
        invoice=decoded.invoice,
        preimage=None if invoice.is_hold else report.preimage,
        created_at=decoded.created_at,
        expires_at=decoded.expires_at,
    )


def _is_new(invoice: Invoice, *, report: InvoiceReport, decoded: bolt11.Bolt11) -> bool:
    """Of a hash that a client chose, the node may have had an invoice before: an open one of
    the same amount and words is told from his by its age."""
    description = None if invoice.description_hash else invoice.description
    return not invoice.is_hold or (
        report.status is InvoiceStatus.OPEN
        and decoded.description == description
        and decoded.created_at >= invoice.created_at - CLOCK_SKEW_S
    )
