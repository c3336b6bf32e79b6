"""States for the metrics, read when they are scraped: from memory, or by one indexed query."""

import asyncio
import math
import platform
import sqlite3
import time
from collections import Counter as Tally
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nwc_service import __version__, metrics
from nwc_service.edges import Edges
from nwc_service.flow import Flow
from nwc_service.metrics.instruments import show
from nwc_service.metrics.meters import EMBEDDED, know_backends
from nwc_service.relays import Relays
from nwc_service.store import alarms, ledger, nodes, outbox, payments
from nwc_service.store.database import Tx
from nwc_service.wallet.payment import LIVE_STATES, PaymentState

__all__ = ["Gauges", "watch_loop"]

LAG_EVERY_S = 1.0


class Gauges:
    """Of one running service."""

    def __init__(
        self, edges: Edges, flow: Flow, *, relays: Relays, clock: Callable[[], int]
    ) -> None:
        self._edges = edges
        self._flow = flow
        self._relays = relays
        self._clock = clock

    async def start(self) -> None:
        """What is counted once, and kept in step from then on."""
        accounts = await self._edges.books.read(ledger.account_count)
        metrics.ACCOUNTS.of().value = accounts
        know_backends(self._edges.backends)
        labels = (__version__, platform.python_version(), sqlite3.sqlite_version)
        metrics.BUILD_INFO.of(*labels).value = 1

    async def read(self) -> None:
        self._read_backends()
        self._read_cover()
        self._read_relays()
        show(metrics.CONNECTIONS, {(): len(self._edges.directory)})
        show(metrics.DATABASE_BYTES, _file_sizes(self._edges.settings.database_path))
        now = self._clock()
        oldest = self._flow.outbox.oldest_stored_at
        show(metrics.OUTBOX_OLDEST, {(): _age_s(oldest, now=now)})
        try:
            await self._edges.books.read(lambda tx: self._read_books(tx, now=now))
        except Exception:
            # No old figures: what cannot be read is missing.
            for family in _OF_BOOKS:
                family.clear()
            raise

    async def _read_books(self, tx: Tx, *, now: int) -> None:
        standing = await payments.live_states(tx)
        show(metrics.OPEN_PAYMENTS, {(s,): standing.get(s, (0, 0))[0] for s in LIVE_STATES})
        _, oldest = standing.get(PaymentState.UNKNOWN, (0, None))
        show(metrics.OLDEST_UNKNOWN, {(): _age_s(oldest, now=now)})
        show(metrics.OUTBOX_WAITING, {(): await outbox.waiting_count(tx)})
        show(metrics.ALARMS, {(kind,): n for kind, n in (await alarms.counts(tx)).items()})
        paused = {pause.backend for pause in await nodes.pauses(tx)}
        show(metrics.BACKEND_PAUSED, {(name,): name in paused for name in self._edges.backends})

    def _read_backends(self) -> None:
        known = self._flow.reconciler.node_info
        show(metrics.BACKEND_UP, {(name,): name in known for name in self._edges.backends})
        show(metrics.BACKEND_SYNCED, {(name,): info.synced for name, info in known.items()})

    def _read_cover(self) -> None:
        solvency = self._flow.solvency
        balances = solvency.balances
        show(metrics.SPENDABLE_MSAT, {(n,): b.spendable_msat for n, b in balances.items()})
        receivable = {(n,): b.receivable_msat for n, b in balances.items()}
        show(metrics.RECEIVABLE_MSAT, {n: m for n, m in receivable.items() if m is not None})
        show(metrics.GATE_OPEN, {(): solvency.is_covered})
        if solvency.judged_msat is not None:
            owed_msat, backed_msat = solvency.judged_msat
            show(metrics.OWED_MSAT, {(): owed_msat})
            show(metrics.BACKED_MSAT, {(): backed_msat})
            ratio = backed_msat / owed_msat if owed_msat else math.inf
            show(metrics.COVER_RATIO, {(): ratio})

    def _read_relays(self) -> None:
        known, connected, subscribed = Tally[str](), Tally[str](), Tally[str]()
        for relay in self._relays.reached:
            known[relay.label] += 1
            connected[relay.label] += relay.is_connected
            subscribed[relay.label] += relay.is_subscribed
        if self._relays.embedded is not None:
            for tally in (known, connected, subscribed):
                tally[EMBEDDED] = 1
        show(metrics.RELAYS, {(label,): n for label, n in known.items()})
        show(metrics.RELAYS_CONNECTED, {(label,): connected[label] for label in known})
        show(metrics.RELAYS_SUBSCRIBED, {(label,): subscribed[label] for label in known})


_OF_BOOKS = (
    metrics.OPEN_PAYMENTS,
    metrics.OLDEST_UNKNOWN,
    metrics.OUTBOX_WAITING,
    metrics.ALARMS,
    metrics.BACKEND_PAUSED,
)


async def watch_loop() -> None:
    """Measure for ever how punctual the event loop is."""
    lag = metrics.LOOP_LAG.of()
    while True:
        began = time.monotonic()
        await asyncio.sleep(LAG_EVERY_S)
        lag.observe(max(0.0, time.monotonic() - began - LAG_EVERY_S))


def _age_s(since: int | None, *, now: int) -> int:
    return 0 if since is None else max(0, now - since)


def _file_sizes(path: Path) -> dict[tuple[str, ...], float]:
    sizes: dict[tuple[str, ...], float] = {}
    for name, suffix in (("main", ""), ("wal", "-wal")):
        with suppress(OSError):
            sizes[name,] = path.with_name(path.name + suffix).stat().st_size
    return sizes
