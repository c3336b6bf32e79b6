"""What must hold in the books, one SELECT of what is wrong for each.

Each text begins with the number of the invariant that is broken:

I1   all balances together are zero        I2   a balance is the sum of its entries
I3   no account is negative                I4   what is held is held for open payments
I5   one live or settled payment per hash  I6   what arrived is credited once, to whom it is due
I7   a payment moves what it must, once    I8   paid: with a preimage, within the fee reserve
I9   given back: with a proof              I10  one backend per payment, for ever
I12  one effect and one answer a request   I13  the answer says what became of the payment
I15  a budget counts its payments          I16  an internal payment moves both sides alike
I19  what is owed is backed                I23  the cursor moves with what it passed
I24  every amount is within its bounds     I25  nothing waits for ever without an alarm

The others are of the code, not of the books, and are proved by tests. Each check reads both
sides of its comparison in one statement, so it is right on whatever snapshot it runs. None
looks for each row through another table without an index: the time grows with the rows.
"""

from dataclasses import dataclass

from nwc_service.store.nodes import READING_LASTS_S
from nwc_service.wallet.units import MAX_MSAT

ALARM_IS_DUE_S = 2 * 3600
"""An hour after which the service raises the alarm itself, and one more."""
CANCELLATION_LASTS_S = 24 * 3600
OUTBOX_LASTS_S = 48 * 3600
"""Twice as long as an answer is published before it is given up."""
READING_TAKES_S = 10


@dataclass(frozen=True, slots=True)
class Check:
    """`sql` selects what is wrong; `text` tells it, in the names of its columns.

    The statement may use `:now` and `:required_percent`.
    """

    text: str
    sql: str

    @property
    def number(self) -> str:
        """Of the invariant."""
        return self.text.partition(":")[0]


_MOVED = (
    "SELECT destination AS name, amount_msat FROM entry"
    " UNION ALL SELECT source, -amount_msat FROM entry"
)
_STORED = (
    "SELECT 'available:' || account_id AS name, available_msat AS balance_msat FROM account"
    " UNION ALL SELECT 'held:' || account_id, held_msat FROM account"
    " UNION ALL SELECT name, balance_msat FROM book"
)
_OPEN = "payment.state IN ('RESERVED', 'DISPATCHED', 'UNKNOWN')"
# In the words of the partial index: without them every payment would be read for each row.
_STANDING = "payment.state <> 'RELEASED'"

BALANCES = (
    Check(
        "I1: all balances together are {sum_msat} msat, not 0",
        f"SELECT sum(balance_msat) AS sum_msat FROM ({_STORED}) AS stored"
        " HAVING sum(balance_msat) <> 0",
    ),
    Check(
        "I2: {name} is {stored_msat} msat, its entries say {moved_msat}",
        "SELECT name, sum(stored_msat) AS stored_msat, sum(moved_msat) AS moved_msat FROM ("
        f" SELECT name, balance_msat AS stored_msat, 0 AS moved_msat FROM ({_STORED}) AS s"
        f" UNION ALL SELECT name, 0, amount_msat FROM ({_MOVED}) AS m"
        ") AS both_sides GROUP BY name HAVING sum(stored_msat) <> sum(moved_msat)",
    ),
    Check(
        "I3: account {name} has {available_msat} msat available and {held_msat} held",
        "SELECT name, available_msat, held_msat FROM account"
        " WHERE available_msat < 0 OR held_msat < 0",
    ),
    Check(
        "I4: account {name} holds {held_msat} msat, its open payments {open_msat}",
        "SELECT * FROM (SELECT name, held_msat, (SELECT coalesce(sum("
        " payment.amount_msat + payment.fee_reserve_msat), 0) FROM payment"
        f" WHERE payment.account_id = account.account_id AND {_OPEN}) AS open_msat"
        " FROM account) AS held WHERE held_msat <> open_msat",
    ),
    Check(
        "I15: connection {connection_id} counts {used_msat} msat of its budget from"
        " {period_start} on, its payments {spent_msat}",
        "SELECT connection_id, period_start, sum(used_msat) AS used_msat,"
        " sum(spent_msat) AS spent_msat FROM ("
        " SELECT connection_id, period_start, used_msat, 0 AS spent_msat FROM budget_period"
        " UNION ALL SELECT connection_id, budget_period, 0, CASE state WHEN 'SETTLED'"
        " THEN amount_msat + fee_msat ELSE amount_msat + fee_reserve_msat END FROM payment"
        f" WHERE budget_period IS NOT NULL AND {_STANDING}) AS both_sides"
        " GROUP BY connection_id, period_start HAVING sum(used_msat) <> sum(spent_msat)",
    ),
    # What the backends said last, and what was owed then: what has come in since is not
    # looked for in an older reading, nor is a reading that the books have left behind used.
    Check(
        "I19: {owed_msat} msat are owed, the backends have {backed_msat}",
        "SELECT owed_msat, backed_msat FROM (SELECT"
        " (SELECT coalesce(sum(available_msat + held_msat), 0) FROM account)"
        " + coalesce((SELECT balance_msat FROM book WHERE name = 'suspense'), 0)"
        " - (SELECT coalesce(sum(amount_msat + fee_reserve_msat), 0) FROM payment"
        f" WHERE {_OPEN} AND state <> 'RESERVED')"
        " - (SELECT coalesce(sum(amount_msat), 0) FROM entry"
        " WHERE kind IN ('receive', 'release')"
        f" AND created_at >= oldest_at - {READING_TAKES_S}) AS owed_msat, backed_msat"
        " FROM (SELECT min(read_at) AS oldest_at, sum(spendable_msat) AS backed_msat"
        f" FROM reading WHERE read_at + {READING_LASTS_S} >="
        " (SELECT max(created_at) FROM entry)"
        f" AND read_at + {READING_LASTS_S} >= (SELECT max(read_at) FROM reading)) AS told"
        " WHERE oldest_at IS NOT NULL) AS compared"
        " WHERE backed_msat < owed_msat / 100 * :required_percent",
    ),
)

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
        f"SELECT payment_hash, count(*) AS payments FROM payment WHERE {_STANDING}"
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
        " WHEN 'internal' THEN source = 'available:' || account_id"
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
        "SELECT payment_id, state FROM payment WHERE backend IS NULL AND kind <> 'internal'"
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
        " AND NOT coalesce(cancellation.created_at = entry.created_at, FALSE)",
    ),
)

RECEIPTS = (
    Check(
        "I6: invoice {invoice_id} was credited {credited_msat} msat from {node},"
        " for receipts of {receipts_msat}",
        "SELECT invoice_id, node, sum(credited_msat) AS credited_msat,"
        " sum(receipts_msat) AS receipts_msat FROM ("
        " SELECT coalesce(invoice_id, 'of nobody') AS invoice_id, 'node:' || backend AS node,"
        " 0 AS credited_msat, amount_msat AS receipts_msat FROM receipt"
        " UNION ALL SELECT coalesce(invoice_id, 'of nobody'), source, amount_msat, 0"
        " FROM entry WHERE kind = 'receive') AS both_sides"
        " GROUP BY invoice_id, node HAVING sum(credited_msat) <> sum(receipts_msat)",
    ),
    Check(
        "I6: entry {entry_id} credits {destination} for invoice {invoice_id}",
        "SELECT entry_id, destination, coalesce(entry.invoice_id, 'of nobody') AS invoice_id"
        " FROM entry LEFT JOIN invoice ON invoice.invoice_id = entry.invoice_id"
        " WHERE kind = 'receive' AND destination <> 'suspense'"
        " AND NOT coalesce(destination = 'available:' || account_id, FALSE)",
    ),
    Check(
        "I6: the receipt of {payment_hash} names invoice {invoice_id} of {backend}, which is"
        " another",
        "SELECT receipt.payment_hash, receipt.invoice_id, receipt.backend FROM receipt"
        " LEFT JOIN invoice ON invoice.invoice_id = receipt.invoice_id"
        " WHERE receipt.invoice_id IS NOT NULL"
        " AND NOT coalesce(invoice.payment_hash = receipt.payment_hash"
        " AND invoice.backend = receipt.backend, FALSE)",
    ),
    Check(
        "I6: invoice {invoice_id} is settled, and nobody was credited",
        "SELECT invoice_id FROM invoice WHERE state = 'SETTLED' AND NOT EXISTS ("
        " SELECT 1 FROM receipt WHERE receipt.backend = invoice.backend"
        " AND receipt.payment_hash = invoice.payment_hash)"
        " AND NOT EXISTS (SELECT 1 FROM payment WHERE payment.kind = 'internal'"
        " AND payment.payment_hash = invoice.payment_hash AND payment.state = 'SETTLED'"
        f" AND {_STANDING})",
    ),
    Check(
        "I6: invoice {invoice_id} was credited, and is {state}",
        "SELECT DISTINCT invoice.invoice_id, state FROM receipt JOIN invoice"
        " ON invoice.invoice_id = receipt.invoice_id WHERE state <> 'SETTLED'",
    ),
    # By the second as well: two assignments are not taken for one of both amounts.
    Check(
        "I6: of invoice {invoice_id} {assigned_msat} msat were assigned at {assigned_at},"
        " and {moved_msat} moved from {source} to {destination}",
        "SELECT invoice_id, source, destination, assigned_at,"
        " sum(assigned_msat) AS assigned_msat, sum(moved_msat) AS moved_msat FROM ("
        " SELECT coalesce(invoice_id, 'of nobody') AS invoice_id, 'suspense' AS source,"
        " assigned_to AS destination, assigned_at, amount_msat AS assigned_msat,"
        " 0 AS moved_msat FROM receipt WHERE assigned_to IS NOT NULL"
        " UNION ALL SELECT coalesce(invoice_id, 'of nobody'), source, destination,"
        " created_at, 0, amount_msat FROM entry WHERE kind = 'assign') AS both_sides"
        " GROUP BY invoice_id, source, destination, assigned_at"
        " HAVING sum(assigned_msat) <> sum(moved_msat)",
    ),
    Check(
        "I6: of invoice {invoice_id} {assigned_msat} msat were assigned, {waited_msat} waited",
        "SELECT invoice_id, sum(assigned_msat) AS assigned_msat,"
        " sum(waited_msat) AS waited_msat FROM (SELECT invoice_id,"
        " amount_msat AS assigned_msat, 0 AS waited_msat FROM receipt"
        " WHERE invoice_id IS NOT NULL AND assigned_to IS NOT NULL"
        " UNION ALL SELECT invoice_id, 0, amount_msat FROM entry"
        " WHERE invoice_id IS NOT NULL AND kind = 'receive' AND destination = 'suspense'"
        ") AS both_sides GROUP BY invoice_id HAVING sum(assigned_msat) > sum(waited_msat)",
    ),
    Check(
        "I6: entry {entry_id}, of kind {kind}, moves money from {source} to {destination}",
        "SELECT entry_id, kind, source, destination FROM entry"
        " WHERE (destination = 'suspense' AND kind <> 'receive')"
        " OR (source = 'suspense' AND kind <> 'assign') OR (kind = 'assign'"
        " AND destination <> 'equity' AND destination NOT LIKE 'available:%')",
    ),
    Check(
        "I23: the cursor of {backend} moved with {payment_hash}, of which there is no receipt",
        "SELECT backend, payment_hash FROM stream WHERE payment_hash IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.backend = stream.backend"
        " AND receipt.payment_hash = stream.payment_hash)",
    ),
)

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
        f" AND (answered_at IS NOT NULL) <> coalesce(NOT {_OPEN}, FALSE)",
    ),
    Check(
        "I25: nothing is left that could answer request {request_id}",
        "SELECT request_id FROM request WHERE answered_at IS NULL AND payment_id IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM invoice"
        " WHERE invoice.request_id = request.request_id AND invoice.state = 'REQUESTED')",
    ),
)


# Table, what names its row, amount, the least that it may be; the most is the same for all.
_BOUNDED = (
    ("account", "name", "available_msat", 0),
    ("account", "name", "held_msat", 0),
    ("book", "name", "balance_msat", -MAX_MSAT),
    ("entry", "entry_id", "amount_msat", 1),
    ("payment", "payment_id", "amount_msat", 1),
    ("payment", "payment_id", "fee_reserve_msat", 0),
    ("payment", "payment_id", "fee_msat", 0),
    ("invoice", "invoice_id", "amount_msat", 1),
    ("invoice", "invoice_id", "received_msat", 1),
    ("receipt", "payment_hash", "amount_msat", 1),
    ("budget_period", "connection_id", "used_msat", 0),
    ("connection", "connection_id", "budget_msat", 1),
    ("connection", "connection_id", "max_payment_msat", 1),
    ("reading", "backend", "spendable_msat", 0),
)

AMOUNTS = (
    Check(
        "I24: {amount} of {name} is {amount_msat}",
        " UNION ALL ".join(
            f"SELECT '{table} ' || {key} AS name, '{amount}' AS amount,"
            f" {amount} AS amount_msat FROM {table}"
            f" WHERE {amount} NOT BETWEEN {least_msat} AND {MAX_MSAT}"
            for table, key, amount, least_msat in _BOUNDED
        ),
    ),
)

OVERDUE = (
    Check(
        "I25: payment {payment_id} is {state} since {since}, and there is no alarm",
        "SELECT payment_id, state, coalesce(dispatched_at, created_at) AS since FROM payment"
        f" WHERE {_OPEN} AND coalesce(dispatched_at, created_at) < :now - {ALARM_IS_DUE_S}"
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

CHECKS = (*BALANCES, *PAYMENTS, *RECEIPTS, *ANSWERS, *AMOUNTS, *OVERDUE)
