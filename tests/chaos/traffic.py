"""What users, operator and the world outside do while a life lasts."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random

import httpx

from nwc_service.wallet import bolt11
from tests.chaos.clients import Apps, Asked, Bill
from tests.chaos.outside import Operator, Outside
from tests.chaos.payers import Payers
from tests.chaos.ways import (
    EXPIRIES_S,
    KEPT_OPEN,
    MOST_AMOUNT_MSAT,
    Holds,
    Keysends,
    pay_bills,
)
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.clients.relay_link import RelayLink

BURST = 20
REDELIVERED = 20
PEEKED = 5
DECIDED = 4
ASKED_BY_STRANGERS = 3
OPERATED = 2


class Traffic:
    def __init__(
        self,
        random: Random,
        *,
        apps: Apps,
        operator: Operator,
        outside: Outside,
        payers: Payers,
        stuck: Callable[[], list[str]],
    ) -> None:
        """`stuck` tells the ids of payments that are unknown for a while."""
        self._random = random
        self._apps = apps
        self._operator = operator
        self._outside = outside
        self._payers = payers
        self._stuck = stuck
        self.clients: dict[str, RawClient] = {}  # by account
        self._keysends = Keysends(random, apps=apps)
        self._holds = Holds(random, apps=apps)
        self._inside: list[Bill] = []
        self._failed: list[tuple[RawClient, Bill]] = []
        self._bills: dict[str, Bill] = {}

    def heard(self, asked: Asked) -> None:
        """A request is answered."""
        if asked.method == "make_hold_invoice":
            self._holds.heard(asked)
        elif asked.method == "make_invoice" and asked.result:
            bill = Bill(asked.result["invoice"], asked.result["payment_hash"])
            self._inside.append(bill)
            del self._inside[:-KEPT_OPEN]
        elif asked.method == "pay_invoice" and not asked.result:
            bill = self._bills[asked.wishes[0].payment_hash or ""]
            self._failed.append((asked.client, bill))
            del self._failed[:-KEPT_OPEN]

    def add(self, account: str, client: RawClient) -> None:
        """An app of an account's user."""
        self.clients[account] = client
        self._keysends.ids[account] = self._operator.keysend_ids[account]

    async def plan(self, payments: int) -> list[list[Asked]]:
        """Bursts of requests for the next life, ready before it is."""
        offers = [
            (self._random.randint(1_000, MOST_AMOUNT_MSAT), self._random.choice(EXPIRIES_S))
            for _ in range(payments)
        ]
        invoices = await self._outside.call("offer", offers=offers)
        bills = [Bill(invoice, bolt11.decode(invoice).payment_hash) for invoice in invoices]
        return [
            self._burst(bills[first : first + BURST]) for first in range(0, payments, BURST)
        ]

    async def live(self, link: RelayLink, bursts: list[list[Asked]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again(link))
            tasks.create_task(self._operate())
            tasks.create_task(self._pay_from_outside())
            tasks.create_task(self._decide(link))
            tasks.create_task(self._ask_addresses())
            for burst in bursts:
                self._apps.keep(burst)
                await self._apps.deliver(link, burst)
                await self._apps.read(link, self._anyone(), "get_balance")
                await asyncio.sleep(self._random.uniform(0, 0.05))

    async def _again(self, link: RelayLink) -> None:
        """Redeliver what is open, and some of what is answered."""
        unanswered = list(self._apps.unanswered.values())
        some = self._random.sample(unanswered, min(REDELIVERED, len(unanswered)))
        await self._apps.deliver(link, some)
        everything = list(self._apps.asked.values())
        peeked = self._random.sample(everything, min(PEEKED, len(everything)))
        await self._apps.deliver(link, peeked)
        await self._apps.fetch(link, [one.event.id for one in unanswered + peeked])

    def _burst(self, bills: list[Bill]) -> list[Asked]:
        burst: list[Asked] = []
        for bill in bills:
            burst += self._draw_payments(bill)
            burst += self._draw_others()
        return burst

    def _draw_others(self) -> list[Asked]:
        drawn = self._random.random()
        if drawn < 0.3:
            return [self._make_invoice()]
        if drawn < 0.4:
            return [self._holds.make(self._anyone())]
        if drawn < 0.5:
            return [self._keysends.pay(self._anyone())]
        if drawn < 0.54:
            return [self._keysends.pay_several(self._anyone())]
        if drawn < 0.58:
            return self._holds.decide(self._anyone())
        if drawn < 0.62:
            return [self._pay(self._anyone(), bill) for bill in self._holds.to_pay(1)]
        return []

    def _make_invoice(self) -> Asked:
        params: JsonObject = {
            "amount": self._random.randint(1_000, MOST_AMOUNT_MSAT),
            "expiry": self._random.choice(EXPIRIES_S),
        }
        return self._apps.build(self._anyone(), "make_invoice", params)

    def _draw_payments(self, bill: Bill) -> list[Asked]:
        """One payment to the outside; or inside, or again, or twice, or by two users, or
        together with others."""
        drawn = self._random.random()
        payer = self._anyone()
        if drawn < 0.15 and self._inside:
            return [self._pay(payer, self._random.choice(self._inside))]
        if drawn < 0.25 and self._failed:
            return [self._pay(*self._random.choice(self._failed))]
        if drawn < 0.3:
            return [self._pay(payer, bill), self._pay(payer, bill)]
        if drawn < 0.33:
            return [self._pay(payer, bill), self._pay(self._anyone(), bill)]
        if drawn < 0.38:
            return [self._pay_several(payer, bill)]
        return [self._pay(payer, bill)]

    def _pay_several(self, payer: RawClient, bill: Bill) -> Asked:
        """From outside, of a user, and what somebody could not pay."""
        others = [*self._holds.to_pay(1), *(bill for _, bill in self._failed[-3:])]
        others += self._random.sample(self._inside, min(2, len(self._inside)))
        self._random.shuffle(others)
        is_named = self._random.random() < 0.5
        return pay_bills(self._apps, payer, bills=[bill, *others], is_named=is_named)

    def _pay(self, payer: RawClient, bill: Bill) -> Asked:
        self._bills[bill.payment_hash] = bill
        wish = bill.wish
        return self._apps.build(payer, "pay_invoice", wish.params, wishes=[wish])

    def _anyone(self) -> RawClient:
        return self._random.choice(list(self.clients.values()))

    async def _pay_from_outside(self) -> None:
        """Invoices of users get paid, some of them inside as well; or money comes without."""
        await asyncio.sleep(self._random.uniform(0, 0.3))
        some = self._random.sample(self._inside, min(6, len(self._inside)))
        some += self._holds.to_pay(4) + self._payers.to_pay(4)
        await self._outside.call("receive", hashes=[bill.payment_hash for bill in some])
        if self._random.random() < 0.3:
            await self._outside.call(
                "receive_keysend",
                amount_msat=self._random.randint(1, MOST_AMOUNT_MSAT),
                keysend_id=self._keysends.named(),
            )
        if self._random.random() < 0.05:
            await self._outside.call(
                "receive_stray", amount_msat=self._random.randint(1, MOST_AMOUNT_MSAT)
            )

    async def _ask_addresses(self) -> None:
        for _ in range(ASKED_BY_STRANGERS):
            await asyncio.sleep(self._random.uniform(0, 0.2))
            with suppress(httpx.HTTPError):
                await self._payers.ask()

    async def _decide(self, link: RelayLink) -> None:
        """Owners of hold invoices follow their payers."""
        for _ in range(DECIDED):
            await asyncio.sleep(self._random.uniform(0, 0.3))
            decisions = self._holds.decide(self._anyone())
            self._apps.keep(decisions)
            await self._apps.deliver(link, decisions)

    async def _operate(self) -> None:
        for _ in range(OPERATED):
            await asyncio.sleep(self._random.uniform(0, 0.3))
            act = self._random.choice((self._move, self._tend, self._resolve))
            with suppress(httpx.HTTPError):
                await act()

    async def _move(self) -> None:
        account = self._random.choice(list(self.clients))
        movement = self._random.choice(("credit", "debit"))
        amount_msat = self._random.randint(1, 10 * MOST_AMOUNT_MSAT)
        await self._operator.move(account, movement, amount_msat=amount_msat)

    async def _tend(self) -> None:
        await self._operator.tend(f"brief{self._random.getrandbits(64)}")

    async def _resolve(self) -> None:
        if stuck := self._stuck():
            await self.resolve(self._random.choice(stuck))

    async def resolve(self, payment_id: str) -> None:
        """The operator looks at the node for a payment of which nothing final is known."""
        found = await self._outside.call("examine", our_id=payment_id)
        await self._operator.resolve(payment_id, found=found)
