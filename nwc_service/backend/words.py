"""What a backend can do, how its invoices stand, and what it may raise."""

from enum import Enum, Flag, StrEnum, auto
from typing import NewType

Cursor = NewType("Cursor", str)
"""Where a backend's stream of settled invoices was last read; opaque to the service."""


class Cap(Flag):
    """What a backend can do. The announced NIP-47 methods derive from these."""

    NODE_INFO = auto()
    INBOUND = auto()
    MSAT_INVOICE = auto()  # without it only whole sats can be invoiced
    AMOUNTLESS_CREATE = auto()
    DESCRIPTION_HASH = auto()
    HASHED_DESCRIPTION = auto()  # a description_hash only together with its text
    OWN_PREIMAGE = auto()
    OWN_EXPIRY = auto()
    DECODE = auto()  # tells how the node itself reads an invoice
    PAY_AMOUNTLESS = auto()
    FEE_LIMIT = auto()  # obeys `max_fee_msat`; without it `fee_cap_msat` declares the cap
    PAY_TIMEOUT = auto()
    MPP = auto()
    DEDUP_BY_HASH = auto()
    LOOKUP_BY_HASH = auto()
    SETTLE_CURSOR = auto()
    PUSH = auto()
    LIST_IN = auto()
    LIST_OUT = auto()
    CANCEL_INVOICE = auto()
    HOLD = auto()
    KEYSEND = auto()
    KEYSEND_TLV = auto()
    KEYSEND_OWN_PREIMAGE = auto()
    KEYSEND_IN = auto()
    SIGN = auto()
    BOLT12_SEND = auto()
    BOLT12_RECEIVE = auto()
    SIMULATED = auto()  # no real money moves; said in get_info, the log and /readyz


class ReleaseRule(Enum):
    """When money whose outcome stays unknown may be given back (`docs/money.md`)."""

    EXPIRY = "expiry"  # the backend refuses expired invoices: rule H
    FENCE = "fence"  # an older credential can be revoked: rule J
    MANUAL = "manual"  # only a final status, or the operator's recorded proof


class InvoiceStatus(StrEnum):
    """As the backend sees it; EXPIRED and CANCELED may still become SETTLED."""

    OPEN = "open"
    ACCEPTED = "accepted"
    SETTLED = "settled"
    CANCELED = "canceled"
    EXPIRED = "expired"


class Unsupported(Exception):
    """The backend cannot do this; raised before any I/O."""


class BadRequest(Exception):
    """The backend refuses these parameters; nothing was sent. The message is safe to show."""


class BackendUnavailable(Exception):
    """No usable answer. Never leaves `pay`, which reports NotSent or Unknown instead."""

    def __init__(self, problem: str = "", *, remedy: str | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
