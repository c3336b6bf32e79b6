"""What happened over time, in steps: for plots, never for the books."""

from nwc_service.store.database import Row, Tx


async def settled(tx: Tx, side: str, *, since: int, step_s: int) -> list[Row]:
    """Of each step: how many were settled, their sum and fees, and how long they took in all.

    In sat, since a sum of msat might not fit. `side` is "in" or "out".
    """
    table, amount, fee, extra = _SIDES[side]
    return await tx.all(
        f"SELECT created_at / :step_s * :step_s AS at, count(*) AS count,"
        f" sum({amount} / 1000) AS amount_sat, sum({fee}) / 1000 AS fee_sat,"
        f" sum(settled_at - created_at) AS took_s FROM {table}"
        f" WHERE created_at >= :since AND state = 'SETTLED'{extra}"
        " GROUP BY created_at / :step_s * :step_s ORDER BY at",
        since=since,
        step_s=step_s,
    )


async def put_sample(
    tx: Tx, *, now: int, owed_msat: int, spendable_msat: int, receivable_msat: int
) -> None:
    await tx.run(
        "INSERT INTO sample (taken_at, owed_msat, spendable_msat, receivable_msat)"
        " VALUES (:now, :owed_msat, :spendable_msat, :receivable_msat) ON CONFLICT DO NOTHING",
        now=now,
        owed_msat=owed_msat,
        spendable_msat=spendable_msat,
        receivable_msat=receivable_msat,
    )


async def forget_samples(tx: Tx, *, before: int) -> None:
    await tx.run("DELETE FROM sample WHERE taken_at < :before", before=before)


async def samples(tx: Tx, *, since: int, step_s: int) -> list[Row]:
    """The last one of each step."""
    return await tx.all(
        "SELECT taken_at AS at, owed_msat, spendable_msat, receivable_msat FROM sample"
        " WHERE taken_at IN (SELECT max(taken_at) FROM sample WHERE taken_at >= :since"
        " GROUP BY taken_at / :step_s) ORDER BY at",
        since=since,
        step_s=step_s,
    )


# What was paid from one account to another took no time and no fee, and is told once.
_SIDES = {
    "in": ("invoice", "received_msat", "0", ""),
    "out": ("payment", "amount_msat", "coalesce(fee_msat, 0)", " AND kind <> 'internal'"),
}
