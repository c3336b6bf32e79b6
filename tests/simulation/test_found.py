"""What the simulator has found in the service, each in a few lines."""

import asyncio
import sqlite3
from typing import TypeVar

import pytest

from nwc_service import outbox as flow_outbox
from nwc_service.answers import Answers
from nwc_service.directory import Directory
from nwc_service.nip47 import kinds
from nwc_service.nip47.connection import Connection
from nwc_service.nostr.event import Event
from nwc_service.outbox import Outbox
from nwc_service.store import outbox, payments
from nwc_service.store.database import Tx, Work
from nwc_service.store.outbox import Outgoing
from nwc_service.store.sqlite import read_batch, write_batch
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState, Proof, ProofKind
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)
from tests.doubles.hostile_node import hash_of
from tests.simulation.database import DatabaseFault
from tests.simulation.life import KEYRING
from tests.simulation.scenario import Scenario
from tests.simulation.world import World

T = TypeVar("T")

PREIMAGE = Preimage("77" * 32)
NOW = 1_800_000_100


def a_world() -> World:
    world = World(1)
    Scenario(world)._set_up()
    return world


# --- the same hash on two backends


def test_a_late_success_is_looked_for_although_another_backend_paid_the_hash() -> None:
    world = a_world()
    released = a_payment("first", PaymentState.RELEASED, hash_of(PREIMAGE))
    settled = a_payment("second", PaymentState.SETTLED, hash_of(PREIMAGE))
    found: list[Payment] = []

    async def work(tx: Tx) -> None:
        assert await payments.insert(tx, released)
        assert await payments.insert(tx, settled)
        found.extend(
            await payments.released_after_sending(
                tx, BackendName("first"), since=0, after=PaymentId(""), limit=10
            )
        )

    world.write(work)

    assert found == [released]


def a_payment(backend: str, state: PaymentState, payment_hash: PaymentHash) -> Payment:
    is_settled = state is PaymentState.SETTLED
    return Payment(
        payment_id=PaymentId(f"by {backend}"),
        account_id=AccountId("0" * 32),
        connection_id=None,
        kind=PaymentKind.BOLT11,
        state=state,
        backend=BackendName(backend),
        payment_hash=payment_hash,
        invoice="lnbcrt1",
        description="",
        description_hash=None,
        amount_msat=Msat(1_000),
        amount_is_override=False,
        fee_reserve_msat=Msat(100),
        fee_msat=Msat(10) if is_settled else None,
        preimage=PREIMAGE if is_settled else None,
        created_at=NOW,
        expires_at=NOW + 600,
        dispatched_at=NOW,
        unpayable_at=NOW + 800,
        settled_at=NOW,
        proof=None if is_settled else Proof(ProofKind.FINAL_STATUS, "says the node"),
    )


# --- an answer dated anew, whose commit nobody heard of


class Unheard:
    """A database whose first commit is not acknowledged."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._commits = 0

    async def write(self, work: Work[T]) -> T:
        [result] = write_batch(self._connection, [work])
        self._commits += 1
        if self._commits == 1:
            raise DatabaseFault("after the commit")
        return result  # type: ignore[no-any-return]

    async def read(self, work: Work[T]) -> T:
        [result] = read_batch(self._connection, [work])
        return result  # type: ignore[no-any-return]

    async def close(self) -> None:
        pass


async def test_after_the_first_ok_no_older_date_of_the_answer_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow_outbox, "FIRST_RETRY_S", 0.01)
    world = a_world()
    connection = world.clients[0].connection
    answers = Answers(KEYRING, clock=lambda: NOW)
    published: list[tuple[str, bool]] = []
    takes: list[bool] = [False]

    async def publish(_connection: Connection, event: Event) -> bool:
        await asyncio.sleep(0)
        published.append((event.id, takes[0]))
        return takes[0]

    tasks: list[asyncio.Task[object]] = []
    box = Outbox(
        Unheard(world.connection),
        answers=answers,
        directory=Directory([connection]),
        publish=publish,
        spawn=lambda work: tasks.append(asyncio.ensure_future(work)),
        clock=lambda: NOW,
    )
    old = stored(world, connection)
    box.push([old])
    while not published:
        await asyncio.sleep(0)
    takes[0] = True
    await asyncio.sleep(0.001)
    await box.recover()
    await asyncio.wait(tasks)

    taken = {event_id for event_id, was_taken in published if was_taken}
    assert len(taken) == 1


class Late(Unheard):
    """A database that tells of each commit, and of what it read, only when it is let."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._commits = 1
        self.tells_commits = asyncio.Event()
        self.tells_rows = asyncio.Event()

    async def write(self, work: Work[T]) -> T:
        result = await super().write(work)
        await self.tells_commits.wait()
        return result

    async def read(self, work: Work[T]) -> T:
        result = await super().read(work)
        await self.tells_rows.wait()
        return result


@pytest.mark.parametrize("read_first", [False, True], ids=["fresh-row-read", "old-row-read"])
async def test_an_answer_dated_anew_is_in_one_task_and_its_old_date_in_none(
    monkeypatch: pytest.MonkeyPatch,
    read_first: bool,
) -> None:
    """Read again while it is dated anew, before or after the commit."""
    monkeypatch.setattr(flow_outbox, "FIRST_RETRY_S", 0.01)
    world = a_world()
    connection = world.clients[0].connection
    published: list[str] = []
    tasks: list[asyncio.Task[object]] = []
    database = Late(world.connection)

    async def publish(_connection: Connection, event: Event) -> bool:
        await asyncio.sleep(0)
        published.append(event.id)
        return len(published) > 1

    box = Outbox(
        database,
        answers=Answers(KEYRING, clock=lambda: NOW),
        directory=Directory([connection]),
        publish=publish,
        spawn=lambda work: tasks.append(asyncio.ensure_future(work)),
        clock=lambda: NOW,
    )
    old = stored(world, connection)
    slow, quick = database.tells_rows, database.tells_commits
    if not read_first:
        slow, quick = quick, slow
    quick.set()
    if read_first:
        tasks.append(asyncio.ensure_future(box.recover()))
        await asyncio.sleep(0)
    box.push([old])
    await asyncio.sleep(0.005)
    if not read_first:
        tasks.append(asyncio.ensure_future(box.recover()))
        await asyncio.sleep(0.005)
    slow.set()
    await asyncio.sleep(0.1)
    await asyncio.gather(*tasks)

    assert published[0] == old.event_id
    assert old.event_id not in published[1:]
    assert len(set(published)) == 2


def stored(world: World, connection: Connection) -> Outgoing:
    """An answer of long ago that no relay has taken yet."""
    event = KEYRING.channel(connection).sign(
        kind=kinds.RESPONSE, content="", tags=(), created_at=NOW - 60, aux=bytes(32)
    )
    outgoing = Outgoing(
        event_id=event.id,
        event=event.to_json(),
        connection_id=connection.connection_id,
        request_id=None,
        created_at=event.created_at,
    )
    world.write(lambda tx: outbox.insert(tx, outgoing))
    return outgoing
