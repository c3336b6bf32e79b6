"""What a backend is asked for, and what it reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nwc_service.backend.words import Cursor, InvoiceStatus
from nwc_service.wallet.outcome import Outcome
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import Msat, PaymentHash, Preimage


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """Unknown fields are None and are left out of get_info."""

    alias: str | None = None
    color: str | None = None  # six hex digits
    pubkey: str | None = None  # 33 bytes as hex
    network: str | None = None  # mainnet, testnet, signet, regtest
    block_height: int | None = None
    block_hash: str | None = None
    synced: bool = True


@dataclass(frozen=True, slots=True)
class Balance:
    spendable_msat: Msat
    receivable_msat: Msat | None = None


@dataclass(frozen=True, slots=True)
class InvoiceSpec:
    """What to create. The same `our_id` twice gives the same invoice where the backend can.

    With `hold_hash` (Cap.HOLD) the node keeps a payment of that hash until `resolve_hold`, for
    at least `min_cltv_expiry_delta` blocks; `preimage` is None then.
    """

    our_id: str
    amount_msat: Msat | None
    description: str
    description_hash: str | None  # 32 bytes as hex
    expiry_s: int
    preimage: Preimage | None = field(repr=False)  # ours, where Cap.OWN_PREIMAGE
    hold_hash: PaymentHash | None = None
    min_cltv_expiry_delta: int | None = None  # blocks


@dataclass(frozen=True, slots=True)
class InvoiceReport:
    payment_hash: PaymentHash
    invoice: str  # lower case; of a keysend "", of an offer what the node made for it, opaque
    status: InvoiceStatus
    amount_msat: Msat | None
    received_msat: Msat | None  # what the node says arrived, once accepted or settled
    preimage: Preimage | None = field(repr=False)
    created_at: int
    expires_at: int
    settled_at: int | None = None
    htlc_set: str = ""  # where one invoice can be settled several times, which time
    settle_deadline: int | None = None  # of an accepted one: the height where the node cancels
    tlvs: Mapping[int, bytes] | None = None  # of a keysend, all but the preimage's record
    node_offer_id: str | None = None  # of the offer that it was paid through
    payer_note: str | None = None  # what the payer of an offer wrote


@dataclass(frozen=True, slots=True)
class PayRequest:
    """`amount_msat` is what the payee gets. `amount_is_override` says that the invoice names no
    amount, so the backend must be told. `max_fee_msat` is the very figure that is reserved."""

    our_id: str
    invoice: str
    payment_hash: PaymentHash
    amount_msat: Msat
    amount_is_override: bool
    max_fee_msat: Msat
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """An invoice as the node reads it. `payee` is None where it tells none."""

    payment_hash: PaymentHash
    amount_msat: Msat | None
    expires_at: int
    payee: str | None  # 33 bytes as hex


@dataclass(frozen=True, slots=True)
class KeysendRequest:
    """Its payment hash is that of `preimage`, whose own record is not among `tlvs`."""

    our_id: str
    destination: str  # 33 bytes as hex
    amount_msat: Msat
    preimage: Preimage = field(repr=False)
    tlvs: Mapping[int, bytes]
    max_fee_msat: Msat
    timeout_s: float


@dataclass(frozen=True, slots=True)
class OfferSpec:
    """What to create. The same `our_id` twice gives the same offer where the backend can."""

    our_id: str
    amount_msat: Msat | None  # None: any
    description: str
    issuer: str | None
    single_use: bool
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class OfferReport:
    """`node_offer_id` is what InvoiceReports of its payments name."""

    node_offer_id: str
    offer: str


@dataclass(frozen=True, slots=True)
class FetchedInvoice:
    """The BOLT12 invoice that a payee made for an offer, as the node reads it."""

    invoice: str
    payment_hash: PaymentHash
    amount_msat: Msat
    expires_at: int
    payee: str | None  # 33 bytes as hex


@dataclass(frozen=True, slots=True)
class PaymentRef:
    """How a payment is found again after a crash or a lost reply."""

    our_id: str
    payment_hash: PaymentHash
    dispatched_at: int


def ref_to(payment: Payment) -> PaymentRef:
    return PaymentRef(
        our_id=payment.payment_id,
        payment_hash=payment.payment_hash,
        dispatched_at=payment.dispatched_at or payment.created_at,
    )


@dataclass(frozen=True, slots=True)
class PaymentReport:
    """One line of a backend's outgoing history."""

    payment_hash: PaymentHash
    amount_msat: Msat
    outcome: Outcome
    created_at: int


@dataclass(frozen=True, slots=True)
class HistoryPage:
    items: Sequence[PaymentReport | InvoiceReport]
    next_cursor: Cursor | None
