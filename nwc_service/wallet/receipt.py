"""An incoming settlement: whom it credits, and what becomes of the invoice.

Total, for the money is there: whatever a node wrote beside the amount, it is booked (A17).
"""

from dataclasses import replace

from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.ledger import SUSPENSE, Entry, EntryKind, available, node
from nwc_service.wallet.payment import proves, told_time
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

UNSETTLED = (
    InvoiceState.REQUESTED,
    InvoiceState.PENDING,
    InvoiceState.ACCEPTED,
    InvoiceState.EXPIRED,
    InvoiceState.CANCELED,
)
"""The node decides, not our clock: each of them may still become SETTLED (I17)."""


def receive_entry(
    invoice: Invoice | None, *, backend: BackendName, received_msat: Msat, has_room: bool
) -> Entry:
    """What arrived goes to the invoice's account (A18). What nobody here asked for, or the
    account has no room for, waits in suspense."""
    credited = SUSPENSE if invoice is None or not has_room else available(invoice.account_id)
    return Entry(EntryKind.RECEIVE, node(backend), credited, received_msat)


def settle_invoice(
    invoice: Invoice,
    *,
    received_msat: Msat,
    preimage: Preimage | None,
    settled_at: int | None,
    now: int,
) -> Invoice:
    """The invoice as this settlement tells it. The row of one that was settled inside the
    ledger before stays as it is: this is a second receipt (A11)."""
    return replace(
        invoice,
        state=InvoiceState.SETTLED,
        received_msat=received_msat,
        preimage=_proven(preimage, invoice.payment_hash) or invoice.preimage,
        settled_at=told_time(settled_at) or now,
    )


def _proven(preimage: Preimage | None, payment_hash: PaymentHash | None) -> Preimage | None:
    """The preimage, where it is one."""
    if preimage is None or payment_hash is None or not proves(preimage, payment_hash):
        return None
    return preimage
