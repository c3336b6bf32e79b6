"""Races widened on purpose: slow statements, many at once, and rivals between any two steps.

SQLite lets one write at a time, so its own speed hides nothing and shows nothing. Here every
statement that decides about money takes its time, so that whoever comes meanwhile waits in one
batch with the others; and a rival does all that he wants between two awaits of a payment, at
each of them in turn.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nwc_service.backend import InFlight
from nwc_service.nostr.event import Event
from nwc_service.store import connections, nodes
from nwc_service.store.nodes import Pause, Stops
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.payment import PaymentState
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client, Clock, Relay, Work
from tests.flow.world import (
    FEE_RESERVE_MSAT,
    MAX_OPEN,
    MAX_OPEN_PER_ACCOUNT,
    World,
    open_world,
    until,
)

AMOUNT_MSAT = 100_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
COST_MSAT = AMOUNT_MSAT + FEE_MSAT
HASH = hash_of(preimage_of(1))
MANY = 24

SLOW_STEPS = 20_000
"""Of a recursive query: some milliseconds of the database's thread for each statement."""


@asynccontextmanager
async def slow(world: World, *statements: str) -> AsyncIterator[None]:
    """While inside, each of the statements, such as "INSERT ON payment", takes its time."""
    for number, statement in enumerate(statements):
        await world.change_schema(
            f"CREATE TRIGGER slow_{number} BEFORE {statement} BEGIN"
            " SELECT count(*) FROM (WITH RECURSIVE step (n) AS"
            f" (SELECT 1 UNION ALL SELECT n + 1 FROM step LIMIT {SLOW_STEPS})"
            " SELECT n FROM step); END"
        )
    yield
    for number, _ in enumerate(statements):
        await world.change_schema(f"DROP TRIGGER slow_{number}")


RESERVING = ("INSERT ON payment", "UPDATE ON account", "INSERT ON entry")


def an_invoice(world: World, number: int = 1, amount_msat: int = AMOUNT_MSAT) -> str:
    world.backend.expect(number)
    return outside_invoice(number, amount_msat, created_at=world.clock())


def codes(world: World, client: Client, requests: list[Event]) -> list[str]:
    """Of the answers: "paid", or the error's code; sorted."""
    answers = [world.answer(client, request) for request in requests]
    return sorted(a["error"]["code"] if a["error"] else "paid" for a in answers)


def paid_and(code: str, *, paid: int, of: int = MANY) -> list[str]:
    return sorted([code] * (of - paid) + ["paid"] * paid)


# --- slow statements, and many at once


@pytest.mark.attack("A1")
@pytest.mark.parametrize("affordable", [0, 1, 7])
async def test_a_slow_ledger_pays_outside_as_often_as_the_balance_allows(
    world: World, affordable: int
) -> None:
    world.lift_caps()
    await world.account("carol", credit_msat=affordable * HELD_MSAT + HELD_MSAT - 1)
    apps = [await world.connect("carol") for _ in range(3)]
    world.backend.pay_gate.clear()

    async with slow(world, *RESERVING):
        asked = [
            (apps[n % 3], world.pay(apps[n % 3], an_invoice(world, n))) for n in range(MANY)
        ]
        refused = MANY - affordable
        await until(lambda: sum(bool(world.answers_to(*one)) for one in asked) == refused)
        held = await world.money("carol")
        world.backend.pay_gate.set()
        await world.tasks.idle()

    assert held == (HELD_MSAT - 1, affordable * HELD_MSAT)
    assert len(world.backend.sent) == affordable
    left_msat = affordable * (FEE_RESERVE_MSAT - FEE_MSAT) + HELD_MSAT - 1
    assert await world.money("carol") == (left_msat, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A1")
async def test_a_slow_ledger_pays_inside_as_often_as_the_balance_allows(
    world: World, bob: Client
) -> None:
    await world.account("carol", credit_msat=5 * AMOUNT_MSAT + 1)
    carol = await world.connect("carol")
    made = [await world.invoice(bob, AMOUNT_MSAT) for _ in range(MANY)]

    async with slow(world, *RESERVING, "UPDATE ON invoice"):
        requests = [world.pay(carol, one["invoice"]) for one in made]
        await world.tasks.idle()

    assert codes(world, carol, requests) == paid_and("INSUFFICIENT_BALANCE", paid=5)
    assert await world.money("carol") == (1, 0)
    assert await world.money("bob") == (CREDIT_MSAT + 5 * AMOUNT_MSAT, 0)
    assert len(world.notifications(bob)) == 5
    assert await world.problems() == ()


@pytest.mark.attack("A1", "A9")
async def test_a_user_who_pays_himself_many_times_at_once_gains_nothing(world: World) -> None:
    await world.account("carol", credit_msat=AMOUNT_MSAT)
    payer, payee = [await world.connect("carol") for _ in range(2)]
    made = [await world.invoice(payee, AMOUNT_MSAT) for _ in range(MANY)]
    beyond = await world.invoice(payee, AMOUNT_MSAT + 1)

    async with slow(world, *RESERVING, "UPDATE ON invoice"):
        requests = [world.pay(payer, one["invoice"]) for one in made]
        too_much = world.pay(payer, beyond["invoice"])
        await world.tasks.idle()

    assert codes(world, payer, requests) == ["paid"] * MANY
    assert codes(world, payer, [too_much]) == ["INSUFFICIENT_BALANCE"]
    assert await world.money("carol") == (AMOUNT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A1", "A9")
async def test_a_circle_of_many_at_once_leaves_the_sum_as_it_was(
    world: World, alice: Client, bob: Client
) -> None:
    hers = [await world.invoice(alice, CREDIT_MSAT) for _ in range(8)]
    his = [await world.invoice(bob, CREDIT_MSAT) for _ in range(8)]

    async with slow(world, *RESERVING):
        for to_her, to_him in zip(hers, his, strict=True):
            world.pay(bob, to_her["invoice"])
            world.pay(alice, to_him["invoice"])
        await world.tasks.idle()

    (hers_msat, _), (his_msat, _) = await world.money("alice"), await world.money("bob")
    assert hers_msat + his_msat == 2 * CREDIT_MSAT
    assert min(hers_msat, his_msat) >= 0
    assert await world.problems() == ()


@pytest.mark.attack("A1")
async def test_an_operator_who_debits_while_the_user_pays_takes_no_money_twice(
    world: World,
) -> None:
    world.lift_caps()
    await world.account("carol", credit_msat=6 * HELD_MSAT)
    carol = await world.connect("carol")
    world.backend.pay_script.extend([InFlight()] * MANY)

    async with slow(world, *RESERVING):
        requests = [world.pay(carol, an_invoice(world, n)) for n in range(MANY)]
        debits = await asyncio.gather(
            *(world.accounts.debit("carol", HELD_MSAT, reason="a voucher") for _ in range(9)),
            return_exceptions=True,
        )
        await world.tasks.idle()

    debited = sum(not isinstance(one, Refused) for one in debits)
    refused = sum(bool(world.answers_to(carol, request)) for request in requests)
    assert debited + len(world.backend.sent) == 6
    assert refused == MANY - len(world.backend.sent)
    assert await world.money("carol") == (0, len(world.backend.sent) * HELD_MSAT)
    assert await world.problems() == ()


@pytest.mark.attack("A1")
async def test_slow_budgets_are_each_passed_by_nobody(world: World) -> None:
    """Two budgets on one account that could pay for both, payments of both kinds."""
    world.lift_caps()
    await world.account("carol", credit_msat=100 * HELD_MSAT)
    await world.account("dave")
    dave = await world.connect("dave")
    limits = (3 * HELD_MSAT, 5 * HELD_MSAT + AMOUNT_MSAT)
    apps = [
        await world.connect("carol", budget=Budget(Msat(limit), Renewal.DAILY))
        for limit in limits
    ]
    world.backend.pay_script.extend([InFlight()] * 100)

    async with slow(world, *RESERVING, "UPDATE ON budget_period"):
        outside = [world.pay(app, an_invoice(world, n)) for n in range(8) for app in apps[:1]]
        mixed = [world.pay(apps[1], an_invoice(world, 100 + n)) for n in range(8)]
        await world.tasks.idle()
        inside = [await world.invoice(dave, AMOUNT_MSAT) for _ in range(3)]
        paid_inside = [world.pay(apps[1], one["invoice"]) for one in inside]
        await world.tasks.idle()

    assert sum(bool(world.answers_to(apps[0], one)) for one in outside) == 8 - 3
    assert sum(bool(world.answers_to(apps[1], one)) for one in mixed) == 8 - 5
    assert codes(world, apps[1], paid_inside) == paid_and("QUOTA_EXCEEDED", paid=1, of=3)
    used = [await used_msat(world, app) for app in apps]
    assert used == [3 * HELD_MSAT, 5 * HELD_MSAT + AMOUNT_MSAT]
    assert await world.problems() == ()


async def used_msat(world: World, client: Client) -> int:
    async def read(tx: Any) -> int:
        row = await tx.one(
            "SELECT sum(used_msat) AS used_msat FROM budget_period"
            " WHERE connection_id = :connection_id",
            connection_id=client.connection.connection_id,
        )
        return int(row["used_msat"])

    return await world.db.read(read)


@pytest.mark.attack("A1", "A7")
async def test_a_slow_ledger_opens_no_more_payments_than_are_allowed(world: World) -> None:
    world.backend.pay_script.extend([InFlight()] * 100)
    apps = []
    for name in ("a", "b", "c", "d", "e", "f"):
        await world.account(name, credit_msat=100 * HELD_MSAT)
        apps.append(await world.connect(name))

    async with slow(world, "INSERT ON payment"):
        for index, app in enumerate(apps):
            for n in range(2 * MAX_OPEN_PER_ACCOUNT):
                world.pay(app, an_invoice(world, 100 * index + n))
        await world.tasks.idle()

    held = [(await world.money(name))[1] // HELD_MSAT for name in "abcdef"]
    assert sum(held) == len(world.backend.sent) == MAX_OPEN
    assert max(held) == MAX_OPEN_PER_ACCOUNT
    assert await world.problems() == ()


@pytest.mark.attack("A1", "A12")
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
async def test_one_invoice_that_many_accounts_pay_at_once_is_paid_by_one(
    world: World, alice: Client, *, inside: bool
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    invoice = made["invoice"] if inside else an_invoice(world)
    apps = []
    for number in range(8):
        await world.account(f"payer-{number}", credit_msat=CREDIT_MSAT)
        apps.append(await world.connect(f"payer-{number}"))

    async with slow(world, *RESERVING):
        asked = [(app, world.pay(app, invoice)) for app in apps for _ in range(2)]
        await world.tasks.idle()

    paid = {
        app.connection.account_id
        for app, request in asked
        if world.answer(app, request)["error"] is None
    }
    balances = sorted([await world.money(f"payer-{number}") for number in range(8)])
    spent_msat = AMOUNT_MSAT if inside else COST_MSAT
    assert len(paid) == 1
    assert balances == [(CREDIT_MSAT - spent_msat, 0), *[(CREDIT_MSAT, 0)] * 7]
    assert len(world.backend.sent) == (0 if inside else 1)
    assert await world.problems() == ()


@pytest.mark.attack("A15")
async def test_stream_sweep_and_operator_together_credit_a_settlement_once(
    world: World, alice: Client
) -> None:
    made = [await world.invoice(alice, AMOUNT_MSAT) for _ in range(5)]
    told = [world.backend.receive(one["payment_hash"]) for one in made]

    async with slow(world, "INSERT ON receipt", "UPDATE ON invoice", "UPDATE ON account"):
        await asyncio.gather(
            world.follow_the_stream(),
            *(world.reconciler.sweep_invoices(world.backend.name) for _ in range(3)),
            *(world.crediter.credit(world.backend.name, one) for one in told * 3),
        )
        await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + 5 * AMOUNT_MSAT, 0)
    assert len(world.notifications(alice)) == 5
    assert await world.count("receipt") == 5
    assert await world.problems() == ()


# --- a rival between any two steps


class Rival:
    """Does all that he wants before one step, counted from 1, of what a world spawns."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._steps = 0
        self._does: Callable[[], Awaitable[object]] | None = None

    @property
    def has_struck(self) -> bool:
        return self._steps >= self._number

    def will(self, do: Callable[[], Awaitable[object]]) -> None:
        """From now on steps are counted."""
        self._does = do

    def __call__(self, work: Work) -> Work:
        return self._watched(work) if self._does and not self.has_struck else work

    async def _watched(self, work: Work) -> None:
        await _Steps(work, self)

    async def step(self) -> None:
        if self._does is None or self.has_struck:
            return
        self._steps += 1
        if self.has_struck:
            await self._does()

    async def come_late(self) -> None:
        """After all steps, where there were fewer."""
        if self._does is not None and not self.has_struck:
            await self._does()


class _Steps:
    def __init__(self, work: Work, rival: Rival) -> None:
        self._work = work
        self._rival = rival

    def __await__(self) -> Generator[Any, None, None]:
        steps = self._work.__await__()
        go_on: Callable[[], Any] = partial(next, steps)
        try:
            while True:
                yield from self._rival.step().__await__()
                try:
                    waits_for = go_on()
                except StopIteration:
                    return
                go_on = partial(next, steps)
                try:
                    yield waits_for
                except Exception as error:  # noqa: BLE001 (its own to handle)
                    go_on = partial(steps.throw, error)
        finally:
            steps.close()


async def rest(world: World) -> None:
    """Until all but the task that the rival has stopped have done what they can."""
    for _ in range(100):
        others = world.tasks._running - {asyncio.current_task()}
        if not others:
            return
        await asyncio.wait(others, timeout=1)


@dataclass(frozen=True, slots=True)
class Race:
    world: World
    rival: Rival

    def against(self, do: Callable[[], object]) -> None:
        async def strike() -> None:
            done = do()
            if isinstance(done, Awaitable):
                await done
            await rest(self.world)

        self.rival.will(strike)

    async def run(self, client: Client, invoice: str) -> Event:
        """The payment that is raced against, and all that comes of both."""
        request = self.world.pay(client, invoice)
        await self.world.tasks.idle()
        await self.rival.come_late()
        assert self.world.tasks.failures == []
        assert await self.world.problems() == ()
        return request


async def at_every_step(path: Path, run: Callable[[Race], Awaitable[str]]) -> set[str]:
    """Who won, over all the steps at which the rival may come."""
    winners: set[str] = set()
    for number in range(1, 100):
        rival = Rival(number)
        async with open_world(
            path / f"{number}.sqlite",
            backend=ScriptedBackend(),
            clock=Clock(),
            relay=Relay(),
            interruption=rival,
        ) as world:
            winner = await run(Race(world, rival))
        if not rival.has_struck:
            assert number > 5
            return winners
        winners.add(winner)
    raise AssertionError("the payment never ended")


@pytest.mark.attack("A1")
async def test_the_last_money_is_spent_once_whenever_the_second_payment_comes(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=HELD_MSAT)
        first, second = [await world.connect("carol") for _ in range(2)]
        race.against(lambda: world.pay(second, an_invoice(world, 2)))

        await race.run(first, an_invoice(world, 1))

        [sent] = world.backend.sent
        assert await world.money("carol") == (FEE_RESERVE_MSAT - FEE_MSAT, 0)
        return "first" if sent.payment_hash == HASH else "second"

    assert await at_every_step(tmp_path, race) == {"first", "second"}


@pytest.mark.attack("A1", "A26")
async def test_one_invoice_is_paid_once_whenever_it_is_asked_for_again(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=CREDIT_MSAT)
        carol = await world.connect("carol")
        invoice = an_invoice(world)
        asked: list[Event] = []
        race.against(lambda: asked.append(world.pay(carol, invoice)))

        asked.append(await race.run(carol, invoice))

        results = [world.answer(carol, request)["result"] for request in asked]
        assert results == [{"preimage": preimage_of(1), "fees_paid": FEE_MSAT}] * len(asked)
        assert len(world.backend.sent) == 1
        assert await world.money("carol") == (CREDIT_MSAT - COST_MSAT, 0)
        return "both"

    assert await at_every_step(tmp_path, race) == {"both"}


@pytest.mark.attack("A1", "A12")
async def test_one_of_two_accounts_pays_whenever_the_other_comes(tmp_path: Path) -> None:
    async def race(race: Race) -> str:
        world = race.world
        apps = {}
        for name in ("carol", "dave"):
            await world.account(name, credit_msat=CREDIT_MSAT)
            apps[name] = await world.connect(name)
        invoice = an_invoice(world)
        race.against(lambda: world.pay(apps["dave"], invoice))

        await race.run(apps["carol"], invoice)

        money = {name: (await world.money(name))[0] for name in apps}
        assert sorted(money.values()) == [CREDIT_MSAT - COST_MSAT, CREDIT_MSAT]
        assert len(world.backend.sent) == 1
        return min(money, key=money.__getitem__)

    assert await at_every_step(tmp_path, race) == {"carol", "dave"}


@pytest.mark.attack("A1")
async def test_the_operator_or_the_user_has_the_money_whenever_it_is_debited(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=HELD_MSAT)
        carol = await world.connect("carol")
        debited: list[bool] = []

        async def debit() -> None:
            try:
                await world.accounts.debit("carol", HELD_MSAT, reason="a voucher")
            except Refused:
                debited.append(False)
            else:
                debited.append(True)

        race.against(debit)

        request = await race.run(carol, an_invoice(world))

        if debited == [True]:
            assert world.answer(carol, request)["error"]["code"] == "INSUFFICIENT_BALANCE"
            assert (await world.money("carol"), world.backend.sent) == ((0, 0), [])
            return "operator"
        assert world.answer(carol, request)["error"] is None
        assert await world.money("carol") == (FEE_RESERVE_MSAT - FEE_MSAT, 0)
        return "user"

    assert await at_every_step(tmp_path, race) == {"operator", "user"}


@pytest.mark.attack("A1", "A31")
async def test_a_connection_that_is_revoked_while_it_pays_has_paid_or_has_not(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=CREDIT_MSAT)
        carol = await world.connect("carol")
        connection_id = carol.connection.connection_id
        race.against(
            lambda: world.db.write(
                lambda tx: connections.revoke(tx, connection_id, now=world.clock())
            )
        )

        request = await race.run(carol, an_invoice(world))

        return await paid_or_refused(world, carol, request=request, code="UNAUTHORIZED")

    assert await at_every_step(tmp_path, race) == {"paid", "refused"}


@pytest.mark.attack("A4", "A21")
async def test_a_node_that_is_paused_while_a_payment_starts_is_sent_it_once_or_not_at_all(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=CREDIT_MSAT)
        carol = await world.connect("carol")
        pause = Pause(world.backend.name, Stops.OUTGOING, 1, "a test", "", world.clock())
        found: list[PaymentState] = []

        async def stop() -> None:
            await world.db.write(lambda tx: nodes.pause(tx, pause))
            found.extend([payment.state for payment in await world.payments_of(HASH)])

        race.against(stop)

        request = await race.run(carol, an_invoice(world))

        result = await paid_or_refused(world, carol, request=request, code="INTERNAL")
        assert result == "paid" or found in ([], [PaymentState.RESERVED])
        assert result == "refused" or found not in ([], [PaymentState.RESERVED])
        return result

    assert await at_every_step(tmp_path, race) == {"paid", "refused"}


async def paid_or_refused(world: World, client: Client, *, request: Event, code: str) -> str:
    """And the books, the node and the answer tell the same."""
    answer = world.answer(client, request)
    if answer["error"] is None:
        assert len(world.backend.sent) == 1
        assert await world.money("carol") == (CREDIT_MSAT - COST_MSAT, 0)
        return "paid"
    assert answer["error"]["code"] == code
    assert world.backend.sent == []
    assert await world.money("carol") == (CREDIT_MSAT, 0)
    return "refused"


@pytest.mark.attack("A11")
async def test_an_invoice_paid_inside_while_its_node_settles_it_is_credited_for_each(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        apps = {}
        for name in ("carol", "dave"):
            await world.account(name, credit_msat=CREDIT_MSAT)
            apps[name] = await world.connect(name)
        made = await world.invoice(apps["dave"], AMOUNT_MSAT)
        told = world.backend.receive(made["payment_hash"])
        race.against(lambda: world.crediter.credit(world.backend.name, told))

        request = await race.run(apps["carol"], made["invoice"])

        paid = world.answer(apps["carol"], request)["error"] is None
        received_msat = AMOUNT_MSAT * (2 if paid else 1)
        spent_msat = AMOUNT_MSAT if paid else 0
        assert await world.money("carol") == (CREDIT_MSAT - spent_msat, 0)
        assert await world.money("dave") == (CREDIT_MSAT + received_msat, 0)
        assert world.backend.sent == []
        return "inside first" if paid else "node first"

    assert await at_every_step(tmp_path, race) == {"inside first", "node first"}


@pytest.mark.attack("A9")
async def test_who_pays_himself_while_he_pays_another_has_what_he_had_less_that(
    tmp_path: Path,
) -> None:
    """The payment to himself needs all that he has, and so does the other."""

    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=HELD_MSAT)
        carol = await world.connect("carol")
        made = await world.invoice(carol, HELD_MSAT)
        race.against(lambda: world.pay(carol, made["invoice"]))

        request = await race.run(carol, an_invoice(world))

        assert world.answer(carol, request)["error"] is None
        assert await world.money("carol") == (FEE_RESERVE_MSAT - FEE_MSAT, 0)
        found = await world.call(carol, "lookup_invoice", {"invoice": made["invoice"]})
        return str(found["result"]["state"])

    assert await at_every_step(tmp_path, race) == {"settled", "pending"}


@pytest.mark.attack("A4", "A15")
async def test_a_lookup_that_comes_while_a_payment_is_sent_settles_it_once(
    tmp_path: Path,
) -> None:
    async def race(race: Race) -> str:
        world = race.world
        await world.account("carol", credit_msat=CREDIT_MSAT)
        carol = await world.connect("carol")

        async def look_up() -> None:
            world.clock.advance(60)
            await world.reconciler.look_up_payments()

        race.against(look_up)

        request = await race.run(carol, an_invoice(world))

        assert world.answer(carol, request)["error"] is None
        assert len(world.backend.sent) == 1
        assert (await world.payment(HASH)).state is PaymentState.SETTLED
        assert await world.money("carol") == (CREDIT_MSAT - COST_MSAT, 0)
        return "settled"

    assert await at_every_step(tmp_path, race) == {"settled"}
