"""All that one seed decides: nodes, relay, clients, faults, and the lives of the service."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random

import structlog

from nwc_service.backend import (
    KeysendRequest,
    LightningBackend,
    Outcome,
    PayRequest,
    ReleaseRule,
)
from nwc_service.nip47 import kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.store.database import Work
from nwc_service.store.sqlite import write_batch
from nwc_service.wallet.units import BackendName
from tests.doubles.hostile_backend import HostileBackend
from tests.doubles.hostile_node import HostileNode
from tests.simulation import invariants
from tests.simulation.database import DatabaseFaults, SimulatedDatabase, open_memory
from tests.simulation.life import Life, Surroundings, logged_problem
from tests.simulation.loop import Crash, SimulatedLoop, Timeline
from tests.simulation.parties import Asked, Client, SimulatedRelay
from tests.simulation.sources import paced, seeded

START = 1_800_000_000

NEVER_AWAITED = "coroutine .* was never awaited"
"""Python's word for what a crash or a stop has kept from its first step."""

# Where a life can end: at any step, or just after one of these.
PLACES = ("step", "commit", "failpoint", "send")


@dataclass(slots=True)
class Past:
    """What is known of one life, to tell whether a request could have been claimed in it."""

    ended_at: float | None = None
    faults_at: list[float] = field(default_factory=list)


class SimulatedBackend(HostileBackend):
    """Tells the world what is sent."""

    def __init__(self, name: BackendName, options: Mapping[str, object], *, world: "World"):
        super().__init__(name, options)
        self._world = world

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        self._world.hit("send")
        self._world.sending(self.name, request.our_id)
        return await super().pay(request)


class World:
    def __init__(self, seed: int, *, tell: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.timeline = Timeline()
        self.connection: sqlite3.Connection = open_memory()
        invariants.watch(self.connection)
        self.nodes: dict[BackendName, HostileNode] = {}
        self.rules: dict[BackendName, ReleaseRule] = {}
        self.default_backend = BackendName("")
        self.clients: list[Client] = []
        self.asked: dict[str, Asked] = {}
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.offset_s = 0
        """Of the service's clock, against the true time."""
        self.database_faults = DatabaseFaults()
        self.pasts: list[Past] = []
        self.life: Life | None = None
        self.is_closing = False
        self.relay = SimulatedRelay(
            self.random("relay"), on_taken=self._taken, happened=self.happened
        )
        self.on_answer: Callable[[Asked], None] = lambda _asked: None
        self._doom: tuple[str, int] | None = None
        self._tell = tell
        self._trace = hashlib.sha256()

    def random(self, purpose: str) -> Random:
        """A stream of chance of its own, so that one more draw here changes nothing there."""
        return Random(f"{self.seed}/{purpose}")

    # --- time

    def now(self) -> float:
        return START + self.timeline.now

    def service_clock(self) -> int:
        return int(self.now() + self.offset_s)

    # --- what is told

    @property
    def digest(self) -> str:
        """Of all that has happened, in its order."""
        return self._trace.hexdigest()

    def trace(self, *words: object) -> None:
        line = " ".join(map(str, (f"{self.timeline.now:.4f}", *words)))
        self._trace.update(line.encode())
        if self._tell is not None:
            self._tell(line)

    def happened(self, fault: str) -> None:
        self.counts["faults"] += 1
        self.trace("fault", fault)

    def problem(self, what: str) -> None:
        self.trace("PROBLEM", what)
        self.problems.append(what)

    # --- the lives of the service

    def live(self, *, until: float) -> None:
        """One life; it ends by itself, by its doom, or at that time."""
        loop = SimulatedLoop(
            self.timeline, self.random(f"loop {len(self.pasts)}"), on_step=self._stepped
        )
        self.pasts.append(Past())
        self.trace("start", len(self.pasts), self.default_backend)
        self.timeline.at(until, loop.stop)
        life = self.life = Life(self._surroundings(loop))
        loop.call_soon(life.start)
        try:
            loop.run_forever()
        except Crash:
            self.trace("crash")
            self.counts["crashes"] += 1
        finally:
            self.life, self._doom = None, None
            self.pasts[-1].ended_at = self.timeline.now
            life.die()
            loop.abandon()
            life.bury()
        self._check()

    def doom(self, place: str, *, count: int) -> None:
        """Let the process die the next times that it comes by there."""
        self._doom = (place, count)

    def hit(self, place: str) -> None:
        """Raises Crash when that is where the process was to die."""
        if self._doom is None or self._doom[0] != place:
            return
        self._doom = (place, self._doom[1] - 1)
        if self._doom[1] <= 0 and self.life is not None:
            self.life.die()
            raise Crash

    def arrive(self, event: Event) -> None:
        """A copy of a request reaches the service's relays."""
        if self.life is None or not self.life.hear(event):
            return
        asked = self.asked[event.id]
        age_s = self.service_clock() - event.created_at
        asked.deliveries.append((len(self.pasts) - 1, self.timeline.now, age_s))
        self.trace("request", event.id[:8], asked.method)

    def write(self, *works: Work[object]) -> None:
        """Straight into the database, before the service lives or while it does not look."""
        for result in write_batch(self.connection, list(works)):
            if isinstance(result, Exception):
                raise result

    def sending(self, name: BackendName, payment_id: str) -> None:
        """I10, I11: nothing is sent but what is durably dispatched, to that backend, once."""
        row = self.connection.execute(
            "SELECT state, backend FROM payment WHERE payment_id = ?", (payment_id,)
        ).fetchone()
        if row is None or (row["state"], row["backend"]) != ("DISPATCHED", name):
            self.problem(f"I11: payment {payment_id} is sent, its row: {row and tuple(row)}")
        if payment_id in self.nodes[name].truth.sends:
            self.problem(f"payment {payment_id} is sent twice")
        self.trace("send", payment_id[:8])

    def _surroundings(self, loop: SimulatedLoop) -> Surroundings:
        number = len(self.pasts)
        db = SimulatedDatabase(
            self.connection,
            random=self.random(f"database {number}"),
            faults=lambda: self.database_faults,
            on_commit=self._committed,
            on_fault=self._database_failed,
        )
        return Surroundings(
            loop=loop,
            db=db,
            backends=self._backends(),
            default_backend=self.default_backend,
            connections=[client.connection for client in self.clients],
            publish=self._publish,
            clock=self.service_clock,
            problem=self.problem,
        )

    def _backends(self) -> dict[BackendName, LightningBackend]:
        poll_s = 240.0 if self.is_closing else 5.0
        return {
            name: SimulatedBackend(
                name,
                {"node": node, "rule": self.rules[name], "poll_s": poll_s},
                world=self,
            )
            for name, node in self.nodes.items()
        }

    # --- what the service does

    def _stepped(self) -> None:
        self.hit("step")
        if self.problems and self.life is not None:
            self.life.die()
            raise Crash

    def _committed(self, units: int) -> None:
        self.counts["commits"] += 1
        self.trace("commit", units, self.connection.total_changes)
        self._check()
        self.hit("commit")

    def _check(self) -> None:
        for problem in invariants.problems(self.connection):
            self.problem(problem)

    def _database_failed(self, fault: str) -> None:
        self.happened(fault)
        self.disturbed()

    def disturbed(self) -> None:
        """What is on its way now may not get through."""
        if self.pasts:
            self.pasts[-1].faults_at.append(self.timeline.now)

    def failpoint(self, name: str) -> None:
        self.hit("failpoint")

    async def _publish(self, connection: Connection, event: Event) -> bool:
        self._check_final(event)
        return await self.relay.publish(connection, event)

    def _check_final(self, event: Event) -> None:
        """I12: once an answer is marked as taken, nothing else is ever published for it."""
        asked_for = event.tag_value("e")
        row = self.connection.execute(
            "SELECT event_id FROM outbox JOIN request USING (request_id)"
            " WHERE request_id BETWEEN ?1 AND ?1 || ':~' AND d_tag IS ?2"
            " AND published_at IS NOT NULL",
            (asked_for, event.tag_value("d")),
        ).fetchone()
        if row is not None and row["event_id"] != event.id:
            self.problem(f"I12: another answer to {asked_for} after the first was taken")

    def _taken(self, event: Event) -> None:
        self.trace("taken", event.kind, event.id[:8])
        asked = self.asked.get(event.tag_value("e") or "")
        if event.kind != kinds.RESPONSE or asked is None or event.id in asked.answers:
            return
        asked.answers[event.id] = asked.client.open(event)
        asked.d_tags[event.id] = event.tag_value("d")
        if len(asked.answers) == 1:
            self.on_answer(asked)


def run(world: World, scenario: Callable[[World], None]) -> None:
    """Play it in a process whose chance, time and log are the world's."""

    def silent(_logger: object, _method: str, fields: Mapping[str, object]) -> str:
        if (problem := logged_problem(fields)) is not None:
            world.problem(problem)
        raise structlog.DropEvent

    logging = structlog.get_config()
    with ExitStack() as stack:
        stack.callback(lambda: structlog.configure(**logging))
        structlog.configure(
            processors=[silent],
            wrapper_class=structlog.make_filtering_bound_logger(40),
            cache_logger_on_first_use=False,
        )
        stack.enter_context(
            seeded(world.random("ids"), clock=world.now, on_failpoint=world.failpoint)
        )
        stack.enter_context(paced())
        stack.callback(world.connection.close)
        scenario(world)
