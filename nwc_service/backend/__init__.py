"""PORT: what the service asks of a Lightning backend, and how one is found by name.

A backend only executes and reports; the service's own ledger decides what happens to money.
Stream events are hints, `lookup_*` is the truth, a preimage that hashes to the payment hash
is the only proof of success.
"""

from nwc_service.backend.entry_points import ENTRY_POINT_GROUP, find, load
from nwc_service.backend.findings import Finding
from nwc_service.backend.port import BakeCommand, LightningBackend
from nwc_service.backend.reports import (
    Balance,
    Decoded,
    FetchedInvoice,
    HistoryPage,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    NodeInfo,
    OfferReport,
    OfferSpec,
    PaymentRef,
    PaymentReport,
    PayRequest,
    ref_to,
)
from nwc_service.backend.words import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Cursor,
    InvoiceStatus,
    ReleaseRule,
    Unsupported,
)
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import PaymentKind

__all__ = [
    "ENTRY_POINT_GROUP",
    "BackendUnavailable",
    "BadRequest",
    "BakeCommand",
    "Balance",
    "Cap",
    "Cursor",
    "Decoded",
    "FailReason",
    "Failed",
    "FetchedInvoice",
    "Finding",
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
    "find",
    "load",
    "ref_to",
]
