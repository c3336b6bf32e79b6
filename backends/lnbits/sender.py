"""The one door through which a payment leaves: checked, sent once, and followed."""

import asyncio
import time
from contextlib import suppress

from backends._checks import refused_bolt11
from backends._sends import Sends
from backends.lnbits.api import PROGRAM, LnbitsApi, NoReply, NotReached, Reply
from backends.lnbits.fee_cap import FeeCap
from backends.lnbits.payments import not_processed, outcome_of, refusal
from backends.lnbits.wallet import LnbitsWallet
from backends.lnbits.wire import PaymentRow
from nwc_service.backend import (
    BackendUnavailable,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    PayRequest,
    Unknown,
)
from nwc_service.wallet.units import MSAT_PER_SAT, PaymentHash

GRACE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # between looks at a payment that is not final


class Sender:
    """LNbits itself refuses a second payment of one hash; this never sends a second time."""

    def __init__(self, api: LnbitsApi, wallet: LnbitsWallet, *, fee_cap: FeeCap) -> None:
        self._api = api
        self._wallet = wallet
        self._fee_cap = fee_cap
        self._sends = Sends(PROGRAM)

    async def pay(self, request: PayRequest) -> Outcome:
        """Never raises, but for the caller's own cancellation, which cuts no request off."""
        refused = self._refused_here(request) or refused_bolt11(request, now=time.time())
        if refused is not None:
            return refused
        key = request.our_id, request.payment_hash
        timeout_s = request.timeout_s + 2 * GRACE_S
        return await self._sends.join(key, lambda: self._pay(request), timeout_s=timeout_s)

    async def close(self) -> None:
        await self._sends.close()

    async def look_up(self, payment_hash: PaymentHash) -> Outcome | None:
        """Raises BackendUnavailable."""
        row = await self._wallet.row("lookup_payment", payment_hash)
        return outcome_of(row) if row is not None and row.amount < 0 else None

    def _refused_here(self, request: PayRequest) -> NotSent | None:
        if request.amount_is_override:
            return NotSent(FailReason.UNSUPPORTED, "LNbits pays no invoice without an amount")
        if request.amount_msat % MSAT_PER_SAT:
            return NotSent(FailReason.UNSUPPORTED, "LNbits pays whole sats only")
        if request.max_fee_msat < self._fee_cap.msat(request.amount_msat):
            return NotSent(FailReason.FEE_TOO_HIGH, "LNbits may take more than is reserved")
        return None

    async def _pay(self, request: PayRequest) -> Outcome:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout_s
        try:
            outcome = await self._send(request)
        except NotReached as gone:
            return NotSent(FailReason.UNAVAILABLE, str(gone))
        except BackendUnavailable as gone:
            outcome = Unknown(str(gone))
        return await self._follow(request.payment_hash, outcome, deadline=deadline)

    async def _send(self, request: PayRequest) -> Outcome:
        """Raises BackendUnavailable, and NotReached where nothing left."""
        body = {"out": True, "bolt11": request.invoice, "external_id": request.our_id}
        reply = await self._api.pay(body, timeout_s=request.timeout_s + GRACE_S)
        refused = not_processed(reply)
        if refused is not None:
            return refused
        accepted = _accepted_row(reply, request.payment_hash)
        if accepted is not None:
            return outcome_of(accepted)
        # "failed" and "already paid" may be said of a payment that this wallet made.
        return await self._found_after(reply, request.payment_hash)

    async def _found_after(self, reply: Reply, payment_hash: PaymentHash) -> Outcome:
        try:
            found = await self.look_up(payment_hash)
        except BackendUnavailable as gone:
            raise NoReply(str(gone)) from None
        return found if found is not None else refusal(reply)

    async def _follow(
        self, payment_hash: PaymentHash, outcome: Outcome, *, deadline: float
    ) -> Outcome:
        """LNbits answers "pending" after a few seconds: look on until the time is up."""
        pause_s = FIRST_PAUSE_S
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while isinstance(outcome, InFlight | Unknown):
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    with suppress(BackendUnavailable):
                        outcome = await self.look_up(payment_hash) or outcome
        return outcome


def _accepted_row(reply: Reply, payment_hash: PaymentHash) -> PaymentRow | None:
    """This wallet's own payment, unless it failed. For an expired invoice of its own, LNbits
    shows the payee's row instead."""
    row = reply.read(PaymentRow) if reply.status in (200, 201) else None
    if row is None or row.hash != payment_hash or row.amount >= 0:
        return None
    return row if row.status != "failed" else None
