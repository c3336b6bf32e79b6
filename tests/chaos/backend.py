"""The backend that reaches the hostile node: one connection a call, and nothing tried again.

Where no connection came about nothing was sent. Once a byte may have left, silence, a reset
and half a reply prove nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import orjson

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
    PayRequest,
    ReleaseRule,
    Unknown,
    Unsupported,
    findings,
)
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage
from tests.chaos.wire import MAX_LINE_BYTES, from_request, to_line, to_outcome, to_report

CALL_TIMEOUT_S = 2.0


class _NotReached(Exception):
    """There is nobody to send anything to."""


class _NoReply(Exception):
    """Something may have been sent."""


class ChaosBackend:
    caps = (
        Cap.NODE_INFO
        | Cap.INBOUND
        | Cap.MSAT_INVOICE
        | Cap.DESCRIPTION_HASH
        | Cap.OWN_PREIMAGE
        | Cap.DECODE
        | Cap.PAY_AMOUNTLESS
        | Cap.FEE_LIMIT
        | Cap.LOOKUP_BY_HASH
        | Cap.SETTLE_CURSOR
        | Cap.PUSH
        | Cap.CANCEL_INVOICE
        | Cap.HOLD
        | Cap.KEYSEND
        | Cap.KEYSEND_TLV
        | Cap.KEYSEND_OWN_PREIMAGE
        | Cap.KEYSEND_IN
    )
    release_rules: Mapping[PaymentKind, ReleaseRule] = {PaymentKind.BOLT11: ReleaseRule.EXPIRY}

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        self.name = name
        self._socket = str(options["socket"])

    async def start(self) -> NodeInfo:
        return NodeInfo(**await self._ask("info"))

    async def check(self) -> Sequence[Finding]:
        return await findings.of_node(info=self.start, balance=self.balance)

    async def balance(self) -> Balance:
        return Balance(Msat(await self._ask("balance")))

    async def counters(self) -> Mapping[str, int]:
        return dict(await self._ask("counters"))

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        return to_report(await self._ask("create_invoice", **asdict(spec)))

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        told = await self._ask("lookup_invoice", payment_hash=payment_hash)
        return None if told is None else to_report(told)

    async def decode(self, invoice: str) -> Decoded:
        return Decoded(**await self._ask("decode", invoice=invoice))

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        raise Unsupported("no offers")

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        raise Unsupported("no offers")

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        try:
            async with asyncio.timeout(request.timeout_s):
                told = await self._call("pay", **from_request(request))
        except _NotReached:
            return NotSent(FailReason.UNAVAILABLE, "connection refused")
        except (_NoReply, TimeoutError) as error:
            return Unknown(type(error).__name__)
        return to_outcome(told) or Unknown("an empty reply")

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        return to_outcome(await self._ask("lookup_payment", **asdict(ref)))

    async def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        try:
            async with self._connected("watch", since=since) as reader:
                while True:
                    told = await _reply(reader)
                    yield to_report(told["report"]), told["cursor"]
        except (_NotReached, _NoReply) as error:
            raise BackendUnavailable("the stream ended") from error

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        raise Unsupported("no history")

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        return to_report(
            await self._ask("resolve_hold", payment_hash=payment_hash, preimage=preimage)
        )

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        await self._ask("cancel_invoice", payment_hash=payment_hash)

    async def sign_message(self, message: str) -> str:
        raise Unsupported("no signing")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported("no commands")

    async def close(self) -> None:
        pass

    async def _ask(self, call: str, **arguments: object) -> Any:
        """A question, that may be put again. Raises BackendUnavailable and BadRequest."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._call(call, **arguments)
        except (_NotReached, _NoReply, TimeoutError) as error:
            raise BackendUnavailable(type(error).__name__) from error

    async def _call(self, call: str, **arguments: object) -> Any:
        async with self._connected(call, **arguments) as reader:
            reply = await _reply(reader)
        if "refused" in reply:
            raise BadRequest(reply["refused"])
        return reply["result"]

    @asynccontextmanager
    async def _connected(
        self, call: str, **arguments: object
    ) -> AsyncIterator[asyncio.StreamReader]:
        """A connection on which one request is sent."""
        try:
            reader, writer = await asyncio.open_unix_connection(
                self._socket, limit=MAX_LINE_BYTES
            )
        except OSError as error:
            raise _NotReached from error
        try:
            writer.write(to_line({"call": call, "arguments": arguments}))
            yield reader
        finally:
            writer.transport.abort()


async def _reply(reader: asyncio.StreamReader) -> Any:
    try:
        line = await reader.readline()
    except OSError as error:
        raise _NoReply from error
    if not line.endswith(b"\n"):
        raise _NoReply
    return orjson.loads(line)
