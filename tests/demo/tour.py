"""One tour through what a wallet does, told step by step.

The demo prints it; the tests take it over other relays and on another backend. Whatever it
tells was read from the wallet through a client library, and compared with what it should be.
"""

from hashlib import sha256
from typing import Protocol

from nwc_service.wallet import bolt11
from tests.clients.client import JsonObject
from tests.demo.parties import Outside, Party

# Whole sats, as not every backend knows smaller amounts.
FROM_OUTSIDE_MSAT = 1_000_000
BETWEEN_ACCOUNTS_MSAT = 250_000
TO_OUTSIDE_MSAT = 100_000

METHODS = {
    "get_info",
    "get_balance",
    "make_invoice",
    "pay_invoice",
    "lookup_invoice",
    "list_transactions",
}


class Story(Protocol):
    """How the tour is told."""

    def chapter(self, title: str) -> None: ...

    def check(self, what: str, found: object, *, expected: object) -> None:
        """Raises where they differ."""


class Tour:
    def __init__(self, alice: Party, bob: Party, *, outside: Outside, story: Story) -> None:
        self._alice = alice
        self._bob = bob
        self._outside = outside
        self._story = story

    async def take(self) -> None:
        """The accounts of both are new and empty."""
        await self.meet()
        await self.pay()
        await self.look_back()

    async def meet(self) -> None:
        self._story.chapter("What each app is told of its wallet")
        for party in (self._alice, self._bob):
            info = await party.client.info()
            offered = METHODS & set(info["methods"])
            self._check(f"methods for {party.name}", offered, METHODS)
            await self._check_balance(party)

    async def pay(self) -> None:
        await self._receive_from_outside()
        await self._pay_between_accounts()
        await self._pay_outside()

    async def look_back(self) -> None:
        for party in (self._alice, self._bob):
            self._story.chapter(f"What {party.name}'s app lists")
            listed = await party.client.list_transactions()
            told = sorted((one["type"], one["amount"], one["fees_paid"]) for one in listed)
            self._check("type, amount and fee of each", told, sorted(party.transactions))
            self._check("all settled", {one["state"] for one in listed}, {"settled"})
            await self._check_balance(party)
            self._check("further notifications", party.heard.qsize(), 0)

    async def _receive_from_outside(self) -> None:
        alice, amount_msat = self._alice, FROM_OUTSIDE_MSAT
        self._story.chapter(f"The outside node pays {alice.name} {amount_msat} msat")
        await self._check_balance(alice)
        made = await alice.client.make_invoice(amount_msat, description="from outside")
        await self._outside.pay(made["invoice"])
        alice.receives(amount_msat)
        await self._hear(alice, "payment_received", made["payment_hash"])
        await self._check_balance(alice)

    async def _pay_between_accounts(self) -> None:
        alice, bob, amount_msat = self._alice, self._bob, BETWEEN_ACCOUNTS_MSAT
        self._story.chapter(f"{alice.name} pays {bob.name} {amount_msat} msat, without a fee")
        await self._check_balance(alice)
        await self._check_balance(bob)
        made = await bob.client.make_invoice(amount_msat, description="between accounts")
        paid = await alice.client.pay_invoice(made["invoice"])
        alice.pays(amount_msat, fee_msat=0)
        bob.receives(amount_msat)
        self._check_paid(paid, made["payment_hash"], fee_msat=0)
        await self._hear(alice, "payment_sent", made["payment_hash"])
        await self._hear(bob, "payment_received", made["payment_hash"])
        await self._check_balance(alice)
        await self._check_balance(bob)

    async def _pay_outside(self) -> None:
        bob, amount_msat = self._bob, TO_OUTSIDE_MSAT
        self._story.chapter(f"{bob.name} pays the outside node {amount_msat} msat")
        await self._check_balance(bob)
        invoice = await self._outside.make_invoice(amount_msat)
        payment_hash = bolt11.decode(invoice).payment_hash
        fee_msat = self._outside.fee_msat(amount_msat)
        paid = await bob.client.pay_invoice(invoice)
        bob.pays(amount_msat, fee_msat=fee_msat)
        self._check_paid(paid, payment_hash, fee_msat=fee_msat)
        await self._hear(bob, "payment_sent", payment_hash)
        await self._check_balance(bob)

    async def _hear(self, party: Party, kind: str, payment_hash: str) -> None:
        """What is told and what is found by lookup are the same transaction."""
        news = await party.hear()
        self._check(f"{party.name} is notified of", news["notification_type"], kind)
        told = news["notification"]
        found = await party.client.lookup_invoice(payment_hash=payment_hash)
        type_, amount_msat, fee_msat = party.transactions[-1]
        for transaction, by in ((told, "as notified"), (found, "as looked up")):
            self._check(
                f"{party.name}'s transaction, {by}",
                _summary(transaction),
                (type_, "settled", amount_msat, fee_msat, payment_hash),
            )

    def _check_paid(self, paid: JsonObject, payment_hash: str, *, fee_msat: int) -> None:
        proven = sha256(bytes.fromhex(paid["preimage"])).hexdigest() == payment_hash
        self._check("proof of payment fits", proven, True)
        self._check("fee, msat", paid["fees_paid"], fee_msat)

    async def _check_balance(self, party: Party) -> None:
        balance_msat = await party.client.balance()
        self._check(f"{party.name}'s balance, msat", balance_msat, party.balance_msat)

    def _check(self, what: str, found: object, expected: object) -> None:
        self._story.check(what, found, expected=expected)


def _summary(transaction: JsonObject) -> tuple[object, ...]:
    names = ("type", "state", "amount", "fees_paid", "payment_hash")
    return tuple(transaction[name] for name in names)
