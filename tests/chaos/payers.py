"""Strangers who ask the users' Lightning addresses for invoices, and pay some of them."""

from collections.abc import Callable
from random import Random

import httpx

from nwc_service.wallet import bolt11
from tests.chaos.clients import Bill
from tests.chaos.ways import KEPT_OPEN, MOST_AMOUNT_MSAT

TIMEOUT_S = 5.0


class Payers:
    def __init__(self, random: Random, *, port: Callable[[], str]) -> None:
        """`port` is that of the service's public listener, the same in every life."""
        self._random = random
        self._port = port
        self._shown: list[Bill] = []
        self.names: list[str] = []
        """Of addresses, each of the account that is called so."""
        self.payees: dict[str, str] = {}
        """By payment hash: the account whose address gave the invoice out."""

    async def ask(self) -> None:
        """Raises httpx.HTTPError where nobody answers, or not to the end."""
        name = self._random.choice(self.names)
        amount_msat = self._random.randint(1_000, MOST_AMOUNT_MSAT)
        url = f"http://127.0.0.1:{self._port()}/lnurlp/{name}/callback"
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            answer = (await client.get(url, params={"amount": amount_msat})).json()
        if "pr" not in answer:
            return
        invoice = bolt11.decode(answer["pr"])
        assert invoice.amount_msat == amount_msat
        self.payees[invoice.payment_hash] = name
        self._shown.append(Bill(invoice.invoice, invoice.payment_hash))
        del self._shown[:-KEPT_OPEN]

    def forget(self) -> None:
        """Time passes, in which the service may forget what nobody has paid, too."""
        self._shown.clear()

    def to_pay(self, count: int) -> list[Bill]:
        return self._random.sample(self._shown, min(count, len(self._shown)))
