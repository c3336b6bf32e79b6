"""What a client is told of a payment that was given back."""

import re

import pytest

from nwc_service.wallet.errors import ErrorCode
from nwc_service.wallet.outcome import Failed, FailReason, InFlight, NotSent, Outcome, Unknown
from nwc_service.wallet.refusals import refusal

CODES = {
    FailReason.NO_ROUTE: ErrorCode.PAYMENT_FAILED,
    FailReason.TIMEOUT: ErrorCode.PAYMENT_FAILED,
    # The node's liquidity, not the user's balance: INSUFFICIENT_BALANCE would say the latter.
    FailReason.INSUFFICIENT_BALANCE: ErrorCode.PAYMENT_FAILED,
    FailReason.FEE_TOO_HIGH: ErrorCode.PAYMENT_FAILED,
    FailReason.EXPIRED: ErrorCode.PAYMENT_FAILED,
    FailReason.REJECTED: ErrorCode.PAYMENT_FAILED,
    FailReason.BAD_REQUEST: ErrorCode.OTHER,
    FailReason.UNSUPPORTED: ErrorCode.OTHER,
    FailReason.UNAVAILABLE: ErrorCode.INTERNAL,
    FailReason.OTHER: ErrorCode.PAYMENT_FAILED,
}


@pytest.mark.parametrize("kind", [Failed, NotSent])
@pytest.mark.parametrize("reason", FailReason)
def test_every_reason_has_its_code_and_words(
    reason: FailReason, kind: type[Failed] | type[NotSent]
) -> None:
    error = refusal(kind(reason, "peer 02aa: TEMPORARY_CHANNEL_FAILURE"))

    assert error.code is CODES[reason]
    assert re.fullmatch(r"[a-z; ]+", error.message)


def test_what_the_node_said_goes_to_nobody_else() -> None:
    messages = {
        refusal(Failed(reason, detail)).message
        for reason in FailReason
        for detail in ("", "10.0.0.1 refused")
    }

    assert len(messages) == len(FailReason)


@pytest.mark.parametrize(
    "outcome", [Unknown("timeout"), InFlight()], ids=["unknown", "in-flight"]
)
def test_another_outcome_is_told_as_a_failure(outcome: Outcome) -> None:
    assert refusal(outcome).code is ErrorCode.PAYMENT_FAILED
