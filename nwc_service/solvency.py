"""The solvency gate (I19): what users own must be backed, or nothing leaves.

What is owed is what the books owe, without the money of payments that may have left by now.
It is compared with what the backends can spend. Everyday movements change both sides alike,
so a reading of a few seconds ago still decides.
"""

import asyncio
from collections.abc import Mapping

import structlog

from nwc_service.answers import Clock
from nwc_service.backend import BackendUnavailable, LightningBackend
from nwc_service.store import alarms, ledger, nodes, payments
from nwc_service.store.database import Database, Tx
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import MAX_MSAT, BackendName, Msat

log = structlog.get_logger()

CALL_TIMEOUT_S = 10.0
READING_LASTS_S = 600
"""A backend that has not told its balance for longer than this backs nothing."""

ALARM = "insolvent"
SUBJECT = "solvency"


class Solvency:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        required_percent: int,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._required_percent = required_percent
        self._clock = clock
        self.is_covered = required_percent == 0
        """Until the first reading nothing is known to be covered."""

    def refuse_unless_covered(self) -> None:
        """Raises RequestError."""
        if not self.is_covered:
            raise RequestError(
                ErrorCode.INTERNAL,
                "outgoing payments are stopped: the wallet's funds do not cover what it owes",
            )

    async def check(self) -> None:
        """Read all balances and decide."""
        if self._required_percent == 0:
            return
        # Both before and after: what moves between, moves on both sides in the end.
        owed_before_msat = await self._db.read(owed_msat)
        told = dict(
            found
            for found in await asyncio.gather(*(self._ask(name) for name in self._backends))
            if found is not None
        )

        async def work(tx: Tx) -> bool:
            now = self._clock()
            for name, spendable_msat in sorted(told.items()):
                await nodes.put_reading(tx, name, spendable_msat=spendable_msat, now=now)
            owed = min(owed_before_msat, await owed_msat(tx))
            readings = await nodes.readings_msat(tx, since=now - READING_LASTS_S)
            backed_msat = sum(readings.get(name, 0) for name in self._backends)
            covered = is_covered(
                owed_msat=owed, backed_msat=backed_msat, required_percent=self._required_percent
            )
            if covered:
                await alarms.clear(tx, ALARM, subject=SUBJECT)
            else:
                await _raise_alarm(tx, owed_msat=owed, backed_msat=backed_msat, now=now)
            return covered

        self.is_covered = await self._db.write(work)

    async def _ask(self, name: BackendName) -> tuple[BackendName, Msat] | None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                balance = await self._backends[name].balance()
        except (BackendUnavailable, TimeoutError):
            return None
        except Exception:
            log.exception("backend.broken", backend=name)
            return None
        return name, Msat(min(max(balance.spendable_msat, 0), MAX_MSAT))


def is_covered(*, owed_msat: int, backed_msat: int, required_percent: int) -> bool:
    return backed_msat * 100 >= owed_msat * required_percent


async def owed_msat(tx: Tx) -> int:
    """Liabilities and suspense, without what is held for payments that may have left."""
    return await ledger.liabilities_msat(tx) - await payments.in_doubt_msat(tx)


async def _raise_alarm(tx: Tx, *, owed_msat: int, backed_msat: int, now: int) -> None:
    detail = f"{owed_msat} msat owed, {backed_msat} msat to spend: outgoing payments stopped"
    if await alarms.raise_alarm(tx, ALARM, subject=SUBJECT, detail=detail, now=now):
        log.error("alarm", kind=ALARM, owed_msat=owed_msat, backed_msat=backed_msat)
