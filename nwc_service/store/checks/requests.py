"""Requests and their answers, and what waits too long."""

from nwc_service.store.checks.check import OPEN, Check

ALARM_IS_DUE_S = 2 * 3600
"""An hour after which the service raises the alarm itself, and one more."""
CANCELLATION_LASTS_S = 24 * 3600
OUTBOX_LASTS_S = 48 * 3600
"""Twice as long as an answer is published before it is given up."""
ITEMS_TAKE_S = 3600
"""From the claim of all items of a multi_pay to the last one's beginning."""

ANSWERS = (
    Check(
        "I12: request {request_id} has {answers} answers, not {due}",
        "SELECT request.request_id, count(event_id) AS answers,"
        " count(DISTINCT answered_at) AS due FROM request LEFT JOIN outbox"
        " ON outbox.request_id = request.request_id GROUP BY request.request_id"
        " HAVING count(event_id) <> count(DISTINCT answered_at)",
    ),
    Check(
        "I12: the answer to request {request_id} goes to connection {connection_id}, which"
        " did not ask",
        "SELECT outbox.request_id, outbox.connection_id FROM outbox LEFT JOIN request"
        " ON request.request_id = outbox.request_id WHERE outbox.request_id IS NOT NULL"
        " AND NOT coalesce(request.connection_id = outbox.connection_id, FALSE)",
    ),
    Check(
        "I12: request {request_id} has had two effects",
        "SELECT request.request_id FROM request JOIN invoice"
        " ON invoice.request_id = request.request_id WHERE request.payment_id IS NOT NULL",
    ),
    Check(
        "I13: request {request_id} and its answer disagree: its payment is {state}",
        "SELECT request_id, payment.state FROM request LEFT JOIN payment"
        " ON payment.payment_id = request.payment_id WHERE request.payment_id IS NOT NULL"
        f" AND (answered_at IS NOT NULL) <> coalesce(NOT {OPEN}, FALSE)",
    ),
    Check(
        "I25: nothing is left that could answer request {request_id}",
        # The items of a multi_pay are claimed before each is begun.
        "SELECT request_id FROM request WHERE answered_at IS NULL AND payment_id IS NULL"
        f" AND NOT (d_tag IS NOT NULL AND claimed_at > :now - {ITEMS_TAKE_S})"
        " AND NOT EXISTS (SELECT 1 FROM invoice WHERE invoice.state = 'REQUESTED'"
        " AND invoice.request_id = request.request_id)"
        " AND NOT EXISTS (SELECT 1 FROM offer WHERE offer.state = 'REQUESTED'"
        " AND offer.request_id = request.request_id)"
        " AND NOT EXISTS (SELECT 1 FROM invoice WHERE invoice.invoice_id = request.invoice_id"
        " AND invoice.state IN ('PENDING', 'ACCEPTED'))",
    ),
)

OVERDUE = (
    Check(
        "I25: payment {payment_id} is {state} since {since}, and there is no alarm",
        "SELECT payment_id, state, coalesce(dispatched_at, created_at) AS since FROM payment"
        f" WHERE {OPEN} AND kind <> 'internal_hold'"
        f" AND coalesce(dispatched_at, created_at) < :now - {ALARM_IS_DUE_S}"
        " AND NOT EXISTS (SELECT 1 FROM alarm WHERE subject = payment.payment_id"
        " AND kind IN ('payment_stuck', 'backend_missing', 'node_forgot_payment'))",
    ),
    Check(
        "I25: invoice {invoice_id} was asked for at {created_at}, and is not made yet",
        "SELECT invoice_id, created_at FROM invoice"
        f" WHERE state = 'REQUESTED' AND created_at < :now - {ALARM_IS_DUE_S}",
    ),
    Check(
        "I25: invoice {payment_hash} is to be cancelled at {backend} since {created_at}",
        "SELECT payment_hash, backend, created_at FROM cancellation"
        f" WHERE done_at IS NULL AND created_at < :now - {CANCELLATION_LASTS_S}",
    ),
    Check(
        "I25: event {event_id} of {created_at} is neither published nor given up",
        "SELECT event_id, created_at FROM outbox WHERE published_at IS NULL"
        f" AND abandoned_at IS NULL AND created_at < :now - {OUTBOX_LASTS_S}",
    ),
)
