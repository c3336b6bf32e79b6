"""PORT: what the service asks of a Lightning backend, and how one is found by name.

A backend only executes and reports; the service's own ledger decides what happens to money.
Stream events are hints, `lookup_*` is the truth, a preimage that hashes to the payment hash
is the only proof of success.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag, StrEnum, auto
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal, NewType, Protocol

from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import Payment, PaymentKind
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

__all__ = [
    "BackendUnavailable",
    "BadRequest",
    "Balance",
    "Cap",
    "Cursor",
    "Decoded",
    "FailReason",
    "Failed",
    "FetchedInvoice",
    "HistoryPage",
    "InFlight",
    "InvoiceReport",
    "InvoiceSpec",
    "InvoiceStatus",
    "KeysendRequest",
    "LightningBackend",
    "NodeInfo",
    "NotSent",
    "OfferReport",
    "OfferSpec",
    "Outcome",
    "PayRequest",
    "PaymentKind",
    "PaymentRef",
    "PaymentReport",
    "ReleaseRule",
    "Settled",
    "Unknown",
    "Unsupported",
    "load",
    "ref_to",
]

ENTRY_POINT_GROUP = "nwc_service.backends"

Cursor = NewType("Cursor", str)
"""Where a backend's stream of settled invoices was last read; opaque to the service."""


class Cap(Flag):
    """What a backend can do. The announced NIP-47 methods derive from these."""

    NODE_INFO = auto()
    INBOUND = auto()
    MSAT_INVOICE = auto()  # without it only whole sats can be invoiced
    AMOUNTLESS_CREATE = auto()
    DESCRIPTION_HASH = auto()
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


class LightningBackend(Protocol):
    """One configured node. Only Unsupported, BadRequest and BackendUnavailable may leave it."""

    name: BackendName
    caps: Cap  # may change in `start`, as some are found only then
    release_rules: Mapping[PaymentKind, ReleaseRule]  # a kind that is missing is MANUAL

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        """Check `options`, without I/O. Raises ValueError naming the wrong key."""

    async def start(self) -> NodeInfo:
        """Connect, check and report. May be called again: it then only reports."""

    async def balance(self) -> Balance: ...

    async def counters(self) -> Mapping[str, int]:
        """Numbers that the node never counts down: one that fell means that it was rolled
        back."""

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        """The most that this backend may charge where it obeys no fee limit, else None."""

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport: ...

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None: ...

    async def decode(self, invoice: str) -> Decoded:
        """How the node itself reads the invoice. Raises Unsupported, BackendUnavailable, and
        BadRequest (it cannot read it or would not pay it)."""

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        """Ask an offer's payee for an invoice; nothing is paid (Cap.BOLT12_SEND).

        Each call gives another, which `pay` takes as any other. Raises Unsupported,
        BackendUnavailable, and BadRequest: for an offer that is unreadable, of another network,
        expired or the node's own, for an amount that it does not ask for or that is missing,
        and where its payee does not answer.
        """

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        """A BOLT12 offer that stays payable without the service (Cap.BOLT12_RECEIVE). Raises
        Unsupported, BadRequest and BackendUnavailable."""

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        """Send, and wait up to `timeout_s` (and a little grace) for the end.

        Never raises for an uncertain result: that is `Unknown`. Does not retry. A keysend
        whose preimage another payment used before is NotSent.
        """

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        """None: the backend knows nothing of it now, which by itself proves nothing.

        Only what became of the send of this `our_id` may be reported: an earlier attempt of
        the same hash that failed proves nothing about this one.
        """

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """Settled (and accepted) invoices, each at least once, for as long as it is read."""

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage: ...

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        """Settle what is accepted with the preimage, or cancel with None what is open or
        accepted (Cap.HOLD).

        Idempotent: what has come about already is reported again. Raises Unsupported,
        BackendUnavailable, and BadRequest where it is not so: no hold invoice has this hash,
        the preimage is of another, nobody has paid yet, it was canceled (as by the node itself
        at the `settle_deadline`), or settled.
        """

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        """So that an invoice paid inside the ledger cannot be paid again. Idempotent; one that
        is settled stays so. A held payment goes back."""

    async def sign_message(self, message: str) -> str:
        """As LND and CLN do (Cap.SIGN): zbase32 of the recoverable signature by the node's key
        over "Lightning Signed Message:" and the message, hashed twice."""

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """An operator's command that only this backend has. Raises Unsupported, BadRequest."""

    async def close(self) -> None: ...


def load(type_name: str) -> type[LightningBackend]:
    """The backend class that an installed distribution registered under this name. Raises
    ValueError when none or several have it, listing the choices."""
    entry = find(type_name)
    loaded: type[LightningBackend] = entry.load()
    return loaded


def find(type_name: str) -> EntryPoint:
    """The entry point itself, whose `dist` tells what would be loaded. Raises as `load`."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    matches = [entry for entry in found if entry.name == type_name]
    if len(matches) == 1:
        return matches[0]
    choices = ", ".join(sorted(entry.name for entry in found)) or "none installed"
    problem = "no backend" if not matches else f"{len(matches)} backends"
    raise ValueError(
        f"{problem} of type {type_name!r}; installed: {choices}"
        " (after adding an entry point, install again)"
    )
