"""What users, operator and the world outside do while a life lasts."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import httpx

from nwc_service.wallet import bolt11
from tests.chaos.clients import Apps, Asked
from tests.chaos.outside import Operator, Outside
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.clients.relay_link import RelayLink

BURST = 20
MOST_AMOUNT_MSAT = 1_500_000
EXPIRIES_S = (60, 240, 600)
REDELIVERED = 20
PEEKED = 5
KEPT_OPEN = 60


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice that can be paid."""

    invoice: str
    payment_hash: str
    payee: RawClient | None = None  # where it is of a user


class Traffic:
    def __init__(
        self,
        random: Random,
        *,
        apps: Apps,
        operator: Operator,
        outside: Outside,
        stuck: Callable[[], list[str]],
    ) -> None:
        """`stuck` tells the ids of payments that are unknown for a while."""
        self._random = random
        self._apps = apps
        self._operator = operator
        self._outside = outside
        self._stuck = stuck
        self.clients: dict[str, RawClient] = {}  # by account
        self._inside: list[Bill] = []
        self._failed: list[tuple[RawClient, Bill]] = []
        self._bills: dict[str, Bill] = {}

    def heard(self, asked: Asked) -> None:
        """The first answer to a request."""
        if asked.method == "make_invoice" and asked.result:
            invoice, payment_hash = asked.result["invoice"], asked.result["payment_hash"]
            self._inside.append(Bill(invoice, payment_hash, asked.client))
            del self._inside[:-KEPT_OPEN]
        elif asked.method == "pay_invoice" and not asked.result and asked.payment_hash:
            self._failed.append((asked.client, self._bills[asked.payment_hash]))
            del self._failed[:-KEPT_OPEN]

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
            if self._random.random() < 0.3:
                params: JsonObject = {
                    "amount": self._random.randint(1_000, MOST_AMOUNT_MSAT),
                    "expiry": self._random.choice(EXPIRIES_S),
                }
                burst.append(
                    self._apps.build(self._anyone(), "make_invoice", params, payment_hash=None)
                )
        return burst

    def _draw_payments(self, bill: Bill) -> list[Asked]:
        """One payment to the outside; or inside, or again, or twice, or by two users."""
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
        return [self._pay(payer, bill)]

    def _pay(self, payer: RawClient, bill: Bill) -> Asked:
        self._bills[bill.payment_hash] = bill
        return self._apps.build(
            payer,
            "pay_invoice",
            {"invoice": bill.invoice},
            payment_hash=bill.payment_hash,
        )

    def _anyone(self) -> RawClient:
        return self._random.choice(list(self.clients.values()))

    async def _pay_from_outside(self) -> None:
        """Invoices of users get paid, some of them inside as well."""
        await asyncio.sleep(self._random.uniform(0, 0.3))
        some = self._random.sample(self._inside, min(6, len(self._inside)))
        await self._outside.call("receive", hashes=[bill.payment_hash for bill in some])
        if self._random.random() < 0.05:
            await self._outside.call(
                "receive_stray", amount_msat=self._random.randint(1, MOST_AMOUNT_MSAT)
            )

    async def _operate(self) -> None:
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
        """The operator looks at the node for a payment of which nothing final is known."""
        stuck = self._stuck()
        if stuck:
            payment_id = self._random.choice(stuck)
            found = await self._outside.call("examine", our_id=payment_id)
            await self._operator.resolve(payment_id, found=found)
