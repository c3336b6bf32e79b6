"""What an operator decided, and why. Written in the transaction of the decision's effect."""

from nwc_service.store.database import Row, Tx


async def record(
    tx: Tx,
    kind: str,
    *,
    subject: str,
    reason: str,
    detail: str = "",
    by: str,
    now: int,
) -> None:
    """`by` is the name of a token of the admin API; "" where the service decided itself."""
    await tx.run(
        "INSERT INTO decision (kind, subject, reason, detail, decided_by, decided_at)"
        " VALUES (:kind, :subject, :reason, :detail, :by, :now)",
        kind=kind,
        subject=subject,
        reason=reason,
        detail=detail,
        by=by,
        now=now,
    )


async def last_at(tx: Tx, kind: str, *, subject: str) -> int:
    """When this was decided last; 0 when never."""
    row = await tx.one(
        "SELECT max(decided_at) AS decided_at FROM decision"
        " WHERE kind = :kind AND subject = :subject",
        kind=kind,
        subject=subject,
    )
    return int(row["decided_at"] or 0) if row else 0


_COLUMNS = "kind, subject, reason, detail, decided_by, decided_at"


async def decisions(tx: Tx, *, subject: str | None = None) -> list[Row]:
    """The newest first, 1000 at most; on one subject where given."""
    narrowed = "" if subject is None else " WHERE subject = :subject"
    return await tx.all(
        f"SELECT {_COLUMNS} FROM decision{narrowed} ORDER BY decision_id DESC LIMIT 1000",
        subject=subject,
    )


async def decision_page(tx: Tx, *, before: int, limit: int) -> list[Row]:
    """Those with a number below `before`, the newest first, with that number."""
    return await tx.all(
        f"SELECT decision_id, {_COLUMNS} FROM decision WHERE decision_id < :before"
        " ORDER BY decision_id DESC LIMIT :limit",
        before=before,
        limit=limit,
    )
