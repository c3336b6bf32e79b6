"""What a client is told of a payment that was given back, by the reason of its outcome."""

from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.outcome import Failed, FailReason, NotSent, Outcome

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

NODE_PAUSED = "the node is paused: the operator must look at it first"
CONNECTION_ENDED = "this connection is revoked or expired"


def refusal(outcome: Outcome) -> RequestError:
    reason = outcome.reason if isinstance(outcome, Failed | NotSent) else FailReason.OTHER
    code, message = _REFUSALS[reason]
    return RequestError(code, message)
