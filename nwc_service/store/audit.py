"""Recomputes every balance from the entries, and checks what must always hold.

The numbers in the texts are those of the invariants in `docs/money.md`.
"""

from dataclasses import dataclass
from hashlib import sha256

from nwc_service.store.database import Tx

_BALANCES = """
    SELECT name, sum(amount_msat) AS amount_msat FROM (
        SELECT destination AS name, amount_msat FROM entry
        UNION ALL SELECT source, -amount_msat FROM entry
    ) AS moved GROUP BY name"""


@dataclass(frozen=True, slots=True)
class Audit:
    accounts: int
    entries: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


async def audit(tx: Tx) -> Audit:
    counted = await tx.one(
        "SELECT (SELECT count(*) FROM account) AS accounts,"
        " (SELECT count(*) FROM entry) AS entries"
    )
    checks = (_balances, _held, _budgets, _settled_out, _released_out, _receipts, _answers)
    problems = [problem for check in checks for problem in await check(tx)]
    return Audit(
        accounts=int(counted["accounts"]) if counted else 0,
        entries=int(counted["entries"]) if counted else 0,
        problems=tuple(problems),
    )


async def _balances(tx: Tx) -> list[str]:
    """I1, I2, I3."""
    expected = {str(row["name"]): int(row["amount_msat"]) for row in await tx.all(_BALANCES)}
    stored: dict[str, int] = {}
    for row in await tx.all("SELECT account_id, available_msat, held_msat FROM account"):
        stored[f"available:{row['account_id']}"] = row["available_msat"]
        stored[f"held:{row['account_id']}"] = row["held_msat"]
    for row in await tx.all("SELECT name, balance_msat FROM book"):
        stored[row["name"]] = row["balance_msat"]
    problems = [
        f"I2: {name} is {stored.get(name, 0)} msat, its entries say {expected.get(name, 0)}"
        for name in sorted(expected.keys() | stored.keys())
        if stored.get(name, 0) != expected.get(name, 0)
    ]
    if sum(stored.values()) != 0:
        problems.append(f"I1: all balances together are {sum(stored.values())} msat, not 0")
    return problems


async def _held(tx: Tx) -> list[str]:
    rows = await tx.all(
        "SELECT account.name, account.held_msat, coalesce(sum("
        " payment.amount_msat + payment.fee_reserve_msat), 0) AS open_msat FROM account"
        " LEFT JOIN payment ON payment.account_id = account.account_id"
        " AND payment.state IN ('RESERVED', 'DISPATCHED', 'UNKNOWN')"
        " GROUP BY account.account_id, account.name, account.held_msat"
        " HAVING account.held_msat <> coalesce(sum("
        " payment.amount_msat + payment.fee_reserve_msat), 0)"
    )
    return [
        f"I4: account {row['name']} holds {row['held_msat']} msat,"
        f" its open payments {row['open_msat']}"
        for row in rows
    ]


async def _budgets(tx: Tx) -> list[str]:
    rows = await tx.all(
        "SELECT budget_period.connection_id, budget_period.used_msat, coalesce(sum("
        " CASE payment.state WHEN 'RELEASED' THEN 0"
        " WHEN 'SETTLED' THEN payment.amount_msat + payment.fee_msat"
        " ELSE payment.amount_msat + payment.fee_reserve_msat END), 0) AS spent_msat"
        " FROM budget_period LEFT JOIN payment"
        " ON payment.connection_id = budget_period.connection_id"
        " AND payment.budget_period = budget_period.period_start"
        " GROUP BY budget_period.connection_id, budget_period.period_start,"
        " budget_period.used_msat"
    )
    return [
        f"I15: connection {row['connection_id']} counts {row['used_msat']} msat of its budget,"
        f" its payments {row['spent_msat']}"
        for row in rows
        if row["used_msat"] != row["spent_msat"]
    ]


async def _settled_out(tx: Tx) -> list[str]:
    """I8: a preimage that hashes to the hash, and what left the account is amount and fee."""
    rows = await tx.all(
        "SELECT payment_id, payment_hash, preimage, amount_msat, fee_msat, ("
        " SELECT coalesce(sum(amount_msat), 0) FROM entry"
        " WHERE entry.payment_id = payment.payment_id AND (kind = 'internal'"
        " OR (kind = 'settle' AND destination LIKE 'node:%'))"
        ") AS moved_msat FROM payment WHERE state = 'SETTLED'"
    )
    problems = []
    for row in rows:
        if sha256(bytes.fromhex(row["preimage"])).hexdigest() != row["payment_hash"]:
            problems.append(f"I8: payment {row['payment_id']} has no valid preimage")
        if row["moved_msat"] != row["amount_msat"] + row["fee_msat"]:
            problems.append(
                f"I7: payment {row['payment_id']} moved {row['moved_msat']} msat,"
                f" it should be {row['amount_msat'] + row['fee_msat']}"
            )
    return problems


async def _released_out(tx: Tx) -> list[str]:
    rows = await tx.all(
        "SELECT payment_id FROM payment WHERE state = 'RELEASED' AND (SELECT count(*)"
        " FROM entry WHERE entry.payment_id = payment.payment_id AND kind = 'release') <> 1"
    )
    return [f"I7: payment {row['payment_id']} was not given back once" for row in rows]


async def _receipts(tx: Tx) -> list[str]:
    """I6 and I16: what came in is what was credited."""
    rows = await tx.all(
        "SELECT invoice_id, received_msat, (SELECT coalesce(sum(amount_msat), 0) FROM receipt"
        " WHERE receipt.invoice_id = invoice.invoice_id) AS receipts_msat,"
        " (SELECT coalesce(sum(amount_msat), 0) FROM entry"
        " WHERE entry.invoice_id = invoice.invoice_id AND kind = 'receive') AS credited_msat"
        " FROM invoice WHERE state = 'SETTLED'"
    )
    return [
        f"I6: invoice {row['invoice_id']} was credited {row['credited_msat']} msat"
        f" for receipts of {row['receipts_msat']}"
        for row in rows
        if row["credited_msat"] != row["receipts_msat"]
    ]


async def _answers(tx: Tx) -> list[str]:
    """I12, I13: an answered request has its one answer, and only a final payment answers."""
    rows = await tx.all(
        "SELECT request.request_id FROM request LEFT JOIN outbox"
        " ON outbox.request_id = request.request_id LEFT JOIN payment"
        " ON payment.payment_id = request.payment_id"
        " WHERE (request.answered_at IS NULL) <> (outbox.event_id IS NULL)"
        " OR (request.answered_at IS NOT NULL AND payment.state NOT IN"
        " ('SETTLED', 'RELEASED'))"
    )
    return [f"I13: request {row['request_id']} and its answer disagree" for row in rows]
