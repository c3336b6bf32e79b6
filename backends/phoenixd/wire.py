"""phoenixd's JSON: only the fields that this backend believes, each checked.

What has no value it leaves out. Times are milliseconds, and `fees` are msat.
"""

import hashlib
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from nwc_service.wallet.units import PaymentHash, Preimage

MS_PER_S = 1000

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^0[23][0-9a-f]{64}$")]
Amount = Annotated[StrictInt, Field(ge=0)]


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Channel(Wire):
    state: str
    inbound_liquidity_sat: Amount = Field(default=0, alias="inboundLiquiditySat")


class Info(Wire):
    """GET /getinfo"""

    node_id: Key = Field(alias="nodeId")
    chain: str
    channels: tuple[Channel, ...]
    block_height: Amount | None = Field(default=None, alias="blockHeight")
    version: str = ""


class BalanceRow(Wire):
    """GET /getbalance"""

    balance_sat: Amount = Field(alias="balanceSat")
    fee_credit_sat: Amount = Field(alias="feeCreditSat")


class Created(Wire):
    """POST /createinvoice"""

    payment_hash: Hash = Field(alias="paymentHash")


class Reading(Wire):
    """POST /decodeinvoice. It does not name the payee."""

    payment_hash: Hash = Field(alias="paymentHash")
    amount_msat: Amount | None = Field(default=None, alias="amount")
    created_at: StrictInt = Field(alias="timestampSeconds")
    expiry_s: Amount = Field(default=3600, alias="expirySeconds")


class IncomingRow(Wire):
    """GET /payments/incoming and /payments/incoming/HASH. One of an offer has no invoice."""

    payment_hash: Hash = Field(alias="paymentHash")
    preimage: str  # told before the invoice is paid, too
    is_paid: bool = Field(alias="isPaid")
    received_sat: Amount = Field(alias="receivedSat")  # after the fees
    fees_msat: Amount = Field(alias="fees")  # what new liquidity cost
    created_at_ms: StrictInt = Field(alias="createdAt")
    completed_at_ms: StrictInt | None = Field(default=None, alias="completedAt")
    external_id: str | None = Field(default=None, alias="externalId")
    invoice: str | None = None

    @property
    def hash(self) -> PaymentHash:
        return PaymentHash(self.payment_hash)

    @property
    def settled_at(self) -> int:
        return (self.completed_at_ms or self.created_at_ms) // MS_PER_S


class OutgoingRow(Wire):
    """GET /payments/outgoing and /payments/outgoingbyhash/HASH: one attempt to pay."""

    payment_hash: Hash = Field(alias="paymentHash")
    is_paid: bool = Field(alias="isPaid")
    sent_sat: Amount = Field(alias="sent")  # with the fees once it is paid
    fees_msat: Amount = Field(alias="fees")
    created_at_ms: StrictInt = Field(alias="createdAt")
    completed_at_ms: StrictInt | None = Field(default=None, alias="completedAt")
    preimage: str | None = None
    invoice: str | None = None

    @property
    def hash(self) -> PaymentHash:
        return PaymentHash(self.payment_hash)


class Sent(Wire):
    """POST /payinvoice, when it was paid. The fee is cut to whole sats."""

    payment_hash: Hash = Field(alias="paymentHash")
    preimage: str = Field(alias="paymentPreimage")
    routing_fee_sat: Amount = Field(alias="routingFeeSat")


class NotPaid(Wire):
    """POST /payinvoice, when it was not."""

    reason: str


_ROWS = TypeAdapter(list[object])


def rows_of(body: object) -> list[object] | None:
    """None for what is no list."""
    try:
        return _ROWS.validate_python(body, strict=True)
    except ValidationError:
        return None


def proven(preimage: str | None, payment_hash: str) -> Preimage | None:
    """The only proof of a payment: a preimage that hashes to the payment hash."""
    try:
        secret = bytes.fromhex(preimage or "")
    except ValueError:
        return None
    if len(secret) != 32 or hashlib.sha256(secret).hexdigest() != payment_hash:
        return None
    return Preimage(secret.hex())
