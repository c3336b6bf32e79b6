"""Compares what the books say with what happened: at the node, outside, and to the apps.

What is lost has left a user, or the operator, without a reason that the node itself gave; what
is created is there without having come.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nwc_service.wallet.payment import proves
from nwc_service.wallet.units import PaymentHash, Preimage
from tests.chaos.clients import Asked
from tests.chaos.wire import JsonObject


@dataclass(slots=True)
class Verdict:
    lost_msat: int = 0
    created_msat: int = 0
    unanswered: int = 0
    differing: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        figures = self.lost_msat, self.created_msat, self.unanswered, self.differing
        return not any(figures) and not self.problems

    def compare(self, name: str, actual_msat: int, *, expected_msat: int) -> None:
        """Of what somebody has."""
        self.lost_msat += max(0, expected_msat - actual_msat)
        self.created_msat += max(0, actual_msat - expected_msat)
        if actual_msat != expected_msat:
            self.problems.append(f"{name}: {actual_msat} msat, expected {expected_msat}")


@dataclass(frozen=True, slots=True)
class Books:
    """What the service has written."""

    payments: list[sqlite3.Row]
    accounts: dict[str, sqlite3.Row]  # by id
    book: dict[str, int]
    loss_msat: dict[str, int]  # by payment
    moved: dict[str, list[tuple[str, int]]]  # by the operator's reason: account id, change
    waits: dict[str, str]  # request ids to payment ids
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
                waits=dict(
                    db.execute(
                        "SELECT request_id, payment_id FROM request WHERE payment_id <> ''"
                    ).fetchall()
                ),
                alarms={(r[0], r[1]) for r in db.execute("SELECT kind, subject FROM alarm")},
            )


class Oracle:
    def __init__(
        self,
        books: Books,
        *,
        truth: JsonObject,
        asked: Mapping[str, Asked],
        account_of: Mapping[str, str],
        moved: Mapping[str, tuple[str, int, bool]],
        backend: str,
    ) -> None:
        """`account_of` tells the account's name by an app's key; `moved` is the operator's."""
        self._books = books
        self._truth = truth
        self._asked = asked
        self._account_of = account_of
        self._moved = moved
        self._node = f"node:{backend}"
        self._ids = {row["name"]: id_ for id_, row in books.accounts.items()}
        self._expected: Counter[str] = Counter()  # what each account shall have, by id
        self._node_msat = 0  # what shall have left the node, less what has come
        self.verdict = Verdict()

    def judge(self) -> Verdict:
        self._operator()
        self._received()
        self._paid_inside()
        self._paid_outside()
        for account_id, account in self._books.accounts.items():
            self.verdict.compare(
                f"account {account['name']}",
                account["available_msat"] + account["held_msat"],
                expected_msat=self._expected[account_id],
            )
        # What has left is what the node has less.
        self.verdict.compare(
            self._node, -self._books.book.get(self._node, 0), expected_msat=-self._node_msat
        )
        self._answers()
        for payment_id, times in self._truth["sent"].items():
            if times > 1:
                self._problem(f"payment {payment_id} was sent {times} times")
        return self.verdict

    def _problem(self, text: str) -> None:
        self.verdict.problems.append(text)

    # --- what happened to whom

    def _operator(self) -> None:
        for reason, (account, change_msat, is_told) in self._moved.items():
            booked = self._books.moved.get(reason, [])
            right = [(self._ids.get(account), change_msat)]
            if booked == right:
                self._expected[self._ids[account]] += change_msat
            elif booked or is_told:
                self._problem(f"{reason}: booked {booked}, asked {right}, told {is_told}")
                if is_told:
                    self._expected[self._ids[account]] += change_msat

    def _received(self) -> None:
        made_by = {
            asked.result["payment_hash"]: self._account_of[asked.event.pubkey]
            for asked in self._asked.values()
            if asked.method == "make_invoice" and asked.result
        }
        suspense_msat = 0
        for payment_hash, received_msat in self._truth["received"]:
            self._node_msat -= received_msat
            if payment_hash in made_by:
                self._expected[self._ids[made_by[payment_hash]]] += received_msat
            else:
                suspense_msat += received_msat
        self.verdict.compare(
            "suspense", self._books.book.get("suspense", 0), expected_msat=suspense_msat
        )

    def _paid_inside(self) -> None:
        made = {
            asked.result["payment_hash"]: asked
            for asked in self._asked.values()
            if asked.method == "make_invoice" and asked.result
        }
        for row in self._books.payments:
            if row["kind"] != "internal":
                continue
            asked = made[row["payment_hash"]]
            assert asked.result is not None
            payee = self._ids[self._account_of[asked.event.pubkey]]
            self._expected[row["account_id"]] -= asked.result["amount"]
            self._expected[payee] += asked.result["amount"]

    def _paid_outside(self) -> None:
        by_hash: dict[str, list[sqlite3.Row]] = defaultdict(list)
        known = set()
        for row in self._books.payments:
            known.add(row["payment_id"])
            if row["kind"] != "internal":
                by_hash[row["payment_hash"]].append(row)
        for rows in by_hash.values():
            self._one_hash(rows)
        for payment_id in self._truth["paid"].keys() - known:
            self._problem(f"payment {payment_id} was paid, the books have none")
            self.verdict.lost_msat += _spent_msat(self._truth["paid"][payment_id])

    def _one_hash(self, rows: list[sqlite3.Row]) -> None:
        """Every attempt at one invoice: paid once at most, and charged to whom it was for."""
        paid = self._truth["paid"]
        payers = [row for row in rows if row["payment_id"] in paid]
        settled = [row for row in rows if row["state"] == "SETTLED"]
        booked_msat = sum(self._books.loss_msat.get(row["payment_id"], 0) for row in rows)
        for row in rows:
            if row["state"] not in ("SETTLED", "RELEASED"):
                self._problem(f"payment {row['payment_id']} is still {row['state']}")
        for row in payers[1:]:
            self._problem(f"payment {row['payment_id']} paid {row['payment_hash']} again")
            self.verdict.lost_msat += _spent_msat(paid[row["payment_id"]])
        if not payers:
            self._loss(rows, booked_msat, due_msat=0)
            return
        payment = paid[payers[0]["payment_id"]]
        if settled:
            due_msat = self._charge(settled[0], payment)
        else:
            due_msat = self._late(payers[0], payment, booked_msat=booked_msat)
        self._loss(rows, booked_msat, due_msat=due_msat)

    def _charge(self, row: sqlite3.Row, payment: JsonObject) -> int:
        """To the user as far as it was reserved; the rest is the operator's."""
        told_msat, reserve_msat = payment["said_fee_msat"], row["fee_reserve_msat"]
        if told_msat is None or told_msat < 0:
            told_msat = reserve_msat
        fee_msat = min(told_msat, reserve_msat)
        self._expected[row["account_id"]] -= payment["amount_msat"] + fee_msat
        self._node_msat += payment["amount_msat"] + told_msat
        return int(told_msat - fee_msat)

    def _late(self, row: sqlite3.Row, payment: JsonObject, *, booked_msat: int) -> int:
        """Paid, and given back: right only where the node had said that it failed."""
        if row["state"] == "RELEASED" and not self._was_lied_to(row):
            proof = f"{row['proof_kind']} {row['proof']}"
            self._problem(f"payment {row['payment_id']} was paid and given back: {proof}")
            self.verdict.lost_msat += _spent_msat(payment)
            self._node_msat += booked_msat
            return booked_msat
        if row["state"] != "RELEASED":
            return 0
        told_msat = payment["said_fee_msat"]
        is_told = told_msat is not None and told_msat >= 0
        fee_msat = told_msat if is_told else row["fee_reserve_msat"]
        due_msat = int(payment["amount_msat"] + fee_msat)
        self._node_msat += due_msat
        return due_msat

    def _was_lied_to(self, row: sqlite3.Row) -> bool:
        """The node said that it had failed, or denied it past the time of rule H."""
        lies = self._truth["denied" if row["proof_kind"] == "expiry" else "lied"]
        return row["payment_id"] in lies

    def _loss(self, rows: list[sqlite3.Row], booked_msat: int, *, due_msat: int) -> None:
        ids = [row["payment_id"] for row in rows]
        if booked_msat != due_msat:
            self._problem(f"{ids}: the operator lost {due_msat} msat, booked {booked_msat}")
        subjects = {subject for _, subject in self._books.alarms}
        if due_msat and not subjects & set(ids):
            self._problem(f"{ids}: the operator lost {due_msat} msat without an alarm")

    # --- what the apps heard

    def _answers(self) -> None:
        states = {row["payment_id"]: row["state"] for row in self._books.payments}
        for request_id, asked in self._asked.items():
            self.verdict.unanswered += not asked.answers
            self.verdict.differing += len(asked.answers) > 1
            if asked.method != "pay_invoice" or not asked.answers:
                continue
            state = states.get(self._books.waits.get(request_id, ""))
            if asked.result is None and state == "SETTLED":
                self._problem(f"request {request_id}: paid, and told {asked.payload}")
            if asked.result is not None and not _is_proven(asked, state):
                self._problem(f"request {request_id}: {state}, and told {asked.payload}")


def _is_proven(asked: Asked, state: str | None) -> bool:
    assert asked.result is not None
    preimage = Preimage(asked.result["preimage"])
    return state == "SETTLED" and proves(preimage, PaymentHash(asked.payment_hash or ""))


def _spent_msat(payment: Mapping[str, Any]) -> int:
    return int(payment["amount_msat"] + payment["fee_msat"])
