"""The NIP-47 Transaction object, in the shape that every known client accepts.

Strings are never null, `expires_at` appears only beside an invoice, `settled_at` only once
settled, and an incoming preimage never before: it would be a false proof of payment.
`transaction_id` is for lookup_payment (NWC-09), where a payment hash may match twice.
"""

import json

from nwc_service.wallet import bip321
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.offer import MadeOffer
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
    result = _transaction(
        transaction_id=invoice.invoice_id,
        type_="incoming",
        state=incoming_state(invoice, now=now),
        row=invoice,
        amount_msat=received_msat or invoice.amount_msat or 0,
        fees_paid_msat=0,
        preimage=(invoice.preimage or "") if settled else "",
        settled_at=invoice.settled_at if settled else None,
    )
    if invoice.state is InvoiceState.ACCEPTED and invoice.settle_deadline is not None:
        result["settle_deadline"] = invoice.settle_deadline
    return result


def from_payment(payment: Payment) -> dict[str, object]:
    settled = payment.state is PaymentState.SETTLED
    return _transaction(
        transaction_id=payment.payment_id,
        type_="outgoing",
        state=OUTGOING_STATES[payment.state],
        row=payment,
        amount_msat=payment.amount_msat,
        fees_paid_msat=payment.fee_msat or 0,
        preimage=payment.preimage or "",
        settled_at=payment.settled_at if settled else None,
    )


def made_result(
    method: str, invoice: Invoice, *, offer: MadeOffer | None, now: int
) -> dict[str, object]:
    """What the method that asked for an invoice answers once it is made, with the offer that
    was made beside it."""
    if method == "receive":
        lno = [] if offer is None else [offer.offer]
        uri = bip321.build(lightning=[invoice.invoice], lno=lno)
        return {"bip321": uri, "transaction_id": invoice.invoice_id}
    return from_invoice(invoice, now=now)


def paid_result(method: str, payment: Payment) -> dict[str, object]:
    """What the method that asked for a settled payment answers."""
    if method == "pay":
        return instruction_result(payment)
    return {"preimage": payment.preimage, "fees_paid": payment.fee_msat}


def instruction_result(payment: Payment) -> dict[str, object]:
    """NWC-321's answer to `pay`."""
    settled = payment.state is PaymentState.SETTLED
    result: dict[str, object] = {
        "transaction_id": payment.payment_id,
        "state": OUTGOING_STATES[payment.state],
        "instruction_type": "bolt12" if payment.offer else "bolt11",
        "amount": payment.amount_msat,
        "fees_paid": payment.fee_msat or 0,
        "payment_hash": payment.payment_hash,
        "created_at": payment.created_at,
    }
    if settled:
        result |= {"preimage": payment.preimage, "settled_at": payment.settled_at}
    return result


def _transaction(
    *,
    transaction_id: str,
    type_: str,
    state: str,
    row: Invoice | Payment,
    amount_msat: int,
    fees_paid_msat: int,
    preimage: str,
    settled_at: int | None,
) -> dict[str, object]:
    result: dict[str, object] = {
        "transaction_id": transaction_id,
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
    }
    if row.invoice:
        result["expires_at"] = row.expires_at
    if settled_at is not None:
        result["settled_at"] = settled_at
    if row.metadata is not None:
        result["metadata"] = json.loads(row.metadata)
    return result
