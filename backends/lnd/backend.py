"""The port's methods, for one LND node."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from backends.lnd import options as configured
from backends.lnd.api import LndApi
from backends.lnd.checkup import checkup
from backends.lnd.holds import LndHolds
from backends.lnd.invoices import InvoiceWishes, LndInvoices
from backends.lnd.node import LndNode
from backends.lnd.payments import MAX_PAGE_SIZE, LndPayments, payment_report
from backends.lnd.rights import bake_command
from backends.lnd.sender import Sender
from backends.lnd.watch import Watch
from nwc_service.backend import (
    BadRequest,
    Balance,
    Cap,
    Cursor,
    Decoded,
    FetchedInvoice,
    Finding,
    HistoryPage,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    NodeInfo,
    OfferReport,
    OfferSpec,
    Outcome,
    PaymentKind,
    PaymentRef,
    PayRequest,
    ReleaseRule,
    Unsupported,
)
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

CAPS = (
    Cap.NODE_INFO
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
    | Cap.MPP
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
)


class LndBackend:
    """LND 0.20 or newer, which keeps its payments and its canceled invoices."""

    caps = CAPS
    # LND refuses expired invoices before it stores anything; a keysend never expires.
    release_rules: Mapping[PaymentKind, ReleaseRule] = {
        PaymentKind.BOLT11: ReleaseRule.EXPIRY,
        PaymentKind.KEYSEND: ReleaseRule.MANUAL,
    }
    bake_command = staticmethod(bake_command)

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        self.name = name
        self._options = configured.parse(name, options)
        wishes = InvoiceWishes(
            private_hints=self._options.private_hints,
            hold_expiry_delta=self._options.hold_expiry_delta,
        )
        self._api = LndApi(name, self._options)
        self._node = LndNode(self._api)
        self._invoices = LndInvoices(self._api, wishes)
        self._holds = LndHolds(self._api, self._invoices)
        self._payments = LndPayments(self._api)
        self._sender = Sender(self._api, self._payments, node=self._node)

    async def start(self) -> NodeInfo:
        self._api.open()
        return await self._node.info()

    async def close(self) -> None:
        await self._sender.close()
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        return await checkup(self.name, self._options)

    async def balance(self) -> Balance:
        return await self._node.balance()

    async def counters(self) -> Mapping[str, int]:
        return {
            "payment_index": await self._payments.last_index(),
            "add_index": await self._invoices.last_index(),
            **await self._node.channel_updates(),
        }

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None  # it obeys the limit

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        return await self._invoices.create(spec, now=_now())

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        return await self._invoices.look_up(
            payment_hash, operation="lookup_invoice", now=_now()
        )

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        await self._holds.cancel(payment_hash)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        return await self._holds.resolve(payment_hash, preimage, now=_now())

    async def decode(self, invoice: str) -> Decoded:
        return await self._node.decode(invoice)

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        raise Unsupported("LND pays no offers")

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        raise Unsupported("LND makes no offers")

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        return await self._sender.pay(request)

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        return await self._sender.look_up(ref)

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """The cursor is LND's settle_index; without one, the last day."""
        _place(since)
        poll_s = self._options.poll_s
        return Watch(self._api, self._invoices, since=since, poll_s=poll_s).reports()

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """What was sent, oldest first, or what was settled, in the order of making. The cursor
        is LND's payment_index, or add_index."""
        after, at_most = _place(cursor), max(1, min(limit, MAX_PAGE_SIZE))
        if side == "out":
            sent = await self._payments.page(after=after, limit=at_most)
            items = [payment_report(payment) for payment in sent.payments]
            return HistoryPage(
                items, _next(sent.last_index_offset, is_more=len(items) == at_most)
            )
        made = await self._invoices.page(
            operation="list_history", after=after, limit=at_most, query={}
        )
        settled = [each for each in made.invoices if each.state == "SETTLED"]
        reports = (self._invoices.report(each, now=_now()) for each in settled)
        return HistoryPage(
            [report for report in reports if report is not None],
            _next(made.last_index_offset, is_more=len(made.invoices) == at_most),
        )

    async def sign_message(self, message: str) -> str:
        return await self._node.sign(message)

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported(f"the lnd backend has no command {name!r}")


def _place(cursor: Cursor | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 20):
        raise BadRequest("cursor: not one of LND")
    return int(cursor)


def _next(index: int, *, is_more: bool) -> Cursor | None:
    return Cursor(str(index)) if is_more else None


def _now() -> int:
    return int(time.time())
