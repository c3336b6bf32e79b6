"""What the service has written, read in the end."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests import at_rest


@dataclass(frozen=True, slots=True)
class Books:
    """What the service has written."""

    payments: list[sqlite3.Row]
    accounts: dict[str, sqlite3.Row]  # by id
    book: dict[str, int]
    loss_msat: dict[str, int]  # by payment
    moved: dict[str, list[tuple[str, int]]]  # by the operator's reason: account id, change
    requests: dict[str, sqlite3.Row]  # by id, which ends with the item's number
    holds: list[sqlite3.Row]
    left_undone: list[str]
    alarms: set[tuple[str, str]]

    @classmethod
    def read(cls, path: Path) -> "Books":
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            moved: dict[str, list[tuple[str, int]]] = defaultdict(list)
            for row in db.execute(
                "SELECT kind, source, destination, amount_msat, reason FROM entry"
                " WHERE kind IN ('credit', 'debit')"
            ):
                is_credit = row["kind"] == "credit"
                holder = row["destination"] if is_credit else row["source"]
                change_msat = row["amount_msat"] if is_credit else -row["amount_msat"]
                moved[row["reason"]].append((holder.partition(":")[2], change_msat))
            return cls(
                payments=db.execute("SELECT * FROM payment").fetchall(),
                accounts={r["account_id"]: r for r in db.execute("SELECT * FROM account")},
                book=dict(db.execute("SELECT name, balance_msat FROM book").fetchall()),
                loss_msat=dict(
                    db.execute(
                        "SELECT payment_id, sum(amount_msat) FROM entry WHERE source = 'loss'"
                        " GROUP BY payment_id"
                    ).fetchall()
                ),
                moved=moved,
                requests={r["request_id"]: r for r in db.execute("SELECT * FROM request")},
                holds=db.execute("SELECT * FROM invoice WHERE is_hold = 1").fetchall(),
                left_undone=list(at_rest.left_undone(db)),
                alarms={(r[0], r[1]) for r in db.execute("SELECT kind, subject FROM alarm")},
            )
