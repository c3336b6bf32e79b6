"""The NIP-47 Transaction object, in the shape that every known client accepts.

Strings are never null, `settled_at` appears only once settled, and an incoming preimage never
before: it would be a false proof of payment.
"""

import json

from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.payment import Payment, PaymentState

INCOMING_STATES = {
    InvoiceState.REQUESTED: "pending",
    InvoiceState.PENDING: "pending",
    InvoiceState.ACCEPTED: "accepted",
    InvoiceState.SETTLED: "settled",
    InvoiceState.EXPIRED: "expired",
    InvoiceState.CANCELED: "failed",
}
OUTGOING_STATES = {
    PaymentState.RESERVED: "pending",
    PaymentState.DISPATCHED: "pending",
    PaymentState.UNKNOWN: "pending",
    PaymentState.SETTLED: "settled",
    PaymentState.RELEASED: "failed",
}


def incoming_state(invoice: Invoice, *, now: int) -> str:
    """A pending invoice past its expiry reads as expired before the node was asked."""
    if invoice.state is InvoiceState.PENDING and now >= invoice.expires_at:
        return "expired"
    return INCOMING_STATES[invoice.state]


def from_invoice(invoice: Invoice, *, now: int) -> dict[str, object]:
    settled = invoice.state is InvoiceState.SETTLED
    received_msat = invoice.received_msat if settled else None
    return _transaction(
        type_="incoming",
        state=incoming_state(invoice, now=now),
        row=invoice,
        amount_msat=invoice.amount_msat if received_msat is None else received_msat,
        fees_paid_msat=0,
        preimage=(invoice.preimage or "") if settled else "",
        settled_at=invoice.settled_at if settled else None,
    )


def from_payment(payment: Payment) -> dict[str, object]:
    settled = payment.state is PaymentState.SETTLED
    return _transaction(
        type_="outgoing",
        state=OUTGOING_STATES[payment.state],
        row=payment,
        amount_msat=payment.amount_msat,
        fees_paid_msat=payment.fee_msat or 0,
        preimage=payment.preimage or "",
        settled_at=payment.settled_at if settled else None,
    )


def _transaction(
    *,
    type_: str,
    state: str,
    row: Invoice | Payment,
    amount_msat: int,
    fees_paid_msat: int,
    preimage: str,
    settled_at: int | None,
) -> dict[str, object]:
    result: dict[str, object] = {
        "type": type_,
        "state": state,
        "invoice": row.invoice,
        "description": row.description,
        "description_hash": row.description_hash or "",
        "preimage": preimage,
        "payment_hash": row.payment_hash or "",
        "amount": amount_msat,
        "fees_paid": fees_paid_msat,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
    }
    if settled_at is not None:
        result["settled_at"] = settled_at
    if row.metadata is not None:
        result["metadata"] = json.loads(row.metadata)
    return result
