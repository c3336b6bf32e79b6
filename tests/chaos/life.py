"""What a forked child does: one life of the service, or of the node."""

import asyncio
import gc
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from tempfile import TemporaryDirectory

from nwc_service import app, backend, embedded, log, outbox, reconciler
from nwc_service.backend import entry_points
from nwc_service.config import (
    BackendSettings,
    InvoiceSettings,
    PaymentSettings,
    PublicSettings,
    RequestSettings,
    Settings,
)
from nwc_service.store import sqlite
from tests.chaos.backend import ChaosBackend
from tests.chaos.node import NodeSpec, run_node
from tests.chaos.nursery import Tell
from tests.chaos.points import arm_point
from tests.chaos.sabotage import SABOTAGES

PAY_TIMEOUT_S = 2
REQUEST_MAX_AGE_S = 280  # the embedded relay takes none that is older than 300 s
LONGEST_HOLD_S = 15
BACKEND = "node"


@dataclass(frozen=True, slots=True)
class LifeSpec:
    """`offset_s` is what its clock is ahead of this machine's."""

    data_dir: Path
    socket: str
    offset_s: int
    point: str | None = None
    most_pages: int | None = None  # that the database may grow to
    is_quick: bool = False  # its sweeps follow each other closely
    sabotage: str | None = None

    def run(self, tell: Tell) -> None:
        _set_clock(self.offset_s)
        _install_backend()
        if self.sabotage is not None:
            SABOTAGES[self.sabotage]()
        if self.is_quick:
            _quicken()
        if self.most_pages is not None:
            _limit_pages(self.most_pages)
        if self.point is not None:
            arm_point(self.point, tell=lambda place: tell("place", place))
        asyncio.run(_live(settings(self.data_dir, self.socket), tell=tell))


@dataclass(frozen=True, slots=True)
class NodeLife:
    node: NodeSpec

    def run(self, tell: Tell) -> None:
        asyncio.run(run_node(self.node, ready=lambda: tell("ready", None)))


def settings(data_dir: Path, socket: str) -> Settings:
    return Settings(
        data_dir=data_dir,
        default_backend=BACKEND,
        backends={BACKEND: BackendSettings(type="chaos", socket=socket)},
        payments=PaymentSettings(
            timeout_s=PAY_TIMEOUT_S, max_open=10_000, max_open_per_account=2_000
        ),
        invoices=InvoiceSettings(
            max_open_holds_per_account=1_000, longest_hold_s=LONGEST_HOLD_S
        ),
        public=PublicSettings(
            domain="example.org", invoice_expiry_s=60, host_rate_per_s=10_000, host_burst=10_000
        ),
        requests=RequestSettings(
            max_mutating_age_s=REQUEST_MAX_AGE_S,
            rate_per_s=10_000,
            rate_burst=10_000,
            account_rate_per_s=100_000,
            account_rate_burst=100_000,
            max_in_progress=10_000,
        ),
    )


async def _live(settings: Settings, *, tell: Tell) -> None:
    async with app.running(settings) as service:
        tell("ready", service.admin_url)
        await asyncio.Event().wait()


def _set_clock(offset_s: int) -> None:
    def now() -> float:
        return time.time() + offset_s

    app._clock = lambda: int(now())
    open_relay = partial(embedded.open_embedded_relay, now=now)
    vars(app)["open_embedded_relay"] = open_relay


def _install_backend() -> None:
    """As an installed distribution would that registers it."""
    place = f"{ChaosBackend.__module__}:{ChaosBackend.__qualname__}"
    for module in (backend, entry_points):
        vars(module)["find"] = lambda name: EntryPoint(name, place, backend.ENTRY_POINT_GROUP)


def _quicken() -> None:
    for name in ("PAYMENTS", "INVOICES", "CANCELS", "HOLDS", "RELEASED"):
        setattr(reconciler, f"{name}_EVERY_S", 0.2)
    for name in ("SWEEP", "RELEASED"):
        setattr(reconciler, f"{name}_AT_MOST", 10_000)
    reconciler.STREAM_RETRY_S = 0.2
    outbox.RECOVER_EVERY_S = 0.5


def _limit_pages(most_pages: int) -> None:
    """A database that gets full: SQLite says so as it does for a disk."""
    set_up = sqlite._set_up

    async def limited(connection: object, path: Path, *, mode: str) -> None:
        await set_up(connection, path, mode=mode)  # type: ignore[arg-type]
        await connection.execute(f"PRAGMA max_page_count = {most_pages}")  # type: ignore[attr-defined]

    sqlite._set_up = limited


def prepare() -> None:
    """Import and run everything once, so that children find it in memory."""
    log.configure("error")
    _install_backend()
    with TemporaryDirectory() as directory:
        path = Path(directory)
        asyncio.run(_run_once(settings(path, str(path / "nobody"))))
    gc.collect()
    gc.freeze()


async def _run_once(settings: Settings) -> None:
    async with app.running(settings):
        pass
