"""How far the books have come, in numbers that never fall while they are the same books."""

from nwc_service.store.database import Tx


async def reached(tx: Tx) -> dict[str, int]:
    row = await tx.one(
        "SELECT (SELECT coalesce(max(entry_id), 0) FROM entry) AS entries,"
        " (SELECT coalesce(max(outbox_id), 0) FROM outbox) AS answers,"
        " (SELECT coalesce(max(decision_id), 0) FROM decision) AS decisions"
    )
    return {name: int(row[name]) for name in ("entries", "answers", "decisions")} if row else {}
