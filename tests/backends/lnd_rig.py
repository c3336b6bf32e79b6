"""A real LND for the contract suite: carol is ours, alice is outside, bob forwards.

The network is shared by all tests, so a rig shows what came after it was opened. Carol did not
open her channel: who did pays for its HTLCs while they are held, and gets that back.
"""

import asyncio
import secrets
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from backends.lnd import LndBackend
from backends.lnd.rights import NEEDED
from nwc_service.backend import Balance, Cursor, HistoryPage, InvoiceReport
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName
from tests.regtest.lnd import LndNode, RestError
from tests.regtest.network import RegtestNetwork, shared_network

PREIMAGE_RECORD = "5482373484"
QUIET_S = 0.3
MAX_WAIT_S = 10.0


def b64(data: bytes) -> str:
    return b64encode(data).decode()


async def a_backend(node: LndNode, **options: object) -> LndBackend:
    """With a macaroon that has the rights that are needed and no more."""
    macaroon = await node.bake(*(f"uri:{uri}" for uri in NEEDED))
    return LndBackend(
        BackendName("lnd"), configured(node, macaroon, **options), data_dir=Path()
    )


def configured(node: LndNode, macaroon: str, **options: object) -> dict[str, object]:
    return {
        "url": node.url,
        "tls_cert": node.certificate,
        "macaroon_hex": macaroon,
        "poll_s": 0.1,
        **options,
    }


class LndFromNow(LndBackend):
    """Begins at its places where no cursor is given."""

    places: Mapping[str, Cursor]

    async def balance(self) -> Balance:
        """LND tells of a payment before its channels have done with it."""
        balance = await super().balance()
        for _ in range(int(MAX_WAIT_S / QUIET_S)):
            await asyncio.sleep(QUIET_S)
            before, balance = balance, await super().balance()
            if balance == before:
                break
        return balance

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        return super().watch_invoices(since or self.places["settled"])

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        return await super().list_history(side, cursor or self.places[side], limit)


class LndRig:
    def __init__(self, network: RegtestNetwork, macaroon: str) -> None:
        self.network = network
        self.node, self.outside = network.nodes["carol"], network.nodes["alice"]
        self.macaroon = macaroon
        self.places: dict[str, Cursor] = {}
        self._paying: list[asyncio.Task[dict[str, Any]]] = []
        self.backend = self._new_backend()

    def _new_backend(self) -> LndFromNow:
        options = configured(self.node, self.macaroon)
        backend = LndFromNow(BackendName("lnd"), options, data_dir=Path())
        backend.places = self.places
        return backend

    async def open(self) -> None:
        await self.keysend_from_outside(1_000, {})  # so that there is a place to begin at
        await self.backend.start()
        counters = await self.backend.counters()
        invoices = (await self.node.rest("GET", "/v1/invoices", query=NEWEST))["invoices"]
        settled = max(int(invoice["settle_index"]) for invoice in invoices)
        self.places |= {
            "in": Cursor(str(counters["add_index"])),
            "out": Cursor(str(counters["payment_index"])),
            "settled": Cursor(str(settled)),
        }

    async def close(self) -> None:
        """What is still pending is forgotten, so that the next test may use its hash."""
        await self.backend.close()
        query = {"pending_only": "true", "num_max_invoices": "1000"}
        for pending in (await self.node.rest("GET", "/v1/invoices", query=query))["invoices"]:
            await self.node.rest(
                "POST", "/v2/invoices/cancel", json={"payment_hash": pending["r_hash"]}
            )
        await asyncio.gather(*self._paying, return_exceptions=True)
        canceled = (await self.node.rest("GET", "/v1/invoices", query=NEWEST))["invoices"]
        for invoice in canceled:
            if invoice["state"] == "CANCELED" and invoice["r_hash"]:
                query = {"invoice_hash": b64decode(invoice["r_hash"]).hex()}
                await self.node.rest("DELETE", "/v1/invoices", query=query)

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600, hold: bool = False
    ) -> str:
        fields: dict[str, object] = {"expiry": str(expiry_s)}
        if hold:
            body = {"hash": b64(secrets.token_bytes(32)), "value_msat": str(amount_msat or 0)}
            made = await self.outside.rest("POST", "/v2/invoices/hodl", json=body | fields)
        else:
            made = await self.outside.make_invoice(amount_msat or 0, **fields)
        return str(made["payment_request"])

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        override = {"amt_msat": str(amount_msat)} if amount_msat else {}
        paying = asyncio.create_task(self.outside.pay(payment_request=invoice, **override))
        self._paying.append(paying)
        payment_hash = bolt11.decode(invoice).payment_hash
        while not paying.done() and not await self._is_held(payment_hash):
            await asyncio.sleep(0.05)
        if not paying.done():
            return
        try:
            paid = paying.result()
        except RestError as refused:
            raise ValueError(str(refused)) from refused
        if paid["status"] != "SUCCEEDED":
            raise ValueError(paid["failure_reason"])

    async def _is_held(self, payment_hash: str) -> bool:
        with suppress(RestError):
            invoice = await self.node.rest("GET", f"/v1/invoice/{payment_hash}")
            return bool(invoice["state"] == "ACCEPTED")
        return False

    async def mine(self, blocks: int) -> None:
        await self.network.mine(blocks)

    async def outside_pubkey(self) -> str:
        return self.outside.pubkey

    async def keysend_from_outside(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> None:
        preimage = secrets.token_bytes(32)
        records = {str(type_): b64(value) for type_, value in tlvs.items()}
        paid = await self.outside.pay(
            dest=b64(bytes.fromhex(self.node.pubkey)),
            amt_msat=str(amount_msat),
            payment_hash=b64(sha256(preimage).digest()),
            dest_custom_records={PREIMAGE_RECORD: b64(preimage), **records},
        )
        assert paid["status"] == "SUCCEEDED", paid["failure_reason"]

    async def make_outside_offer(
        self, amount_msat: int | None, *, expiry_s: int | None = None
    ) -> str:
        raise NotImplementedError("LND makes no offers")

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None = None) -> None:
        raise NotImplementedError("LND pays no offers")

    async def reopen(self) -> None:
        await self.backend.close()
        self.backend = self._new_backend()
        await self.backend.start()


NEWEST = {"reversed": "true", "num_max_invoices": "1000"}


@asynccontextmanager
async def lnd_rig() -> AsyncIterator[LndRig]:
    """Skips, or fails in CI, where the network is not built."""
    network = await shared_network()
    macaroon = await network.nodes["carol"].bake(*(f"uri:{uri}" for uri in NEEDED))
    rig = LndRig(network, macaroon)
    await rig.open()
    try:
        yield rig
    finally:
        await rig.close()
