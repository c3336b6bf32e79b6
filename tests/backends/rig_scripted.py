"""The double of the flow's tests, for what the contract says of keysend, holds and offers."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from nwc_service.backend import InvoiceStatus
from nwc_service.wallet import bolt11, bolt12
from tests.doubles.scripted_backend import (
    OUTSIDE_PUBKEY,
    ScriptedBackend,
    outside_invoice,
    outside_offer,
)


class ScriptedRig:
    def __init__(self) -> None:
        self.backend = ScriptedBackend()
        self.backend.clock = lambda: int(time.time())
        self._made = 0

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600
    ) -> str:
        self._made += 1
        self.backend.expect(self._made)
        return outside_invoice(
            self._made, amount_msat, created_at=self.backend.clock(), expiry_s=expiry_s
        )

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        payment_hash = bolt11.decode(invoice).payment_hash
        if self.backend.invoices[payment_hash].status is not InvoiceStatus.OPEN:
            raise ValueError("the invoice is not open")
        if any(spec.hold_hash == payment_hash for spec in self.backend.specs):
            self.backend.accept(payment_hash, amount_msat)
        else:
            self.backend.receive(payment_hash, amount_msat)

    async def mine(self, blocks: int) -> None:
        self.backend.mine(blocks)

    async def outside_pubkey(self) -> str:
        return OUTSIDE_PUBKEY

    async def keysend_from_outside(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> None:
        self._made += 1
        self.backend.receive_keysend(self._made, amount_msat, tlvs)

    async def make_outside_offer(
        self, amount_msat: int | None, *, expiry_s: int | None = None
    ) -> str:
        expires_at = None if expiry_s is None else self.backend.clock() + expiry_s
        return outside_offer(amount_msat, expires_at=expires_at)

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None = None) -> None:
        asked_msat = amount_msat or bolt12.decode(offer).amount_msat
        made = next(each for each in self.backend.offers.values() if each.offer == offer)
        self._made += 1
        self.backend.receive_offer(made.node_offer_id, asked_msat or 0, number=self._made)

    async def reopen(self) -> None:
        pass


@asynccontextmanager
async def scripted_rig() -> AsyncIterator[ScriptedRig]:
    yield ScriptedRig()
