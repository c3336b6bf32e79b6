"""Somebody on the Lightning network beyond the service: another LND, and what it does."""

import asyncio
import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import Msat, PaymentHash
from tests.regtest.lnd import LndNode

BASE_FEE_MSAT, FEE_SHARE_PPM = 1_000, 1  # LND's own, of each node on the way
WAIT_S = 60


@dataclass(frozen=True, slots=True)
class Held:
    """A hold invoice of the outside, which it alone can settle."""

    invoice: str
    preimage: bytes

    @property
    def payment_hash(self) -> str:
        return sha256(self.preimage).hexdigest()


@dataclass(frozen=True, slots=True)
class LndOutside:
    """`forwarders` are on the way from the service's node."""

    node: LndNode
    forwarders: int = 1

    async def make_invoice(self, amount_msat: int, **fields: object) -> str:
        return str((await self.node.make_invoice(amount_msat, **fields))["payment_request"])

    async def pay(self, invoice: str) -> None:
        paid = await self.node.pay(payment_request=invoice)
        assert paid["status"] == "SUCCEEDED", paid["failure_reason"]

    def fee_msat(self, amount_msat: int) -> int:
        return self.forwarders * (BASE_FEE_MSAT + amount_msat * FEE_SHARE_PPM // 1_000_000)

    async def keysend(
        self, pubkey: str, amount_msat: int, *, tlvs: Mapping[int, bytes]
    ) -> dict[str, Any]:
        """The last state of the payment."""
        preimage = secrets.token_bytes(32)
        records = {**tlvs, keysend.PREIMAGE_TLV: preimage}
        return await self.node.pay(
            dest=b64(bytes.fromhex(pubkey)),
            amt_msat=str(amount_msat),
            payment_hash=b64(sha256(preimage).digest()),
            dest_custom_records={str(type_): b64(value) for type_, value in records.items()},
        )

    async def hold(self, amount_msat: int, **fields: object) -> Held:
        preimage = secrets.token_bytes(32)
        payment_hash = b64(sha256(preimage).digest())
        body = {"hash": payment_hash, "value_msat": str(amount_msat), **fields}
        made = await self.node.rest("POST", "/v2/invoices/hodl", json=body)
        return Held(str(made["payment_request"]), preimage)

    async def settle(self, held: Held) -> None:
        body = {"preimage": b64(held.preimage)}
        await self.node.rest("POST", "/v2/invoices/settle", json=body)

    async def cancel(self, payment_hash: str) -> None:
        body = {"payment_hash": b64(bytes.fromhex(payment_hash))}
        await self.node.rest("POST", "/v2/invoices/cancel", json=body)

    async def invoice(self, payment_hash: str) -> dict[str, Any]:
        return await self.node.rest("GET", f"/v1/invoice/{payment_hash}")

    async def accepted(self, held: Held) -> None:
        """Wait until its payment is here. Raises TimeoutError."""
        async with asyncio.timeout(WAIT_S):
            while (await self.invoice(held.payment_hash))["state"] != "ACCEPTED":
                await asyncio.sleep(0.05)


def an_invoice_of_nobody(amount_msat: int, *, age_s: int = 0) -> str:
    """Of a node that is in no channel; it expires when it is ten minutes old."""
    return bolt11.encode(
        network="regtest",
        amount_msat=Msat(amount_msat),
        payment_hash=PaymentHash(secrets.token_hex(32)),
        payment_secret=secrets.token_hex(32),
        description="",
        created_at=int(time.time()) - age_s,
        expiry_s=600,
        secret_key=secrets.token_bytes(32),
    )


def b64(data: bytes) -> str:
    return b64encode(data).decode()
