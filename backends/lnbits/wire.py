"""LNbits' JSON: only the fields that this backend believes, each checked."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationError,
)

from nwc_service.wallet.units import PaymentHash, Preimage


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[datetime, AfterValidator(_in_utc)]


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class WalletInfo(Wire):
    """GET /api/v1/wallet. Only the admin key is told the id."""

    name: str
    balance: StrictInt  # msat
    id: str | None = None


class PaymentRow(Wire):
    """An incoming or outgoing payment of a wallet, as every answer shows it."""

    payment_hash: Hash
    wallet_id: str
    amount: StrictInt  # msat, negative when outgoing
    fee: StrictInt | StrictFloat | None = None  # msat, of either sign
    status: Literal["pending", "success", "failed"]
    bolt11: str
    preimage: str | None = None  # LNbits tells it before the invoice is paid, too
    created_at: Time
    updated_at: Time
    external_id: str | None = None

    @property
    def hash(self) -> PaymentHash:
        return PaymentHash(self.payment_hash)

    @property
    def proven_preimage(self) -> Preimage | None:
        """The only proof of a payment: one that hashes to the payment hash."""
        try:
            preimage = bytes.fromhex(self.preimage or "")
        except ValueError:
            return None
        if len(preimage) != 32 or hashlib.sha256(preimage).hexdigest() != self.payment_hash:
            return None
        return Preimage(preimage.hex())


class Lookup(Wire):
    """GET /api/v1/payments/HASH. Without a valid key the details are missing, and the rest may
    be of anybody's wallet."""

    paid: bool
    details: PaymentRow | None = None


class RowsPage(Wire):
    """GET /api/v1/payments/paginated"""

    data: tuple[object, ...]
    total: StrictInt

    @property
    def rows(self) -> list[PaymentRow]:
        """Without those that this backend cannot read: they are none of its own, and must not
        hide the others."""
        return [row for row in map(_row_or_none, self.data) if row is not None]


def _row_or_none(value: object) -> PaymentRow | None:
    try:
        return PaymentRow.model_validate(value)
    except ValidationError:
        return None


class Refusal(Wire):
    """The body of an error; a list of `detail` means that the request was not even read."""

    detail: str | list[object] = ""
    status: str | None = None


class Reading(Wire):
    """POST /api/v1/payments/decode"""

    payment_hash: Hash
    amount_msat: StrictInt  # 0 where the invoice names none
    date: StrictInt
    expiry: StrictInt  # in seconds after the date
    payee: str | None = None


class WakeUp(Wire):
    """What the websocket says. Anybody can say it, so it is only a reason to look."""

    class Payment(Wire):
        payment_hash: Hash
        amount: StrictInt = Field(gt=0)

    payment: Payment
