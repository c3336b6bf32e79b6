"""The solvency gate (I19): what users own must be backed, or nothing leaves.

What is owed is what the books owe, without the money of payments that may have left by now.
It is compared with what the backends can spend. Everyday movements change both sides alike,
so a reading of a few seconds ago still decides.
"""

import asyncio
from collections.abc import Mapping

import structlog

from nwc_service.answers import Clock
from nwc_service.backend import BackendUnavailable, Balance, LightningBackend
from nwc_service.store import alarms, ledger, nodes, payments
from nwc_service.store.database import Database, Tx
from nwc_service.store.nodes import READING_LASTS_S
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import MAX_MSAT, BackendName, Msat

log = structlog.get_logger()

CALL_TIMEOUT_S = 10.0

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
        self._covered_at: int | None = None
        self.balances: dict[BackendName, Balance] = {}
        """What each backend said last; one that does not answer is missing."""
        self.judged_msat: tuple[int, int] | None = None
        """What was owed and what backed it, when that was judged last."""

    @property
    def is_covered(self) -> bool:
        """Nothing is, before the first judgement, nor when the last one is too old."""
        if self._required_percent == 0:
            return True
        at = self._covered_at
        return at is not None and self._clock() - at <= READING_LASTS_S

    def refuse_unless_covered(self) -> None:
        """Raises RequestError."""
        if not self.is_covered:
            raise RequestError(
                ErrorCode.INTERNAL,
                "outgoing payments are stopped: the wallet's funds are not known to cover"
                " what it owes",
            )

    async def check(self) -> None:
        """Read all balances and judge."""
        if self._required_percent == 0:
            return
        # Both before and after: what moves between, moves on both sides in the end.
        owed_before_msat = await self._db.read(owed_msat)
        told = await asyncio.gather(*(self._ask(name) for name in self._backends))
        await self._judge(dict(filter(None, told)), owed_at_most_msat=owed_before_msat)

    async def judge(self) -> None:
        """Judge by what the backends said last, without asking them."""
        if self._required_percent != 0:
            await self._judge({}, owed_at_most_msat=MAX_MSAT)

    def covers(self, owed_msat: int, backed_msat: int) -> bool:
        """Whether so much may be owed. Where the gate is off, all of it must be there."""
        return backed_msat * 100 >= owed_msat * (self._required_percent or 100)

    async def _judge(self, told: Mapping[BackendName, Msat], *, owed_at_most_msat: int) -> None:
        async def work(tx: Tx) -> bool:
            now = self._clock()
            for name in sorted(told):
                await nodes.put_reading(tx, name, spendable_msat=told[name], now=now)
            owed = min(owed_at_most_msat, await owed_msat(tx))
            readings = await nodes.readings_msat(tx, since=now - READING_LASTS_S)
            backed_msat = sum(readings.get(name, 0) for name in self._backends)
            self.judged_msat = owed, backed_msat
            if self.covers(owed, backed_msat):
                if await alarms.clear(tx, ALARM, subject=SUBJECT):
                    log.warning("solvency.covered", owed_msat=owed, backed_msat=backed_msat)
                return True
            silent = sorted(self._backends.keys() - readings.keys())
            await _raise_alarm(tx, owed, backed_msat=backed_msat, silent=silent, now=now)
            return False

        self._covered_at = self._clock() if await self._db.write(work) else None

    async def _ask(self, name: BackendName) -> tuple[BackendName, Msat] | None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                balance = await self._backends[name].balance()
            self.balances[name] = balance
            return name, Msat(min(max(balance.spendable_msat, 0), MAX_MSAT))
        except (BackendUnavailable, TimeoutError):
            self.balances.pop(name, None)
        except Exception:
            self.balances.pop(name, None)
            log.exception("backend.broken", backend=name)
        return None


async def owed_msat(tx: Tx) -> int:
    """Liabilities and suspense, without what is held for payments that may have left."""
    return await ledger.liabilities_msat(tx) - await payments.in_doubt_msat(tx)


async def _raise_alarm(
    tx: Tx, owed_msat: int, *, backed_msat: int, silent: list[BackendName], now: int
) -> None:
    detail = f"{owed_msat} msat owed, {backed_msat} msat to spend: outgoing payments stopped"
    if silent:
        detail += f"; no balance of {', '.join(silent)}"
    if await alarms.raise_alarm(tx, ALARM, subject=SUBJECT, detail=detail, now=now):
        log.error("alarm", kind=ALARM, detail=detail)
