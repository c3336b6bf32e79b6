"""The one door through which a payment leaves: checked, sent once, and followed.

LND refuses a hash that it has paid or is paying, but tries one again that failed. So what LND
knew of the hash before is asked first: an earlier failure must never be taken for this one's.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass

from backends._checks import hash_of, used_before
from backends._sends import Sends
from backends.lnd.api import PROGRAM, LndApi, NotReached
from backends.lnd.checks import refused_here
from backends.lnd.node import LndNode
from backends.lnd.payments import LndPayments, outcome_of, refusal
from backends.lnd.wire import Payment, b64
from nwc_service.backend import (
    BackendUnavailable,
    Failed,
    FailReason,
    InFlight,
    KeysendRequest,
    NotSent,
    Outcome,
    PaymentRef,
    PayRequest,
    Unknown,
)
from nwc_service.wallet import keysend
from nwc_service.wallet.units import PaymentHash

GRACE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 8.0  # between looks at a payment whose stream was lost

# An attempt that is as young as this one's dispatch could not be told from it afterwards.
SAME_MOMENT_S = 2

MAX_REMEMBERED = 10_000
SEND = "/v2/router/send"


@dataclass(slots=True)
class _Progress:
    """What can be said of a payment when the time is up."""

    outcome: Outcome
    earlier: Payment | None = None  # an attempt of the same hash that is not this one

    def take(self, payment: Payment) -> Outcome:
        if self.earlier is not None and payment.payment_index == self.earlier.payment_index:
            return self.outcome
        self.outcome = outcome_of(payment)
        return self.outcome


class Sender:
    def __init__(self, api: LndApi, payments: LndPayments, *, node: LndNode) -> None:
        self._api = api
        self._payments = payments
        self._node = node
        self._sends = Sends(PROGRAM)
        self._keysends: OrderedDict[PaymentHash, str] = OrderedDict()  # for which `our_id`

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        """Never raises, but for the caller's own cancellation, which cuts no request off. The
        same payment asked for again meanwhile is the same send."""
        refused = refused_here(request, now=time.time())
        if refused is not None:
            return refused
        key = request.our_id, hash_of(request)
        timeout_s = request.timeout_s + 2 * GRACE_S
        return await self._sends.join(key, lambda: self._in_time(request), timeout_s=timeout_s)

    async def close(self) -> None:
        await self._sends.close()

    async def look_up(self, ref: PaymentRef) -> Outcome | None:
        """Raises BackendUnavailable."""
        payment = await self._payments.find(ref.payment_hash, operation="lookup_payment")
        if payment is None:
            return None
        outcome = outcome_of(payment)
        if isinstance(outcome, Failed) and payment.created_at < ref.dispatched_at:
            return None  # an earlier attempt, which proves nothing about this one
        return outcome

    # --- one send

    async def _in_time(self, request: PayRequest | KeysendRequest) -> Outcome:
        late = NotSent(FailReason.UNAVAILABLE, "LND did not answer before anything was sent")
        progress = _Progress(late)
        with suppress(TimeoutError):
            async with asyncio.timeout(request.timeout_s + GRACE_S):
                await self._pay(request, progress)
        return progress.outcome

    async def _pay(self, request: PayRequest | KeysendRequest, progress: _Progress) -> None:
        payment_hash = hash_of(request)
        try:
            known = await self._known_before(request, progress)
        except BackendUnavailable as gone:
            progress.outcome = NotSent(FailReason.UNAVAILABLE, str(gone))
            return
        if known is not None:
            progress.outcome = known
        else:
            progress.outcome = Unknown("sent, and no answer from LND yet")
            await self._send(request, progress)
        if isinstance(progress.outcome, InFlight | Unknown):
            await self._follow(payment_hash, progress)
        if isinstance(progress.outcome, Failed):
            reason = await self._node.why(request, progress.outcome.reason)
            progress.outcome = Failed(reason, progress.outcome.detail)

    async def _known_before(
        self, request: PayRequest | KeysendRequest, progress: _Progress
    ) -> Outcome | None:
        """None where nothing keeps it from being sent. Raises BackendUnavailable."""
        payment_hash = hash_of(request)
        before = await self._payments.find(payment_hash, operation="pay")
        if isinstance(request, KeysendRequest):
            return await self._keysend_before(request, before)
        if before is None:
            return None
        if before.status != "FAILED":
            return outcome_of(before)
        progress.earlier = before
        if before.created_at >= int(time.time()) - SAME_MOMENT_S:
            detail = "LND tried this invoice a moment ago; try again in a few seconds"
            return NotSent(FailReason.REJECTED, detail)
        return None

    async def _keysend_before(
        self, request: KeysendRequest, before: Payment | None
    ) -> Outcome | None:
        """LND keeps no name of ours with a payment, so what was sent is remembered here."""
        payment_hash = hash_of(request)
        sent_for = self._keysends.get(payment_hash)
        if before is not None and sent_for == request.our_id:
            return outcome_of(before)
        is_used = before is not None or sent_for not in (None, request.our_id)
        if is_used or await self._node.has_invoice(payment_hash):
            return used_before()
        self._keysends[payment_hash] = request.our_id
        while len(self._keysends) > MAX_REMEMBERED:
            self._keysends.popitem(last=False)
        return None

    async def _send(self, request: PayRequest | KeysendRequest, progress: _Progress) -> None:
        try:
            connect_s = request.timeout_s
            async with self._api.send(SEND, _body(request), connect_s=connect_s) as lines:
                async for reply in lines:
                    payment = reply.read(Payment)
                    if payment is None:
                        self._refuse(request, progress, outcome=refusal(reply))
                        return
                    if payment.payment_hash == hash_of(request):
                        progress.take(payment)
        except NotReached as gone:
            progress.outcome = NotSent(FailReason.UNAVAILABLE, str(gone))
        except BackendUnavailable as gone:
            if isinstance(progress.outcome, Unknown):
                progress.outcome = Unknown(str(gone))

    def _refuse(
        self, request: PayRequest | KeysendRequest, progress: _Progress, *, outcome: Outcome
    ) -> None:
        """An error after LND has said that it has the payment proves nothing."""
        if not isinstance(progress.outcome, Unknown):
            return
        if isinstance(request, KeysendRequest) and isinstance(outcome, InFlight):
            outcome = used_before()
        progress.outcome = outcome

    async def _follow(self, payment_hash: PaymentHash, progress: _Progress) -> None:
        """Until it is final, or the time is up."""
        pause_s = FIRST_PAUSE_S
        while True:
            with suppress(BackendUnavailable):
                states = self._payments.follow(payment_hash, operation="pay")
                async with aclosing(states):
                    async for payment in states:
                        progress.take(payment)
            if not isinstance(progress.outcome, InFlight | Unknown):
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _body(request: PayRequest | KeysendRequest) -> Mapping[str, object]:
    common: dict[str, object] = {
        "fee_limit_msat": str(request.max_fee_msat),  # 0 means none, not any
        "timeout_seconds": max(1, int(request.timeout_s)),
    }
    if isinstance(request, PayRequest):
        override = {"amt_msat": str(request.amount_msat)} if request.amount_is_override else {}
        return common | {"payment_request": request.invoice.lower()} | override
    records = {
        str(type_): b64(value.hex())
        for type_, value in (
            *request.tlvs.items(),
            (keysend.PREIMAGE_TLV, bytes.fromhex(request.preimage)),
        )
    }
    return common | {
        "dest": b64(request.destination),
        "amt_msat": str(request.amount_msat),
        "payment_hash": b64(hash_of(request)),
        "dest_custom_records": records,
    }
