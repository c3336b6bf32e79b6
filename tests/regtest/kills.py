"""Payments through real LND while it and the service are killed: `python -m
tests.regtest.kills`.

The service works on alice; carol, behind bob, is the world outside. Users pay and are paid in
every way there is, and at random moments alice, the service or both end by kill -9. Then all
is healed, and the books are compared with what both nodes say, and with the channels.
"""

import argparse
import asyncio
import random
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from tempfile import mkdtemp

import httpx

from tests.chaos.books import Books
from tests.chaos.oracle import Oracle, Verdict
from tests.chaos.outside import Operator
from tests.chaos.score import Score
from tests.e2e.service import ServiceProcess
from tests.regtest.network import RegtestNetwork, regtest_network
from tests.regtest.outside import LndOutside
from tests.regtest.postman import Postman
from tests.regtest.service import BACKEND, service_on
from tests.regtest.traffic import Traffic
from tests.regtest.truth import (
    differences,
    held_hashes,
    in_channels_msat,
    invoices_of,
    payments_of,
    truth,
    undone,
)

USERS = 4
CREDIT_MSAT = 300_000_000
VICTIMS = ("service", "node", "both")
LONGEST_DEATH_S = 3.0
HEALED_S, PATIENT_S = 90.0, 300.0
LOOK_EVERY_S = 1.0
STARTS = 10
SETTINGS = """\
[requests]
max_mutating_age_s = 280
[payments]
timeout_s = 20
max_open_per_account = 200
"""


class Run:
    def __init__(
        self,
        network: RegtestNetwork,
        service: ServiceProcess,
        *,
        seed: str,
        is_patient: bool,
    ) -> None:
        self._network = network
        self._service = service
        self._random = random.Random(seed)
        self._node, self._outside = network.nodes["alice"], network.nodes["carol"]
        self._postman = Postman()
        self._operator = Operator(service.data_dir)
        self._traffic = Traffic(
            self._random,
            postman=self._postman,
            node=self._node,
            outside=LndOutside(self._outside),
        )
        self._began_with_msat = 0
        self._is_patient = is_patient
        self.lost_at_node_msat = 0  # what `undone` tells of
        self.resolved = 0  # payments that never came to the node, as the operator found
        self.stuck_at_node = 0  # called in flight by the node, and in no channel
        self.score = Score()

    async def run(self, *, payments: int, kills: int) -> None:
        began_at = time.monotonic()
        self._began_with_msat = await in_channels_msat(self._node)
        self._operator.serve_at(str(self._service.admin.base_url).rstrip("/"))
        for number in range(USERS):
            await self._open_account(f"user{number}")
        async with self._postman.on_his_way():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._traffic.flow(payments))
                tasks.create_task(self._kill(payments, kills=kills))
            await self._postman.ask_again()
            verdict = await self._end()
        self.score.count(verdict, self._postman.apps.asked.values())
        self.score.seconds = time.monotonic() - began_at

    async def close(self) -> None:
        await self._operator.close()

    @property
    def deals(self) -> Counter[str]:
        return self._traffic.deals

    async def _open_account(self, name: str) -> None:
        uri = await self._operator.open_account(
            name, credit_msat=CREDIT_MSAT, notifications="payment_sent,payment_received"
        )
        client = self._postman.apps.add(uri)
        self._traffic.add(name, client, keysend_id=self._operator.keysend_ids[name])

    # --- death

    async def _kill(self, payments: int, *, kills: int) -> None:
        """Spread over all payments, each at a moment of its own."""
        for number in range(kills):
            at = payments * (number + self._random.uniform(0.05, 0.85)) / kills
            while self._traffic.through_node < at:
                await asyncio.sleep(0.01)
            await asyncio.sleep(self._random.uniform(0, 0.5))
            victim = self._random.choice(VICTIMS) if number >= len(VICTIMS) else VICTIMS[number]
            await self._one_death(victim)

    async def _one_death(self, victim: str) -> None:
        began_at = time.monotonic()
        if victim != "service":
            self._node.kill()
        if victim != "node":
            await self._service.kill()
        self.score.kills += 1
        self.score.places[victim] += 1
        await asyncio.sleep(self._random.uniform(0, LONGEST_DEATH_S))
        if victim == "node":
            await self._network.heal()
        else:
            await asyncio.gather(self._network.heal(), self._start())
        self.score.restart_s += time.monotonic() - began_at

    async def _start(self) -> None:
        """As whoever supervises it does: without its node it ends at once."""
        for attempt in range(STARTS):
            try:
                await self._service.start()
            except (RuntimeError, TimeoutError):
                await self._service.kill()
                if attempt == STARTS - 1:
                    raise
                await asyncio.sleep(0.5)
            else:
                break
        self._operator.serve_at(str(self._service.admin.base_url).rstrip("/"))

    # --- the end

    async def _end(self) -> Verdict:
        """All is healed; once nothing changes any more, the verdict is what it is."""
        give_up_at = time.monotonic() + (PATIENT_S if self._is_patient else HEALED_S)
        while True:
            await self._resolve()
            verdict = await self._judge()
            audit = await self._service.audit()
            verdict.problems += [f"audit: {problem}" for problem in audit["problems"]]
            if verdict.is_clean or time.monotonic() > give_up_at:
                return verdict
            await asyncio.sleep(LOOK_EVERY_S)

    async def _judge(self) -> Verdict:
        payments, invoices = await payments_of(self._node), await invoices_of(self._node)
        books = Books.read(self._service.data_dir / "nwc.sqlite")
        known = truth(books, payments=payments, invoices=invoices)
        self.score.payments = len(known["paid"]) + len(known["received"])
        verdict = Oracle(
            books,
            truth=known,
            asked=self._postman.apps.asked,
            account_of=self._traffic.account_of,
            payees={},
            moved=self._operator.moved,
            backend=BACKEND,
        ).judge()
        there = await payments_of(self._outside), await invoices_of(self._outside)
        verdict.problems += differences(payments, there[1], payer="alice", payee="carol")
        lost = undone(invoices, sent=there[0], log=self._node.log_text())
        self.lost_at_node_msat = sum(int(one["amt_paid_msat"]) for one in lost)
        arrived = [one for one in invoices if one not in lost]
        verdict.problems += differences(there[0], arrived, payer="carol", payee="alice")
        verdict.problems += [f"alarm: {kind} {subject}" for kind, subject in books.alarms]
        left_msat = sum(one["amount_msat"] + one["fee_msat"] for one in known["paid"].values())
        came_msat = sum(msat for _, msat in known["received"])
        verdict.compare(
            "alice's channels",
            await in_channels_msat(self._node),
            expected_msat=self._began_with_msat
            + came_msat
            - left_msat
            - self.lost_at_node_msat,
        )
        return verdict

    async def _resolve(self) -> None:
        """What only the operator can decide, who looks at both nodes.

        Whether a keysend has left cannot be known by itself; for invoices that LND never heard
        of rule H does it, if there is time. And an LND that is killed after it has stored an
        attempt, before the HTLC is in a channel, calls the payment in flight for ever.
        """
        listed = {one["payment_hash"]: one["status"] for one in await payments_of(self._node)}
        for payment_id, payment_hash, kind in self._open():
            status = listed.get(payment_hash)
            if status is None and (kind == "keysend" or not self._is_patient):
                await self._give_back(payment_id, force=False)
                self.resolved += 1
            elif status == "IN_FLIGHT" and await self._is_nowhere(payment_hash):
                await self._give_back(payment_id, force=True)
                self.stuck_at_node += 1

    async def _give_back(self, payment_id: str, *, force: bool) -> None:
        statement = {"paid": False, "reason": "looked at both nodes", "force": force}
        with suppress(httpx.HTTPStatusError):  # it has just ended
            await self._service.call("POST", f"payments/{payment_id}/resolve", **statement)

    async def _is_nowhere(self, payment_hash: str) -> bool:
        """No channel holds its HTLC, and its payee takes none any more."""
        there = {one["hash"]: one["state"] for one in await invoices_of(self._outside)}
        held = await held_hashes(self._node)
        return payment_hash not in held and there.get(payment_hash, "CANCELED") == "CANCELED"

    def _open(self) -> list[tuple[str, str, str]]:
        with closing(sqlite3.connect(self._service.data_dir / "nwc.sqlite")) as db:
            return db.execute(
                "SELECT payment_id, payment_hash, kind FROM payment WHERE"
                " state IN ('DISPATCHED', 'UNKNOWN')"
            ).fetchall()


@asynccontextmanager
async def a_run(directory: Path, *, seed: str, is_patient: bool = False) -> AsyncIterator[Run]:
    """On a network of its own."""
    async with (
        regtest_network(directory / "network") as network,
        service_on(network.nodes["alice"], directory, settings=SETTINGS) as service,
    ):
        run = Run(network, service, seed=seed, is_patient=is_patient)
        try:
            yield run
        finally:
            await run.close()


def told(run: Run) -> str:
    score = run.score
    figures = {
        "kills": f"{score.kills} ({_counted(score.places)})",
        "payments through LND": score.payments,
        "deals": _counted(run.deals),
        "requests": score.requests,
        "seconds": round(score.seconds),
        "seconds from a kill to active channels": round(
            score.restart_s / max(1, score.kills), 1
        ),
        "never at LND, resolved by the operator": run.resolved,
        "stuck at LND, resolved by the operator": run.stuck_at_node,
        "msat that LND said it had, and gave back": run.lost_at_node_msat,
        "msat lost": score.lost_msat,
        "msat created": score.created_msat,
        "unanswered": score.unanswered,
        "answered in two ways": score.differing,
        "problems": len(score.problems),
    }
    return "\n".join(
        [
            *(f"{name:<40}{figure}" for name, figure in figures.items()),
            *(f"{times:>8}  {answer}" for answer, times in score.answers.most_common()),
            *score.problems[:40],
        ]
    )


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{times} {name}" for name, times in sorted(counter.items()))


async def _main(options: argparse.Namespace) -> int:
    directory = options.directory or Path(mkdtemp(prefix="nwc-kills-"))
    seed = options.seed or str(random.SystemRandom().getrandbits(32))
    print(f"seed {seed}, {options.payments} payments, {options.kills} kills", flush=True)
    async with a_run(directory, seed=seed, is_patient=options.patient) as run:
        await run.run(payments=options.payments, kills=options.kills)
        print(told(run), flush=True)
    if not run.score.is_clean:
        print(f"the data is in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.regtest.kills", description=__doc__)
    parser.add_argument("--payments", type=int, default=100, help="through LND, at least")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", help="printed at the start; what is drawn from it")
    parser.add_argument(
        "--patient", action="store_true", help="let rule H give back what never left"
    )
    parser.add_argument("--directory", type=Path, help="where the data of a failed run stays")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_options())))
