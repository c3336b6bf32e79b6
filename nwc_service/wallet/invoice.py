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


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """`preimage` is set only once settled, or where the backend chose it."""

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
    amount_msat: Msat
    received_msat: Msat | None
    preimage: Preimage | None = field(repr=False)
    metadata: str | None
    created_at: int
    expires_at: int
    settled_at: int | None
