"""Real LNbits for the contract suite: a new wallet on the shared chain for every test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.lnbits import LnbitsBackend
from nwc_service.wallet.units import BackendName
from tests.backends.lnbits_server import LnbitsChain, LnbitsWallet, shared_chain

START_SAT = 100_000
FEE_CAP = "max(2000, 1%)"  # as a new LNbits has it


def a_backend(wallet: LnbitsWallet, **options: object) -> LnbitsBackend:
    configured = {
        "url": wallet.url,
        "admin_key": wallet.admin_key,
        "invoice_key": wallet.invoice_key,
        "fee_cap": FEE_CAP,
    }
    # without I/O in the data directory, any will do
    return LnbitsBackend(BackendName("lnbits"), configured | options, data_dir=Path())


class LnbitsRig:
    def __init__(self, chain: LnbitsChain, wallet: LnbitsWallet, **options: object) -> None:
        self.chain = chain
        self.wallet = wallet
        self.options = options
        self.backend = a_backend(wallet, **options)

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600, hold: bool = False
    ) -> str:
        if amount_msat is None or hold:
            pytest.skip("LNbits outside makes neither amountless nor hold invoices")
        return await self.chain.outside.make_invoice(amount_msat, expiry_s=expiry_s)

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        assert amount_msat is None, "LNbits pays no invoice without an amount"
        assert await self.chain.outside.pay(invoice) == "success"

    async def reopen(self) -> None:
        await self.backend.close()
        self.backend = a_backend(self.wallet, **self.options)
        await self.backend.start()


@asynccontextmanager
async def lnbits_rig(**options: object) -> AsyncIterator[LnbitsRig]:
    """Skips or fails where real LNbits is missing, as `lnbits_server.unavailable` says."""
    chain = await shared_chain()
    rig = LnbitsRig(chain, await chain.ours.new_wallet(credit_sat=START_SAT), **options)
    await rig.backend.start()
    try:
        yield rig
    finally:
        await rig.backend.close()
