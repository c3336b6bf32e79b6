"""Hold invoices: held once, by one, and ended as was decided."""

from nwc_service.store.checks.check import Check
from nwc_service.store.checks.requests import ALARM_IS_DUE_S
from nwc_service.wallet.hold import LONGEST_HOLD_S

HOLDS = (
    Check(
        "I16: hold invoice {invoice_id} is {state}, the payment that it was held for is not",
        "SELECT invoice_id, invoice.state FROM invoice LEFT JOIN payment"
        " ON payment.payment_id = invoice.payer_payment_id"
        " WHERE invoice.payer_payment_id IS NOT NULL AND NOT coalesce("
        " payment.kind = 'internal_hold' AND payment.payment_hash = invoice.payment_hash"
        " AND payment.amount_msat = invoice.amount_msat AND CASE invoice.state"
        " WHEN 'ACCEPTED' THEN payment.state = 'RESERVED'"
        # Settled inside, or from outside all the same, and then given back inside.
        " WHEN 'SETTLED' THEN payment.state = 'SETTLED'"
        " AND payment.settled_at = invoice.settled_at OR payment.state = 'RELEASED'"
        " AND EXISTS (SELECT 1 FROM receipt WHERE receipt.backend = invoice.backend"
        " AND receipt.payment_hash = invoice.payment_hash)"
        " WHEN 'CANCELED' THEN payment.state = 'RELEASED' END, FALSE)",
    ),
    Check(
        "I16: payment {payment_id} of a hold invoice is of none that names it",
        "SELECT payment_id FROM payment LEFT JOIN invoice"
        " ON invoice.payment_hash = payment.payment_hash WHERE kind = 'internal_hold'"
        " AND NOT coalesce(invoice.payer_payment_id = payment.payment_id, FALSE)",
    ),
    Check(
        "I16: payment {payment_id} of a hold invoice is booked to {destination}",
        "SELECT payment.payment_id, destination FROM payment JOIN entry"
        " ON entry.payment_id = payment.payment_id AND entry.kind = 'internal'"
        " LEFT JOIN invoice ON invoice.payment_hash = payment.payment_hash"
        " WHERE payment.kind = 'internal_hold'"
        " AND NOT coalesce(destination = 'available:' || invoice.account_id, FALSE)",
    ),
    Check(
        "I16: hold invoice {invoice_id} was not cancelled at the node in the transaction that"
        " held a payment of it",
        "SELECT invoice_id FROM invoice LEFT JOIN cancellation"
        " ON cancellation.backend = invoice.backend"
        " AND cancellation.payment_hash = invoice.payment_hash"
        " WHERE payer_payment_id IS NOT NULL"
        " AND NOT coalesce(cancellation.created_at = invoice.accepted_at, FALSE)",
    ),
    Check(
        "I17: invoice {invoice_id} is {state}, and it does not say since when or until when",
        "SELECT invoice_id, state FROM invoice WHERE (state = 'ACCEPTED'"
        " AND (is_hold = 0 OR accepted_at IS NULL OR settle_deadline IS NULL))"
        " OR (payer_payment_id IS NOT NULL AND accepted_at IS NULL)",
    ),
    Check(
        "I18: hold invoice {invoice_id} is {state}, and has the preimage of no decision",
        "SELECT invoice_id, state FROM invoice WHERE is_hold = 1 AND state <> 'SETTLED'"
        " AND (preimage IS NOT NULL) <> coalesce(resolution = 'settle', FALSE)",
    ),
    Check(
        "I13: request {request_id} and its answer disagree: its hold invoice is {state}",
        "SELECT request.request_id, invoice.state FROM request LEFT JOIN invoice"
        " ON invoice.invoice_id = request.invoice_id WHERE request.invoice_id IS NOT NULL"
        " AND (answered_at IS NOT NULL)"
        " <> coalesce(invoice.state IN ('SETTLED', 'CANCELED', 'EXPIRED'), FALSE)",
    ),
    Check(
        "I25: hold invoice {invoice_id} is held since {accepted_at}, and there is no alarm",
        "SELECT invoice_id, accepted_at FROM invoice WHERE is_hold = 1"
        f" AND state = 'ACCEPTED' AND accepted_at < :now - {LONGEST_HOLD_S + ALARM_IS_DUE_S}"
        " AND NOT EXISTS (SELECT 1 FROM alarm WHERE subject = invoice_id"
        " AND kind = 'hold_stuck')",
    ),
)
