"""An incoming payment: the invoice as we store it, and its states."""

from dataclasses import dataclass, field
from enum import StrEnum

from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    InvoiceId,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)


class InvoiceState(StrEnum):
    """REQUESTED -> PENDING -> SETTLED; EXPIRED and CANCELED may still become SETTLED, for the
    node decides, not our clock."""

    REQUESTED = "REQUESTED"  # claimed, the node not yet heard
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    SETTLED = "SETTLED"
    EXPIRED = "EXPIRED"
    CANCELED = "CANCELED"


class Resolution(StrEnum):
    """What its owner decided about an accepted hold invoice: once, for good."""

    SETTLE = "settle"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """`preimage` is set only once settled, or where the backend chose it; of a hold invoice as
    soon as its owner decided to settle. `invoice` is empty for what needed none."""

    invoice_id: InvoiceId
    account_id: AccountId
    connection_id: ConnectionId | None
    request_id: str | None
    backend: BackendName
    state: InvoiceState
    payment_hash: PaymentHash | None
    invoice: str
    description: str
    description_hash: str | None
    amount_msat: Msat | None  # None: any
    received_msat: Msat | None
    preimage: Preimage | None = field(repr=False)
    metadata: str | None
    created_at: int
    expires_at: int
    settled_at: int | None
    is_hold: bool = False
    min_cltv_expiry_delta: int | None = None  # blocks
    accepted_at: int | None = None  # since when a payment of a hold invoice is held
    settle_deadline: int | None = None  # block height
    payer_payment_id: PaymentId | None = None  # who holds it inside the ledger
    resolution: Resolution | None = None
    offer_id: str | None = None  # that it was paid through
    payer_note: str | None = None  # what the payer of an offer wrote
    address: str | None = None  # that a payer asked for it, by its name
