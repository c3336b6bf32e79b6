"""The contract suite's rigs: a started backend, and somebody outside who pays and is paid.

A new backend registers one here, and `test_contract.py` does the rest.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from typing import Protocol, TypeVar, cast

import pytest

from nwc_service.backend import (
    Cap,
    Cursor,
    FetchedInvoice,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    LightningBackend,
    NodeInfo,
    OfferSpec,
    PaymentRef,
    PayRequest,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash, Preimage

# Imported only when used: a rig may need what a machine lacks.
RIGS: dict[str, str] = {
    "sandbox": "tests.backends.rig_sandbox:sandbox_rig",
    "lnbits": "tests.backends.lnbits_rig:lnbits_rig",
    "lnd": "tests.backends.lnd_rig:lnd_rig",
    "cln": "tests.backends.cln_rig:cln_rig",
    "phoenixd": "tests.backends.phoenixd_rig:phoenixd_rig",
}
# Not a backend that anybody installs, but tests of the service believe it about these things.
DOUBLES = {"scripted": "tests.backends.rig_scripted:scripted_rig"}

WAIT_S = 15.0
AMOUNT_MSAT = 5_000_000
MAX_FEE_MSAT = Msat(100_000)
NOBODYS_HASH = PaymentHash("00" * 32)
# A key that no node of any rig has: the curve's generator.
STRANGER = "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

T = TypeVar("T")


class Rig(Protocol):
    """Amounts are in whole sats, as not every backend knows smaller ones.

    The outside's half of what not every backend can is asked for only where it can.
    """

    backend: LightningBackend  # started, with money to spend

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600
    ) -> str: ...

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        """Of a hold invoice: until it is held."""

    async def mine(self, blocks: int) -> None: ...

    async def outside_pubkey(self) -> str:
        """Of a node that takes keysends."""

    async def keysend_from_outside(
        self, amount_msat: int, tlvs: Mapping[int, bytes]
    ) -> None: ...

    async def make_outside_offer(
        self, amount_msat: int | None, *, expiry_s: int | None = None
    ) -> str: ...

    async def pay_offer_from_outside(
        self, offer: str, amount_msat: int | None = None
    ) -> None: ...

    async def reopen(self) -> None:
        """Close the backend, and start another one on the same configuration in its place."""


def open_rig(backend_type: str) -> AbstractAsyncContextManager[Rig]:
    module, _, name = (RIGS | DOUBLES)[backend_type].partition(":")
    factory = getattr(import_module(module), name)
    return cast("Callable[[], AbstractAsyncContextManager[Rig]]", factory)()


def needs(rig: Rig, cap: Cap) -> None:
    """Skip the test on a backend that does not have this."""
    if cap not in rig.backend.caps:
        pytest.skip(f"this backend has no {cap.name}")


def a_spec(
    amount_msat: int | None = AMOUNT_MSAT,
    *,
    our_id: str | None = None,
    description: str = "tea",
    description_hash: str | None = None,
    expiry_s: int = 3600,
    preimage: str | None = None,
    hold_hash: str | None = None,
    min_cltv_expiry_delta: int | None = None,
) -> InvoiceSpec:
    return InvoiceSpec(
        our_id=our_id or secrets.token_hex(8),
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        description=description,
        description_hash=description_hash,
        expiry_s=expiry_s,
        preimage=None if preimage is None else Preimage(preimage),
        hold_hash=None if hold_hash is None else PaymentHash(hold_hash),
        min_cltv_expiry_delta=min_cltv_expiry_delta,
    )


def a_request(
    invoice: str,
    *,
    amount_msat: int | None = None,
    payment_hash: str | None = None,
    max_fee_msat: int = MAX_FEE_MSAT,
    our_id: str = "",
    timeout_s: float = WAIT_S,
) -> PayRequest:
    """Of the invoice's own amount, unless told otherwise."""
    decoded = bolt11.decode(invoice)
    named_msat = decoded.amount_msat
    return PayRequest(
        our_id=our_id or secrets.token_hex(8),
        invoice=invoice,
        payment_hash=PaymentHash(payment_hash or decoded.payment_hash),
        amount_msat=Msat(amount_msat or named_msat or 0),
        amount_is_override=named_msat is None,
        max_fee_msat=Msat(max_fee_msat),
        timeout_s=timeout_s,
    )


def a_keysend(
    destination: str,
    *,
    amount_msat: int = AMOUNT_MSAT,
    preimage: str | None = None,
    tlvs: Mapping[int, bytes] | None = None,
    max_fee_msat: int = MAX_FEE_MSAT,
    our_id: str = "",
    timeout_s: float = WAIT_S,
) -> KeysendRequest:
    return KeysendRequest(
        our_id=our_id or secrets.token_hex(8),
        destination=destination,
        amount_msat=Msat(amount_msat),
        preimage=Preimage(preimage or secrets.token_hex(32)),
        tlvs=tlvs or {},
        max_fee_msat=Msat(max_fee_msat),
        timeout_s=timeout_s,
    )


def a_fetched_request(
    fetched: FetchedInvoice, *, our_id: str = "", timeout_s: float = WAIT_S
) -> PayRequest:
    return PayRequest(
        our_id=our_id or secrets.token_hex(8),
        invoice=fetched.invoice,
        payment_hash=fetched.payment_hash,
        amount_msat=fetched.amount_msat,
        amount_is_override=False,
        max_fee_msat=MAX_FEE_MSAT,
        timeout_s=timeout_s,
    )


def an_offer_spec(
    amount_msat: int | None = AMOUNT_MSAT,
    *,
    our_id: str | None = None,
    description: str = "tea",
    issuer: str | None = None,
    single_use: bool = False,
    expires_at: int | None = None,
) -> OfferSpec:
    return OfferSpec(
        our_id=our_id or secrets.token_hex(8),
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        description=description,
        issuer=issuer,
        single_use=single_use,
        expires_at=expires_at,
    )


def hash_of(preimage: str) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def ref(request: PayRequest | KeysendRequest) -> PaymentRef:
    payment_hash = (
        hash_of(request.preimage)
        if isinstance(request, KeysendRequest)
        else request.payment_hash
    )
    return PaymentRef(request.our_id, payment_hash, int(time.time()))


def proves(preimage: Preimage | None, payment_hash: PaymentHash) -> bool:
    return preimage is not None and hash_of(preimage) == payment_hash


def unmined(info: NodeInfo) -> NodeInfo:
    """What stays as it is, whatever is mined meanwhile."""
    return replace(info, block_height=None, block_hash=None)


async def balance_msat(backend: LightningBackend) -> int:
    return (await backend.balance()).spendable_msat


async def eventually(read: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """What `read` gives when it is as wanted, or at last."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not wanted(value := await read()):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.05)
    return value


async def settled_report(
    backend: LightningBackend, payment_hash: PaymentHash
) -> InvoiceReport | None:
    return await eventually(
        lambda: backend.lookup_invoice(payment_hash),
        lambda report: report is not None and report.status == "settled",
    )


async def watch_until(
    backend: LightningBackend, since: Cursor | None, *, payment_hash: PaymentHash
) -> tuple[list[PaymentHash], Cursor | None]:
    """The hashes that the backend tells of up to this one, and the cursor there."""
    seen, cursor = await told(
        backend, since, until=lambda report: report.payment_hash == payment_hash
    )
    return [report.payment_hash for report in seen], cursor


async def told(
    backend: LightningBackend,
    since: Cursor | None,
    *,
    until: Callable[[InvoiceReport], bool],
) -> tuple[list[InvoiceReport], Cursor | None]:
    """What the backend tells up to the report that is waited for, and the cursor there."""
    seen = []
    updates = cast(
        "AsyncGenerator[tuple[InvoiceReport, Cursor | None], None]",
        backend.watch_invoices(since),
    )
    async with asyncio.timeout(WAIT_S), aclosing(updates):
        async for report, cursor in updates:
            seen.append(report)
            if until(report):
                return seen, cursor
    raise AssertionError("the stream of invoices ended")
