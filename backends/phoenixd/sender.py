"""The one door through which a payment leaves: checked, sent once, and followed."""

import asyncio
import time
from contextlib import suppress

from backends._checks import refused_bolt11
from backends._sends import Sends
from backends.phoenixd.api import PROGRAM, NotReached, PhoenixdApi
from backends.phoenixd.node import PhoenixdNode
from backends.phoenixd.options import Options
from backends.phoenixd.payments import PhoenixdPayments, answer_of, is_live, outcome_of
from nwc_service.backend import (
    BackendUnavailable,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    PayRequest,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MAX_MSAT, MSAT_PER_SAT, PaymentHash

GRACE_S = 2.0
SAME_MOMENT_S = 5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # between looks at a payment that is not final


class Sender:
    """phoenixd refuses a second payment of one hash only when the first is settled, so nothing
    is sent here while another attempt may be under way."""

    def __init__(
        self,
        api: PhoenixdApi,
        node: PhoenixdNode,
        *,
        payments: PhoenixdPayments,
        options: Options,
    ) -> None:
        self._api = api
        self._node = node
        self._payments = payments
        self._options = options
        self._sends = Sends(PROGRAM)
        self._our_ids: dict[PaymentHash, str] = {}  # of what is under way

    async def pay(self, request: PayRequest) -> Outcome:
        """Never raises, but for the caller's own cancellation, which cuts no request off."""
        refused = self._refused_here(request) or self._refused_by_its_invoice(request)
        if refused is not None:
            return refused
        payment_hash, our_id = request.payment_hash, request.our_id
        if self._our_ids.setdefault(payment_hash, our_id) != our_id:
            return NotSent(FailReason.REJECTED, "another payment of this hash is under way")
        timeout_s = request.timeout_s + 2 * GRACE_S
        return await self._sends.join(
            payment_hash, lambda: self._one(request), timeout_s=timeout_s
        )

    async def close(self) -> None:
        await self._sends.close()

    async def _one(self, request: PayRequest) -> Outcome:
        try:
            return await self._pay(request)
        finally:
            self._our_ids.pop(request.payment_hash, None)

    def _refused_here(self, request: PayRequest) -> NotSent | None:
        if not 0 < request.amount_msat <= MAX_MSAT:
            return NotSent(FailReason.BAD_REQUEST, "the amount is out of range")
        if not self._node.may_pay:
            return NotSent(FailReason.UNSUPPORTED, "the password of limited access cannot pay")
        if request.amount_is_override and request.amount_msat % MSAT_PER_SAT:
            return NotSent(FailReason.UNSUPPORTED, "phoenixd is told whole sats only")
        if request.max_fee_msat < self._options.fee_cap_msat(request.amount_msat):
            return NotSent(FailReason.FEE_TOO_HIGH, "phoenixd may take more than is reserved")
        return None

    def _refused_by_its_invoice(self, request: PayRequest) -> NotSent | None:
        if (refused := refused_bolt11(request, now=time.time())) is not None:
            return refused
        network = bolt11.decode(request.invoice).network
        if self._node.network and network != self._node.network:
            return NotSent(FailReason.BAD_REQUEST, "the invoice is of another network")
        return None

    async def _pay(self, request: PayRequest) -> Outcome:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout_s
        since = int(time.time())
        try:
            known = await self._known_before(request.payment_hash, since=since)
        except BackendUnavailable as gone:
            return NotSent(FailReason.UNAVAILABLE, str(gone))
        if known is None and loop.time() > deadline:
            return NotSent(FailReason.UNAVAILABLE, "phoenixd did not answer before it was sent")
        outcome = known or await self._send(request)
        if isinstance(outcome, Settled):
            return await self._told_exactly(request.payment_hash, outcome)
        return await self._follow(request.payment_hash, outcome, since=since, deadline=deadline)

    async def _known_before(self, payment_hash: PaymentHash, *, since: int) -> Outcome | None:
        """None where nothing keeps it from being sent. Raises BackendUnavailable."""
        before = await self._payments.best(payment_hash, operation="pay")
        if before is None:
            return None
        if is_live(before):
            return outcome_of(before)
        if await self._payments.attempts(payment_hash, since=since - SAME_MOMENT_S):
            # its failure could later not be told from this one's
            detail = "phoenixd tried this invoice a moment ago; try again in a few seconds"
            return NotSent(FailReason.REJECTED, detail)
        return None

    async def _send(self, request: PayRequest) -> Outcome:
        form: dict[str, str | int] = {"invoice": request.invoice}
        if request.amount_is_override:
            form["amountSat"] = request.amount_msat // MSAT_PER_SAT
        try:
            reply = await self._api.pay(form, timeout_s=request.timeout_s + GRACE_S)
        except NotReached as gone:
            return NotSent(FailReason.UNAVAILABLE, str(gone))
        except BackendUnavailable as gone:
            return Unknown(str(gone))
        return answer_of(reply, request.payment_hash, max_fee_msat=request.max_fee_msat)

    async def _told_exactly(self, payment_hash: PaymentHash, answer: Settled) -> Settled:
        """The answer tells the fee in whole sats, the row to the millisatoshi."""
        with suppress(BackendUnavailable):
            row = await self._payments.best(payment_hash, operation="pay")
            told = None if row is None else outcome_of(row)
            if isinstance(told, Settled):
                return told
        return answer

    async def _follow(
        self, payment_hash: PaymentHash, outcome: Outcome, *, since: int, deadline: float
    ) -> Outcome:
        pause_s = 0.0
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while isinstance(outcome, InFlight | Unknown):
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                    with suppress(BackendUnavailable):
                        found = await self._payments.look_up(payment_hash, since=since)
                        outcome = found or outcome
        return outcome
