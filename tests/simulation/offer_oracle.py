"""The judge of what was done with offers, by what nodes truly made and clients were told."""

from collections.abc import Iterator, Mapping

from nwc_service.wallet import bip321
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.bolt12 import Offer
from nwc_service.wallet.offer import MAX_NOTE_CHARACTERS
from tests.doubles.hostile_node import hash_of
from tests.simulation.parties import Asked, JsonObject
from tests.simulation.reading import Row, rows_of
from tests.simulation.world import World


def owners(world: World) -> dict[str, str]:
    """By the offer: the account whose client was told that it is his."""
    return {
        offer.offer: asked.client.connection.account_id
        for asked in world.asked.values()
        if asked.method in ("make_offer", "receive")
        for answer in asked.answers.values()
        if answer["error"] is None
        for offer in _offers_in(answer["result"]["bip321"])
    }


def problems(world: World, payments: list[Row]) -> Iterator[str]:
    rows = rows_of(world, "SELECT * FROM offer ORDER BY offer_id")
    world.counts["offers"] += len(rows)
    yield from _made(world, rows)
    yield from _kept(world, rows)
    for payment in payments:
        if payment["kind"] == "bolt12":
            world.counts["bolt12"] += 1
            yield from _fetched(world, payment)


def _made(world: World, rows: list[Row]) -> Iterator[str]:
    """One for each request, at its node and in the books alike."""
    known = {(row["backend"], row["offer_id"]): row for row in rows}
    requests = [row["request_id"] for row in rows]
    for request_id in sorted({id_ for id_ in requests if requests.count(id_) > 1}):
        yield f"request {request_id} was made several offers"
    for name, node in world.nodes.items():
        for our_id in node.truth.offers:
            if (name, our_id) not in known:
                yield f"{name} was asked for offer {our_id}, which nobody wants"
    for row in rows:
        if row["state"] == "REQUESTED":
            yield f"offer {row['offer_id']} was never made nor refused"
        made = world.nodes[row["backend"]].made_offer(row["offer"])
        if row["state"] == "ACTIVE" and (made is None or made.spec.our_id != row["offer_id"]):
            yield f"offer {row['offer_id']} is not at {row['backend']}"


def _kept(world: World, rows: list[Row]) -> Iterator[str]:
    """What came in through an offer is its own, with its payer's note word for word."""
    offers = {row["offer_id"]: row["offer"] for row in rows}
    came = rows_of(world, "SELECT * FROM invoice WHERE offer_id IS NOT NULL")
    for row in came:
        node = world.nodes[row["backend"]]
        told = node.truth.through_offers.get(row["payment_hash"])
        if told is None:
            continue  # inside the ledger
        world.counts["through_offers"] += 1
        offer, note = told
        if offers[row["offer_id"]] != offer:
            yield f"receipt {row['payment_hash']} is of another offer: {row['offer_id']}"
        if row["payer_note"] != (note if _is_storable(note) else None):
            yield f"receipt {row['payment_hash']} has another note: {row['payer_note']!r}"


def _is_storable(note: str | None) -> bool:
    if note is None or len(note) > MAX_NOTE_CHARACTERS:
        return False
    return "\0" not in note and "\ud800" not in note


def _fetched(world: World, payment: Row) -> Iterator[str]:
    """Its invoice is one that the payee of this offer made for this amount, of these words."""
    payment_id, node = payment["payment_id"], world.nodes[payment["backend"]]
    fetched = node.fetched(payment["invoice"])
    if fetched is None or fetched.offer != payment["offer"]:
        yield f"payment {payment_id} is of an invoice that its offer's payee did not make"
        return
    if fetched.told.amount_msat != payment["amount_msat"]:
        yield f"payment {payment_id} pays {payment['amount_msat']} for {fetched.told}"
    if payment["payer_note"] not in fetched.notes:
        yield f"payment {payment_id}: its note was never told: {fetched.notes}"


def inside(world: World, payment: Row, invoice: Row) -> Iterator[str]:
    """Of an offer: it went to its owner, with the note."""
    owner = owners(world).get(payment["offer"])
    world.counts["inside_offers"] += 1
    if invoice["account_id"] != owner:
        yield f"internal payment {payment['payment_id']} of {owner}'s offer went elsewhere"
    [offer] = rows_of(world, "SELECT * FROM offer WHERE offer = ?", payment["offer"])
    if offer["single_use"]:
        yield f"internal payment {payment['payment_id']} is of an offer for a single use"
    if invoice["payer_note"] != payment["payer_note"]:
        yield f"internal payment {payment['payment_id']} lost its note"


# --- answers


def issued(world: World, asked: Asked, answer: JsonObject, *, row: Row) -> Iterator[str]:
    """What was told is what was made, and is this account's; of `receive` the invoice too."""
    request_id, is_told = row["request_id"], answer["error"] is None
    made = rows_of(
        world, "SELECT * FROM offer WHERE request_id = ? AND state = 'ACTIVE'", request_id
    )
    invoices = rows_of(
        world,
        "SELECT * FROM invoice WHERE request_id = ? AND payment_hash IS NOT NULL",
        request_id,
    )
    due = invoices if asked.method == "receive" else made
    if is_told != bool(due):
        yield f"I13: request {request_id} was told {answer}"
    if not is_told or not due:
        return
    told = bip321.parse(answer["result"]["bip321"]).instructions
    texts = {i.offer for i in told if isinstance(i, Offer)}
    texts |= {i.invoice for i in told if isinstance(i, Bolt11)}
    if texts != {r["offer"] for r in made} | {r["invoice"] for r in invoices}:
        yield f"I13: request {request_id} was told {texts}"
    account_id = asked.client.connection.account_id
    if any(r["account_id"] != account_id for r in [*made, *invoices]):
        yield f"{asked.method} {request_id} was made for another account"


def paid(asked: Asked, answer: JsonObject, *, payment: Row | None) -> Iterator[str]:
    """`pay` tells of the payment of what it was given, for the amount that was asked."""
    if answer["error"] is not None or payment is None:
        return
    told: Mapping[str, object] = answer["result"]
    given = bip321.parse(str(asked.params["payment"])).instructions
    if told["instruction_type"] == "bolt12":
        offers = [i for i in given if isinstance(i, Offer)]
        is_given = payment["offer"] in {i.offer for i in offers}
        amounts = {asked.params.get("amount"), *(i.amount_msat for i in offers)} - {None}
    else:
        invoices = [i for i in given if isinstance(i, Bolt11)]
        is_given = told["payment_hash"] in {i.payment_hash for i in invoices}
        amounts = {asked.params.get("amount"), *(i.amount_msat for i in invoices)} - {None}
    due = {
        "transaction_id": payment["payment_id"],
        "state": "settled",
        "amount": payment["amount_msat"],
        "payment_hash": hash_of(str(told["preimage"])),
    }
    if not is_given or amounts != {told["amount"]} or due.items() - told.items():
        yield f"I13: pay {asked.event.id} of {asked.params} was told {told}"


def _offers_in(uri: str) -> list[Offer]:
    return [i for i in bip321.parse(uri).instructions if isinstance(i, Offer)]
