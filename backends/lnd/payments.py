"""What LND's words about an outgoing payment prove."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from backends.lnd.api import (
    ALREADY_EXISTS,
    NO_SUCH_PATH,
    NOT_FOUND,
    LndApi,
    Reply,
    is_refused_unread,
)
from backends.lnd.wire import Payment, Payments, b64_path
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    PaymentReport,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, PaymentHash

REASONS: Mapping[str, FailReason] = {
    "FAILURE_REASON_TIMEOUT": FailReason.TIMEOUT,
    "FAILURE_REASON_NO_ROUTE": FailReason.NO_ROUTE,
    "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS": FailReason.REJECTED,
    "FAILURE_REASON_INSUFFICIENT_BALANCE": FailReason.INSUFFICIENT_BALANCE,
}

# What LND says of a payment before it stores and sends it. Whatever is not among these may
# have been said after that.
BEFORE_SENDING: Mapping[str, FailReason] = {
    "invoice expired": FailReason.EXPIRED,
    "invoice not for current active network": FailReason.BAD_REQUEST,
    "amount must be specified": FailReason.BAD_REQUEST,
    "amount must not be specified": FailReason.BAD_REQUEST,
    "self-payments not allowed": FailReason.REJECTED,
    "payment request must contain": FailReason.UNSUPPORTED,
    "the AMP flag": FailReason.UNSUPPORTED,
    "total time lock of": FailReason.REJECTED,
    "invalid vertex length": FailReason.BAD_REQUEST,
    "no custom records with types below": FailReason.BAD_REQUEST,
}
INVALID_ARGUMENT, UNIMPLEMENTED = 3, 12

NOT_INITIATED = "payment isn't initiated"
MAX_PAGE_SIZE = 1000


class LndPayments:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: LndApi) -> None:
        self._api = api

    async def find(self, payment_hash: PaymentHash, *, operation: str) -> Payment | None:
        """As it is now. None: LND knows nothing of it, which proves nothing."""
        found = self.follow(payment_hash, operation=operation, is_brief=True)
        async with aclosing(found) as states:
            return await anext(states, None)

    async def follow(
        self, payment_hash: PaymentHash, *, operation: str, is_brief: bool = False
    ) -> AsyncGenerator[Payment, None]:
        """As it is now, and as it changes, to its end; nothing where LND knows nothing."""
        path = f"/v2/router/track/{b64_path(payment_hash)}"
        listening = self._api.listen(path, operation=operation, is_brief=is_brief)
        async with listening as lines:
            async for reply in lines:
                if _is_not_initiated(reply):
                    return
                payment = reply.read(Payment)
                if payment is None or payment.payment_hash != payment_hash:
                    raise self._api.unusable(reply, operation=operation)
                yield payment

    async def page(self, *, after: int, limit: int) -> Payments:
        """Oldest first, the failed ones too."""
        return await self._list("list_history", {"index_offset": after, "max_payments": limit})

    async def last_index(self) -> int:
        query: Mapping[str, str | int] = {"reversed": "true", "max_payments": 1}
        return (await self._list("counters", query)).last_index_offset

    async def _list(self, operation: str, query: Mapping[str, str | int]) -> Payments:
        query = {"include_incomplete": "true", **query}
        reply = await self._api.get("/v1/payments", operation=operation, query=query)
        page = reply.read(Payments)
        if page is None:
            raise self._api.unusable(reply, operation=operation)
        return page


def outcome_of(payment: Payment) -> Outcome:
    """LND says FAILED only when no HTLC is out any more, so it is final for this attempt."""
    if payment.status == "FAILED":
        reason = REASONS.get(payment.failure_reason, FailReason.OTHER)
        return Failed(reason, f"LND says {payment.failure_reason or payment.status}")
    if payment.status != "SUCCEEDED":
        return InFlight("LND has it and it is not final")
    preimage = payment.proven_preimage
    if preimage is None:
        return Unknown("LND says SUCCEEDED without a preimage that proves it")
    return Settled(preimage, Msat(payment.fee_msat), settled_at=_settled_at(payment))


def payment_report(payment: Payment) -> PaymentReport:
    return PaymentReport(
        payment_hash=PaymentHash(payment.payment_hash),
        amount_msat=Msat(payment.value_msat),
        outcome=outcome_of(payment),
        created_at=payment.created_at,
    )


def refusal(reply: Reply) -> Outcome:
    """What an error in the place of a payment's first state proves."""
    problem = reply.problem
    if problem is None:
        return Unknown("LND's answer cannot be read")
    detail = f"LND says: {reply.words}" if reply.words else f"LND: HTTP {reply.status}"
    if problem.code == ALREADY_EXISTS:
        return InFlight(detail)
    if is_refused_unread(reply) or reply.status in (401, 403):
        return NotSent(FailReason.UNAVAILABLE, detail)
    is_elsewhere = reply.status == 404 and reply.words == NO_SUCH_PATH
    if is_elsewhere or problem.code == UNIMPLEMENTED:
        return NotSent(FailReason.UNAVAILABLE, detail)
    if problem.code == INVALID_ARGUMENT:
        return NotSent(FailReason.BAD_REQUEST, detail)
    for words, reason in BEFORE_SENDING.items():
        if problem.message.startswith(words):
            return NotSent(reason, detail)
    return Unknown(detail)


def _is_not_initiated(reply: Reply) -> bool:
    problem = reply.problem
    return (
        problem is not None
        and problem.code == NOT_FOUND
        and problem.message.startswith(NOT_INITIATED)
    )


def _settled_at(payment: Payment) -> int | None:
    resolved = [htlc.resolve_time_ns for htlc in payment.htlcs if htlc.status == "SUCCEEDED"]
    return max(resolved) // 10**9 if resolved else None
