"""The payment record of NWC-09: one envelope, and `details` by the type of payment.

A keysend reads as `bolt11` without an invoice, for no extension has a type of its own for it.
"""

import json
from typing import cast

from nwc_service.nip47 import transaction
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.offer import MadeOffer
from nwc_service.wallet.payment import Payment, PaymentState, proves
from nwc_service.wallet.refusals import why_released
from nwc_service.wallet.units import PaymentHash, Preimage

BOLT11 = "bolt11"
BOLT12 = "bolt12"

Record = dict[str, object]


def of_invoice(invoice: Invoice, offer: MadeOffer | None, *, now: int) -> Record:
    """`offer` is the one that it was paid through."""
    settled = invoice.state is InvoiceState.SETTLED
    canceled = invoice.state is InvoiceState.CANCELED
    record: Record = {
        "transaction_id": invoice.invoice_id,
        "type": "incoming",
        "state": "canceled" if canceled else transaction.incoming_state(invoice, now=now),
        "payment_type": BOLT11 if offer is None else BOLT12,
        "amount": invoice.received_msat or invoice.amount_msat or 0,
    }
    details = _details(invoice, preimage=invoice.preimage if settled else None)
    if offer is not None:
        details |= _present(
            offer_id=offer.bolt12_id,
            offer=offer.offer,
            issuer=offer.issuer,
            payer_note=invoice.payer_note,
        )
    return record | _times(invoice, settled=settled) | {"details": details}


def of_payment(payment: Payment) -> Record:
    settled = payment.state is PaymentState.SETTLED
    record: Record = {
        "transaction_id": payment.payment_id,
        "type": "outgoing",
        "state": transaction.OUTGOING_STATES[payment.state],
        "payment_type": BOLT11 if payment.bolt12_id is None else BOLT12,
        "amount": payment.amount_msat,
    }
    if payment.fee_msat is not None:
        record["fees_paid"] = payment.fee_msat
    if payment.state is PaymentState.RELEASED:
        record["failure_reason"] = why_released(payment)
    details = _details(payment, preimage=payment.preimage) | _present(
        offer_id=payment.bolt12_id, offer=payment.offer, payer_note=payment.payer_note
    )
    return record | _times(payment, settled=settled) | {"details": details}


def without_optional_details(record: Record) -> Record:
    details = cast("Record", record["details"])
    kept = [name for name in ("payment_hash", "offer_id") if name in details]
    return record | {"details": {name: details[name] for name in kept}}


def _times(row: Invoice | Payment, *, settled: bool) -> Record:
    times: Record = {"created_at": row.created_at}
    if row.invoice:
        times["expires_at"] = row.expires_at
    if settled:
        times["settled_at"] = row.settled_at
    if row.metadata is not None:
        times["metadata"] = json.loads(row.metadata)
    return times


def _details(row: Invoice | Payment, *, preimage: Preimage | None) -> Record:
    """NWC-09: "MUST NOT return `preimage` unless SHA-256 of it equals `payment_hash`"."""
    payment_hash = row.payment_hash or PaymentHash("")
    shown = preimage if preimage and proves(preimage, payment_hash) else None
    return {"payment_hash": payment_hash} | _present(
        invoice=row.invoice,
        preimage=shown,
        description=row.description,
        description_hash=row.description_hash,
    )


def _present(**fields: str | None) -> Record:
    return {name: value for name, value in fields.items() if value}
