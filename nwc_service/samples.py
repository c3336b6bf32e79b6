"""How much was owed and could be spent, noted every quarter of an hour for the plots."""

import asyncio

import structlog

from nwc_service.answers import Clock
from nwc_service.solvency import Solvency
from nwc_service.store import series
from nwc_service.store.database import Database, Tx

log = structlog.get_logger()

EVERY_S = 900
KEPT_S = 400 * 86_400


async def keep_samples(db: Database, solvency: Solvency, *, clock: Clock) -> None:
    """For ever; nothing is noted while nothing is known."""
    while True:
        await asyncio.sleep(EVERY_S - clock() % EVERY_S)
        try:
            await take_sample(db, solvency, now=clock())
        except Exception:
            log.exception("samples.failed")


async def take_sample(db: Database, solvency: Solvency, *, now: int) -> None:
    if solvency.judged_msat is None:
        return
    owed_msat, spendable_msat = solvency.judged_msat
    receivable_msat = sum(b.receivable_msat or 0 for b in solvency.balances.values())

    async def work(tx: Tx) -> None:
        await series.forget_samples(tx, before=now - KEPT_S)
        await series.put_sample(
            tx,
            now=now,
            owed_msat=owed_msat,
            spendable_msat=spendable_msat,
            receivable_msat=receivable_msat,
        )

    await db.write(work)
