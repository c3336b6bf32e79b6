"""What is done with BOLT12 offers, and with the BIP-321 URIs that they stand in."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from nwc_service.wallet import bip321
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.bolt12 import Offer
from nwc_service.wallet.units import PaymentHash
from tests.doubles.hostile_node import Faults
from tests.doubles.hostile_offers import outside_offer
from tests.simulation.parties import Asked, Client
from tests.simulation.world import World

NOTES = (None, None, "for the tea", "\u00e9" * 640, "a\0b", "\ud800", "x" * 641)
"""Of payers outside, whom nobody keeps from writing what cannot be stored."""


class Ask(Protocol):
    def __call__(self, client: Client, method: str, params: Mapping[str, object]) -> object: ...


class Offers:
    """In three seeds of four; its chance is its own, so that the rest does not change."""

    def __init__(self, world: World, *, ask: Ask, invoice: Callable[[], str]) -> None:
        self._world = world
        self._random = world.random("offers")
        self._ask = ask
        self._invoice = invoice
        """Makes one of a payee outside."""
        self._outside: list[dict[str, object]] = []  # parameters of `pay`
        self._made: list[str] = []  # URIs that clients were told
        self._is_on = self._chance(0.75)

    def steps(self) -> tuple[tuple[Callable[[], None], int], ...]:
        """And how often each is taken."""
        choice = self._random.choice
        if not self._is_on:
            return ()
        return (
            (self.make, choice((0, 2, 5))),
            (self.receive, choice((0, 2, 4))),
            (self.pay_outside, choice((1, 4, 8))),
            (self._pay_again, choice((0, 2, 6))),
            (self._pay_made, choice((0, 1, 4))),
            (self._pay_from_outside, choice((0, 2, 4))),
        )

    def faults(self, faults: Faults) -> Faults:
        return replace(
            faults,
            swallows=self._some(0.2),
            accepts_expired=self._some(0.8),
            fetch_silent=self._some(0.6),
            fetch_refused=self._some(0.3),
            fetch_bait=self._some(0.6),
            fetch_again=self._some(0.8),
        )

    def _some(self, most: float) -> float:
        return self._random.uniform(0, most) if self._is_on and self._chance(0.5) else 0.0

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _client(self) -> Client:
        return self._random.choice(self._world.clients)

    # --- offers of clients here

    def make(self) -> None:
        random = self._random
        params: dict[str, object] = {"description": "tea"} if self._chance(0.8) else {}
        if params and self._chance(0.5):
            params["amount"] = random.randint(1, 20_000)
        if self._chance(0.3):
            params["single_use"] = True
        if self._chance(0.3):
            params["issuer"] = "somebody"
        if self._chance(0.3):
            params["expires_at"] = self._world.service_clock() + random.randint(-5, 400)
        self._ask(self._client(), "make_offer", params)

    def receive(self) -> None:
        params: dict[str, object] = {"description": "tea"} if self._chance(0.7) else {}
        if self._chance(0.7):
            params["amount"] = self._random.randint(1, 20_000)
        self._ask(self._client(), "receive", params)

    def answered(self, asked: Asked, result: Mapping[str, object]) -> None:
        if asked.method not in ("make_offer", "receive"):
            return
        uri = str(result["bip321"])
        self._made.append(uri)
        together_s = self._random.uniform(0, 60)
        steps: tuple[Callable[[], None], ...] = (
            lambda: self._pay(self._client(), self._payable(uri)),
            lambda: self._all_from_outside(uri),
            lambda: self._all_from_outside(uri),
        )
        for step in steps:
            if self._chance(0.4):
                after_s = self._random.choice((together_s, self._random.uniform(0, 200)))
                self._world.timeline.after(after_s, step)

    def _pay_from_outside(self) -> None:
        if self._made:
            self._all_from_outside(self._random.choice(self._made))

    def _all_from_outside(self, uri: str) -> None:
        """Somebody pays one of its instructions, or both at once."""
        instructions = list(bip321.parse(uri).instructions)
        if self._chance(0.5):
            instructions = [self._random.choice(instructions)]
        for instruction in instructions:
            for node in self._world.nodes.values():
                if isinstance(instruction, Bolt11):
                    msat = node.receive(PaymentHash(instruction.payment_hash))
                else:
                    assert isinstance(instruction, Offer)
                    amount_msat = instruction.amount_msat or self._random.randint(1, 20_000)
                    note = self._random.choice(NOTES)
                    msat = node.receive_offer(instruction.offer, amount_msat, payer_note=note)
                self._world.trace("received", type(instruction).__name__, msat)

    # --- `pay`

    def pay_outside(self) -> None:
        """An offer of somebody outside, perhaps beside an invoice of his."""
        amount_msat = self._random.choice((self._random.randint(1, 20_000), None))
        expires_at = None
        if self._chance(0.2):
            expires_at = self._world.service_clock() + self._random.randint(-5, 400)
        offer = outside_offer(amount_msat, random=self._random, expires_at=expires_at)
        both = amount_msat is None and self._chance(0.2)
        uri = bip321.build(lightning=[self._invoice()] if both else [], lno=[offer])
        self._outside.append(self._payable(uri))
        self._pay(self._client(), self._outside[-1])

    def _pay_again(self) -> None:
        """The same offer: by the same words of the same account, or by others."""
        if not self._outside:
            return
        params = self._random.choice(self._outside[-3:])
        if self._chance(0.5):
            params = self._payable(str(params["payment"]))
        client = self._world.clients[0] if self._chance(0.5) else self._client()
        self._pay(client, params)

    def _pay_made(self) -> None:
        if self._made:
            self._pay(self._client(), self._payable(self._random.choice(self._made)))

    def _pay(self, client: Client, params: Mapping[str, object]) -> None:
        self._ask(client, "pay", params)

    def _payable(self, uri: str) -> dict[str, object]:
        """The parameters, now and then with an amount that is not the one asked for."""
        asked = [_amount_msat(instruction) for instruction in bip321.parse(uri).instructions]
        params: dict[str, object] = {"payment": uri}
        if None in asked or self._chance(0.1):
            params["amount"] = self._random.randint(1, 20_000)
        if self._chance(0.3):
            params["payer_note"] = "thanks"
        if self._chance(0.2):
            params["max_fee"] = self._random.randint(0, 5_000)
        return params


def _amount_msat(instruction: bip321.Instruction) -> int | None:
    return instruction.amount_msat if isinstance(instruction, Bolt11 | Offer) else None
