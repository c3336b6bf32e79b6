"""Settled invoices as they come: the websocket wakes, the list tells.

phoenixd tells each payment once to whoever listens, and never again, so a message is only a
reason to read the list of what was received, which is read now and then in any case.
"""

import asyncio
import logging
import random
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from backends.phoenixd.api import tls_context
from backends.phoenixd.invoices import invoice_report
from backends.phoenixd.options import Options
from backends.phoenixd.wire import IncomingRow
from nwc_service.backend import BackendUnavailable, Cursor, InvoiceReport

OVERLAP_S = 120  # phoenixd stamps a receipt before it is stored
MAX_MESSAGE_BYTES = 256 * 1024
CLOSE_TIMEOUT_S = 1.0  # there is nothing left to hear
MIN_BACKOFF_S, MAX_BACKOFF_S = 0.5, 30.0

log = structlog.get_logger("backends.phoenixd")

# The handshake holds the password, which the library would log.
_SILENT = logging.Logger("backends.phoenixd.websocket")
_SILENT.disabled = True


@dataclass(slots=True)
class Watch:
    """One reader's view; up to `watermark` everything was handed out.

    `settled_since` gives the oldest first, and may raise BackendUnavailable.
    """

    options: Options
    settled_since: Callable[[int], Awaitable[Sequence[IncomingRow]]]
    watermark: int
    _handed_out: dict[str, int] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def settled(self) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """Each with the watermark that may be kept once it is booked."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                self._woken.clear()
                for report in await self._poll():
                    self.watermark = max(self.watermark, report.settled_at or 0)
                    yield report, Cursor(str(self.watermark))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self.options.poll_s)
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _poll(self) -> list[InvoiceReport]:
        since = self.watermark - OVERLAP_S
        try:
            rows = await self.settled_since(since)
        except BackendUnavailable as gone:
            log.warning("phoenixd.poll_failed", problem=str(gone))
            return []
        self._handed_out = {h: at for h, at in self._handed_out.items() if at >= since}
        reports = (self._new_report(row) for row in rows)
        return [report for report in reports if report is not None]

    def _new_report(self, row: IncomingRow) -> InvoiceReport | None:
        report = invoice_report(row, now=int(time.time()))
        if report is None or row.payment_hash in self._handed_out:
            return None
        self._handed_out[row.payment_hash] = row.settled_at
        if row.fees_msat:
            log.info(
                "phoenixd.liquidity_fee",
                payment_hash=row.payment_hash,
                fee_msat=row.fees_msat,
                received_msat=report.received_msat,
            )
        return report

    async def _listen(self) -> None:
        """Connect again for ever."""
        loop = asyncio.get_running_loop()
        backoff_s = MIN_BACKOFF_S
        while True:
            started_at = loop.time()
            try:
                async with self._connect() as socket:
                    self._woken.set()  # to poll for what came while it was down
                    async for _ in socket:
                        self._woken.set()
            except (OSError, WebSocketException) as lost:
                log.info("phoenixd.websocket_lost", problem=type(lost).__name__)
            if loop.time() - started_at > MAX_BACKOFF_S:
                backoff_s = MIN_BACKOFF_S
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1))  # noqa: S311 - jitter
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _connect(self) -> connect:
        login = f":{self.options.password.get_secret_value()}".encode()
        base = self.options.url.replace("http", "ws", 1)
        return connect(
            f"{base}/websocket",
            additional_headers={"Authorization": f"Basic {b64encode(login).decode()}"},
            open_timeout=self.options.timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            proxy=None,
            ssl=tls_context() if base.startswith("wss") else None,
            logger=_SILENT,
        )
