"""The sandbox as a Lightning backend, with the faults that an operator can switch on."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from backends.sandbox.books import Books, Mode
from backends.sandbox.commands import Checked, Commands, checked
from backends.sandbox.service_node import INVOICE_SETTLED, SendState, ServiceNode
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Balance,
    Cap,
    Cursor,
    Decoded,
    FailReason,
    HistoryPage,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    NodeInfo,
    NotSent,
    Outcome,
    PaymentKind,
    PaymentRef,
    PaymentReport,
    PayRequest,
    ReleaseRule,
    Unknown,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

SLOW_S = 3.0  # what the mode `slow` adds to every call
BACKLOG_SIZE = 100

ALIAS = "SANDBOX (simulated, no real money)"
GENESIS_OF_REGTEST = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"

CAPS = (
    Cap.SIMULATED
    | Cap.NODE_INFO
    | Cap.INBOUND
    | Cap.MSAT_INVOICE
    | Cap.AMOUNTLESS_CREATE
    | Cap.DESCRIPTION_HASH
    | Cap.OWN_PREIMAGE
    | Cap.OWN_EXPIRY
    | Cap.DECODE
    | Cap.PAY_AMOUNTLESS
    | Cap.FEE_LIMIT
    | Cap.PAY_TIMEOUT
    | Cap.DEDUP_BY_HASH
    | Cap.LOOKUP_BY_HASH
    | Cap.SETTLE_CURSOR
    | Cap.PUSH
    | Cap.LIST_IN
    | Cap.LIST_OUT
    | Cap.CANCEL_INVOICE
)


class Options(Checked):
    # of the network's own file; relative to the data directory
    path: Annotated[str, StringConstraints(min_length=1)] = "sandbox.sqlite"


class SandboxBackend:
    """A node of a simulated Lightning network."""

    caps = CAPS
    # It refuses expired invoices.
    release_rules: Mapping[PaymentKind, ReleaseRule] = {PaymentKind.BOLT11: ReleaseRule.EXPIRY}

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        try:
            path = checked(Options, options).path
        except BadRequest as wrong:
            raise ValueError(str(wrong)) from None
        self.name = name
        self.books = Books(data_dir / path)
        self._node = ServiceNode(self.books)
        self._commands = Commands(self.books)

    async def start(self) -> NodeInfo:
        await self.books.open()
        await self._reach()
        return NodeInfo(
            alias=ALIAS,
            color="808080",
            pubkey=self.books.service_pubkey,
            network="regtest",
            block_height=0,
            block_hash=GENESIS_OF_REGTEST,
        )

    async def close(self) -> None:
        await self.books.close()

    async def balance(self) -> Balance:
        await self._reach()
        return await self._node.balance()

    async def counters(self) -> Mapping[str, int]:
        await self._reach()
        return await self._node.counters()

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        if spec.hold_hash is not None:
            raise Unsupported("the sandbox makes no hold invoices")
        await self._reach()
        report = await self._node.create_invoice(spec)
        if self.books.mode is Mode.LOSE_REPLY:
            raise BackendUnavailable("the sandbox lost its reply")
        return report

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        await self._reach()
        return await self._node.find_invoice(payment_hash)

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        await self._reach()
        await self._node.cancel_invoice(payment_hash)

    async def decode(self, invoice: str) -> Decoded:
        """No second opinion: the simulated node reads as the service does."""
        await self._reach()
        try:
            read = bolt11.decode(invoice)
        except bolt11.InvalidInvoice as refused:
            raise BadRequest(str(refused)) from None
        if read.network != "regtest":
            raise BadRequest("the invoice is of another network")
        return Decoded(read.payment_hash, read.amount_msat, read.expires_at, read.payee)

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        if isinstance(request, KeysendRequest):
            raise Unsupported("the sandbox sends no keysend")
        try:
            await self._reach()
        except BackendUnavailable as gone:
            return NotSent(FailReason.UNAVAILABLE, str(gone))
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await self._send(request)
        except BackendUnavailable as gone:
            return Unknown(str(gone))

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        await self._reach()
        send = await self._node.find_send(ref.our_id, ref.payment_hash)
        return None if send is None else send.outcome

    async def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        last = _place(since)
        while True:
            settled = self.books.event(INVOICE_SETTLED)
            await self._reach()
            backlog = await self._node.settled_invoices(after=last, limit=BACKLOG_SIZE)
            for report, last in backlog:
                yield report, Cursor(str(last))
            if not backlog:
                await settled.wait()

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """What was settled, in that order, or what was sent, in that order."""
        after = _place(cursor)
        if limit < 1:
            raise BadRequest("limit: at least 1")
        await self._reach()
        if side == "in":
            return _page(
                await self._node.settled_invoices(after=after, limit=limit), limit=limit
            )
        sends = await self._node.sends(after=after, limit=limit)
        return _page([(send.report, send.payment_id) for send in sends], limit=limit)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        raise Unsupported("the sandbox makes no hold invoices")

    async def sign_message(self, message: str) -> str:
        raise Unsupported("the sandbox signs no messages")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """`show` also answers where `start` was never called. The mode concerns none of them:
        they are the outside node's, or the operator's."""
        return await self._commands.run(name, arguments)

    async def _reach(self) -> None:
        """What the mode does to every call."""
        if self.books.mode is Mode.SLOW:
            await asyncio.sleep(SLOW_S)
        self.books.check_open()
        if self.books.mode is Mode.UNREACHABLE:
            raise BackendUnavailable("the sandbox is set to be unreachable")

    async def _send(self, request: PayRequest) -> Outcome:
        send = await self._node.send(request)
        if self.books.mode is Mode.LOSE_REPLY:
            return Unknown("the sandbox lost its reply")
        if send.state is SendState.PENDING:
            send = await self._node.resolution(send, timeout_s=request.timeout_s)
        return send.outcome

    def _refusal(self, request: PayRequest) -> NotSent | None:
        """What the node refuses by reading the invoice; nothing is on its books then."""
        try:
            invoice = bolt11.decode(request.invoice)
        except bolt11.InvalidInvoice as refused:
            return NotSent(FailReason.BAD_REQUEST, str(refused))
        if invoice.network != "regtest":
            return NotSent(FailReason.BAD_REQUEST, "the invoice is of another network")
        if invoice.payment_hash != request.payment_hash:
            return NotSent(FailReason.BAD_REQUEST, "the invoice has another payment hash")
        if not _asks_for(invoice.amount_msat, request):
            return NotSent(FailReason.BAD_REQUEST, "the invoice asks for another amount")
        if invoice.payee == self.books.service_pubkey:
            return NotSent(FailReason.REJECTED, "the node does not pay itself")
        if self.books.now() >= invoice.expires_at:
            return NotSent(FailReason.EXPIRED, "the invoice has expired")
        return None


def _asks_for(amount_msat: Msat | None, request: PayRequest) -> bool:
    if amount_msat is None:
        return request.amount_is_override and request.amount_msat >= 1
    return amount_msat == request.amount_msat and not request.amount_is_override


def _place(cursor: Cursor | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):
        raise BadRequest("cursor: not one of the sandbox")
    return int(cursor)


def _page(
    items: Sequence[tuple[InvoiceReport | PaymentReport, int]], *, limit: int
) -> HistoryPage:
    more = Cursor(str(items[-1][1])) if len(items) == limit else None
    return HistoryPage([report for report, _ in items], more)
