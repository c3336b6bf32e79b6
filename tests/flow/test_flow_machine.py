"""Whatever clients, nodes, crashes and time do in whatever order: the books stay right.

The scripted node is the judge: it knows which payments really left and which really came.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nwc_service.backend import Failed, FailReason, InFlight, NotSent, Outcome, Settled, Unknown
from nwc_service.nostr.event import Event
from nwc_service.wallet.payment import CLOCK_SKEW_S
from nwc_service.wallet.units import Msat, PaymentHash
from tests.clients.client import JsonObject
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.interruption import CancelAt
from tests.flow.parties import Client, Clock, Relay, uninterrupted
from tests.flow.world import (
    FEE_RESERVE_MSAT,
    PAYMENT_TIMEOUT_S,
    World,
    open_world,
)

CREDIT_MSAT = 500_000
EXPIRY_S = 600
DEAR_FEE_MSAT = FEE_RESERVE_MSAT + 700
NAMES = ("alice", "bob")

T = TypeVar("T")

# What the node says to `pay`, and what it knows afterwards; S settled, F failed, H held.
FATES: dict[str, tuple[str | None, str | None]] = {
    "paid": ("S", "S"),
    "paid-dearly": ("D", "D"),
    "failed": ("F", "F"),
    "never-sent": ("N", None),
    "held": ("H", "H"),
    "lost-and-paid": ("U", "S"),
    "lost-and-failed": ("U", "F"),
    "lost-and-held": ("U", "H"),
    "lost-on-the-way": ("U", None),
    "raises-and-paid": ("R", "S"),
}

amounts = st.sampled_from([1, 999, 50_000, 200_000, 490_000, 600_000])
users = st.sampled_from(NAMES)
fates = st.sampled_from(sorted(FATES))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was delivered at least once."""

    name: str
    event: Event


class FlowMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = TemporaryDirectory()
        self.backend = ScriptedBackend()
        self.clock = Clock()
        self.relay = Relay()
        self.stack = AsyncExitStack()
        self.clients: dict[str, Client] = {}
        self.asked: list[Asked] = []
        self.outside: list[str] = []  # invoices of payees
        self.inside: list[JsonObject] = []  # invoices of ours
        self.came_in_msat = 0
        self.number = 0
        self.world: World

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        self.run(self._open())
        self.run(self._join())

    # --- what clients do

    @rule(name=users, amount_msat=amounts, fate=fates)
    def pay_outside(self, name: str, amount_msat: int, fate: str) -> None:
        self._ask(name, "pay_invoice", {"invoice": self._payee(amount_msat, fate)})

    @rule(name=users, fate=fates, at=st.integers(1, 9))
    def pay_outside_and_crash(self, name: str, fate: str, at: int) -> None:
        invoice = self._payee(50_000, fate)
        self.world.tasks.interruption = CancelAt(at)
        self._ask(name, "pay_invoice", {"invoice": invoice})
        self.restart()

    @precondition(lambda self: self.outside)
    @rule(name=users, data=st.data())
    def pay_an_invoice_again(self, name: str, data: st.DataObject) -> None:
        self._ask(name, "pay_invoice", {"invoice": data.draw(st.sampled_from(self.outside))})

    @rule(name=users, amount_msat=amounts)
    def make_invoice(self, name: str, amount_msat: int) -> None:
        event = self._ask(name, "make_invoice", {"amount": amount_msat})
        self.inside.append(self.world.answer(self.clients[name], event)["result"])

    @precondition(lambda self: self.inside)
    @rule(name=users, data=st.data())
    def pay_inside(self, name: str, data: st.DataObject) -> None:
        made = data.draw(st.sampled_from(self.inside))
        self._ask(name, "pay_invoice", {"invoice": made["invoice"]})

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), times=st.integers(1, 3))
    def deliver_again(self, data: st.DataObject, times: int) -> None:
        asked = data.draw(st.sampled_from(self.asked))
        self.run(self._deliver(*[asked.event] * times))

    # --- what nodes, time and power cuts do

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), reports=st.integers(1, 3))
    def receive_from_outside(self, data: st.DataObject, reports: int) -> None:
        made = data.draw(st.sampled_from(self.inside))
        payment_hash = PaymentHash(made["payment_hash"])
        if self.backend.invoices[payment_hash].received_msat is None:
            self.came_in_msat += made["amount"]
            self.backend.receive(payment_hash)
        report = self.backend.invoices[payment_hash]
        for _ in range(reports):
            self.run(self.world.crediter.credit(self.backend.name, report))
        self.run(self.world.tasks.idle())

    @precondition(lambda self: self._held())
    @rule(data=st.data(), end=st.sampled_from(["S", "F", "D"]))
    def end_a_held_payment(self, data: st.DataObject, end: str) -> None:
        payment_hash = data.draw(st.sampled_from(self._held()))
        outcome = self._outcome(end, payment_hash)
        assert outcome is not None
        self.backend.known[payment_hash] = outcome

    @rule(after_s=st.sampled_from([0, 1, 30, 300, 1000]))
    def reconcile(self, after_s: int) -> None:
        self.run(self.world.look_up(after_s=after_s))

    @rule()
    def restart(self) -> None:
        self.run(self.stack.aclose())
        self.run(self._open())

    # --- what always holds

    @invariant()
    def the_books_are_right(self) -> None:
        if not self.clients:
            return
        assert self.run(self.world.problems()) == ()

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert max(Counter(s.our_id for s in self.backend.sent).values(), default=0) <= 1
        assert self.backend.sent_again == []

    @invariant()
    def no_request_has_two_answers(self) -> None:
        for asked in self.asked:
            assert len(self.world.answers_to(self.clients[asked.name], asked.event)) <= 1

    def teardown(self) -> None:
        try:
            if self.clients:
                self.end_everything()
        finally:
            self.run(self.stack.aclose())
            self.loop.close()
            self.directory.cleanup()

    def end_everything(self) -> None:
        """The node ends what it holds, and time passes: then everything is final."""
        self.restart()
        self.run(self._deliver(*(asked.event for asked in self.asked)))
        for payment_hash in self._held():
            self.backend.known[payment_hash] = Failed(FailReason.TIMEOUT)
        for _ in range(3):
            self.run(self.world.look_up(after_s=EXPIRY_S + PAYMENT_TIMEOUT_S + CLOCK_SKEW_S))
        money = [self.run(self.world.money(name)) for name in NAMES]
        spent_msat, lost_msat = self._left_msat()
        assert [held_msat for _, held_msat in money] == [0, 0]
        assert sum(available_msat for available_msat, _ in money) == (
            len(NAMES) * CREDIT_MSAT + self.came_in_msat - spent_msat
        )
        assert self.run(self.world.book("loss")) == -lost_msat
        self.the_books_are_right()

    # --- inside

    async def _open(self) -> None:
        self.world = await self.stack.enter_async_context(
            open_world(
                Path(self.directory.name) / "nwc.sqlite",
                backend=self.backend,
                clock=self.clock,
                relay=self.relay,
                interruption=uninterrupted,
            )
        )
        await self.world.tasks.idle()

    async def _join(self) -> None:
        for name in NAMES:
            await self.world.account(name, credit_msat=CREDIT_MSAT)
            self.clients[name] = await self.world.connect(name)

    def _ask(self, name: str, method: str, params: JsonObject) -> Event:
        event = self.clients[name].request(method, params, created_at=self.clock())
        self.asked.append(Asked(name, event))
        self.run(self._deliver(event))
        return event

    async def _deliver(self, *events: Event) -> None:
        for event in events:
            self.world.deliver(event)
        await self.world.tasks.idle()

    def _payee(self, amount_msat: int, fate: str) -> str:
        """An invoice whose payment has this fate, should it be sent."""
        self.number += 1
        self.backend.expect(self.number)
        payment_hash = hash_of(preimage_of(self.number))
        said, known = FATES[fate]
        reply = ValueError("a bug") if said == "R" else self._outcome(said, payment_hash)
        assert reply is not None
        self.backend.replies[payment_hash] = (reply, self._outcome(known, payment_hash))
        invoice = outside_invoice(
            self.number, amount_msat, created_at=self.clock(), expiry_s=EXPIRY_S
        )
        self.outside.append(invoice)
        return invoice

    def _outcome(self, letter: str | None, payment_hash: PaymentHash) -> Outcome | None:
        preimage = self.backend.preimages[payment_hash]
        outcomes: dict[str | None, Outcome] = {
            "S": Settled(preimage, FEE_MSAT),
            "D": Settled(preimage, Msat(DEAR_FEE_MSAT)),
            "F": Failed(FailReason.NO_ROUTE),
            "N": NotSent(FailReason.UNAVAILABLE),
            "H": InFlight(),
            "U": Unknown(),
        }
        return outcomes.get(letter)

    def _held(self) -> list[PaymentHash]:
        return [h for h, known in self.backend.known.items() if isinstance(known, InFlight)]

    def _left_msat(self) -> tuple[int, int]:
        """What really left the node at the users' cost, and at the operator's."""
        spent_msat = lost_msat = 0
        amounts_msat = {sent.payment_hash: sent.amount_msat for sent in self.backend.sent}
        for payment_hash, known in self.backend.known.items():
            if isinstance(known, Settled):
                fee_msat = known.fee_msat or 0
                reserve_msat = max(FEE_RESERVE_MSAT, -(-amounts_msat[payment_hash] // 100))
                spent_msat += amounts_msat[payment_hash] + min(fee_msat, reserve_msat)
                lost_msat += max(fee_msat - reserve_msat, 0)
        return spent_msat, lost_msat


FlowMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestFlow = FlowMachine.TestCase
