"""Payments, and the entries that book them."""

from nwc_service.store.checks.check import STANDING, Check

_DUE = (
    "SELECT payment_id, CASE kind WHEN 'internal' THEN 0"
    " ELSE amount_msat + fee_reserve_msat END AS reserved_msat,"
    " CASE state WHEN 'SETTLED' THEN amount_msat + fee_msat ELSE 0 END AS paid_msat,"
    " CASE state WHEN 'SETTLED' THEN fee_reserve_msat - fee_msat"
    " WHEN 'RELEASED' THEN amount_msat + fee_reserve_msat ELSE 0 END AS back_msat"
    " FROM payment"
)
_BOOKED = (
    "SELECT payment_id,"
    " CASE WHEN kind = 'reserve' THEN amount_msat ELSE 0 END AS reserved_msat,"
    " CASE WHEN kind = 'internal' OR (kind = 'settle' AND destination LIKE 'node:%')"
    " THEN amount_msat ELSE 0 END AS paid_msat,"
    " CASE WHEN kind = 'release' OR (kind = 'settle' AND destination LIKE 'available:%')"
    " THEN amount_msat ELSE 0 END AS back_msat"
    " FROM entry WHERE payment_id IS NOT NULL"
)
_PAID_FOR = (
    "payment JOIN entry ON entry.payment_id = payment.payment_id LEFT JOIN invoice"
    " ON invoice.payment_hash = payment.payment_hash LEFT JOIN cancellation"
    " ON cancellation.backend = invoice.backend"
    " AND cancellation.payment_hash = payment.payment_hash"
)

PAYMENTS = (
    Check(
        "I5: {payments} payments of hash {payment_hash} are open or settled",
        f"SELECT payment_hash, count(*) AS payments FROM payment WHERE {STANDING}"
        " GROUP BY payment_hash HAVING count(*) > 1",
    ),
    # One sum over both sides: what is due, less what is booked.
    Check(
        "I7: the entries of payment {payment_id} are {reserved_msat} msat short of its"
        " reservation, {paid_msat} of what it paid, {back_msat} of what it gave back",
        "SELECT payment_id, sum(reserved_msat) AS reserved_msat, sum(paid_msat) AS paid_msat,"
        f" sum(back_msat) AS back_msat FROM ({_DUE} UNION ALL SELECT payment_id,"
        f" -reserved_msat, -paid_msat, -back_msat FROM ({_BOOKED}) AS booked) AS both_sides"
        " GROUP BY payment_id HAVING sum(reserved_msat) <> 0 OR sum(paid_msat) <> 0"
        " OR sum(back_msat) <> 0",
    ),
    Check(
        "I7: entry {entry_id} of payment {payment_id} moves money from {source} to"
        " {destination}",
        "SELECT entry_id, entry.payment_id, source, destination FROM entry LEFT JOIN payment"
        " ON payment.payment_id = entry.payment_id WHERE entry.payment_id IS NOT NULL"
        " AND NOT coalesce(CASE entry.kind"
        " WHEN 'reserve' THEN source = 'available:' || account_id"
        " AND destination = 'held:' || account_id"
        " WHEN 'release' THEN source = 'held:' || account_id"
        " AND destination = 'available:' || account_id"
        " WHEN 'settle' THEN source = 'held:' || account_id"
        " AND (destination LIKE 'node:%' OR destination = 'available:' || account_id)"
        " WHEN 'internal' THEN source = CASE payment.kind WHEN 'internal_hold'"
        " THEN 'held:' ELSE 'available:' END || account_id"
        " AND destination LIKE 'available:%'"
        " WHEN 'overage' THEN source = 'loss' AND destination LIKE 'node:%' END, FALSE)",
    ),
    Check(
        "I8: payment {payment_id} was charged a fee of {fee_msat} msat, above the"
        " {fee_reserve_msat} reserved",
        "SELECT payment_id, fee_msat, fee_reserve_msat FROM payment"
        " WHERE fee_msat > fee_reserve_msat",
    ),
    Check(
        "I9: payment {payment_id} was given back without a proof",
        "SELECT payment_id FROM payment WHERE state = 'RELEASED'"
        " AND (proof IS NULL OR proof_kind IS NULL)",
    ),
    Check(
        "I9: payment {payment_id} was given back by rule H at {settled_at}, when it did not"
        " hold",
        "SELECT payment_id, settled_at FROM payment"
        " WHERE state = 'RELEASED' AND proof_kind = 'expiry'"
        " AND (accepted_at IS NOT NULL OR coalesce(settled_at <= unpayable_at, TRUE))",
    ),
    Check(
        "I10: payment {payment_id} is {state}, and names no backend",
        "SELECT payment_id, state FROM payment WHERE backend IS NULL"
        " AND kind NOT IN ('internal', 'internal_hold')"
        " AND state IN ('DISPATCHED', 'UNKNOWN', 'SETTLED')",
    ),
    Check(
        "I10: payment {payment_id} is pinned to {backend}, and paid {destination}",
        "SELECT payment.payment_id, backend, destination FROM payment JOIN entry"
        " ON entry.payment_id = payment.payment_id WHERE destination LIKE 'node:%'"
        " AND destination <> 'node:' || backend",
    ),
    Check(
        "I16: internal payment {payment_id} of {amount_msat} msat, state {state}, is not"
        " booked to the account of a settled invoice over as much",
        f"SELECT payment.payment_id, payment.amount_msat, payment.state FROM {_PAID_FOR}"
        " WHERE payment.kind = 'internal' AND NOT coalesce(payment.state = 'SETTLED'"
        " AND destination = 'available:' || invoice.account_id"
        " AND invoice.state = 'SETTLED' AND invoice.received_msat = payment.amount_msat"
        " AND invoice.settled_at = payment.settled_at, FALSE)",
    ),
    Check(
        "I16: internal payment {payment_id} did not have its invoice cancelled at the node"
        " in the transaction that booked it",
        f"SELECT payment.payment_id FROM {_PAID_FOR} WHERE payment.kind = 'internal'"
        " AND invoice.invoice <> ''"
        " AND NOT coalesce(cancellation.created_at = entry.created_at, FALSE)",
    ),
)
