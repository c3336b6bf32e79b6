"""Core Lightning for the contract suite: the double, or a real node of a test network.

A real one is used when NWC_TEST_CLN_SOCKET names its lightning-rpc, and
NWC_TEST_CLN_PEER_SOCKET that of a second node: with a public channel between them that the
second one has opened (who did pays for HTLCs while they are held), money on both of its sides,
and xpay-slow-mode=true on the first. Where that channel is the only way, no payment has a fee,
so what is told about fee limits cannot be seen; with a third node in between it is.
NWC_TEST_CLN_MINE is a command that mines as many blocks as the number behind it says, as
"bitcoin-cli -regtest -generate". NWC_TEST_CLN_WAY=rest takes the double's CLNRest.
"""

import asyncio
import os
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from backends.cln import ClnBackend
from backends.cln.transport import Lost, RawReply, SocketTransport
from nwc_service.backend import (
    Balance,
    Cap,
    Cursor,
    HistoryPage,
    InvoiceReport,
    InvoiceStatus,
    LightningBackend,
    NodeInfo,
)
from nwc_service.wallet import bolt11, bolt12
from nwc_service.wallet.units import BackendName, Msat, PaymentHash
from tests.backends.cln_double import ClnDouble, cln_double
from tests.backends.cln_rows import OUTSIDE_ID
from tests.backends.contract import Rig

SOCKET, PEER_SOCKET = "NWC_TEST_CLN_SOCKET", "NWC_TEST_CLN_PEER_SOCKET"
MINE, WAY = "NWC_TEST_CLN_MINE", "NWC_TEST_CLN_WAY"

FAST = {"poll_s": 0.05, "wait_s": 1}
QUIET_S = 0.3
MAX_WAIT_S = 20.0


class ClnRig:
    """The double."""

    def __init__(self, double: ClnDouble) -> None:
        self.double, self.core = double, double.core
        self.backend: LightningBackend = self._new_backend()

    def _new_backend(self) -> ClnBackend:
        options = self.double.options(os.environ.get(WAY, "socket"))
        return ClnBackend(BackendName("cln"), options | FAST, data_dir=Path())

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600
    ) -> str:
        return self.core.make_outside_invoice(amount_msat, expiry_s=expiry_s)

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        await self.core.pay_from_outside(invoice, amount_msat)

    async def mine(self, blocks: int) -> None:
        self.core.mine(blocks)

    async def outside_pubkey(self) -> str:
        return OUTSIDE_ID

    async def keysend_from_outside(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> None:
        raise NotImplementedError("CLN tells no records of a keysend")

    async def make_outside_offer(
        self, amount_msat: int | None, *, expiry_s: int | None = None
    ) -> str:
        return self.core.bolt12.make_outside_offer(amount_msat, expiry_s=expiry_s)

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None = None) -> None:
        await self.core.pay_offer_from_outside(offer, amount_msat)

    async def reopen(self) -> None:
        await self.backend.close()
        self.backend = self._new_backend()
        await self.backend.start()


class ClnFromNow(ClnBackend):
    """Begins at its places where no cursor is given, as the node is shared by all tests."""

    places: Mapping[str, Cursor]
    opened_at = 0
    has_fees = True

    async def start(self) -> NodeInfo:
        info = await super().start()
        if not self.has_fees:
            self.caps &= ~Cap.FEE_LIMIT
        return info

    async def balance(self) -> Balance:
        """CLN tells of a payment before its channels have done with it."""
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
        page = await super().list_history(side, cursor or self.places[side], limit)
        ours = [item for item in page.items if item.created_at >= self.opened_at]
        return HistoryPage(ours, page.next_cursor)


class RealClnRig:
    """Two nodes of a test network."""

    def __init__(self, socket: Path, peer_socket: Path) -> None:
        self.node, self.peer = SocketTransport(socket), SocketTransport(peer_socket)
        self.socket = socket
        self.places: dict[str, Cursor] = {}
        self.opened_at = 0
        self.has_fees = True
        self._first_index = 0
        self._paying: list[asyncio.Task[RawReply]] = []
        self.backend: LightningBackend = self._new_backend()

    def _new_backend(self) -> ClnFromNow:
        options = {"socket": str(self.socket), **FAST}
        backend = ClnFromNow(BackendName("cln"), options, data_dir=Path())
        backend.places, backend.opened_at = self.places, self.opened_at
        backend.has_fees = self.has_fees
        return backend

    async def open(self) -> None:
        peers = await self._call(self.node, "listpeerchannels")
        peer_id = await self.outside_pubkey()
        self.has_fees = all(each["peer_id"] != peer_id for each in peers["channels"])
        pay_index = await self._receive_once()
        await asyncio.sleep(1.1)  # times are in seconds
        self.opened_at = int(time.time())
        self.backend = self._new_backend()
        await self.backend.start()
        counters = await self.backend.counters()
        self._first_index = counters["invoices_created"]
        self.places |= {
            "in": Cursor(f"i{self._first_index}"),
            "out": Cursor(str(counters["sendpays_created"])),
            "settled": Cursor(f"{pay_index}.{int(time.time() * 10**6)}"),
        }

    async def close(self) -> None:
        """What the test made is forgotten, so that the next one may use its names."""
        await self.backend.close()
        start = self._first_index + 1
        made = await self._call(self.node, "listinvoices", index="created", start=start)
        for row in made["invoices"]:
            with suppress(ValueError):
                await self._call(
                    self.node, "delinvoice", label=row["label"], status=row["status"]
                )
        with suppress(ValueError):
            holds = (await self._call(self.node, "listholdinvoices"))["holdinvoices"]
            for row in holds:
                if row["state"] in ("unpaid", "accepted"):
                    wanted = row["payment_hash"]
                    await self._call(self.node, "cancelholdinvoice", payment_hash=wanted)
            await self._call(self.node, "cleanholdinvoices", age=0)
        await asyncio.gather(*self._paying, return_exceptions=True)

    async def make_outside_invoice(
        self, amount_msat: int | None, *, expiry_s: int = 3600
    ) -> str:
        made = await self._call(
            self.peer,
            "invoice",
            amount_msat="any" if amount_msat is None else amount_msat,
            label=secrets.token_hex(8),
            description="tea",
            expiry=expiry_s,
        )
        return str(made["bolt11"])

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        params: dict[str, object] = {"invstring": invoice}
        if amount_msat is not None:
            params["amount_msat"] = amount_msat
        paying = asyncio.create_task(self.peer.call("xpay", params, timeout_s=120))
        self._paying.append(paying)
        payment_hash = PaymentHash(bolt11.decode(invoice).payment_hash)
        while not paying.done() and not await self._is_held(payment_hash):
            await asyncio.sleep(0.05)
        if paying.done():
            _result(paying.result())

    async def mine(self, blocks: int) -> None:
        if not os.environ.get(MINE):
            pytest.skip(f"{MINE} is not set")
        words = [*shlex.split(os.environ[MINE]), str(blocks)]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        wanted = await self._call(self.node, "getinfo")
        with suppress(Lost):
            height = wanted["blockheight"] + blocks
            params = {"blockheight": height, "timeout": int(MAX_WAIT_S)}
            await self.node.call("waitblockheight", params, timeout_s=2 * MAX_WAIT_S)

    async def outside_pubkey(self) -> str:
        return str((await self._call(self.peer, "getinfo"))["id"])

    async def keysend_from_outside(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> None:
        raise NotImplementedError("CLN tells no records of a keysend")

    async def make_outside_offer(
        self, amount_msat: int | None, *, expiry_s: int | None = None
    ) -> str:
        if expiry_s is not None and expiry_s <= 0:
            return bolt12.encode(
                network="regtest",
                amount_msat=None if amount_msat is None else Msat(amount_msat),
                description="tea",
                expires_at=int(time.time()) + expiry_s,
                issuer_id=await self.outside_pubkey(),
            )
        made = await self._call(
            self.peer,
            "offer",
            amount="any" if amount_msat is None else amount_msat,
            description=f"tea {secrets.token_hex(8)}",  # or it would be an older one
        )
        return str(made["bolt12"])

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None = None) -> None:
        params: dict[str, object] = {"offer": offer}
        if amount_msat is not None:
            params["amount_msat"] = amount_msat
        fetched = await self._call(self.peer, "fetchinvoice", **params)
        await self._call(self.peer, "xpay", invstring=fetched["invoice"])

    async def reopen(self) -> None:
        await self.backend.close()
        self.backend = self._new_backend()
        await self.backend.start()

    async def _receive_once(self) -> int:
        """So that there is a place to begin at: its pay_index."""
        label = secrets.token_hex(8)
        made = await self._call(
            self.node, "invoice", amount_msat=1_000, label=label, description="begin"
        )
        await self._call(self.peer, "xpay", invstring=made["bolt11"])
        [row] = (await self._call(self.node, "listinvoices", label=label))["invoices"]
        return int(row["pay_index"])

    async def _is_held(self, payment_hash: PaymentHash) -> bool:
        report = await self.backend.lookup_invoice(payment_hash)
        return report is not None and report.status is InvoiceStatus.ACCEPTED

    async def _call(
        self, transport: SocketTransport, method: str, **params: object
    ) -> dict[str, Any]:
        return _result(await transport.call(method, params, timeout_s=120))


def _result(reply: RawReply) -> dict[str, Any]:
    if reply.problem is not None:
        raise ValueError(f"{reply.problem.code}: {reply.problem.message}")
    assert isinstance(reply.result, dict)
    return reply.result


@asynccontextmanager
async def _double_rig() -> AsyncIterator[Rig]:
    async with cln_double() as double:
        rig = ClnRig(double)
        await rig.backend.start()
        try:
            yield rig
        finally:
            await rig.backend.close()


@asynccontextmanager
async def _real_rig(socket: str, peer_socket: str) -> AsyncIterator[Rig]:
    rig = RealClnRig(Path(socket), Path(peer_socket))
    await rig.open()
    try:
        yield rig
    finally:
        await rig.close()


def cln_rig() -> AbstractAsyncContextManager[Rig]:
    socket, peer_socket = os.environ.get(SOCKET), os.environ.get(PEER_SOCKET)
    if socket and peer_socket:
        return _real_rig(socket, peer_socket)
    return _double_rig()
