"""The one door through which a payment leaves: checked, sent once, and followed.

CLN refuses a hash that it has paid or is paying, but tries one again that failed. So what CLN
knew of the hash before is asked first: an earlier failure must never be taken for this one's.
An error of `xpay` alone is never final. In slow mode it comes when the last part has ended, so
then the parts tell the outcome; else they do only when no more can be made.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backends.cln.api import BAD_PARAMS, PLUGIN_TERMINATED, SHUTDOWN, ClnApi, NotReached, Reply
from backends.cln.checks import is_bolt12, refused_by, refused_here
from backends.cln.node import ClnNode
from backends.cln.payments import MAX_RETRY_S, ClnPayments, outcome_of, reason_of
from backends.cln.wire import Paid, Part, proven
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    PayRequest,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, PaymentHash

GRACE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 8.0  # between looks at a payment that has not ended

# An attempt that is as young as this one's dispatch could not be told from it afterwards.
SAME_MOMENT_S = 2

EXPIRED = 207

Sends = dict[tuple[str, PaymentHash], "asyncio.Task[Outcome]"]


@dataclass(slots=True)
class _Progress:
    """What can be said of a payment when the time is up."""

    outcome: Outcome
    earlier_index: int = 0  # of the newest part of earlier attempts, which have failed
    has_ended: bool = False  # `xpay` makes no more parts
    reason: FailReason = FailReason.OTHER
    detail: str = ""

    def take(self, parts: Sequence[Part]) -> None:
        if any(part.status != "failed" for part in parts):
            self.outcome = outcome_of(parts)
            return
        own = [part for part in parts if part.created_index > self.earlier_index]
        if self.has_ended:
            kind = Failed if own else NotSent
            self.outcome = kind(self.reason, self.detail)
        elif own:
            self.outcome = InFlight("CLN may still try another route")


class Sender:
    def __init__(self, api: ClnApi, payments: ClnPayments, *, node: ClnNode) -> None:
        self._api = api
        self._payments = payments
        self._node = node
        self._sends: Sends = {}

    async def pay(self, request: PayRequest) -> Outcome:
        """Never raises, but for the caller's own cancellation, which cuts no request off. The
        same payment asked for again meanwhile is the same send."""
        refused = refused_here(request, now=time.time())
        if refused is not None:
            return refused
        key = request.our_id, request.payment_hash
        send = self._sends.get(key)
        if send is None:
            send = self._sends[key] = asyncio.create_task(self._in_time(request))
            send.add_done_callback(lambda _: self._sends.pop(key, None))
        done, _ = await asyncio.wait({send}, timeout=request.timeout_s + 3 * GRACE_S)
        if not done or send.cancelled():
            return Unknown("no answer from CLN yet")
        if problem := send.exception():
            return Unknown(f"{type(problem).__name__} while CLN was asked")
        return send.result()

    async def close(self) -> None:
        """What is still under way is found again by its hash."""
        sends = list(self._sends.values())
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)

    # --- one send

    async def _in_time(self, request: PayRequest) -> Outcome:
        late = NotSent(FailReason.UNAVAILABLE, "CLN did not answer before anything was sent")
        progress = _Progress(late)
        try:
            async with asyncio.timeout(request.timeout_s + GRACE_S):
                await self._pay(request, progress)
        except TimeoutError:
            if isinstance(progress.outcome, InFlight | Unknown):
                await self._last_look(request, progress)
        return progress.outcome

    async def _pay(self, request: PayRequest, progress: _Progress) -> None:
        try:
            known = await self._known_before(request, progress)
        except BackendUnavailable as gone:
            progress.outcome = NotSent(FailReason.UNAVAILABLE, str(gone))
            return
        if known is not None:
            progress.outcome = known
        else:
            progress.outcome = Unknown("sent, and no answer from CLN yet")
            await self._send(request, progress)
        if isinstance(progress.outcome, InFlight | Unknown):
            await self._follow(request, progress)
        outcome = progress.outcome
        if isinstance(outcome, Failed | NotSent) and progress.has_ended:
            reason = await self._node.why(request.amount_msat, outcome.reason)
            progress.outcome = type(outcome)(reason, outcome.detail)

    async def _known_before(self, request: PayRequest, progress: _Progress) -> Outcome | None:
        """None where nothing keeps it from being sent. Raises BackendUnavailable."""
        if is_bolt12(request.invoice):
            try:
                read = await self._node.decode(request.invoice, operation="pay")
            except BadRequest as wrong:
                return NotSent(FailReason.BAD_REQUEST, str(wrong))
            refused = refused_by(read, request, now=time.time())
            if refused is not None:
                return refused
        before = await self._payments.parts(request.payment_hash, operation="pay")
        if not before:
            return None
        if any(part.status != "failed" for part in before):
            return outcome_of(before)
        progress.earlier_index = max(part.created_index for part in before)
        if max(part.created_at for part in before) >= int(time.time()) - SAME_MOMENT_S:
            detail = "CLN tried this invoice a moment ago; try again in a few seconds"
            return NotSent(FailReason.REJECTED, detail)
        return None

    async def _send(self, request: PayRequest, progress: _Progress) -> None:
        try:
            reply = await self._api.long_call(
                "xpay", _params(request), operation="pay", timeout_s=None
            )
        except NotReached as gone:
            progress.outcome = NotSent(FailReason.UNAVAILABLE, str(gone))
            return
        except BackendUnavailable as gone:
            progress.outcome = Unknown(str(gone))
            return
        if (refused := _refusal(reply)) is not None:
            progress.outcome = refused
            return
        with suppress(BackendUnavailable):
            await self._conclude(request, progress, reply=reply)

    async def _conclude(
        self, request: PayRequest, progress: _Progress, *, reply: Reply
    ) -> None:
        """What the parts say, now that `xpay` has answered. Raises BackendUnavailable."""
        paid = reply.read(Paid)
        preimage = proven(paid.payment_preimage, request.payment_hash) if paid else None
        if paid is not None and preimage is not None:
            fee_msat = Msat(max(0, paid.amount_sent_msat - paid.amount_msat))
            progress.outcome = Settled(preimage, fee_msat)
            # the same words as every look at it later
            parts = await self._payments.parts(request.payment_hash, operation="pay")
            found = outcome_of(parts)
            if isinstance(found, Settled):
                progress.outcome = found
            return
        progress.detail = f"CLN says {reply.code}: {reply.words}"
        progress.outcome = Unknown(progress.detail)
        progress.reason = reason_of(reply.code, reply.words)
        if reply.code not in (None, PLUGIN_TERMINATED, SHUTDOWN):
            progress.has_ended = await self._node.is_slow(operation="pay")
        progress.take(await self._payments.parts(request.payment_hash, operation="pay"))

    async def _follow(self, request: PayRequest, progress: _Progress) -> None:
        """Until it is final, or the time is up."""
        pause_s = FIRST_PAUSE_S
        while isinstance(progress.outcome, InFlight | Unknown):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with suppress(BackendUnavailable):
                progress.take(await self._payments.parts(request.payment_hash, operation="pay"))

    async def _last_look(self, request: PayRequest, progress: _Progress) -> None:
        with suppress(BackendUnavailable, TimeoutError):
            async with asyncio.timeout(GRACE_S):
                progress.take(await self._payments.parts(request.payment_hash, operation="pay"))


def _refusal(reply: Reply) -> NotSent | None:
    """What CLN says before it makes the first part."""
    detail = f"CLN says {reply.code}: {reply.words}"
    if reply.is_unread:
        return NotSent(FailReason.UNAVAILABLE, detail)
    if reply.code == BAD_PARAMS:
        return NotSent(FailReason.BAD_REQUEST, detail)
    if reply.code == EXPIRED:
        return NotSent(FailReason.EXPIRED, detail)
    return None


def _params(request: PayRequest) -> Mapping[str, object]:
    override = {"amount_msat": request.amount_msat} if request.amount_is_override else {}
    return {
        "invstring": request.invoice.lower(),
        "maxfee": request.max_fee_msat,  # 0 means none
        "retry_for": max(1, min(int(request.timeout_s), MAX_RETRY_S)),
        **override,
    }
