"""The port's methods, for one phoenixd."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from backends.phoenixd import options as configured
from backends.phoenixd.api import PhoenixdApi
from backends.phoenixd.checkup import checkup
from backends.phoenixd.invoices import invoice_report
from backends.phoenixd.node import PAGE_SIZE, PhoenixdNode
from backends.phoenixd.payments import PhoenixdPayments, payment_report
from backends.phoenixd.sender import Sender
from backends.phoenixd.watch import Watch
from backends.phoenixd.wire import MS_PER_S
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

# DEDUP_BY_HASH is not among them: phoenixd itself refuses only what it has paid already.
CAPS = (
    Cap.NODE_INFO
    | Cap.INBOUND
    | Cap.AMOUNTLESS_CREATE
    | Cap.DESCRIPTION_HASH
    | Cap.OWN_EXPIRY
    | Cap.DECODE
    | Cap.PAY_AMOUNTLESS
    | Cap.LOOKUP_BY_HASH
    | Cap.PUSH
    | Cap.LIST_IN
    | Cap.LIST_OUT
)

FIRST_LOOK_BACK_S = 24 * 3600
MAX_DIGITS = 18  # of what phoenixd can count to


class PhoenixdBackend:
    """The service must be the only one that pays from this phoenixd."""

    caps = CAPS
    # phoenixd pays expired invoices, and no older sender's password can be revoked alone.
    release_rules: Mapping[PaymentKind, ReleaseRule] = {}

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        self.name = name
        self._options = configured.parse(name, options)
        self._api = PhoenixdApi(name, self._options)
        self._node = PhoenixdNode(self._api, self._options)
        self._payments = PhoenixdPayments(self._api)
        self._sender = Sender(
            self._api, self._node, payments=self._payments, options=self._options
        )

    async def start(self) -> NodeInfo:
        self._api.open()
        return await self._node.start()

    async def close(self) -> None:
        await self._sender.close()
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        return await checkup(self.name, self._options)

    async def balance(self) -> Balance:
        return await self._node.balance()

    async def counters(self) -> Mapping[str, int]:
        return {}  # it counts nothing that can be asked for

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return self._options.fee_cap_msat(amount_msat)

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        row = await self._node.create(spec)
        report = invoice_report(row, now=_now())
        if report is None or report.amount_msat != spec.amount_msat:
            raise self._api.problem(
                "create_invoice",
                "phoenixd made another invoice than asked for",
                remedy="see its log",
            )
        return report

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        row = await self._node.incoming(payment_hash, "lookup_invoice")
        return None if row is None else invoice_report(row, now=_now())

    async def decode(self, invoice: str) -> Decoded:
        return await self._node.decode(invoice)

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        # /payoffer pays in the same step, so that the hash would be known only afterwards
        raise Unsupported("phoenixd asks for no invoice that it does not pay at once")

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        # it makes some, but does not tell which of them was paid
        raise Unsupported("phoenixd does not tell which offer was paid")

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        if isinstance(request, KeysendRequest):
            raise Unsupported("phoenixd sends no keysend")
        return await self._sender.pay(request)

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        return await self._payments.look_up(ref.payment_hash, since=ref.dispatched_at)

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """The cursor is a time of phoenixd's clock; without one, the last day."""
        watermark = _now() - FIRST_LOOK_BACK_S if since is None else _number(since)
        return Watch(self._options, self._node.settled_since, watermark).settled()

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """What was received, or all that was tried. The cursor is the time of the first page,
        so that later rows move none, and an offset."""
        place = f"{_now_ms()}:0" if cursor is None else cursor
        until_ms, offset = map(_number, place.partition(":")[::2])
        limit = max(1, min(limit, PAGE_SIZE))
        query: dict[str, str | int] = {"to": until_ms, "offset": offset, "limit": limit}
        following = Cursor(f"{until_ms}:{offset + limit}")
        if side == "out":
            sent = await self._payments.page(query | {"all": "true"}, "list_history")
            payments = [payment_report(row) for row in sent.rows]
            return HistoryPage(payments, None if sent.is_last else following)
        received = await self._node.incoming_page(query, "list_history")
        reports = [invoice_report(row, now=_now()) for row in received.rows]
        invoices = [report for report in reports if report is not None]
        return HistoryPage(invoices, None if received.is_last else following)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        raise Unsupported("phoenixd makes no hold invoices")

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        raise Unsupported("phoenixd cancels no invoice")

    async def sign_message(self, message: str) -> str:
        raise Unsupported("phoenixd signs no messages")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported(f"the phoenixd backend has no command {name!r}")


def _number(text: str) -> int:
    """Raises BadRequest."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise BadRequest("cursor: not one of phoenixd")
    return int(text)


def _now() -> int:
    return int(time.time())


def _now_ms() -> int:
    return int(time.time() * MS_PER_S)
