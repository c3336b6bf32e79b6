"""What any books must show when all that happened has come to rest, whoever made it happen."""

from collections.abc import Callable, Collection, Iterable, Iterator
from sqlite3 import Connection, Row


def left_undone(db: Connection) -> Iterator[str]:
    """I16 and the crash matrix: what was queued is done when all works again."""
    for row in db.execute("SELECT payment_hash FROM cancellation WHERE done_at IS NULL"):
        yield f"invoice {row['payment_hash']} was never canceled at its node"
    for row in db.execute(
        "SELECT payment_id FROM payment WHERE invoice <> ''"
        " AND kind IN ('internal', 'internal_hold') AND NOT EXISTS (SELECT 1"
        " FROM cancellation WHERE cancellation.payment_hash = payment.payment_hash)"
    ):
        yield f"I16: no cancel was queued for internal payment {row['payment_id']}"
    for row in db.execute(
        "SELECT event_id FROM outbox WHERE published_at IS NULL AND abandoned_at IS NULL"
    ):
        yield f"event {row['event_id']} was never published"
    for row in db.execute("SELECT invoice_id FROM invoice WHERE state = 'REQUESTED'"):
        yield f"invoice {row['invoice_id']} was never made nor refused"


def holds(
    invoices: Iterable[Row],
    *,
    wished: Collection[str],
    came_msat: Callable[[Row], int],
    is_told: Callable[[Row], bool],
) -> Iterator[str]:
    """I17: each is over, and a node has settled only what its owner wished to have settled.

    `wished` are the preimages that owners gave; what came for it, and whether it was told how
    one ends, is the node's truth.
    """
    for row in invoices:
        name = f"hold invoice {row['invoice_id']}"
        is_open = row["state"] in ("PENDING", "ACCEPTED")
        if row["state"] == "ACCEPTED" or (is_open and row["resolution"] is not None):
            yield f"{name} is still {row['state']}, to {row['resolution']}"
        is_inside = row["payer_payment_id"] is not None
        if row["resolution"] == "settle" and not is_inside and not is_told(row):
            yield f"{name} is {row['state']}, no node heard of its preimage"
        is_settled = row["state"] == "SETTLED"
        if is_settled and row["preimage"] not in wished:
            yield f"{name} is settled, and nobody asked for it"
        if is_settled and bool(came_msat(row)) == is_inside:
            came = f"{came_msat(row)} msat came"
            yield f"{name} is settled, {came}, inside: {row['payer_payment_id']}"
