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
UNKNOWN_ALARM = "cover_unknown"
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
        answers = await asyncio.gather(*(self._ask(name) for name in self._backends))
        told = dict(filter(None, answers))
        alarm = UNKNOWN_ALARM if self._backends.keys() - told.keys() else ALARM
        await self._judge(told, owed_at_most_msat=owed_before_msat, alarm=alarm)

    async def judge(self) -> None:
        """Judge by what the backends said last, without asking them. The books may have left
        that behind, so a shortfall only closes the gate: the next check tells what it is."""
        if self._required_percent != 0:
            await self._judge({}, owed_at_most_msat=MAX_MSAT, alarm=None)

    def covers(self, owed_msat: int, backed_msat: int) -> bool:
        """Whether so much may be owed. Where the gate is off, all of it must be there."""
        return backed_msat * 100 >= owed_msat * (self._required_percent or 100)

    async def _judge(
        self, told: Mapping[BackendName, Msat], *, owed_at_most_msat: int, alarm: str | None
    ) -> None:
        """`alarm` is what to raise where the cover is missing."""

        async def work(tx: Tx) -> bool:
            now = self._clock()
            for name in sorted(told):
                await nodes.put_reading(tx, name, spendable_msat=told[name], now=now)
            owed = min(owed_at_most_msat, await owed_msat(tx))
            readings = await nodes.readings_msat(tx, since=now - READING_LASTS_S)
            backed_msat = sum(readings.get(name, 0) for name in self._backends)
            self.judged_msat = owed, backed_msat
            if self.covers(owed, backed_msat):
                await _clear_alarms(tx, owed, backed_msat=backed_msat)
                return True
            if alarm is not None:
                silent = sorted(self._backends.keys() - told.keys())
                detail = _detail(owed, backed_msat=backed_msat, silent=silent)
                await _raise_alarm(tx, alarm, detail=detail, now=now)
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


async def _clear_alarms(tx: Tx, owed_msat: int, *, backed_msat: int) -> None:
    for kind in (ALARM, UNKNOWN_ALARM):
        if await alarms.clear(tx, kind, subject=SUBJECT):
            log.warning(
                "solvency.covered", kind=kind, owed_msat=owed_msat, backed_msat=backed_msat
            )


async def _raise_alarm(tx: Tx, kind: str, *, detail: str, now: int) -> None:
    if kind == ALARM:
        await alarms.clear(tx, UNKNOWN_ALARM, subject=SUBJECT)
    if await alarms.raise_alarm(tx, kind, subject=SUBJECT, detail=detail, now=now):
        log.error("alarm", kind=kind, detail=detail)


def _detail(owed_msat: int, *, backed_msat: int, silent: list[BackendName]) -> str:
    """A backend that does not answer may have less, or more, than it said last."""
    if silent:
        return (
            f"{', '.join(silent)} tells no balance, and what is known, {backed_msat} msat, does"
            f" not cover {owed_msat} msat owed: outgoing payments stopped"
        )
    return f"{owed_msat} msat owed, {backed_msat} msat to spend: outgoing payments stopped"
