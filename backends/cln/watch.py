"""Paid invoices as they come: `waitanyinvoice` tells them in the order of paying, without gaps.

Hold invoices are not among them, so those that are open are looked at in between. Without a
cursor, what was paid in the last day is told first.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from dataclasses import dataclass

from backends.cln.api import ClnApi
from backends.cln.history import MAX_DIGITS
from backends.cln.holds import ClnHolds
from backends.cln.invoices import ClnInvoices, invoice_report
from backends.cln.node import ClnNode
from backends.cln.options import Options
from backends.cln.wire import Hold, Invoice
from nwc_service.backend import BackendUnavailable, BadRequest, Cursor, InvoiceReport
from nwc_service.wallet.units import PaymentHash

OPERATION = "watch_invoices"
WAIT_IS_OVER = 904

LOOK_BACK_S = 24 * 3600  # without a cursor
PAGE_SIZE = 500
FULL_LOOK_EVERY = 60
MAX_WAITING = 100  # invoices that were read and not handed out yet

Told = tuple[InvoiceReport, Cursor | None]


@dataclass(slots=True)
class Place:
    """All that was paid up to here was handed out."""

    pay_index: int
    held_until_us: int  # when the last hold invoice was settled

    @classmethod
    def parse(cls, cursor: Cursor) -> "Place":
        """Raises BadRequest."""
        index, _, until_us = cursor.partition(".")
        numbers = (index, until_us or "0")
        if not all(n.isascii() and n.isdecimal() and len(n) <= MAX_DIGITS for n in numbers):
            raise BadRequest("cursor: not one of CLN")
        return cls(int(index), int(until_us or 0))

    @property
    def cursor(self) -> Cursor:
        return Cursor(f"{self.pay_index}.{self.held_until_us}")


class Watch:
    """One reader's view. Raises BackendUnavailable when CLN is lost: whoever reads goes on
    from the cursor."""

    def __init__(
        self,
        api: ClnApi,
        invoices: ClnInvoices,
        *,
        node: ClnNode,
        holds: ClnHolds | None,
        options: Options,
        place: Place | None,
    ) -> None:
        self._api = api
        self._invoices = invoices
        self._node = node
        self._holds = holds
        self._options = options
        self._is_new = place is None
        self._place = place or Place(0, (int(time.time()) - LOOK_BACK_S) * 10**6)
        self._told_holds: dict[PaymentHash, str] = {}  # and in which state
        self._looks, self._look_at = 0, 0.0
        self._paid: asyncio.Queue[Invoice | BackendUnavailable] = asyncio.Queue(MAX_WAITING)

    async def reports(self) -> AsyncGenerator[Told, None]:
        if self._is_new:
            for invoice in await self._lately_paid():
                for told in self._told(invoice):
                    yield told
        for told in await self._look():
            yield told
        listener = asyncio.create_task(self._listen(self._place.pay_index))
        try:
            while True:
                for told in await self._next():
                    yield told
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _next(self) -> list[Told]:
        """What was paid next, or a look at what nothing tells of."""
        now = asyncio.get_running_loop().time()
        if self._holds is not None and now >= self._look_at:
            return await self._look()
        try:
            async with asyncio.timeout_at(self._look_at if self._holds else None):
                paid = await self._paid.get()
        except TimeoutError:
            return await self._look()
        if isinstance(paid, BackendUnavailable):
            raise paid
        return list(self._told(paid))

    def _told(self, invoice: Invoice) -> Iterable[Told]:
        self._place.pay_index = max(self._place.pay_index, invoice.pay_index or 0)
        report = invoice_report(invoice, now=int(time.time()))
        if report is not None:
            yield report, self._place.cursor

    async def _lately_paid(self) -> list[Invoice]:
        """In the order of paying; the place moves to the newest that is older."""
        since = int(time.time()) - LOOK_BACK_S
        end = (await self._node.index("invoices", "updated", operation=OPERATION)).updated
        found: list[Invoice] = []
        is_older_seen = False
        while end > 0 and not is_older_seen:
            start = max(1, end - PAGE_SIZE + 1)
            page = await self._invoices.page(
                index="updated", start=start, limit=end - start + 1, operation=OPERATION
            )
            for invoice in page.invoices:
                if invoice.status != "paid" or invoice.pay_index is None:
                    continue
                if (invoice.paid_at or 0) >= since:
                    found.append(invoice)
                else:
                    is_older_seen = True
                    self._place.pay_index = max(self._place.pay_index, invoice.pay_index)
            end = start - 1
        return sorted(found, key=lambda invoice: invoice.pay_index or 0)

    # --- hold invoices

    async def _look(self) -> list[Told]:
        if self._holds is None:
            return []
        self._look_at = asyncio.get_running_loop().time() + self._options.poll_s
        is_full = self._looks % FULL_LOOK_EVERY == 0
        self._looks += 1
        if is_full:
            seen = await self._holds.all(operation=OPERATION)
        else:
            asked = [
                await self._holds.find(payment_hash, operation=OPERATION)
                for payment_hash in sorted(self._holds.open)
            ]
            seen = [hold for hold in asked if hold is not None]
        seen.sort(key=_settled_us)
        return [told for hold in seen for told in self._told_hold(hold)]

    def _told_hold(self, hold: Hold) -> Iterable[Told]:
        assert self._holds is not None  # noqa: S101 - only `_look` asks
        if hold.state in ("unpaid", "accepted"):
            self._holds.open.add(hold.hash)
        else:
            self._holds.open.discard(hold.hash)
        is_news = hold.state == "accepted" or (
            hold.state == "paid" and _settled_us(hold) >= self._place.held_until_us
        )
        if not is_news:
            self._told_holds.pop(hold.hash, None)
            return
        report = self._holds.report(hold, now=int(time.time()))
        if self._told_holds.get(hold.hash) == hold.state or report is None:
            return
        self._told_holds[hold.hash] = hold.state
        self._place.held_until_us = max(self._place.held_until_us, _settled_us(hold))
        yield report, self._place.cursor

    # --- waiting

    async def _listen(self, pay_index: int) -> None:
        """Put what is paid into the queue; at last why it ended."""
        try:
            while True:
                paid = await self._wait(pay_index)
                if paid is not None:
                    pay_index = paid.pay_index or pay_index
                    await self._paid.put(paid)
        except BackendUnavailable as lost:
            await self._paid.put(lost)

    async def _wait(self, pay_index: int) -> Invoice | None:
        """The next one that is paid; None where none was for a while."""
        reply = await self._api.long_call(
            "waitanyinvoice",
            {"lastpay_index": pay_index, "timeout": self._options.wait_s},
            operation=OPERATION,
            timeout_s=self._options.wait_s + self._options.timeout_s,
        )
        if reply.code == WAIT_IS_OVER:
            return None
        paid = reply.read(Invoice)
        if paid is None or paid.pay_index is None:
            raise self._api.unusable(reply, operation=OPERATION)
        # what it tells is a hint, and may lack the offer
        listed = await self._invoices.find(PaymentHash(paid.payment_hash), operation=OPERATION)
        return listed if listed is not None and listed.pay_index is not None else paid


def _settled_us(hold: Hold) -> int:
    return 0 if hold.settled_at is None else int(hold.settled_at.timestamp() * 10**6)
