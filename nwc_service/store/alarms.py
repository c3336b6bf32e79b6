"""What an operator must look at: raised once per subject."""

from nwc_service.store.database import Row, Tx


async def raise_alarm(tx: Tx, kind: str, *, subject: str, detail: str, now: int) -> bool:
    """False when this alarm stands already."""
    row = await tx.one(
        "INSERT INTO alarm (kind, subject, detail, raised_at)"
        " VALUES (:kind, :subject, :detail, :now) ON CONFLICT DO NOTHING RETURNING kind",
        kind=kind,
        subject=subject,
        detail=detail,
        now=now,
    )
    return row is not None


async def clear(tx: Tx, kind: str, *, subject: str) -> bool:
    """False when it was not raised."""
    row = await tx.one(
        "DELETE FROM alarm WHERE kind = :kind AND subject = :subject RETURNING kind",
        kind=kind,
        subject=subject,
    )
    return row is not None


async def counts(tx: Tx) -> dict[str, int]:
    """How many stand, by kind."""
    rows = await tx.all("SELECT kind, count(*) AS alarms FROM alarm GROUP BY kind")
    return {row["kind"]: row["alarms"] for row in rows}


_ALARM = "SELECT kind, subject, detail, raised_at FROM alarm"


async def alarm(tx: Tx, kind: str, *, subject: str) -> Row | None:
    return await tx.one(
        f"{_ALARM} WHERE kind = :kind AND subject = :subject", kind=kind, subject=subject
    )


async def alarms(tx: Tx) -> list[Row]:
    return await tx.all(f"{_ALARM} ORDER BY raised_at")
