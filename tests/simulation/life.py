"""One life of the service's process: the real flow, put together as `app.py` does."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nwc_service.accounts import Accounts
from nwc_service.backend import BackendUnavailable, LightningBackend, NodeInfo
from nwc_service.config import (
    InvoiceSettings,
    PaymentSettings,
    PublicSettings,
    RequestSettings,
    Settings,
)
from nwc_service.directory import Directory
from nwc_service.edges import Edges
from nwc_service.flow import Flow, build_flow
from nwc_service.keyring import Keyring
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.outbox import Publish
from nwc_service.payers import Payers
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import BackendName
from tests.simulation.database import DatabaseFault, SimulatedDatabase
from tests.simulation.loop import Crash, SimulatedLoop

MASTER_KEY = b"\x55" * 32
TIMEOUT_S = 20
FEE_RESERVE_MSAT = 4_000
MAX_OPEN_PER_ACCOUNT = 6
LONGEST_HOLD_S = 300
STOP_S = 120.0

SETTINGS = Settings(
    data_dir=Path("/nowhere"),
    requests=RequestSettings(
        rate_per_s=1_000,
        rate_burst=1_000,
        account_rate_per_s=10_000,
        account_rate_burst=10_000,
        max_in_progress=1_000,
    ),
    payments=PaymentSettings(
        fee_reserve_floor_msat=FEE_RESERVE_MSAT,
        timeout_s=TIMEOUT_S,
        max_open_per_account=MAX_OPEN_PER_ACCOUNT,
    ),
    invoices=InvoiceSettings(longest_hold_s=LONGEST_HOLD_S),
    public=PublicSettings(domain="example.org", min_msat=1, invoice_expiry_s=300),
)
KEYRING = Keyring(MASTER_KEY)

Work = Coroutine[object, object, object]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What one life is given, and what it tells."""

    loop: SimulatedLoop
    db: SimulatedDatabase
    backends: Mapping[BackendName, LightningBackend]
    default_backend: BackendName
    connections: list[Connection]
    publish: Publish
    clock: Callable[[], int]
    problem: Callable[[str], None]


class Life:
    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._loop = around.loop
        self._tasks: dict[int, tuple[asyncio.Task[None], Work]] = {}
        self._spawned = 0
        self._seen: dict[str, bool] = {}
        self.is_up = False
        self.is_dead = False
        self.is_stopping = False
        self.directory = Directory(around.connections)
        self.flow, self.accounts, self.payers = self._put_together()

    def _put_together(self) -> tuple[Flow, Accounts, Payers]:
        around = self._around
        edges = Edges(
            settings=SETTINGS,
            db=around.db,
            books=around.db,
            keyring=KEYRING,
            backends=around.backends,
            default_backend=around.default_backend,
            directory=self.directory,
            spawn=self.spawn,
        )
        flow = build_flow(edges, publish=around.publish, announce=_announce, clock=around.clock)
        accounts = Accounts(
            around.db,
            backends=around.backends,
            default_backend=around.default_backend,
            spender=flow.spender,
            clock=around.clock,
        )
        payers = Payers(
            around.db,
            receiver=flow.receiver,
            backends=around.backends,
            keyring=KEYRING,
            node_info=lambda name: flow.reconciler.node_info.get(name, NodeInfo()),
            settings=SETTINGS.public,
            clock=around.clock,
        )
        return flow, accounts, payers

    def start(self) -> None:
        self.spawn(self._run())

    async def _run(self) -> None:
        flow = self.flow
        for name in self._around.backends:
            await flow.reconciler.ask_node(name)
        await _patiently(flow.solvency.check)
        await _patiently(flow.dispatcher.recover)
        self.is_up = True
        self.spawn(flow.outbox.run())
        self.spawn(flow.dispatcher.run())
        self.spawn(flow.reconciler.run())

    def hear(self, event: Event) -> bool:
        """A request arrives; False when nobody is there to hear it."""
        if not self.is_up or self.is_stopping:
            return False
        repeated = self._seen.get(event.id, False)
        self._seen[event.id] = self.flow.dispatcher.submit(event, repeated) or repeated
        return True

    def spawn(self, work: Work) -> None:
        if self.is_dead:
            raise Crash
        if self.is_stopping:
            work.close()
            return
        self._spawned += 1
        number = self._spawned
        task = self._loop.create_task(self._logged(work))
        self._tasks[number] = task, work
        task.add_done_callback(lambda _: self._ended(number))

    def stop(self) -> None:
        """As on SIGTERM, without the patience."""
        self.is_stopping = True
        for task, _ in list(self._tasks.values()):
            task.cancel()
        self._loop.call_later(STOP_S, self._hangs)

    def die(self) -> None:
        self.is_dead = True
        self._around.db.is_dead = True

    def bury(self) -> None:
        """What was never begun is not missed."""
        for _, work in self._tasks.values():
            with suppress(BaseException):
                work.close()

    def _hangs(self) -> None:
        self._around.problem("the service does not stop")

    def _ended(self, number: int) -> None:
        _, work = self._tasks.pop(number)
        work.close()  # where it was canceled before its first step
        if self.is_stopping and not self._tasks:
            self._loop.stop()

    async def _logged(self, work: Work) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 (told, and judged)
            if not is_expected(error):
                self._around.problem(f"a task failed: {error!r}")


def is_expected(error: BaseException | None) -> bool:
    """Whether the world that the simulator makes is what it failed over."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_expected, error.exceptions))
    if error is None:
        return False
    known = isinstance(error, DatabaseFault | BackendUnavailable | Refused | NotFound)
    return known or is_expected(error.__cause__) or is_expected(error.__context__)


async def _announce(_connection: Connection) -> None:
    """No app looks for an info event here."""


async def _patiently(step: Callable[[], Awaitable[object]]) -> None:
    """Until the database lets it, as whoever starts the service would."""
    while True:
        try:
            await step()
        except DatabaseFault:
            await asyncio.sleep(1)
        else:
            return


def logged_problem(fields: Mapping[str, object]) -> str | None:
    """Why a line of the service's log should not have been written; None where it may."""
    if not fields.get("exc_info") or is_expected(sys.exc_info()[1]):
        return None
    return f"{fields.get('event')}: {sys.exc_info()[1]!r}"
