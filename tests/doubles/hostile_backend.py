"""A hostile node behind the backend port, in this process, on the loop's own clock."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

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
    Unknown,
    Unsupported,
    findings,
)
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage
from tests.doubles.hostile_node import NODE_PUBKEY, HostileNode
from tests.doubles.scripted_backend import CAPS

POLL_S = 5.0
CALL_S = 0.05
SILENCE_S = 45.0
"""Longer than the service waits for a payee's invoice."""


class HostileBackend:
    """The node outlives it, as a node outlives the service."""

    caps = (
        CAPS
        | Cap.NODE_INFO
        | Cap.HOLD
        | Cap.KEYSEND
        | Cap.KEYSEND_TLV
        | Cap.KEYSEND_OWN_PREIMAGE
        | Cap.KEYSEND_IN
        | Cap.AMOUNTLESS_CREATE
        | Cap.BOLT12_SEND
        | Cap.BOLT12_RECEIVE
    )

    def __init__(
        self,
        name: BackendName,
        options: Mapping[str, object],
        *,
        data_dir: Path = Path(),
    ) -> None:
        """`options` hold the `node`, the `rule` for its payments and perhaps `poll_s`."""
        node, rule = options["node"], options["rule"]
        if not isinstance(node, HostileNode) or not isinstance(rule, ReleaseRule):
            raise ValueError("node, rule")
        self.name = name
        self.node = node
        self.release_rules: Mapping[PaymentKind, ReleaseRule] = {PaymentKind.BOLT11: rule}
        poll_s = options.get("poll_s", POLL_S)
        self.poll_s = poll_s if isinstance(poll_s, float) else POLL_S

    async def start(self) -> NodeInfo:
        await asyncio.sleep(CALL_S)
        return NodeInfo(
            alias="hostile",
            pubkey=NODE_PUBKEY,
            network="regtest",
            block_height=self.node.height(),
        )

    async def check(self) -> Sequence[Finding]:
        return await findings.of_node(info=self.start, balance=self.balance)

    async def close(self) -> None:
        pass

    async def balance(self) -> Balance:
        await asyncio.sleep(CALL_S)
        return Balance(Msat(self.node.balance_msat()))

    async def counters(self) -> Mapping[str, int]:
        await asyncio.sleep(CALL_S)
        return self.node.counters()

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        await asyncio.sleep(CALL_S)
        report = self.node.create_invoice(spec)
        await asyncio.sleep(CALL_S)
        return report

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        await asyncio.sleep(CALL_S)
        report = self.node.lookup_invoice(payment_hash)
        await asyncio.sleep(CALL_S)
        return report

    async def decode(self, invoice: str) -> Decoded:
        await asyncio.sleep(CALL_S)
        reading = self.node.decode(invoice)
        await asyncio.sleep(CALL_S)
        return reading

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        await asyncio.sleep(CALL_S)
        fetched = self.node.fetch_invoice(offer, amount_msat=amount_msat, payer_note=payer_note)
        if fetched is None:
            await asyncio.sleep(SILENCE_S)
            raise BadRequest("the payee does not answer")
        await asyncio.sleep(CALL_S)
        return fetched

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        await asyncio.sleep(CALL_S)
        report = self.node.create_offer(spec)
        await asyncio.sleep(CALL_S)
        return report

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        self.node.submit(request)
        now = asyncio.get_running_loop().time
        gives_up_at = now() + request.timeout_s
        while (outcome := self.node.answer(request.our_id)) is None:
            if now() >= gives_up_at:
                return Unknown("timeout")
            due_at = self.node.due_at()
            wait_s = request.timeout_s if due_at is None else due_at - self.node.now()
            await asyncio.sleep(min(max(wait_s, CALL_S), max(gives_up_at - now(), CALL_S)))
        await asyncio.sleep(CALL_S)
        return outcome

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        await asyncio.sleep(CALL_S)
        outcome = self.node.lookup_payment(ref)
        await asyncio.sleep(CALL_S)
        return outcome

    async def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        reached = since
        while True:
            for report, cursor in self.node.events_after(reached):
                reached = cursor or reached
                yield report, cursor
            await asyncio.sleep(self.poll_s)

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """All of it on one page."""
        await asyncio.sleep(CALL_S)
        return HistoryPage(self.node.history(side), None)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        await asyncio.sleep(CALL_S)
        report = self.node.resolve_hold(payment_hash, preimage)
        await asyncio.sleep(CALL_S)
        return report

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        await asyncio.sleep(CALL_S)
        self.node.cancel_invoice(payment_hash)

    async def sign_message(self, message: str) -> str:
        raise Unsupported("no signing")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported("no commands")
