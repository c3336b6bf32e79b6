"""The smallest backend that receives: it makes invoices, and an operator says which are paid.

It imports the port and the money words only, as any adapter does.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from nwc_service.backend import (
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
    InvoiceStatus,
    KeysendRequest,
    NodeInfo,
    NotSent,
    OfferReport,
    OfferSpec,
    Outcome,
    PaymentKind,
    PaymentRef,
    PayRequest,
    ReleaseRule,
    Unsupported,
    findings,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage


class TinyBackend:
    caps = Cap.SIMULATED | Cap.INBOUND | Cap.MSAT_INVOICE | Cap.OWN_PREIMAGE
    release_rules: Mapping[PaymentKind, ReleaseRule] = {}

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        if set(options) - {"alias"}:
            raise ValueError("only alias is known")
        self.name = name
        self._alias = str(options.get("alias", "tiny"))
        self._key = secrets.token_bytes(32)
        self._invoices: dict[PaymentHash, InvoiceReport] = {}
        self._settled: asyncio.Queue[InvoiceReport] = asyncio.Queue(100)

    async def start(self) -> NodeInfo:
        return NodeInfo(alias=self._alias, network="regtest")

    async def check(self) -> Sequence[Finding]:
        return await findings.of_node(info=self.start, balance=self.balance)

    async def balance(self) -> Balance:
        return Balance(Msat(10**9))

    async def counters(self) -> Mapping[str, int]:
        return {}

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return Msat(0)  # it pays nobody

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        preimage = spec.preimage or Preimage(secrets.token_hex(32))
        payment_hash = PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())
        now = int(time.time())
        invoice = bolt11.encode(
            network="regtest",
            amount_msat=spec.amount_msat,
            payment_hash=payment_hash,
            payment_secret=secrets.token_hex(32),
            description=spec.description,
            created_at=now,
            expiry_s=spec.expiry_s,
            secret_key=self._key,
        )
        report = InvoiceReport(
            payment_hash=payment_hash,
            invoice=invoice,
            status=InvoiceStatus.OPEN,
            amount_msat=spec.amount_msat,
            received_msat=None,
            preimage=None,
            created_at=now,
            expires_at=now + spec.expiry_s,
        )
        self._invoices[payment_hash] = report
        return report

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        return self._invoices.get(payment_hash)

    async def decode(self, invoice: str) -> Decoded:
        raise Unsupported("it reads no invoices")

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        raise Unsupported("no offers")

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        raise Unsupported("no offers")

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        return NotSent(FailReason.UNSUPPORTED)

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        return NotSent(FailReason.UNSUPPORTED)

    async def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        while True:
            yield await self._settled.get(), None

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        return HistoryPage([], None)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        raise Unsupported("no hold invoices")

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        raise Unsupported("invoices stay open")

    async def sign_message(self, message: str) -> str:
        raise Unsupported("no signatures")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """`paid`: somebody has paid an invoice."""
        report = self._invoices.get(PaymentHash(str(arguments.get("payment_hash"))))
        if name != "paid" or report is None:
            raise BadRequest("paid, with the payment_hash of an invoice")
        paid = replace(report, status=InvoiceStatus.SETTLED, received_msat=report.amount_msat)
        self._invoices[report.payment_hash] = paid
        await self._settled.put(paid)
        return {"payment_hash": report.payment_hash}

    async def close(self) -> None:
        """It holds nothing open."""
