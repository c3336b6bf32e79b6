"""One data directory, one hostile node, and life after life on it; at last the oracle."""

import asyncio
import resource
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import httpx
from websockets.exceptions import WebSocketException

from tests.chaos.books import Books
from tests.chaos.clients import Apps
from tests.chaos.life import BACKEND, LifeSpec, NodeLife
from tests.chaos.node import NodeSpec
from tests.chaos.nursery import Child, Nursery, nursery
from tests.chaos.oracle import Oracle, Verdict
from tests.chaos.outside import Operator, Outside
from tests.chaos.payers import Payers
from tests.chaos.plan import VICIOUS, LifePlan, Trouble, drawn_faults, drawn_life
from tests.chaos.points import PLACES
from tests.chaos.score import Score
from tests.chaos.traffic import Traffic
from tests.chaos.ways import EXPIRIES_S
from tests.clients.relay_link import RelayLink

USERS = 6
CREDIT_MSAT = 2_000_000_000
POOR_CREDIT_MSAT = 60_000_000
LIVES_PER_EPOCH = 40
EPOCH_S = 150
"""Requests that nobody has taken are too old for the relay after five minutes."""
JUMP_S = max(EXPIRIES_S) + 400
CALM_S = 30.0
STILL_S = 8.0
"""When nothing has changed for so long on an idle machine, nothing will."""
PATIENCE = 15
"""So many times longer, where no bug was sown: the machine may be busy."""
REPEAT_S = 0.5
LOOKS = 20
STUCK_S = 10
DEAD = (OSError, WebSocketException, TimeoutError, asyncio.CancelledError, httpx.HTTPError)


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    seed: str
    kills: int
    payments_per_life: int
    directory: Path
    places: tuple[str, ...] = PLACES  # failpoints to die at
    sabotage: str | None = None


class Episode:
    def __init__(self, spec: EpisodeSpec, *, cradle: Nursery) -> None:
        self._spec = spec
        self._cradle = cradle
        self._random = Random(spec.seed)
        self._data_dir = spec.directory / "data"
        self._socket = str(spec.directory / "node.sock")
        self._database = self._data_dir / "nwc.sqlite"
        self._offset_s = 0
        self._epoch_began_at = 0  # by the apps' clock
        self._apps = Apps(on_answer=lambda asked: self._traffic.heard(asked))
        self._outside = Outside(self._socket)
        self._operator = Operator(self._data_dir)
        self._payers = Payers(self._random, port=self._public_port)
        self._traffic = Traffic(
            self._random,
            apps=self._apps,
            operator=self._operator,
            outside=self._outside,
            payers=self._payers,
            stuck=self._stuck,
        )
        self.score = Score()

    async def run(self) -> Score:
        began_at = time.monotonic()
        await self._start_node()
        await self._open_accounts()
        faults = VICIOUS if self._spec.sabotage else drawn_faults(self._random)
        await self._outside.call("turn", **asdict(faults))
        await self._lives()
        verdict = await self._end()
        self.score.count(verdict, self._apps.asked.values())
        self.score.seconds = time.monotonic() - began_at
        return self.score

    async def close(self) -> None:
        await self._operator.close()

    def _stuck(self, kind: str = "%") -> list[str]:
        """Sent by a process that is dead, so that nothing is on its way any more."""
        return self._select(
            "SELECT payment_id FROM payment WHERE state = 'UNKNOWN' AND dispatched_at < ?"
            " AND kind LIKE ? LIMIT 20",
            self._apps.now() - STUCK_S,
            kind,
        )

    def _public_port(self) -> str:
        return self._select("SELECT value FROM meta WHERE name = 'public_port'")[0]

    def _select(self, query: str, *values: object) -> list[str]:
        with closing(sqlite3.connect(self._database)) as db:
            return [value for (value,) in db.execute(query, values)]

    # --- beginning

    async def _start_node(self) -> None:
        spec = NodeSpec(self._socket, self._spec.seed, self._offset_s)
        node = await self._cradle.bear(NodeLife(spec), log=self._spec.directory / "node.log")
        await node.ready

    async def _open_accounts(self) -> None:
        async with self._calm_life():
            for number in range(USERS):
                name = f"user{number}"
                uri = await self._operator.open_account(
                    name,
                    credit_msat=CREDIT_MSAT if number else POOR_CREDIT_MSAT,
                    notifications="" if number % 2 else "payment_sent,payment_received",
                )
                self._traffic.add(name, self._apps.add(uri))
                await self._operator.call("POST", "addresses", name=name, account=name)
                self._payers.names.append(name)

    # --- lives

    async def _lives(self) -> None:
        epoch_began_at, lives = time.monotonic(), 0
        while self.score.kills < self._spec.kills:
            await self._one_life(drawn_life(self._random, places=self._spec.places))
            lives += 1
            if lives == LIVES_PER_EPOCH or time.monotonic() - epoch_began_at > EPOCH_S:
                await self._let_time_pass()
                epoch_began_at, lives = time.monotonic(), 0

    async def _one_life(self, plan: LifePlan) -> None:
        began_at = time.monotonic()
        most_pages = None
        if plan.trouble.kind == "full":
            most_pages = self._database.stat().st_size // 4096 + plan.trouble.size // 4096
        child = await self._cradle.bear(
            self._life(plan.point, skew_s=plan.skew_s, most_pages=most_pages), log=self._log
        )
        tasks = [
            asyncio.create_task(self._use(child, began_at)),
            asyncio.create_task(self._trouble(child, plan.trouble)),
        ]
        await asyncio.wait([child.ended], timeout=plan.after_s)
        died_by_itself = not child.is_alive
        await child.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error
        self._tally(child, plan, died_by_itself=died_by_itself)

    def _tally(self, child: Child, plan: LifePlan, *, died_by_itself: bool) -> None:
        code = child.ended.result()
        if code == -signal.SIGKILL:
            self.score.kills += 1
            place = "a moment"
            if died_by_itself:
                place = child.said.get("place") or (plan.point or "?").partition(":")[0]
            self.score.places[place] += 1
        elif plan.trouble.kind in ("disk_full", "full"):
            self.score.places["could not start on a full disk"] += 1
        else:
            self.score.problems.append(f"a life ended by itself: {code}, {plan}")

    def _life(
        self,
        point: str | None,
        *,
        skew_s: int = 0,
        most_pages: int | None = None,
        is_quick: bool = False,
    ) -> LifeSpec:
        return LifeSpec(
            self._data_dir,
            self._socket,
            self._offset_s + skew_s,
            point=point,
            most_pages=most_pages,
            is_quick=is_quick,
            sabotage=self._spec.sabotage,
        )

    @property
    def _log(self) -> Path:
        return self._spec.directory / "service.log"

    async def _use(self, child: Child, began_at: float) -> None:
        """All that its users and the operator do with it, until it dies."""
        try:
            bursts = await self._traffic.plan(self._spec.payments_per_life)
            self._operator.serve_at(await child.ready)
            self.score.restart_s += time.monotonic() - began_at
            self.score.restarts += 1
            await self._operator.resume(BACKEND)
            async with self._apps.connected() as link:
                await self._traffic.live(link, bursts)
                await asyncio.Event().wait()
        except* DEAD:
            pass

    async def _trouble(self, child: Child, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.at_s)
        if trouble.kind == "stop":
            child.signal(signal.SIGSTOP)
            await asyncio.sleep(trouble.for_s)
            child.signal(signal.SIGCONT)
        elif trouble.kind == "reset":
            await self._outside.call("reset")
        elif trouble.kind == "refuse":
            await self._outside.call("refuse", for_s=trouble.for_s)
        elif trouble.kind == "disk_full" and child.is_alive:
            await self._fill_disk(child, trouble)

    async def _fill_disk(self, child: Child, trouble: Trouble) -> None:
        """No file may grow any more, and after a while it may again."""
        wal = self._database.with_name(self._database.name + "-wal")
        size = max(path.stat().st_size for path in (wal, self._database) if path.exists())
        with suppress(ProcessLookupError):
            _, most = resource.prlimit(child.pid.result(), resource.RLIMIT_FSIZE)
            resource.prlimit(
                child.pid.result(), resource.RLIMIT_FSIZE, (size + trouble.size % 30_000, most)
            )
            await asyncio.sleep(trouble.for_s)
            resource.prlimit(child.pid.result(), resource.RLIMIT_FSIZE, (most, most))

    # --- time, and the end

    @asynccontextmanager
    async def _calm_life(self, *, is_quick: bool = False) -> AsyncIterator[None]:
        """Nothing happens to it until it is left, and then it is killed."""
        child = await self._cradle.bear(self._life(None, is_quick=is_quick), log=self._log)
        try:
            self._operator.serve_at(await child.ready)
            yield
        finally:
            await child.kill()

    async def _let_time_pass(self) -> None:
        """Past every expiry; but first each request is claimed, or it would be too old."""
        async with self._calm_life(), self._apps.connected() as link:
            await self._have_all_claimed(link)
            await self._hear_again(link)
        await self._miss_nothing()
        self._payers.forget()
        self._offset_s += JUMP_S
        self._apps.offset_s = self._offset_s
        self._epoch_began_at = self._apps.now()
        await self._outside.call("pass_time", offset_s=self._offset_s)

    async def _miss_nothing(self) -> None:
        """The relay keeps for minutes what was answered between two looks, not for hours."""
        for _ in range(LOOKS):
            stored = Counter(self._events("outbox"))
            missed = {
                id_
                for id_, asked in self._apps.unanswered.items()
                if stored[id_] > len(asked.answers)
            }
            if not missed:
                return
            async with self._calm_life(), self._apps.connected() as link:
                await self._apps.fetch(link, missed)
        self.score.problems.append(f"never fetched: {missed}")

    async def _have_all_claimed(self, link: RelayLink) -> None:
        """What is not claimed has changed nothing yet, and is delivered until it does."""
        unclaimed = self._apps.unanswered.keys() - self._claimed()
        await self._apps.deliver(link, [self._apps.asked[id_] for id_ in unclaimed])
        if not await _until(lambda: unclaimed <= self._claimed(), within_s=CALM_S):
            self.score.problems.append(f"never claimed: {unclaimed - self._claimed()}")

    def _claimed(self) -> set[str]:
        return set(self._events("request"))

    def _events(self, table: str) -> list[str]:
        """The request event of each item that is claimed, or that is answered."""
        ids = self._select(f"SELECT request_id FROM {table} WHERE request_id <> ''")
        return [id_.partition(":")[0] for id_ in ids]

    async def _hear_again(self, link: RelayLink) -> None:
        """Every answered request since the last jump once more, and its answer is there."""
        answered = {
            id_: asked
            for id_, asked in self._apps.asked.items()
            if asked.answers and asked.event.created_at >= self._epoch_began_at
        }
        self._apps.heard.clear()
        await self._apps.deliver(link, answered.values())
        await asyncio.sleep(REPEAT_S)
        await self._apps.fetch(link, answered)
        for id_, asked in answered.items():
            if not set().union(*asked.answers.values()) <= self._apps.heard:
                self.score.problems.append(f"request {id_} was answered, and is not again")
        self.score.repeated += len(answered)

    async def _end(self) -> Verdict:
        """The node heals, all time passes, and what is right then is right."""
        await self._outside.call("heal")
        await self._let_time_pass()
        async with self._calm_life(is_quick=True), self._apps.connected() as link:
            still_s = STILL_S * (1 if self._spec.sabotage else PATIENCE)
            changed_at, verdict = time.monotonic(), Verdict(unanswered=1)
            while not verdict.is_clean and time.monotonic() < changed_at + still_s:
                await asyncio.sleep(0.3)
                await self._operator.resume(BACKEND)
                for payment_id in self._stuck("keysend"):  # no rule gives them back
                    with suppress(httpx.HTTPStatusError):  # it has just ended
                        await self._traffic.resolve(payment_id)
                await self._apps.fetch(link, list(self._apps.unanswered))
                before, verdict = verdict, await self._judge()
                changed_at = changed_at if verdict == before else time.monotonic()
            audit = await self._operator.call("GET", "audit")
            verdict.problems += [f"audit: {problem}" for problem in audit["problems"]]
            verdict.problems += self._operators_losses()
            return verdict

    async def _judge(self) -> Verdict:
        books = Books.read(self._database)
        self.score.payments = len(books.payments)
        oracle = Oracle(
            books,
            truth=await self._outside.call("truth"),
            asked=self._apps.asked,
            account_of={
                client.keypair.public_key: name
                for name, client in self._traffic.clients.items()
            },
            payees=self._payers.payees,
            moved=self._operator.moved,
            backend=BACKEND,
        )
        return oracle.judge()

    def _operators_losses(self) -> list[str]:
        """What the operator was told that it is done, and is not."""
        lost = (
            self._operator.opened - set(self._select("SELECT name FROM account")),
            self._operator.connected
            - set(self._select("SELECT connection_id FROM connection")),
            self._operator.revoked
            - set(self._select("SELECT connection_id FROM connection WHERE revoked_at > 0")),
        )
        return [f"the operator was told of {ids}" for ids in lost if ids]


async def _until(holds: Callable[[], bool], *, within_s: float) -> bool:
    give_up_at = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(0.1)
    return True


def run_episode(spec: EpisodeSpec, link: socket.socket) -> Score:
    """In a process of its own; `link` is to its nursery."""
    return asyncio.run(_run_episode(spec, link))


async def _run_episode(spec: EpisodeSpec, link: socket.socket) -> Score:
    async with nursery(link) as cradle:
        episode = Episode(spec, cradle=cradle)
        try:
            return await episode.run()
        finally:
            await episode.close()
