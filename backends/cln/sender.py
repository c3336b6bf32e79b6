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

from backends._checks import hash_of, refused_by, used_before
from backends._sends import Sends
from backends.cln.api import (
    BAD_PARAMS,
    PLUGIN_TERMINATED,
    PROGRAM,
    SHUTDOWN,
    ClnApi,
    NotReached,
    Reply,
)
from backends.cln.checks import is_bolt12, refused_here
from backends.cln.invoices import ClnInvoices
from backends.cln.keysends import Answer, ClnKeysends
from backends.cln.node import ClnNode
from backends.cln.payments import MAX_RETRY_S, ClnPayments, outcome_of, reason_of
from backends.cln.wire import Paid, Part, proven
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Failed,
    FailReason,
    InFlight,
    KeysendRequest,
    NotSent,
    Outcome,
    PayRequest,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat

GRACE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 8.0  # between looks at a payment that has not ended

# An attempt that is as young as this one's dispatch could not be told from it afterwards.
SAME_MOMENT_S = 2

EXPIRED = 207

Request = PayRequest | KeysendRequest


@dataclass(slots=True)
class _Progress:
    """What can be said of a payment when the time is up."""

    outcome: Outcome
    earlier_index: int = 0  # of the newest part of earlier attempts, which have failed
    has_ended: bool = False  # no more parts are made
    is_single: bool = False  # there is never another after the first part
    reason: FailReason = FailReason.OTHER
    detail: str = ""

    def take(self, parts: Sequence[Part]) -> None:
        if any(part.status != "failed" for part in parts):
            self.outcome = outcome_of(parts)
            return
        own = [part for part in parts if part.created_index > self.earlier_index]
        if self.has_ended or (self.is_single and own):
            kind = Failed if own else NotSent
            self.outcome = kind(self.reason, self.detail)
        elif own:
            self.outcome = InFlight("CLN may still try another route")


class Sender:
    def __init__(
        self, api: ClnApi, payments: ClnPayments, *, node: ClnNode, invoices: ClnInvoices
    ) -> None:
        self._api = api
        self._payments = payments
        self._node = node
        self._invoices = invoices
        self._keysends = ClnKeysends(api, node)
        self._sends = Sends(PROGRAM)

    async def pay(self, request: Request) -> Outcome:
        """Never raises, but for the caller's own cancellation, which cuts no request off. The
        same payment asked for again meanwhile is the same send."""
        refused = refused_here(request, now=time.time())
        if refused is not None:
            return refused
        key = request.our_id, hash_of(request)
        timeout_s = request.timeout_s + 3 * GRACE_S
        return await self._sends.join(key, lambda: self._in_time(request), timeout_s=timeout_s)

    async def close(self) -> None:
        await self._sends.close()

    # --- one send

    async def _in_time(self, request: Request) -> Outcome:
        late = NotSent(FailReason.UNAVAILABLE, "CLN did not answer before anything was sent")
        progress = _Progress(late, is_single=isinstance(request, KeysendRequest))
        try:
            async with asyncio.timeout(request.timeout_s + GRACE_S):
                await self._pay(request, progress)
        except TimeoutError:
            if isinstance(progress.outcome, InFlight | Unknown):
                await self._last_look(request, progress)
        return progress.outcome

    async def _pay(self, request: Request, progress: _Progress) -> None:
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

    async def _known_before(self, request: Request, progress: _Progress) -> Outcome | None:
        """None where nothing keeps it from being sent. Raises BackendUnavailable."""
        since = int(time.time()) - SAME_MOMENT_S  # before CLN is asked, which may take a while
        if isinstance(request, KeysendRequest):
            return await self._keysend_before(request)
        if is_bolt12(request.invoice):
            try:
                read = await self._node.decode(request.invoice, operation="pay")
            except BadRequest as wrong:
                return NotSent(FailReason.BAD_REQUEST, str(wrong))
            refused = refused_by(read, request, now=time.time())
            if refused is not None:
                return refused
        before = await self._payments.parts(hash_of(request), operation="pay")
        if not before:
            return None
        if any(part.status != "failed" for part in before):
            return outcome_of(before)
        progress.earlier_index = max(part.created_index for part in before)
        if max(part.created_at for part in before) >= since:
            detail = "CLN tried this invoice a moment ago; try again in a few seconds"
            return NotSent(FailReason.REJECTED, detail)
        return None

    async def _keysend_before(self, request: KeysendRequest) -> Outcome | None:
        """The part's label says whose it was."""
        before = await self._payments.parts(hash_of(request), operation="pay")
        if any(part.label == request.our_id for part in before):
            return outcome_of(before)
        if before or await self._invoices.find(hash_of(request), operation="pay"):
            return used_before()
        return None

    async def _send(self, request: Request, progress: _Progress) -> None:
        try:
            answer = await self._ask(request)
        except NotReached as gone:
            progress.outcome = NotSent(FailReason.UNAVAILABLE, str(gone))
            return
        except BackendUnavailable as gone:
            progress.outcome = Unknown(str(gone))
            return
        if (refused := _refusal(answer.reply)) is not None:
            progress.outcome = refused
            return
        with suppress(BackendUnavailable):
            await self._conclude(request, progress, answer=answer)

    async def _ask(self, request: Request) -> Answer:
        """Raises NotReached and NoReply."""
        if isinstance(request, KeysendRequest):
            return await self._keysends.send(request)
        reply = await self._api.long_call(
            "xpay", _params(request), operation="pay", timeout_s=None
        )
        paid = reply.read(Paid)
        if paid is None:
            return Answer(reply)
        fee_msat = Msat(max(0, paid.amount_sent_msat - paid.amount_msat))
        return Answer(reply, paid.payment_preimage, fee_msat)

    async def _conclude(self, request: Request, progress: _Progress, *, answer: Answer) -> None:
        """What the parts say, now that CLN has answered. Raises BackendUnavailable."""
        preimage = proven(answer.preimage, hash_of(request))
        if preimage is not None:
            progress.outcome = Settled(preimage, answer.fee_msat)
            # the same words as every look at it later
            parts = await self._payments.parts(hash_of(request), operation="pay")
            found = outcome_of(parts)
            if isinstance(found, Settled):
                progress.outcome = found
            return
        reply = answer.reply
        progress.detail = f"CLN says {reply.code}: {reply.words}"
        progress.outcome = Unknown(progress.detail)
        progress.reason = reason_of(reply.code, reply.words)
        if reply.code not in (None, PLUGIN_TERMINATED, SHUTDOWN):
            progress.has_ended = progress.is_single or await self._node.is_slow(operation="pay")
        progress.take(await self._payments.parts(hash_of(request), operation="pay"))

    async def _follow(self, request: Request, progress: _Progress) -> None:
        """Until it is final, or the time is up."""
        pause_s = FIRST_PAUSE_S
        while isinstance(progress.outcome, InFlight | Unknown):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with suppress(BackendUnavailable):
                progress.take(await self._payments.parts(hash_of(request), operation="pay"))

    async def _last_look(self, request: Request, progress: _Progress) -> None:
        with suppress(BackendUnavailable, TimeoutError):
            async with asyncio.timeout(GRACE_S):
                progress.take(await self._payments.parts(hash_of(request), operation="pay"))


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
