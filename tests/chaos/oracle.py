"""Compares what the books say with what happened: at the node, outside, and to the apps.

What is lost has left a user, or the operator, without a reason that the node itself gave; what
is created is there without having come.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nwc_service.wallet.payment import proves
from nwc_service.wallet.units import PaymentHash, Preimage
from tests import at_rest
from tests.chaos.books import Books
from tests.chaos.clients import Asked, Wish
from tests.chaos.wire import JsonObject

INSIDE = ("internal", "internal_hold")
MADE = ("make_invoice", "make_hold_invoice")
ENDS = {"settle_hold_invoice": {"SETTLED"}, "cancel_hold_invoice": {"CANCELED", "EXPIRED"}}


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


class Oracle:
    def __init__(
        self,
        books: Books,
        *,
        truth: JsonObject,
        asked: Mapping[str, Asked],
        account_of: Mapping[str, str],
        payees: Mapping[str, str],
        moved: Mapping[str, tuple[str, int, bool]],
        backend: str,
    ) -> None:
        """`account_of` tells the account's name by an app's key, `payees` those of
        the invoices that strangers were given; `moved` is the operator's."""
        self._books = books
        self._truth = truth
        self._asked = asked
        self._account_of = account_of
        self._payees = payees
        self._moved = moved
        self._node = f"node:{backend}"
        self._ids = {row["name"]: id_ for id_, row in books.accounts.items()}
        self._by_keysend_id = {row["keysend_id"]: id_ for id_, row in books.accounts.items()}
        self._made = {
            one.result["payment_hash"]: one
            for one in asked.values()
            if one.method in MADE and one.result
        }
        self._wishes = dict(self._wished())  # by payment
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
        self._holds()
        self.verdict.problems += self._books.left_undone
        for payment_id, times in self._truth["sent"].items():
            if times > 1:
                self._problem(f"payment {payment_id} was sent {times} times")
        return self.verdict

    def _problem(self, text: str) -> None:
        self.verdict.problems.append(text)

    def _wished(self) -> Iterator[tuple[str, Wish]]:
        """Every payment that a request asked for; what none did is nobody's to pay."""
        for asked in self._asked.values():
            for request_id, wish in zip(_item_ids(asked), asked.wishes, strict=False):
                row = self._books.requests.get(request_id)
                if row is not None and row["payment_id"]:
                    yield row["payment_id"], wish

    def _payee(self, made: Asked) -> str:
        return self._ids[self._account_of[made.event.pubkey]]

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
        """By whose invoice it paid, or whom it names."""
        suspense_msat = 0
        for payment_hash, received_msat in self._truth["received"]:
            self._node_msat -= received_msat
            made = self._made.get(payment_hash)
            named = self._by_keysend_id.get(self._truth["keysends"].get(payment_hash))
            asked_by_stranger = self._ids.get(self._payees.get(payment_hash))
            payee = self._payee(made) if made else named or asked_by_stranger
            if payee:
                self._expected[payee] += received_msat
            else:
                suspense_msat += received_msat
        self.verdict.compare(
            "suspense", self._books.book.get("suspense", 0), expected_msat=suspense_msat
        )

    def _paid_inside(self) -> None:
        """As the invoice, or the keysend, says, and by one who asked for it."""
        for row in self._books.payments:
            wish = self._wishes.get(row["payment_id"])
            if row["kind"] not in INSIDE or wish is None:
                continue
            if row["state"] != "SETTLED":
                if row["kind"] == "internal" or row["state"] != "RELEASED":
                    self._problem(f"payment {row['payment_id']} is still {row['state']}")
                continue
            payee, amount_msat = self._inside_of(wish)
            if payee is None:
                self._problem(f"payment {row['payment_id']} is paid, and names nobody")
                continue
            self._expected[row["account_id"]] -= amount_msat
            self._expected[payee] += amount_msat

    def _inside_of(self, wish: Wish) -> tuple[str | None, int]:
        if "invoice" in wish.params:
            made = self._made[wish.payment_hash]
            assert made.result is not None
            return self._payee(made), made.result["amount"]
        records = wish.params.get("tlv_records", [])
        named = [bytes.fromhex(record["value"]).decode() for record in records]
        return self._by_keysend_id.get(named[0] if named else ""), wish.params["amount"]

    def _paid_outside(self) -> None:
        by_hash: dict[str, list[sqlite3.Row]] = defaultdict(list)
        known = set()
        for row in self._books.payments:
            known.add(row["payment_id"])
            if row["payment_id"] not in self._wishes:
                self._problem(f"payment {row['payment_id']} was asked for by nobody")
            if row["kind"] not in INSIDE:
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
        wish = self._wishes.get(row["payment_id"])
        if wish is not None:
            if payment["amount_msat"] != wish.params.get("amount", payment["amount_msat"]):
                self._problem(f"{wish} is paid as {payment}")
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
        payments = {row["payment_id"]: row for row in self._books.payments}
        for asked in self._asked.values():
            self.verdict.unanswered += not asked.is_answered
            self.verdict.differing += any(len(signed) > 1 for signed in asked.answers.values())
            for request_id, wish, d_tag in zip(
                _item_ids(asked), asked.wishes, asked.d_tags or (None,), strict=False
            ):
                payload = asked.payloads.get(d_tag)
                row = self._books.requests.get(request_id)
                payment = payments.get(row["payment_id"] or "") if row is not None else None
                if payload is not None:
                    self._paid(wish, payload, payment=payment)
            self._several(asked)
            self._decided(asked)

    def _paid(self, wish: Wish, payload: JsonObject, *, payment: sqlite3.Row | None) -> None:
        result = payload.get("result")
        row = dict(payment) if payment is not None else {}
        is_settled = row.get("state") == "SETTLED"
        if (result is not None) != is_settled:
            self._problem(f"{row or wish}, and told {payload}")
            if is_settled:  # and is going to be paid once more
                self.verdict.lost_msat += row["amount_msat"] + row["fee_msat"]
        elif result is not None and not _is_true(result, row, wish=wish):
            self._problem(f"{row}, and told {payload}")

    def _several(self, asked: Asked) -> None:
        """Its items are claimed and answered each, or it was refused as a whole."""
        if not asked.d_tags:
            return
        claimed = [id_ in self._books.requests for id_ in _item_ids(asked)]
        told = set(asked.answers)
        is_whole = claimed.count(True) == 1 and None in told
        due = {None} if is_whole else set(asked.d_tags)
        if not told <= due or not (is_whole or all(claimed)):
            self._problem(f"{asked.method} {asked.event.id}: {claimed}, and told {told}")

    def _decided(self, asked: Asked) -> None:
        """What was told to be done is done. A refusal may be overtaken by another decision."""
        if asked.method not in ENDS or asked.result is None:
            return
        row = self._books.requests[asked.event.id]
        states = [
            invoice["state"]
            for invoice in self._books.holds
            if invoice["invoice_id"] == row["invoice_id"]
        ]
        if not set(states) <= ENDS[asked.method] or not states:
            self._problem(f"{asked.method} {asked.event.id} was done, it is {states}")

    def _holds(self) -> None:
        came_msat: Counter[str] = Counter()
        for payment_hash, msat in self._truth["received"]:
            came_msat[payment_hash] += msat
        self.verdict.problems += at_rest.holds(
            self._books.holds,
            wished={
                asked.params["preimage"]
                for asked in self._asked.values()
                if asked.method == "settle_hold_invoice"
            },
            came_msat=lambda row: came_msat[row["payment_hash"]],
            is_told=lambda row: row["payment_hash"] in self._truth["decided"],
        )


def _item_ids(asked: Asked) -> list[str]:
    """As the service names them: the first has the event's own id."""
    others = [f"{asked.event.id}:{number}" for number in range(1, len(asked.d_tags))]
    return [asked.event.id, *others]


def _is_true(result: JsonObject, payment: JsonObject, *, wish: Wish) -> bool:
    payment_hash = PaymentHash(wish.payment_hash or payment["payment_hash"])
    told = result["preimage"], result["fees_paid"]
    right = payment["preimage"], payment["fee_msat"]
    return told == right and proves(Preimage(result["preimage"]), payment_hash)


def _spent_msat(payment: Mapping[str, Any]) -> int:
    return int(payment["amount_msat"] + payment["fee_msat"])
