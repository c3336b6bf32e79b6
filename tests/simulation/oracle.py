"""The judge at the end: what users own, what nodes truly did, and what every client heard.

It takes the truth from the nodes, never from the service.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping

from nwc_service.backend import ReleaseRule
from nwc_service.methods import METHODS
from nwc_service.wallet import keysend
from nwc_service.wallet.ledger import SUSPENSE
from nwc_service.wallet.units import BackendName, PaymentHash
from tests import at_rest
from tests.doubles.hostile_node import HostileNode, Paid
from tests.simulation import invariants, offer_oracle
from tests.simulation.parties import Asked, JsonObject
from tests.simulation.reading import Row, has_alarm, moved_msat, rows_of
from tests.simulation.world import World

CLAIM_S = 40.0
"""How long a request may be on its way to its claim."""
OLDEST_S = 115
NEWEST_S = -55

LIVE = ("RESERVED", "DISPATCHED", "UNKNOWN")
INSIDE = ("internal", "internal_hold")


def judge(world: World) -> None:
    for problem in _problems(world):
        world.problem(problem)


def _problems(world: World) -> Iterator[str]:
    yield from invariants.audited(world.connection)
    payments = rows_of(world, "SELECT * FROM payment ORDER BY payment_id")
    world.counts["payments"] += len(payments)
    for payment in payments:
        if payment["kind"] in INSIDE:
            yield from _internal(world, payment)
        elif payment["state"] in LIVE:
            yield from _still_open(world, payment)
        elif payment["state"] == "SETTLED":
            yield from _settled(world, payment)
        else:
            yield from _released(world, payment)
    yield from _nodes(world, payments)
    yield from _holds(world)
    yield from offer_oracle.problems(world, payments)
    yield from at_rest.left_undone(world.connection)
    yield from _balances(world, payments)
    yield from _answers(world, {row["payment_id"]: row for row in payments})


# --- money out


def _settled(world: World, payment: Row) -> Iterator[str]:
    """The user was charged: the payee has the money, and the fee is the one that was told."""
    node = world.nodes[payment["backend"]]
    paid = _paid_by(node, payment)
    if paid is None:
        world.counts["created_msat"] += payment["amount_msat"] + payment["fee_msat"]
        yield f"payment {payment['payment_id']} was charged and never paid"
        return
    told_msat = paid.said_fee_msat
    if told_msat is None or told_msat < 0:
        told_msat = payment["fee_reserve_msat"]
    fee_msat = min(told_msat, payment["fee_reserve_msat"])
    # What it has joined was for whatever amount the liar had been asked for then.
    own = node.truth.paid.get(payment["payment_id"]) is paid
    if (own and payment["amount_msat"] != paid.amount_msat) or payment["fee_msat"] != fee_msat:
        yield f"payment {payment['payment_id']}: the row differs from {paid}"
    overage_msat = moved_msat(world, payment, kind="overage")
    if overage_msat != told_msat - fee_msat:
        yield f"payment {payment['payment_id']}: the operator bore {overage_msat} of {paid}"


def _paid_by(node: HostileNode, payment: Row) -> Paid | None:
    """By this send, or by another of the hash that the node says it has joined: what it had
    paid when it said so. A node that was rolled back may pay its own send once more later."""
    own = node.truth.paid.get(payment["payment_id"])
    others = (p for p in node.truth.paid.values() if p.payment_hash == payment["payment_hash"])
    if own is not None and int(own.paid_at) > (payment["settled_at"] or 0):
        return next((other for other in others if other is not own), own)
    return own or next(others, None)


def _released(world: World, payment: Row) -> Iterator[str]:
    """The user has it back: nothing was paid, or a node lied and the operator bore it."""
    payment_id = payment["payment_id"]
    overage_msat = moved_msat(world, payment, kind="overage")
    world.counts["operator_msat"] += overage_msat
    node = world.nodes.get(payment["backend"])
    paid = node.truth.paid.get(payment_id) if node else None
    if paid is None:
        if overage_msat and (node is None or _paid_by(node, payment) is None):
            yield f"payment {payment_id}: {overage_msat} msat of loss, and nothing was paid"
        return
    if node is not None and payment_id not in node.truth.denied:
        world.counts["lost_msat"] += paid.spent_msat
        yield f"payment {payment_id} was given back and paid: {paid}"
        return
    if overage_msat and not has_alarm(world, payment_id, "late_success"):
        yield f"payment {payment_id}: a loss without its alarm"
    if not overage_msat and not _borne_by_another(world, payment):
        world.counts["lost_msat"] += paid.spent_msat
        yield f"payment {payment_id}: its late success was never booked: {paid}"


def _borne_by_another(world: World, payment: Row) -> bool:
    """A later payment of the hash joined what this one had sent: its account has paid it, or
    the loss is booked with that one."""
    return bool(
        rows_of(
            world,
            "SELECT 1 FROM payment WHERE payment_hash = ? AND backend = ?"
            " AND (state = 'SETTLED' OR EXISTS (SELECT 1 FROM entry"
            " WHERE entry.payment_id = payment.payment_id AND entry.kind = 'overage'))",
            payment["payment_hash"],
            payment["backend"],
        )
    )


def _still_open(world: World, payment: Row) -> Iterator[str]:
    """Only where the backend has no rule, and with an alarm."""
    payment_id, backend = payment["payment_id"], BackendName(payment["backend"])
    if payment["kind"] == "bolt11" and world.rules[backend] is ReleaseRule.EXPIRY:
        yield f"payment {payment_id} is still {payment['state']} on {backend}"
    elif not has_alarm(world, payment_id, "payment_stuck"):
        yield f"payment {payment_id} is stuck without an alarm"
    if payment_id in world.nodes[backend].truth.paid:
        yield f"payment {payment_id} is open, {backend} has paid it and says so"
    world.counts["stuck"] += 1


def _nodes(world: World, payments: list[Row]) -> Iterator[str]:
    known = {row["payment_id"] for row in payments}
    for name, node in world.nodes.items():
        for our_id, times in node.truth.sends.items():
            if times > 1 or our_id not in known:
                yield f"{name} was sent {our_id} {times} times"
        yield from _receipts(world, name, node)


# --- money in


def _receipts(world: World, name: BackendName, node: HostileNode) -> Iterator[str]:
    """Each settlement that truly came is credited once, and no other."""
    rows = rows_of(
        world,
        "SELECT payment_hash, htlc_set, amount_msat FROM receipt WHERE backend = ?",
        name,
    )
    credited = {
        (PaymentHash(row["payment_hash"]), str(row["htlc_set"])): int(row["amount_msat"])
        for row in rows
    }
    for key in sorted({*credited, *node.truth.received_msat}):
        booked_msat, came_msat = credited.get(key, 0), node.truth.received_msat.get(key, 0)
        if booked_msat != came_msat:
            world.counts["lost_msat"] += max(came_msat - booked_msat, 0)
            world.counts["created_msat"] += max(booked_msat - came_msat, 0)
            yield f"{name} received {came_msat} msat for {key}, credited {booked_msat}"


def _internal(world: World, payment: Row) -> Iterator[str]:
    """Both sides alike, without a fee; what is on hold ends as its receiver decides."""
    payment_id, state = payment["payment_id"], payment["state"]
    [invoice] = rows_of(
        world,
        "SELECT invoice.*, keysend_id FROM invoice JOIN account USING (account_id)"
        " WHERE payment_hash = ?",
        payment["payment_hash"],
    )
    may_fail = payment["kind"] == "internal_hold"
    if state != "SETTLED" and not (may_fail and state == "RELEASED"):
        yield f"internal payment {payment_id} is {state}"
    if (state == "SETTLED") != (invoice["state"] == "SETTLED") or payment["fee_msat"]:
        yield f"internal payment {payment_id} is {state}, its invoice {invoice['state']}"
    if invoice["amount_msat"] not in (None, payment["amount_msat"]):
        yield f"internal payment {payment_id} and its invoice differ"
    if payment["offer"]:
        yield from offer_oracle.inside(world, payment, invoice)
        return
    tlvs = keysend.from_text(payment["tlv_records"])
    if not payment["invoice"] and keysend.keysend_id(tlvs) != invoice["keysend_id"]:
        yield f"keysend {payment_id} names {tlvs}, it went to {invoice['keysend_id']}"


def _holds(world: World) -> Iterator[str]:
    wished = {
        str(asked.params["preimage"])
        for asked in world.asked.values()
        if asked.method == "settle_hold_invoice"
    }
    rows = rows_of(world, "SELECT * FROM invoice WHERE is_hold = 1")
    world.counts["holds"] += len(rows)
    truths = {name: node.truth for name, node in world.nodes.items()}
    return at_rest.holds(
        rows,
        wished=wished,
        came_msat=lambda row: truths[row["backend"]].received_of(row["payment_hash"]),
        is_told=lambda row: row["payment_hash"] in truths[row["backend"]].decided,
    )


def _balances(world: World, payments: list[Row]) -> Iterator[str]:
    """What each user owns, computed anew from what happened outside."""
    owners = {
        row["payment_hash"]: row
        for row in rows_of(world, "SELECT * FROM invoice WHERE payment_hash IS NOT NULL")
    }
    due_msat: dict[str, int] = defaultdict(int)
    for row in rows_of(world, "SELECT * FROM entry WHERE kind IN ('credit', 'debit')"):
        sign, side = (1, "destination") if row["kind"] == "credit" else (-1, "source")
        due_msat[row[side].removeprefix("available:")] += sign * row["amount_msat"]
    for row in payments:
        if row["state"] == "SETTLED":
            due_msat[row["account_id"]] -= row["amount_msat"] + row["fee_msat"]
        if row["kind"] in INSIDE and row["state"] == "SETTLED":
            due_msat[owners[row["payment_hash"]]["account_id"]] += row["amount_msat"]
    for owner, msat in _came(world, owners):
        due_msat[owner] += msat
    yield from _differences(world, due_msat)


def _came(world: World, owners: Mapping[str, Row]) -> Iterator[tuple[str, int]]:
    """To whom each settlement belongs: the account whose invoice or offer it paid, or that it
    names, or suspense."""
    offered = offer_oracle.owners(world)
    named = {row["keysend_id"]: row for row in rows_of(world, "SELECT * FROM account")}
    for name, node in world.nodes.items():
        for (payment_hash, _), msat in node.truth.received_msat.items():
            if (tlvs := node.truth.keysends.get(payment_hash)) is not None:
                account = named.get(keysend.keysend_id(tlvs))
                yield account["account_id"] if account else SUSPENSE, msat
                continue
            if payment_hash in node.truth.through_offers:
                offer, _ = node.truth.through_offers[payment_hash]
                yield offered.get(offer, SUSPENSE), msat
                continue
            invoice = owners.get(payment_hash)
            is_ours = invoice is not None and invoice["backend"] == name
            yield invoice["account_id"] if invoice and is_ours else SUSPENSE, msat


def _differences(world: World, due_msat: Mapping[str, int]) -> Iterator[str]:
    for account in rows_of(world, "SELECT * FROM account ORDER BY account_id"):
        has_msat = account["available_msat"] + account["held_msat"]
        if has_msat != (due := due_msat.get(account["account_id"], 0)):
            world.counts["lost_msat"] += max(due - has_msat, 0)
            world.counts["created_msat"] += max(has_msat - due, 0)
            yield f"{account['name']} owns {has_msat} msat, it should be {due}"
    books = rows_of(world, "SELECT balance_msat FROM book WHERE name = 'suspense'")
    if sum(row["balance_msat"] for row in books) != due_msat.get(SUSPENSE, 0):
        yield f"suspense holds {[tuple(b) for b in books]}, not {due_msat.get(SUSPENSE, 0)}"
    doubled = rows_of(
        world,
        "SELECT reason FROM entry WHERE reason LIKE 'operation%' GROUP BY reason"
        " HAVING count(*) > 1",
    )
    if doubled:
        yield f"done twice: {[row['reason'] for row in doubled]}"


# --- answers


def _answers(world: World, payments: dict[str, Row]) -> Iterator[str]:
    claimed: dict[str, list[Row]] = defaultdict(list)
    for row in rows_of(world, "SELECT * FROM request ORDER BY request_id"):
        claimed[row["request_id"].partition(":")[0]].append(row)
    for request_id, asked in world.asked.items():
        rows = claimed[request_id]
        for row in rows:
            yield from _answer(world, asked, row=row, payments=payments)
        if rows:
            yield from _items(asked, rows)
        elif METHODS[asked.method].mutates and not _excused(world, asked):
            world.counts["unanswered"] += 1
            yield f"{asked.method} {request_id} was never claimed: {asked.deliveries}"
        elif asked.method == "get_balance":
            yield from _balance_told(world, asked)


def _items(asked: Asked, rows: list[Row]) -> Iterator[str]:
    """All are claimed together, or the request was refused as a whole."""
    whole = [payload for id_, payload in asked.answers.items() if asked.d_tags[id_] is None]
    if len(rows) not in (1, asked.items):
        yield f"{len(rows)} of {asked.items} items of {asked.event.id} were claimed"
    if len(rows) < asked.items and any(payload["error"] is None for payload in whole):
        yield f"{asked.method} {asked.event.id} was answered as a whole: {whole}"
    known = {row["d_tag"] for row in rows}
    is_live = asked.client.connection.revoked_at is None
    if is_live and not known.issuperset(asked.d_tags.values()):
        yield f"{asked.method} {asked.event.id} has answers to {asked.d_tags}"


def _answer(world: World, asked: Asked, *, row: Row, payments: dict[str, Row]) -> Iterator[str]:
    """Exactly one, and it says what became of the payment."""
    payment = payments.get(row["payment_id"])
    answers = [
        payload for id_, payload in asked.answers.items() if asked.d_tags[id_] == row["d_tag"]
    ]
    if not answers:
        if payment is None or payment["state"] not in LIVE:
            world.counts["unanswered"] += 1
            yield f"{asked.method} {row['request_id']} was never answered"
        return
    distinct = {json.dumps(payload, sort_keys=True) for payload in answers}
    if len(distinct) != 1:
        world.counts["differing"] += 1
        yield f"{asked.method} {row['request_id']} was answered differently: {distinct}"
    answer = answers[0]
    if asked.method in ("make_invoice", "make_hold_invoice"):
        yield from _issued(world, answer, row=row)
    elif asked.method in ("settle_hold_invoice", "cancel_hold_invoice"):
        yield from _decided(world, asked, answer, row=row)
    elif asked.method in ("make_offer", "receive"):
        yield from offer_oracle.issued(world, asked, answer, row=row)
    else:
        yield from _paid(answer, row=row, payment=payment)
        if asked.method == "pay":
            yield from offer_oracle.paid(asked, answer, payment=payment)


def _paid(answer: JsonObject, *, row: Row, payment: Row | None) -> Iterator[str]:
    is_paid = payment is not None and payment["state"] == "SETTLED"
    if (answer["error"] is None) != is_paid:
        yield f"I13: request {row['request_id']} was told {answer}"
    elif payment is not None and is_paid:
        told = (answer["result"]["preimage"], answer["result"]["fees_paid"])
        if told != (payment["preimage"], payment["fee_msat"]):
            yield f"I13: request {row['request_id']} was told {answer}"


def _decided(world: World, asked: Asked, answer: JsonObject, *, row: Row) -> Iterator[str]:
    """What was told to be done is done. A refusal may be overtaken by another decision."""
    if answer["error"] is not None:
        return
    [invoice] = rows_of(
        world, "SELECT state FROM invoice WHERE invoice_id = ?", row["invoice_id"]
    )
    due = ("SETTLED",) if asked.method == "settle_hold_invoice" else ("CANCELED", "EXPIRED")
    if invoice["state"] not in due:
        yield f"{asked.method} {row['request_id']} was done, it is {invoice['state']}"


def _issued(world: World, answer: JsonObject, *, row: Row) -> Iterator[str]:
    made = rows_of(
        world,
        "SELECT 1 FROM invoice WHERE request_id = ? AND payment_hash IS NOT NULL",
        row["request_id"],
    )
    if (answer["error"] is None) != bool(made):
        yield f"I13: request {row['request_id']} was told {answer}"


def _balance_told(world: World, asked: Asked) -> Iterator[str]:
    """The last question of each client, when all has come to rest."""
    life, at, _ = asked.deliveries[-1] if asked.deliveries else (0, 0.0, 0)
    if not world.is_closing or life != len(world.pasts) - 1 or at < world.timeline.now - 120:
        return
    [account] = rows_of(
        world,
        "SELECT available_msat FROM account WHERE account_id = ?",
        asked.client.connection.account_id,
    )
    told = [payload.get("result") for payload in asked.answers.values()]
    is_live = asked.client.connection.revoked_at is None
    if is_live and told != [{"balance": account["available_msat"]}]:
        yield f"get_balance told {told}, it is {account['available_msat']}"


def _excused(world: World, asked: Asked) -> bool:
    """Whether each copy came at a bad time: too old, or just before a crash or a fault."""
    if asked.client.connection.revoked_at is not None:
        return True
    return all(
        not NEWEST_S < age_s < OLDEST_S or _was_disturbed(world, life, at=at)
        for life, at, age_s in asked.deliveries
    )


def _was_disturbed(world: World, life: int, *, at: float) -> bool:
    past = world.pasts[life]
    ended = past.ended_at is not None and past.ended_at < at + CLAIM_S
    return ended or any(at - 1 < fault < at + CLAIM_S for fault in past.faults_at)
