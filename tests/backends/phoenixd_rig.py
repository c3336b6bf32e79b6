"""phoenixd for the contract suite: its double, as the real one needs ACINQ's node."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from backends.phoenixd import PhoenixdBackend
from nwc_service.backend import Balance, Failed, NotSent, Outcome, PayRequest
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, Preimage
from tests.backends.contract import a_request
from tests.backends.phoenixd_double import PASSWORD, PhoenixdDouble, phoenixd_double


def a_backend(double: PhoenixdDouble, **options: object) -> PhoenixdBackend:
    configured = {"url": double.url, "password": PASSWORD, "poll_s": 0.1, "timeout_s": 2}
    return PhoenixdBackend(BackendName("phoenixd"), configured | options, data_dir=Path())


class ExactPhoenixd(PhoenixdBackend):
    """phoenixd tells its balance in whole sats, and takes fees of fractions."""

    double: PhoenixdDouble

    async def balance(self) -> Balance:
        told = await super().balance()
        assert told.spendable_msat == self.double.balance_msat // 1000 * 1000
        return replace(told, spendable_msat=Msat(self.double.balance_msat))


class PhoenixdRig:
    def __init__(self, double: PhoenixdDouble) -> None:
        self.double = double
        self.backend = self._new_backend()

    def _new_backend(self) -> ExactPhoenixd:
        options = {"url": self.double.url, "password": PASSWORD, "poll_s": 0.1}
        backend = ExactPhoenixd(BackendName("phoenixd"), options, data_dir=Path())
        backend.double = self.double
        return backend

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600
    ) -> str:
        return self.double.make_outside_invoice(amount_msat, expiry_s=expiry_s)

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        self.double.receive(bolt11.decode(invoice).payment_hash, amount_msat)

    async def mine(self, blocks: int) -> None:
        raise NotImplementedError("phoenixd holds nothing until a block")

    async def outside_pubkey(self) -> str:
        raise NotImplementedError("phoenixd sends no keysend")

    async def keysend_from_outside(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> None:
        raise NotImplementedError("phoenixd takes no keysend")

    async def make_outside_offer(
        self, amount_msat: int | None, *, expiry_s: int | None = None
    ) -> str:
        raise NotImplementedError("phoenixd fetches no invoice without paying it")

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None = None) -> None:
        raise NotImplementedError("phoenixd does not tell which offer was paid")

    async def reopen(self) -> None:
        await self.backend.close()
        self.backend = self._new_backend()
        await self.backend.start()


@asynccontextmanager
async def phoenixd_rig() -> AsyncIterator[PhoenixdRig]:
    async with phoenixd_double() as double:
        rig = PhoenixdRig(double)
        await rig.backend.start()
        try:
            yield rig
        finally:
            await rig.backend.close()


def wanted(phoenixd: PhoenixdDouble, amount_msat: int | None = 21_000) -> PayRequest:
    return a_request(phoenixd.make_outside_invoice(amount_msat), timeout_s=5)


def preimage_of(phoenixd: PhoenixdDouble, request: PayRequest) -> Preimage:
    return Preimage(phoenixd.outside[request.payment_hash])


def shape(outcome: Outcome | None) -> object:
    """The outcome without its words."""
    if isinstance(outcome, Failed | NotSent):
        return type(outcome), outcome.reason
    return type(outcome)
