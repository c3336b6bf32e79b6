"""What a client is told of a payment that was given back, by the reason of its outcome."""

from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.outcome import Failed, FailReason, NotSent, Outcome
from nwc_service.wallet.payment import Payment

_REFUSALS: dict[FailReason, tuple[ErrorCode, str]] = {
    FailReason.NO_ROUTE: (ErrorCode.PAYMENT_FAILED, "no route to the payee"),
    FailReason.TIMEOUT: (ErrorCode.PAYMENT_FAILED, "it could not be sent in time"),
    FailReason.INSUFFICIENT_BALANCE: (
        ErrorCode.PAYMENT_FAILED,
        "the node has too little liquidity",
    ),
    FailReason.FEE_TOO_HIGH: (ErrorCode.PAYMENT_FAILED, "the fee would exceed the reserve"),
    FailReason.EXPIRED: (ErrorCode.PAYMENT_FAILED, "the invoice has expired"),
    FailReason.REJECTED: (ErrorCode.PAYMENT_FAILED, "the payee refused the payment"),
    FailReason.BAD_REQUEST: (ErrorCode.OTHER, "the node refused this invoice"),
    FailReason.UNSUPPORTED: (ErrorCode.OTHER, "the node cannot pay this invoice"),
    FailReason.UNAVAILABLE: (
        ErrorCode.INTERNAL,
        "the node cannot be reached; nothing was sent",
    ),
    FailReason.OTHER: (ErrorCode.PAYMENT_FAILED, "the payment failed"),
}

NODE_GONE = "the node of this account is not there any more"
NODE_PAUSED = "the node is paused: the operator must look at it first"
CONNECTION_ENDED = "this connection is revoked or expired"
ACCOUNT_FROZEN = "this account is frozen by its operator"
CONNECTION_PAUSED = "this connection is paused by its operator"


def refusal(outcome: Outcome, *, method: str = "") -> RequestError:
    reason = outcome.reason if isinstance(outcome, Failed | NotSent) else FailReason.OTHER
    code, message = _REFUSALS[reason]
    if reason is FailReason.FEE_TOO_HIGH and method == "pay":
        code = ErrorCode.FEE_LIMIT_EXCEEDED  # NWC-321's; the core methods have no such code
    return RequestError(code, message)


def why_released(payment: Payment) -> str:
    """In the words that its own request was told, as far as its proof begins with a reason."""
    word = payment.proof.detail.partition(" ")[0] if payment.proof else ""
    reasons = {reason.value: reason for reason in FailReason}
    return _REFUSALS[reasons.get(word, FailReason.OTHER)][1]
