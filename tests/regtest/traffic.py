"""What users and the world outside do while nodes and service die: each way that money moves
through real channels, and beside them what moves inside."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import httpx

from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import Preimage
from tests.chaos.clients import Bill, Wish
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.regtest.lnd import LndNode, RestError
from tests.regtest.outside import LndOutside
from tests.regtest.postman import Postman

AT_A_TIME = 12
LEAST_MSAT, MOST_MSAT = 1_000, 2_000_000
# Rule H gives back what never came to LND, two minutes after its invoice has expired.
EXPIRY_S = 90
LONGEST_HOLD_S = 6.0
DECIDE_EVERY_S = 0.5
CUT_OFF = (httpx.HTTPError, RestError)  # what becomes of it, the nodes tell in the end


class Traffic:
    def __init__(
        self, random: Random, *, postman: Postman, node: LndNode, outside: LndOutside
    ) -> None:
        self._random = random
        self._postman = postman
        self._node = node
        self._outside = outside
        self._users: dict[str, RawClient] = {}  # by account
        self._keysend_ids: list[str] = []
        self.through_node = 0
        """Payments that came to a good end over a channel, as whoever paid was told."""
        self.deals: Counter[str] = Counter()

    def add(self, account: str, client: RawClient, *, keysend_id: str) -> None:
        self._users[account] = client
        self._keysend_ids.append(keysend_id)

    @property
    def account_of(self) -> dict[str, str]:
        return {client.keypair.public_key: name for name, client in self._users.items()}

    async def flow(self, payments: int) -> None:
        """Until so many have come through, and every deal that was begun has ended."""
        ways: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._pay, 30),
            (self._receive, 30),
            (self._pay_keysend, 8),
            (self._receive_keysend, 8),
            (self._pay_hold, 8),
            (self._receive_hold, 8),
            (self._pay_twice, 4),
            (self._pay_in_vain, 2),
            (self._pay_inside, 6),
        ]
        some, weights = [way for way, _ in ways], [weight for _, weight in ways]

        async def deal() -> None:
            while self.through_node < payments:
                [way] = self._random.choices(some, weights)
                await way()
                self.deals[way.__name__.lstrip("_")] += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_A_TIME):
                tasks.create_task(deal())

    # --- out

    async def _pay(self) -> None:
        bill = await self._outside_bill()
        await self._pay_bill(self._anyone(), bill)

    async def _pay_twice(self) -> None:
        """By two requests of one user, which are one payment."""
        payer, bill = self._anyone(), await self._outside_bill()
        told = await asyncio.gather(*(self._ask_to_pay(payer, bill) for _ in range(2)))
        self.through_node += any(told)

    async def _pay_in_vain(self) -> None:
        bill = await self._outside_bill()
        await self._outside.cancel(bill.payment_hash)
        await self._pay_bill(self._anyone(), bill)

    async def _pay_hold(self) -> None:
        held = await self._outside.hold(self._amount_msat(), expiry=str(EXPIRY_S))
        paying = asyncio.create_task(self._pay_bill(self._anyone(), _bill(held.invoice)))
        while not paying.done():
            state = (await self._outside.invoice(held.payment_hash))["state"]
            if state == "ACCEPTED":
                await asyncio.sleep(self._random.uniform(0, LONGEST_HOLD_S))
                if self._random.random() < 0.7:
                    await self._outside.settle(held)
                else:
                    await self._outside.cancel(held.payment_hash)
                break
            await asyncio.sleep(0.1)
        else:  # nobody waits for it any more, or it came to nothing
            await self._outside.cancel(held.payment_hash)
        await paying

    async def _pay_keysend(self) -> None:
        params: JsonObject = {
            "amount": self._amount_msat(),
            "pubkey": self._outside.node.pubkey,
            "tlv_records": [{"type": 7_629_169, "value": b"tea".hex()}],
        }
        wish = Wish(params)
        if self._random.random() < 0.5:
            params["preimage"] = self._random.randbytes(32).hex()
            wish = Wish(params, keysend.payment_hash(params["preimage"]))
        asked = await self._postman.ask(self._anyone(), "pay_keysend", params, wishes=(wish,))
        self.through_node += asked.result is not None

    async def _pay_inside(self) -> None:
        bill = await self._made("make_invoice", {"amount": self._amount_msat()})
        if bill is not None:
            await self._ask_to_pay(self._anyone(), bill)

    async def _outside_bill(self) -> Bill:
        amount_msat = self._amount_msat()
        return _bill(await self._outside.make_invoice(amount_msat, expiry=str(EXPIRY_S)))

    async def _pay_bill(self, payer: RawClient, bill: Bill) -> None:
        came_through = await self._ask_to_pay(payer, bill)
        self.through_node += came_through

    async def _ask_to_pay(self, payer: RawClient, bill: Bill) -> bool:
        wish = bill.wish
        asked = await self._postman.ask(payer, "pay_invoice", wish.params, wishes=(wish,))
        return asked.result is not None

    # --- in

    async def _receive(self) -> None:
        bill = await self._made("make_invoice", {"amount": self._amount_msat()})
        if bill is not None:
            await self._pay_from_outside(bill.invoice)

    async def _receive_keysend(self) -> None:
        tlvs = {keysend.ACCOUNT_TLV: self._random.choice(self._keysend_ids).encode()}
        with suppress(*CUT_OFF):
            paid = await self._outside.keysend(
                self._node.pubkey, self._amount_msat(), tlvs=tlvs
            )
            self.through_node += paid["status"] == "SUCCEEDED"

    async def _receive_hold(self) -> None:
        owner, preimage = self._anyone(), Preimage(self._random.randbytes(32).hex())
        payment_hash = keysend.payment_hash(preimage)
        wish = {"amount": self._amount_msat(), "payment_hash": payment_hash}
        bill = await self._made("make_hold_invoice", wish, owner=owner)
        if bill is None:
            return
        paying = asyncio.create_task(self._pay_from_outside(bill.invoice))
        params: JsonObject = {"preimage": preimage}
        end = "settle_hold_invoice"
        if self._random.random() < 0.3:
            end, params = "cancel_hold_invoice", {"payment_hash": payment_hash}
            await asyncio.sleep(self._random.uniform(0, LONGEST_HOLD_S))
        while not paying.done():  # too early is an answer too
            if (await self._postman.ask(owner, end, params)).result is not None:
                break
            await asyncio.sleep(DECIDE_EVERY_S)
        await paying

    async def _made(
        self, method: str, params: JsonObject, *, owner: RawClient | None = None
    ) -> Bill | None:
        """None where the node could not be reached."""
        asked = await self._postman.ask(owner or self._anyone(), method, params)
        if asked.result is None:
            return None
        return Bill(asked.result["invoice"], asked.result["payment_hash"])

    async def _pay_from_outside(self, invoice: str) -> None:
        with suppress(*CUT_OFF):
            paid = await self._outside.node.pay(payment_request=invoice)
            self.through_node += paid["status"] == "SUCCEEDED"

    # ---

    def _anyone(self) -> RawClient:
        return self._random.choice(list(self._users.values()))

    def _amount_msat(self) -> int:
        return self._random.randint(LEAST_MSAT, MOST_MSAT)


def _bill(invoice: str) -> Bill:
    return Bill(invoice, bolt11.decode(invoice).payment_hash)
