"""What CLN's rows about the parts of a payment prove.

`listsendpays` is the truth: `listpays` says "failed" between two attempts, and what `xpay`
answers may come before the last part has ended.
"""

import time
from collections.abc import Mapping, Sequence

from backends.cln.api import ClnApi
from backends.cln.wire import Part, Parts, proven
from nwc_service.backend import (
    Cursor,
    Failed,
    FailReason,
    HistoryPage,
    InFlight,
    Outcome,
    PaymentRef,
    PaymentReport,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, PaymentHash

MAX_RETRY_S = 120  # what `xpay` is told at most
MARGIN_S = 120  # of a slow node, and of its clock
NO_MORE_PARTS_AFTER_S = MAX_RETRY_S + MARGIN_S

MAX_PAGE_SIZE = 100  # each payment of a page is asked for alone

REASONS: Mapping[int, FailReason] = {
    203: FailReason.REJECTED,
    205: FailReason.NO_ROUTE,
    206: FailReason.FEE_TOO_HIGH,
    207: FailReason.EXPIRED,
    213: FailReason.REJECTED,
    215: FailReason.INSUFFICIENT_BALANCE,
    220: FailReason.NO_ROUTE,
}
TOO_DEAR, TOO_LATE = "excessive cost", "Timed out"


class ClnPayments:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: ClnApi) -> None:
        self._api = api

    async def parts(self, payment_hash: PaymentHash, *, operation: str) -> Sequence[Part]:
        """As they are now. None at all proves nothing."""
        query = {"payment_hash": payment_hash}
        found = await self._api.ask(Parts, "listsendpays", params=query, operation=operation)
        return [part for part in found.payments if part.payment_hash == payment_hash]

    async def look_up(self, ref: PaymentRef) -> Outcome | None:
        parts = await self.parts(ref.payment_hash, operation="lookup_payment")
        return outcome_at(parts, dispatched_at=ref.dispatched_at, now=time.time())

    async def page(self, *, after: int, limit: int) -> HistoryPage:
        """Each payment once, where its first part is; what failed too."""
        params = {"index": "created", "start": after + 1, "limit": limit}
        found = await self._api.ask(
            Parts, "listsendpays", params=params, operation="list_history"
        )
        reports = []
        for payment_hash in dict.fromkeys(part.payment_hash for part in found.payments):
            parts = await self.parts(PaymentHash(payment_hash), operation="list_history")
            if parts and min(part.created_index for part in parts) > after:
                reports.append(_report(parts))
        is_full = len(found.payments) == limit
        last = Cursor(str(found.payments[-1].created_index)) if is_full else None
        return HistoryPage(reports, last)


def outcome_at(parts: Sequence[Part], *, dispatched_at: int, now: float) -> Outcome | None:
    """Of the send that began then, as seen from outside of it."""
    if any(part.status != "failed" for part in parts):
        return outcome_of(parts)
    # an earlier attempt that failed proves nothing about this one
    own = [part for part in parts if part.created_at >= dispatched_at]
    if not own:
        return None
    if now - max(part.created_at for part in own) < NO_MORE_PARTS_AFTER_S:
        return InFlight("CLN may still try another route")
    return outcome_of(own)


def outcome_of(parts: Sequence[Part]) -> Outcome:
    """Of some parts, once no more will be made. As long as one is out, nothing is final."""
    if any(part.status == "pending" for part in parts):
        return InFlight("CLN has it and it is not final")
    complete = [part for part in parts if part.status == "complete"]
    if not complete:
        return Failed(FailReason.OTHER, "CLN says that all its parts have failed")
    preimages = [proven(part.payment_preimage, part.payment_hash) for part in complete]
    preimage = next(filter(None, preimages), None)
    if preimage is None:
        return Unknown("CLN says complete without a preimage that proves it")
    settled = [part.completed_at for part in complete if part.completed_at]
    return Settled(preimage, _fee_msat(complete), settled_at=max(settled, default=None))


def reason_of(code: int | None, words: str) -> FailReason:
    """Of an error of `xpay`."""
    if TOO_DEAR in words:
        return FailReason.FEE_TOO_HIGH
    if TOO_LATE in words:
        return FailReason.TIMEOUT
    return REASONS.get(code or 0, FailReason.OTHER)


def _report(parts: Sequence[Part]) -> PaymentReport:
    live = [part for part in parts if part.status != "failed"]
    if live:
        amount_msat = sum(part.amount_msat or part.amount_sent_msat for part in live)
    else:
        amount_msat = max(part.amount_msat or part.amount_sent_msat for part in parts)
    first = min(parts, key=lambda part: part.created_index)
    outcome = outcome_at(parts, dispatched_at=first.created_at, now=time.time())
    return PaymentReport(
        payment_hash=PaymentHash(first.payment_hash),
        amount_msat=Msat(amount_msat),
        outcome=outcome or Unknown(),
        created_at=first.created_at,
    )


def _fee_msat(complete: Sequence[Part]) -> Msat | None:
    delivered = [part.amount_msat for part in complete if part.amount_msat is not None]
    if len(delivered) < len(complete):
        return None  # CLN does not always know what arrives
    return Msat(max(0, sum(part.amount_sent_msat for part in complete) - sum(delivered)))
