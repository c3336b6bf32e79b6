"""Settled invoices as they come: the websocket wakes, the lists tell.

Anybody may write to LNbits' websockets, and a dropped one loses events. So a message is only a
reason to look an invoice up, and the list of what was settled is read again now and then.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote

import structlog
from pydantic import ValidationError
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from backends.lnbits.api import tls_context
from backends.lnbits.options import Options
from backends.lnbits.wire import WakeUp
from nwc_service.backend import BackendUnavailable, Cursor, InvoiceReport, InvoiceStatus
from nwc_service.wallet.units import PaymentHash

OVERLAP_S = 120  # LNbits stamps a row before it commits it
MAX_WAITING = 256  # hashes to look up; the next poll finds what did not fit
MAX_MESSAGE_BYTES = 256 * 1024
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30.0

log = structlog.get_logger("backends.lnbits")

# The websocket's URI holds a key, which the library would log.
_SILENT = logging.Logger("backends.lnbits.websocket")
_SILENT.disabled = True


@dataclass(slots=True)
class Watch:
    """One reader's view; up to `watermark` everything was handed out.

    Both callables ask LNbits with the key and may raise BackendUnavailable;
    `settled_since` gives the oldest first.
    """

    options: Options
    lookup: Callable[[PaymentHash], Awaitable[InvoiceReport | None]]
    settled_since: Callable[[int], Awaitable[Sequence[InvoiceReport]]]
    watermark: int
    _handed_out: dict[PaymentHash, int] = field(default_factory=dict)
    _wakeups: "asyncio.Queue[PaymentHash | None]" = field(
        default_factory=lambda: asyncio.Queue(MAX_WAITING)
    )

    async def settled(self) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """Each with the watermark that may be kept once it is booked."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                for report in await self._poll():
                    self.watermark = max(self.watermark, report.settled_at or 0)
                    yield report, Cursor(str(self.watermark))
                poll_at = asyncio.get_running_loop().time() + self.options.poll_s
                while woken := await self._next_woken(poll_at):
                    # what came before it may still be missing: the watermark stays
                    yield woken, Cursor(str(self.watermark))
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _poll(self) -> list[InvoiceReport]:
        since = self.watermark - OVERLAP_S
        try:
            reports = await self.settled_since(since)
        except BackendUnavailable as gone:
            log.warning("lnbits.poll_failed", problem=str(gone))
            return []
        self._handed_out = {h: at for h, at in self._handed_out.items() if at >= since}
        return [report for report in reports if self._is_new(report)]

    async def _next_woken(self, poll_at: float) -> InvoiceReport | None:
        """None when it is time to poll."""
        try:
            async with asyncio.timeout_at(poll_at):
                while payment_hash := await self._wakeups.get():
                    report = await self._looked_up(payment_hash)
                    if report is not None:
                        return report
        except TimeoutError:
            pass
        return None

    async def _looked_up(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        try:
            report = await self.lookup(payment_hash)
        except BackendUnavailable:
            return None  # the next poll finds it
        if report is None or report.status is not InvoiceStatus.SETTLED:
            return None
        return report if self._is_new(report) else None

    def _is_new(self, report: InvoiceReport) -> bool:
        if report.payment_hash in self._handed_out:
            return False
        self._handed_out[report.payment_hash] = report.settled_at or 0
        return True

    async def _listen(self) -> None:
        """Connect again for ever."""
        loop = asyncio.get_running_loop()
        backoff_s = MIN_BACKOFF_S
        while True:
            started_at = loop.time()
            try:
                async with self._connect() as socket:
                    self._wake(None)  # to poll for what came while it was down
                    async for message in socket:
                        self._hear(message)
            except (OSError, WebSocketException) as lost:
                log.info("lnbits.websocket_lost", problem=type(lost).__name__)
            if loop.time() - started_at > MAX_BACKOFF_S:
                backoff_s = MIN_BACKOFF_S
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _connect(self) -> connect:
        key = quote(self.options.invoice_key.get_secret_value())
        base = self.options.url.replace("http", "ws", 1)
        return connect(
            f"{base}/api/v1/ws/{key}",
            open_timeout=self.options.timeout_s,
            max_size=MAX_MESSAGE_BYTES,
            proxy=None,
            ssl=tls_context() if base.startswith("wss") else None,
            logger=_SILENT,
        )

    def _hear(self, message: str | bytes) -> None:
        with suppress(ValidationError):
            payment = WakeUp.model_validate_json(message).payment
            self._wake(PaymentHash(payment.payment_hash))

    def _wake(self, payment_hash: PaymentHash | None) -> None:
        with suppress(asyncio.QueueFull):
            self._wakeups.put_nowait(payment_hash)
