"""The sums: of the ledger, of what is held, of budgets, and of what backs it all."""

from nwc_service.store.checks.check import OPEN, STANDING, Check
from nwc_service.store.nodes import READING_LASTS_S
from nwc_service.wallet.units import MAX_MSAT

READING_TAKES_S = 10

_MOVED = (
    "SELECT destination AS name, amount_msat FROM entry"
    " UNION ALL SELECT source, -amount_msat FROM entry"
)
_STORED = (
    "SELECT 'available:' || account_id AS name, available_msat AS balance_msat FROM account"
    " UNION ALL SELECT 'held:' || account_id, held_msat FROM account"
    " UNION ALL SELECT name, balance_msat FROM book"
)

_COUNTED = (
    "CASE state WHEN 'SETTLED' THEN amount_msat + fee_msat"
    " ELSE amount_msat + fee_reserve_msat END"
)

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
        f" WHERE payment.account_id = account.account_id AND {OPEN}) AS open_msat"
        " FROM account) AS held WHERE held_msat <> open_msat",
    ),
    Check(
        "I15: connection {connection_id} counts {used_msat} msat of its budget from"
        " {period_start} on, its payments {spent_msat}",
        "SELECT connection_id, period_start, sum(used_msat) AS used_msat,"
        " sum(spent_msat) AS spent_msat FROM ("
        " SELECT connection_id, period_start, used_msat, 0 AS spent_msat FROM budget_period"
        f" UNION ALL SELECT connection_id, budget_period, 0, {_COUNTED} FROM payment"
        f" WHERE budget_period IS NOT NULL AND {STANDING}"
        # And in the budget of the connection that made the payment's own.
        f" UNION ALL SELECT parent_id, parent_budget_period, 0, {_COUNTED} FROM payment"
        " JOIN connection ON connection.connection_id = payment.connection_id"
        f" WHERE parent_budget_period IS NOT NULL AND {STANDING}) AS both_sides"
        " GROUP BY connection_id, period_start HAVING sum(used_msat) <> sum(spent_msat)",
    ),
    Check(
        "I15: account {account_id} counts {used_msat} msat of the day {day}, its payments"
        " {spent_msat}",
        "SELECT account_id, day, sum(used_msat) AS used_msat, sum(spent_msat) AS spent_msat"
        " FROM (SELECT account_id, day, used_msat, 0 AS spent_msat FROM account_day"
        f" UNION ALL SELECT account_id, account_day, 0, {_COUNTED} FROM payment"
        f" WHERE account_day IS NOT NULL AND {STANDING}) AS both_sides"
        " GROUP BY account_id, day HAVING sum(used_msat) <> sum(spent_msat)",
    ),
    # What the backends said last, and what was owed then: what has come in since is not
    # looked for in an older reading, nor is a reading that the books have left behind used.
    Check(
        "I19: {owed_msat} msat are owed, the backends have {backed_msat}",
        "SELECT owed_msat, backed_msat FROM (SELECT"
        " (SELECT coalesce(sum(available_msat + held_msat), 0) FROM account)"
        " + coalesce((SELECT balance_msat FROM book WHERE name = 'suspense'), 0)"
        " - (SELECT coalesce(sum(amount_msat + fee_reserve_msat), 0) FROM payment"
        f" WHERE {OPEN} AND state <> 'RESERVED')"
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
    ("account_day", "account_id", "used_msat", 0),
    ("account", "name", "max_balance_msat", 1),
    ("account", "name", "max_payment_msat", 1),
    ("account", "name", "max_daily_msat", 1),
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
