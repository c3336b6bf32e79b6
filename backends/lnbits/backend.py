"""The port's methods, for one wallet of an LNbits server."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from backends.lnbits import options as configured
from backends.lnbits.api import LnbitsApi
from backends.lnbits.checkup import checkup
from backends.lnbits.invoices import invoice_report
from backends.lnbits.payments import payment_report
from backends.lnbits.sender import Sender
from backends.lnbits.wallet import MAX_PAGE_SIZE, LnbitsWallet
from backends.lnbits.watch import Watch
from nwc_service.backend import (
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
    Cap.DESCRIPTION_HASH
    | Cap.OWN_EXPIRY
    | Cap.DECODE
    | Cap.DEDUP_BY_HASH
    | Cap.LOOKUP_BY_HASH
    | Cap.PUSH
    | Cap.LIST_IN
    | Cap.LIST_OUT
)

FIRST_LOOK_BACK_S = 24 * 3600


class LnbitsBackend:
    """The service must be the only one that pays from the wallet."""

    caps = CAPS
    # LNbits pays expired invoices, and no older sender's key can be revoked alone.
    release_rules: Mapping[PaymentKind, ReleaseRule] = {}  # it pays expired invoices too

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        self.name = name
        self._options = configured.parse(name, options)
        self._api = LnbitsApi(name, self._options)
        self._wallet = LnbitsWallet(self._api)
        self._sender = Sender(self._api, self._wallet, fee_cap=self._options.fee_cap)

    async def start(self) -> NodeInfo:
        self._api.open()
        await self._wallet.check_keys()
        return NodeInfo()  # LNbits tells nothing of the node behind it

    async def close(self) -> None:
        await self._sender.close()
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        return await checkup(self.name, self._options)

    async def balance(self) -> Balance:
        return Balance(spendable_msat=Msat(max(0, await self._wallet.balance_msat())))

    async def counters(self) -> Mapping[str, int]:
        return {}  # it counts nothing that can be asked for

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return self._options.fee_cap.msat(amount_msat)

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        row = await self._wallet.create(spec)
        report = invoice_report(row, now=_now())
        if report is None or report.amount_msat != spec.amount_msat:
            raise self._api.problem(
                "create_invoice",
                "LNbits made another invoice than asked for",
                remedy="see its log",
            )
        return report

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        row = await self._wallet.incoming_row("lookup_invoice", payment_hash)
        return None if row is None else invoice_report(row, now=_now())

    async def decode(self, invoice: str) -> Decoded:
        return await self._wallet.decode(invoice)

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        raise Unsupported("LNbits pays no offers")

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        raise Unsupported("LNbits makes no offers")

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        if isinstance(request, KeysendRequest):
            raise Unsupported("LNbits sends no keysend")
        return await self._sender.pay(request)

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        return await self._sender.look_up(ref.payment_hash)

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """The cursor is a time of LNbits' clock; without one, the last day."""
        watermark = _now() - FIRST_LOOK_BACK_S if since is None else int(since)
        watch = Watch(self._options, self.lookup_invoice, self._settled_since, watermark)
        return watch.settled()

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """Oldest first; the cursor is an offset, as rows are only ever added."""
        offset = int(cursor or 0)
        query: Mapping[str, str | int] = {
            "amount[gt]" if side == "in" else "amount[lt]": 0,
            "sortby": "created_at",
            "direction": "asc",
            "offset": offset,
            "limit": max(1, min(limit, MAX_PAGE_SIZE)),
        }
        page = await self._wallet.page("list_history", query)
        end = offset + len(page.data)
        following = Cursor(str(end)) if page.data and end < page.total else None
        if side == "out":
            return HistoryPage(
                [payment_report(r) for r in page.rows if r.amount < 0], following
            )
        reports = (invoice_report(row, now=_now()) for row in page.rows)
        return HistoryPage([report for report in reports if report is not None], following)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        raise Unsupported("the lnbits backend makes no hold invoices")

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        raise Unsupported("LNbits cancels no invoice")

    async def sign_message(self, message: str) -> str:
        raise Unsupported("LNbits signs no messages")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported(f"the lnbits backend has no command {name!r}")

    async def _settled_since(self, since: int) -> Sequence[InvoiceReport]:
        return await self._wallet.settled_since(since, now=_now())


def _now() -> int:
    return int(time.time())
