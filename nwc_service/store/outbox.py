"""Signed events that must reach a relay: answers and notifications, published until done."""

from dataclasses import dataclass

from nwc_service.store.database import Row, Tx
from nwc_service.wallet.units import ConnectionId

MANY = 10_000


@dataclass(frozen=True, slots=True)
class Outgoing:
    """`event` is the signed event as JSON. A notification has no `request_id`."""

    event_id: str
    event: str
    connection_id: ConnectionId
    request_id: str | None
    created_at: int
    is_published: bool = False


_OUTGOING = (
    "SELECT event_id, event, connection_id, request_id, created_at, published_at FROM outbox"
)


async def insert(tx: Tx, outgoing: Outgoing) -> None:
    await tx.run(
        "INSERT INTO outbox (event_id, event, connection_id, request_id, created_at)"
        " VALUES (:event_id, :event, :connection_id, :request_id, :created_at)",
        event_id=outgoing.event_id,
        event=outgoing.event,
        connection_id=outgoing.connection_id,
        request_id=outgoing.request_id,
        created_at=outgoing.created_at,
    )


async def answers_to(tx: Tx, event_id: str) -> list[Outgoing]:
    """Of each item of the request event, in their order; they follow its id with a colon."""
    rows = await tx.all(
        f"{_OUTGOING} WHERE request_id = :event_id"
        " OR (request_id > :event_id || ':' AND request_id < :event_id || ';')"
        " ORDER BY outbox_id",
        event_id=event_id,
    )
    return [_outgoing(row) for row in rows]


async def unpublished(tx: Tx, *, per_connection: int = 1000) -> list[Outgoing]:
    """The oldest of each connection, oldest first."""
    rows = await tx.all(
        "SELECT * FROM (SELECT event_id, event, connection_id, request_id, created_at,"
        " published_at, outbox_id, row_number() OVER"
        " (PARTITION BY connection_id ORDER BY outbox_id) AS place FROM outbox"
        " WHERE published_at IS NULL AND abandoned_at IS NULL) AS waiting"
        " WHERE place <= :per_connection ORDER BY outbox_id",
        per_connection=per_connection,
    )
    return [_outgoing(row) for row in rows]


async def waiting_count(tx: Tx) -> int:
    """How many no relay has taken yet, up to MANY."""
    row = await tx.one(
        "SELECT count(*) AS waiting FROM (SELECT 1 FROM outbox"
        " WHERE published_at IS NULL AND abandoned_at IS NULL LIMIT :many) AS first_ones",
        many=MANY,
    )
    return int(row["waiting"]) if row else 0


async def stored_since(tx: Tx, since: int) -> list[Outgoing]:
    rows = await tx.all(
        f"{_OUTGOING} WHERE created_at >= :since ORDER BY outbox_id", since=since
    )
    return [_outgoing(row) for row in rows]


async def is_open(tx: Tx, event_id: str) -> bool:
    """Whether just this event is still to be published."""
    row = await tx.one(
        "SELECT 1 AS found FROM outbox WHERE event_id = :event_id"
        " AND published_at IS NULL AND abandoned_at IS NULL",
        event_id=event_id,
    )
    return row is not None


async def mark_published(tx: Tx, event_id: str, *, now: int) -> None:
    await tx.run(
        "UPDATE outbox SET published_at = :now"
        " WHERE event_id = :event_id AND published_at IS NULL",
        event_id=event_id,
        now=now,
    )


async def abandon(tx: Tx, event_id: str, *, now: int) -> None:
    """No relay took it within its age limit. The outcome stays in lookup and list."""
    await tx.run(
        "UPDATE outbox SET abandoned_at = :now"
        " WHERE event_id = :event_id AND published_at IS NULL",
        event_id=event_id,
        now=now,
    )


async def replace(tx: Tx, *, old_event_id: str, fresh: Outgoing) -> bool:
    """Put a freshly dated event in the place of one that no relay has taken yet.

    False when it was taken meanwhile: after the first OK the bytes are final.
    """
    row = await tx.one(
        "UPDATE outbox SET event_id = :event_id, event = :event, created_at = :created_at"
        " WHERE event_id = :old_event_id AND published_at IS NULL AND abandoned_at IS NULL"
        " RETURNING event_id",
        old_event_id=old_event_id,
        event_id=fresh.event_id,
        event=fresh.event,
        created_at=fresh.created_at,
    )
    return row is not None


def _outgoing(row: Row) -> Outgoing:
    return Outgoing(
        event_id=row["event_id"],
        event=row["event"],
        connection_id=ConnectionId(row["connection_id"]),
        request_id=row["request_id"],
        created_at=row["created_at"],
        is_published=row["published_at"] is not None,
    )
