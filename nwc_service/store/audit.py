"""Recomputes every balance from the entries, and checks what must always hold.

The numbers in the texts are those of the invariants in `docs/money.md`.
"""

from dataclasses import dataclass

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.payment import proves


@dataclass(frozen=True, slots=True)
class Audit:
    accounts: int
    entries: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class _Check:
    """`sql` selects what is wrong; `text` tells it, in the names of its columns."""

    text: str
    sql: str


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

_CHECKS = (
    _Check(
        "I1: all balances together are {sum_msat} msat, not 0",
        f"SELECT sum(balance_msat) AS sum_msat FROM ({_STORED}) AS stored"
        " HAVING sum(balance_msat) <> 0",
    ),
    _Check(
        "I2: {name} is {stored_msat} msat, its entries say {moved_msat}",
        "SELECT name, sum(stored_msat) AS stored_msat, sum(moved_msat) AS moved_msat FROM ("
        f" SELECT name, balance_msat AS stored_msat, 0 AS moved_msat FROM ({_STORED}) AS s"
        f" UNION ALL SELECT name, 0, amount_msat FROM ({_MOVED}) AS m"
        ") AS both_sides GROUP BY name HAVING sum(stored_msat) <> sum(moved_msat)"
        " ORDER BY name",
    ),
    _Check(
        "I4: account {name} holds {held_msat} msat, its open payments {open_msat}",
        "SELECT * FROM (SELECT name, held_msat, (SELECT coalesce(sum("
        " payment.amount_msat + payment.fee_reserve_msat), 0) FROM payment"
        f" WHERE payment.account_id = account.account_id AND {_OPEN}) AS open_msat"
        " FROM account) AS held WHERE held_msat <> open_msat",
    ),
    _Check(
        "I15: connection {connection_id} counts {used_msat} msat of its budget,"
        " its payments {spent_msat}",
        "SELECT * FROM (SELECT connection_id, used_msat, (SELECT coalesce(sum("
        " CASE payment.state WHEN 'RELEASED' THEN 0"
        " WHEN 'SETTLED' THEN payment.amount_msat + payment.fee_msat"
        " ELSE payment.amount_msat + payment.fee_reserve_msat END), 0) FROM payment"
        " WHERE payment.connection_id = budget_period.connection_id"
        " AND payment.budget_period = budget_period.period_start) AS spent_msat"
        " FROM budget_period) AS budgets WHERE used_msat <> spent_msat",
    ),
    _Check(
        "I15: payment {payment_id} is counted in no budget",
        "SELECT payment_id FROM payment WHERE budget_period IS NOT NULL AND NOT EXISTS ("
        " SELECT 1 FROM budget_period WHERE budget_period.connection_id = payment.connection_id"
        " AND budget_period.period_start = payment.budget_period)",
    ),
    _Check(
        "I7: payment {payment_id} moved {moved_msat} msat, it should be {due_msat}",
        "SELECT * FROM (SELECT payment_id, amount_msat + fee_msat AS due_msat, ("
        " SELECT coalesce(sum(amount_msat), 0) FROM entry"
        " WHERE entry.payment_id = payment.payment_id AND (kind = 'internal'"
        " OR (kind = 'settle' AND destination LIKE 'node:%'))"
        ") AS moved_msat FROM payment WHERE state = 'SETTLED') AS settled"
        " WHERE moved_msat <> due_msat",
    ),
    _Check(
        "I7: payment {payment_id} was given back {releases} times, not once",
        "SELECT * FROM (SELECT payment_id, (SELECT count(*) FROM entry"
        " WHERE entry.payment_id = payment.payment_id AND kind = 'release') AS releases"
        " FROM payment WHERE state = 'RELEASED') AS released WHERE releases <> 1",
    ),
    _Check(
        "I6: invoice {invoice_id} was credited {credited_msat} msat"
        " for receipts of {receipts_msat}",
        "SELECT * FROM (SELECT invoice_id, (SELECT coalesce(sum(amount_msat), 0) FROM receipt"
        " WHERE receipt.invoice_id = invoice.invoice_id) AS receipts_msat,"
        " (SELECT coalesce(sum(amount_msat), 0) FROM entry"
        " WHERE entry.invoice_id = invoice.invoice_id AND kind = 'receive') AS credited_msat"
        " FROM invoice) AS credited WHERE credited_msat <> receipts_msat",
    ),
    _Check(
        "I6: invoice {invoice_id} is settled, and nobody was credited",
        "SELECT invoice_id FROM invoice WHERE state = 'SETTLED' AND NOT EXISTS ("
        " SELECT 1 FROM receipt WHERE receipt.invoice_id = invoice.invoice_id)"
        " AND NOT EXISTS (SELECT 1 FROM payment WHERE payment.kind = 'internal'"
        " AND payment.payment_hash = invoice.payment_hash AND payment.state = 'SETTLED')",
    ),
    _Check(
        "I6: invoice {invoice_id} was credited, and is {state}",
        "SELECT invoice_id, state FROM invoice WHERE state <> 'SETTLED' AND EXISTS ("
        " SELECT 1 FROM receipt WHERE receipt.invoice_id = invoice.invoice_id)",
    ),
    _Check(
        "I13: request {request_id} and its answer disagree",
        "SELECT request.request_id FROM request LEFT JOIN outbox"
        " ON outbox.request_id = request.request_id LEFT JOIN payment"
        " ON payment.payment_id = request.payment_id"
        " WHERE (request.answered_at IS NULL) <> (outbox.event_id IS NULL)"
        f" OR (request.answered_at IS NOT NULL AND {_OPEN})",
    ),
)


async def audit(tx: Tx) -> Audit:
    counted = await tx.one(
        "SELECT (SELECT count(*) FROM account) AS accounts,"
        " (SELECT count(*) FROM entry) AS entries"
    )
    problems = [
        check.text.format_map(_values(row))
        for check in _CHECKS
        for row in await tx.all(check.sql)
    ]
    return Audit(
        accounts=int(counted["accounts"]) if counted else 0,
        entries=int(counted["entries"]) if counted else 0,
        problems=(*problems, *await _without_proof(tx)),
    )


async def _without_proof(tx: Tx) -> list[str]:
    """I8: what was paid has a preimage that hashes to its payment hash."""
    rows = await tx.all(
        "SELECT payment_id, payment_hash, preimage FROM payment WHERE state = 'SETTLED'"
    )
    return [
        f"I8: payment {row['payment_id']} has no valid preimage"
        for row in rows
        if not proves(row["preimage"], row["payment_hash"])
    ]


def _values(row: Row) -> dict[str, object]:
    return {name: row[name] for name in row.keys()}  # noqa: SIM118  (a row, not a dict)
