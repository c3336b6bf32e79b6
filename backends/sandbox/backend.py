"""The sandbox as a Lightning backend, with the faults that an operator can switch on."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints

from backends.sandbox import offers, refusals, signature
from backends.sandbox.books import Books, Mode
from backends.sandbox.chain import block_hash
from backends.sandbox.commands import Checked, Commands, checked
from backends.sandbox.offers import Offers
from backends.sandbox.sends import Send, Sends, SendState
from backends.sandbox.service_node import INVOICE_UPDATED, ServiceNode
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Balance,
    Cap,
    Cursor,
    Decoded,
    FailReason,
    FetchedInvoice,
    Finding,
    HistoryPage,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    NodeInfo,
    NotSent,
    OfferReport,
    OfferSpec,
    Outcome,
    PaymentKind,
    PaymentRef,
    PaymentReport,
    PayRequest,
    ReleaseRule,
    Unknown,
    findings,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

SLOW_S = 3.0  # what the mode `slow` adds to every call
BACKLOG_SIZE = 100

ALIAS = "SANDBOX (simulated, no real money)"

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
    | Cap.HOLD
    | Cap.KEYSEND
    | Cap.KEYSEND_TLV
    | Cap.KEYSEND_OWN_PREIMAGE
    | Cap.KEYSEND_IN
    | Cap.SIGN
    | Cap.BOLT12_SEND
    | Cap.BOLT12_RECEIVE
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
        self._sends = Sends(self.books)
        self._offers = Offers(self.books)
        self._commands = Commands(self.books)

    async def start(self) -> NodeInfo:
        await self.books.open()
        await self._reach()
        height = self.books.block_height
        return NodeInfo(
            alias=ALIAS,
            color="808080",
            pubkey=self.books.service_pubkey,
            network="regtest",
            block_height=height,
            block_hash=block_hash(height),
        )

    async def close(self) -> None:
        await self.books.close()

    async def check(self) -> Sequence[Finding]:
        simulated = Finding("money", "simulated: none of it is real")
        if not self.books.exist():
            return [simulated, Finding("file", "made at the first start")]
        told = await findings.of_node(info=self.start, balance=self.balance)
        if self.books.mode is not Mode.NORMAL:
            fault = f"the fault {self.books.mode.value} is switched on"
            told = [*told, Finding("mode", fault, "nwc-service sandbox mode normal")]
        return [simulated, *told]

    async def balance(self) -> Balance:
        await self._reach()
        return await self._node.balance()

    async def counters(self) -> Mapping[str, int]:
        await self._reach()
        return await self._node.counters()

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        await self._reach()
        report = await self._node.create_invoice(spec)
        self._reply()
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
        return await self._read(invoice)

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        await self._reach()
        fetched = await self._offers.fetch(
            offer, amount_msat=amount_msat, payer_note=payer_note
        )
        self._reply()
        return fetched

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        await self._reach()
        report = await self._offers.create(spec)
        self._reply()
        return report

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        try:
            await self._reach()
            refusal = await self._refusal(request)
        except BackendUnavailable as gone:
            return NotSent(FailReason.UNAVAILABLE, str(gone))
        if refusal is not None:
            return refusal
        try:
            return await self._send(request)
        except BackendUnavailable as gone:
            return Unknown(str(gone))

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        await self._reach()
        send = await self._sends.find(ref.our_id, ref.payment_hash)
        return None if send is None else send.outcome

    async def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        last = _place(since)
        while True:
            updated = self.books.event(INVOICE_UPDATED)
            await self._reach()
            backlog = await self._node.updates(
                after=last, limit=BACKLOG_SIZE, with_accepted=True
            )
            for report, last in backlog:
                yield report, Cursor(str(last))
            if not backlog:
                await updated.wait()

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """What was settled, in that order, or what was sent, in that order."""
        after = _place(cursor)
        if limit < 1:
            raise BadRequest("limit: at least 1")
        await self._reach()
        if side == "in":
            settled = await self._node.updates(after=after, limit=limit, with_accepted=False)
            return _page(settled, limit=limit)
        sends = await self._sends.page(after=after, limit=limit)
        return _page([(send.report, send.payment_id) for send in sends], limit=limit)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        await self._reach()
        report = await self._node.resolve_hold(payment_hash, preimage)
        self._reply()
        return report

    async def sign_message(self, message: str) -> str:
        await self._reach()
        return signature.sign(message, secret_key=self.books.service_key)

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

    def _reply(self) -> None:
        """What was asked for is done."""
        if self.books.mode is Mode.LOSE_REPLY:
            raise BackendUnavailable("the sandbox lost its reply")

    async def _send(self, request: PayRequest | KeysendRequest) -> Outcome:
        send = await self._attempt(request)
        if isinstance(send, NotSent):
            return send
        if self.books.mode is Mode.LOSE_REPLY:
            return Unknown("the sandbox lost its reply")
        if send.state is SendState.PENDING:
            send = await self._sends.resolution(send, timeout_s=request.timeout_s)
        return send.outcome

    async def _attempt(self, request: PayRequest | KeysendRequest) -> Send | NotSent:
        if isinstance(request, KeysendRequest):
            return await self._sends.keysend(request)
        return await self._sends.send(request)

    async def _refusal(self, request: PayRequest | KeysendRequest) -> NotSent | None:
        if isinstance(request, KeysendRequest):
            return refusals.of_keysend(request, books=self.books)
        try:
            read = await self._read(request.invoice)
        except BadRequest as refused:
            return NotSent(FailReason.BAD_REQUEST, str(refused))
        return refusals.of_invoice(read, request, books=self.books)

    async def _read(self, invoice: str) -> Decoded:
        if invoice.lower().startswith(offers.PREFIX):
            return await self._offers.decode(invoice)
        try:
            read = bolt11.decode(invoice)
        except bolt11.InvalidInvoice as refused:
            raise BadRequest(str(refused)) from None
        if read.network != "regtest":
            raise BadRequest("the invoice is of another network")
        return Decoded(read.payment_hash, read.amount_msat, read.expires_at, read.payee)


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
