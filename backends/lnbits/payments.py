"""What LNbits' words about an outgoing payment prove.

The HTTP status proves little: 201 may carry `failed`, and 520 may carry `success`.
"""

import math
from collections.abc import Mapping

from backends.lnbits.api import Reply
from backends.lnbits.wire import PaymentRow, Refusal
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
from nwc_service.wallet.units import Msat

# Answered before LNbits looks at the payment: a redirect, no such key, a limit of rate or size.
NOT_PROCESSED: Mapping[int, FailReason] = {
    301: FailReason.UNAVAILABLE,
    302: FailReason.UNAVAILABLE,
    307: FailReason.UNAVAILABLE,
    308: FailReason.UNAVAILABLE,
    401: FailReason.UNAVAILABLE,
    403: FailReason.UNAVAILABLE,
    404: FailReason.UNAVAILABLE,
    413: FailReason.BAD_REQUEST,
    422: FailReason.BAD_REQUEST,
    429: FailReason.UNAVAILABLE,
}

# LNbits turns every ValueError into a 400, even one that its funding source raised after
# sending. These it raises before.
BAD_BEFORE_SENDING: Mapping[str, FailReason] = {
    "Missing BOLT11 invoice": FailReason.BAD_REQUEST,
    "Missig invoice amount": FailReason.UNSUPPORTED,
    "It is not allowed to spend funds": FailReason.REJECTED,
    "Daily withdrawal limit of": FailReason.REJECTED,
}

REASONS: Mapping[str, FailReason] = {
    "Insufficient balance": FailReason.INSUFFICIENT_BALANCE,
    "You must reserve at least": FailReason.INSUFFICIENT_BALANCE,
    "Amountless invoices": FailReason.UNSUPPORTED,
    "Bolt11 decoding failed": FailReason.BAD_REQUEST,
    "Invalid invoice": FailReason.BAD_REQUEST,
    "Payment failed": FailReason.OTHER,
}

# Another of its wallets has tried this hash. LNbits looks for that before it writes down or
# sends anything, and only there says these words with these states (1.6.2:
# core/services/payments.py, _verify_external_payment).
TRIED_BY_ANOTHER_WALLET = frozenset(
    {
        ("success", "Payment already paid."),
        ("success", "Failed payment was already paid on the fundingsource."),
        ("pending", "Payment is still pending."),
    }
)

FAILED_ON_THE_WAY = "Payment failed"  # said only after the funding source has said so

MAX_DETAIL_LENGTH = 120


def outcome_of(row: PaymentRow) -> Outcome:
    """LNbits never tries a failed hash again, so `failed` is final."""
    if row.status == "pending":
        return InFlight("LNbits has it and says pending")
    if row.status == "failed":
        return Failed(FailReason.OTHER, "LNbits says failed")
    preimage = row.proven_preimage
    if preimage is None:
        return Unknown("LNbits says success without a preimage that proves it")
    return Settled(preimage, fee_msat(row), settled_at=int(row.updated_at.timestamp()))


def fee_msat(row: PaymentRow) -> Msat | None:
    return None if row.fee is None else Msat(math.ceil(abs(row.fee)))


def payment_report(row: PaymentRow) -> PaymentReport:
    return PaymentReport(
        payment_hash=row.hash,
        amount_msat=Msat(-row.amount),
        outcome=outcome_of(row),
        created_at=int(row.created_at.timestamp()),
    )


def not_processed(reply: Reply) -> NotSent | None:
    """Whether the status alone proves that LNbits did not look at the payment."""
    reason = NOT_PROCESSED.get(reply.status)
    if reason is None:
        return None
    return NotSent(reason, f"LNbits answered HTTP {reply.status}")


def refusal(reply: Reply) -> Outcome:
    """What a refusal proves once the wallet was found to have no such payment.

    Found nothing by itself proves nothing; what counts is that LNbits says `failed`, or that
    the hash is another wallet's.
    """
    body = reply.read(Refusal) or Refusal()
    if isinstance(body.detail, list):
        return NotSent(FailReason.BAD_REQUEST, "LNbits cannot read the request")
    detail = f"LNbits says: {body.detail[:MAX_DETAIL_LENGTH] or body.status}"
    if reply.status == 400:
        reason = _reason(body.detail, BAD_BEFORE_SENDING)
        return NotSent(reason, detail) if reason else Unknown(detail)
    if reply.status == 520 and (body.status, body.detail) in TRIED_BY_ANOTHER_WALLET:
        return NotSent(FailReason.REJECTED, detail)
    if body.status != "failed":
        return Unknown(f"LNbits answered HTTP {reply.status}")
    if body.detail.startswith(FAILED_ON_THE_WAY):
        return Failed(FailReason.OTHER, detail)
    return NotSent(_reason(body.detail, REASONS) or FailReason.REJECTED, detail)


def _reason(detail: str, reasons: Mapping[str, FailReason]) -> FailReason | None:
    return next((reasons[text] for text in reasons if detail.startswith(text)), None)
