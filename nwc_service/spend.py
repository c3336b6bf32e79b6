"""The one door for every way in which money leaves an account.

TX-A claims the request and reserves, TX-B marks the payment dispatched and pins its backend,
then it is sent, once ever, and TX-C records the outcome with the signed answer. Every point
between them recovers as the crash matrix in `docs/money.md` says: `resume` and the recorder
are what the reconciler calls too.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars

from nwc_service import limits
from nwc_service.answers import Answers, Caller, Clock
from nwc_service.backend import (
    BackendUnavailable,
    KeysendRequest,
    LightningBackend,
    PayRequest,
)
from nwc_service.failpoint import failpoint
from nwc_service.guard import Guard
from nwc_service.inside import HASH_IN_USE, Inside, insert
from nwc_service.keyring import Keyring
from nwc_service.metrics.meters import payment_meter
from nwc_service.outbox import Outbox, Spawn
from nwc_service.record import Recorder, post, success_payload
from nwc_service.solvency import Solvency
from nwc_service.store import ledger, nodes, payments, requests
from nwc_service.store.database import Database, Tx
from nwc_service.store.ledger import InsufficientBalance
from nwc_service.store.outbox import Outgoing
from nwc_service.tracing import annotate, traced
from nwc_service.wallet import keysend
from nwc_service.wallet.errors import ErrorCode, Refused, RequestError
from nwc_service.wallet.ledger import EQUITY, Entry, EntryKind, available
from nwc_service.wallet.outcome import (
    FailReason,
    NotSent,
    Outcome,
    Unknown,
)
from nwc_service.wallet.payment import (
    INSIDE,
    FeePolicy,
    Payment,
    PaymentState,
    Proof,
    ProofKind,
    reserve_entries,
)
from nwc_service.wallet.refusals import NODE_PAUSED
from nwc_service.wallet.units import AccountId, BackendName, Msat, PaymentId

log = structlog.get_logger()

DRAIN_S = 3.0


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


class NodeNotAsked(Exception):
    """All is in order, but the node was not asked how it reads the invoice."""


class _Paused(Exception):
    """Its backend was paused between the reservation and the send."""


class Spender:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        answers: Answers,
        outbox: Outbox,
        keyring: Keyring,
        solvency: Solvency,
        guard: Guard,
        policy: SpendPolicy,
        spawn: Spawn,
        height: Callable[[BackendName], int | None],
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._answers = answers
        self._outbox = outbox
        self.solvency = solvency
        self._guard = guard
        self._spawn = spawn
        self._clock = clock
        self.policy = policy
        self.recorder = Recorder(db, answers=answers, outbox=outbox, clock=clock)
        self._inside = Inside(
            answers=answers,
            recorder=self.recorder,
            keyring=keyring,
            check_open=self._check_open_payments,
            height=height,
            clock=clock,
        )
        self.active: dict[PaymentId, float] = {}
        """Payments that a task of this process is sending now, and since when."""

    @traced("nwc.tx_a")
    async def spend(self, caller: Caller, payment: Payment) -> None:
        """Pay for the caller; the answer comes through the outbox, however late.

        A payment without a backend may only be settled inside the ledger. Raises, with nothing
        changed, RequestError when refused, AlreadyClaimed, and NodeNotAsked.
        """
        with bound_contextvars(payment_id=payment.payment_id):
            await self._spend(caller, payment)

    async def _spend(self, caller: Caller, payment: Payment) -> None:
        """What is logged from here on names the payment, on whatever thread it is logged.

        Raises as `spend`.
        """
        step = await self._db.write(lambda tx: self._reserve(tx, caller, payment=payment))
        failpoint("after_reserve")
        self._outbox.push(step.outgoing)
        if step.to_send is not None:
            self._start(step.to_send)

    async def drain(self) -> None:
        """Before a stop: let the sends that have just begun reach their node and answer.

        One that is cut off all the same is looked up after the next start.
        """
        asked_at = time.monotonic()
        while time.monotonic() < asked_at + DRAIN_S:
            if all(since < asked_at - DRAIN_S for since in self.active.values()):
                return
            await asyncio.sleep(0.05)

    async def debit(self, account_id: AccountId, amount_msat: Msat, *, reason: str) -> None:
        """The operator takes money out. Raises Refused when the account has less available."""
        entry = Entry(EntryKind.DEBIT, available(account_id), EQUITY, amount_msat)

        async def work(tx: Tx) -> None:
            await ledger.post(tx, (entry,), now=self._clock(), reason=reason)
            failpoint("in_debit")

        try:
            await self._db.write(work)
            failpoint("after_debit")
        except InsufficientBalance as error:
            raise Refused(f"the account has less than {amount_msat} msat available") from error

    def lost(self, backend: BackendName) -> None:
        """It was out of reach: it is looked at again before anything is sent through it."""
        self._guard.lost(backend)

    def resume(self, payment: Payment) -> None:
        """After a crash: RESERVED is proof that nothing was sent, so send or release now."""
        self._start(payment)

    # --- TX-A: claim the request, and reserve or settle inside the ledger

    async def _reserve(self, tx: Tx, caller: Caller, *, payment: Payment) -> _Step:
        await requests.claim(tx, caller.claim, now=self._clock())
        await limits.must_be_served(tx, caller.connection, now=self._clock())
        standing = await payments.standing(tx, payment.payment_hash)
        if standing is not None:
            return await self._join(tx, caller, payment=payment, standing=standing)
        inside = await self._inside.pay(tx, caller, payment=payment)
        if inside is not None:
            return _Step(inside)
        limits.check(caller.connection, payment, inside=False)
        await self._check_outside(tx, payment)
        return _Step(to_send=await self._hold(tx, caller, payment=payment))

    async def _check_outside(self, tx: Tx, payment: Payment) -> None:
        """Whether the payment may leave. Raises RequestError."""
        if await payments.was_paid_late(tx, payment.payment_hash):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        if await payments.was_sent_as_another(tx, payment):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        if self._clock() >= payment.expires_at:
            raise RequestError(ErrorCode.OTHER, "invoice: it has expired")
        self.solvency.refuse_unless_covered()
        if payment.backend and await nodes.paused(tx, payment.backend):
            raise RequestError(ErrorCode.INTERNAL, NODE_PAUSED)
        await self._check_open_payments(tx, payment.account_id)

    async def _hold(self, tx: Tx, caller: Caller, *, payment: Payment) -> Payment:
        payment = await insert(tx, caller, payment=payment, now=self._clock())
        await post(tx, reserve_entries(payment), now=self._clock(), payment=payment)
        if payment.backend is None:
            raise NodeNotAsked
        await requests.wait_for(tx, caller.claim.request_id, payment.payment_id)
        failpoint("in_reserve")
        return payment

    async def _join(
        self, tx: Tx, caller: Caller, *, payment: Payment, standing: Payment
    ) -> _Step:
        """A new request for an invoice that is being paid, or was: one payment, one result.

        As far as this connection might have paid it, and may see it. Raises RequestError.
        """
        connection = caller.connection
        is_seen = connection.sees_account or standing.connection_id == connection.connection_id
        if not is_seen or not payment.repeats(standing):
            raise RequestError(ErrorCode.OTHER, HASH_IN_USE)
        limits.check(connection, payment, inside=standing.kind in INSIDE)
        limits.check_fee(payment, standing)
        await requests.wait_for(tx, caller.claim.request_id, standing.payment_id)
        if standing.state is not PaymentState.SETTLED:
            return _Step()
        payload = success_payload(caller.claim.method, standing)
        return _Step(
            await self._answers.store(
                tx, caller.connection, claim=caller.claim, payload=payload
            )
        )

    async def _check_open_payments(self, tx: Tx, account_id: AccountId) -> None:
        of_account = await payments.live_count(tx, account_id=account_id)
        if of_account >= self.policy.max_open_payments_per_account:
            raise RequestError(ErrorCode.RATE_LIMITED, "too many open payments")
        if await payments.live_count(tx) >= self.policy.max_open_payments:
            raise RequestError(ErrorCode.RATE_LIMITED, "the service has too many open payments")

    # --- TX-B and the one send

    def _start(self, payment: Payment) -> None:
        if payment.payment_id not in self.active:
            self.active[payment.payment_id] = time.monotonic()
            self._spawn(self._send(payment))

    async def _send(self, payment: Payment) -> None:
        bind_contextvars(payment_id=payment.payment_id)  # in a task of its own
        log.debug("payment.sending", backend=payment.backend)
        try:
            dispatched = await self._dispatch(payment)
            if dispatched is not None:
                failpoint("after_dispatch")
                began = time.monotonic()
                outcome = await self._pay(dispatched)
                payment_meter(payment).sent(outcome, seconds=time.monotonic() - began)
                await self.recorder.record(payment.payment_id, outcome)
        finally:
            # Whatever happened, the row tells the reconciler what is left to do.
            del self.active[payment.payment_id]

    @traced("nwc.tx_b")
    async def _dispatch(self, payment: Payment) -> Payment | None:
        """None when another has dispatched or released it, or it is too late to send it."""
        now = self._clock()
        dispatched = payment.dispatched(now=now, timeout_s=self.policy.payment_timeout_s)
        if self._is_too_late(payment, now=now):
            await self._give_back(payment, reason=FailReason.TIMEOUT, detail="too late")
            return None
        if problem := await self._problem(payment.backend or BackendName("")):
            await self._give_back(payment, reason=FailReason.UNAVAILABLE, detail=problem)
            return None

        async def work(tx: Tx) -> bool:
            if payment.backend and await nodes.paused(tx, payment.backend):
                raise _Paused
            updated = await payments.update(tx, dispatched, expected=PaymentState.RESERVED)
            failpoint("in_dispatch")
            return updated

        try:
            return dispatched if await self._db.write(work) else None
        except _Paused:
            await self._give_back(payment, reason=FailReason.UNAVAILABLE, detail="paused")
            return None

    async def _problem(self, backend: BackendName) -> str | None:
        """Why nothing may be sent through this backend now. A node that was out of reach may
        have gone back in time, so it is looked at first."""
        if not self.solvency.is_covered:
            return "not covered"
        try:
            await self._guard.ensure(backend)
        except (BackendUnavailable, TimeoutError):
            return "the node cannot be reached"
        return None

    async def _give_back(self, payment: Payment, *, reason: FailReason, detail: str) -> None:
        await self.recorder.give_back(
            payment.payment_id,
            expected=PaymentState.RESERVED,
            reason=reason,
            proof=Proof(ProofKind.NOT_SENT, f"never sent: {detail}"),
        )

    def _is_too_late(self, payment: Payment, *, now: int) -> bool:
        """Nobody expects an old request to be paid any more, or its backend is gone."""
        return (
            now - payment.created_at > self.policy.max_age_s
            or now >= payment.expires_at
            or payment.backend not in self._backends
        )

    @traced("nwc.send")
    async def _pay(self, payment: Payment) -> Outcome:
        annotate(payment_id=payment.payment_id, kind=payment.kind)
        backend = self._backends[payment.backend or BackendName("")]
        try:
            outcome = await backend.pay(_order(payment, self.policy.payment_timeout_s))
        except Exception as error:
            # A backend that breaks its word has proven nothing about the payment.
            log.exception("payment.backend_raised", payment_id=payment.payment_id)
            outcome = Unknown(type(error).__name__)
        if isinstance(outcome, Unknown) or (
            isinstance(outcome, NotSent) and outcome.reason is FailReason.UNAVAILABLE
        ):
            self._guard.lost(backend.name)
        return outcome


def _order(payment: Payment, timeout_s: float) -> PayRequest | KeysendRequest:
    """What the backend is asked to send; the fee cap is the very figure that is reserved."""
    if payment.own_preimage is not None and payment.payee is not None:
        return KeysendRequest(
            our_id=payment.payment_id,
            destination=payment.payee,
            amount_msat=payment.amount_msat,
            preimage=payment.own_preimage,
            tlvs=keysend.from_text(payment.tlv_records),
            max_fee_msat=payment.fee_reserve_msat,
            timeout_s=timeout_s,
        )
    return PayRequest(
        our_id=payment.payment_id,
        invoice=payment.invoice,
        payment_hash=payment.payment_hash,
        amount_msat=payment.amount_msat,
        amount_is_override=payment.amount_is_override,
        max_fee_msat=payment.fee_reserve_msat,
        timeout_s=timeout_s,
    )
