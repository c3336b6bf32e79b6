"""What a backend can say about a payment: a closed sum.

`Failed` means that the payment can never settle; "no answer" is `Unknown`, never `Failed`
(`docs/money.md`).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from nwc_service.wallet.units import Msat, Preimage


class FailReason(StrEnum):
    """Why a payment was not made, in words that every backend shares."""

    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    FEE_TOO_HIGH = "fee_too_high"
    EXPIRED = "expired"
    REJECTED = "rejected"
    BAD_REQUEST = "bad_request"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Settled:
    """The payee has the money. `fee_msat` is None where the backend does not say: the whole
    reserve is charged then."""

    preimage: Preimage = field(repr=False)
    fee_msat: Msat | None
    settled_at: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Authoritative: this payment can never settle on this backend."""

    reason: FailReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class InFlight:
    """The backend has it and it is not final."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """Proven: nothing left for this payment."""

    reason: FailReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, or one that proves nothing. The money stays held."""

    detail: str = ""


Outcome = Settled | Failed | InFlight | NotSent | Unknown
