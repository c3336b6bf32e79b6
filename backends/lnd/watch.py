"""Settled and accepted invoices as they come.

`SubscribeInvoices` tells of new and of settled ones. Its traps, and what is done about each:

- From `settle_index` 0 it replays nothing, and from 1 it starts with 2: until an index is
  known, what was made lately is listed instead, each time that is looked.
- What it replays is in no order where LND keeps invoices in SQL. So the cursor is the highest
  index up to which none is missing, until the stream tells of a new invoice: that can only
  come after all that is replayed, and from then on the order is that of settling. Indexes that
  are used up by parts of AMP invoices leave gaps, which are skipped so.
- Of what is accepted it tells nothing: hold invoices that are open are looked at in between.
- It may die in silence: after a while without a word it is opened anew, from the cursor.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from backends.lnd.api import LndApi, Silent
from backends.lnd.invoices import LndInvoices
from backends.lnd.wire import Invoice
from nwc_service.backend import BackendUnavailable, Cursor, InvoiceReport
from nwc_service.wallet.units import PaymentHash

SUBSCRIBE = "/v1/invoices/subscribe"
OPERATION = "watch_invoices"

LOOK_BACK_S = 24 * 3600  # without a cursor
PAGE_SIZE = 500
FIRST_LOOKS = 3  # after a start: a hold invoice may be made before the stream is there
FULL_LOOK_EVERY = 30
MAX_WAITING = 100  # lines that were read and not handed out yet

Told = tuple[InvoiceReport, Cursor | None]

log = structlog.get_logger("backends.lnd")


@dataclass(slots=True)
class Place:
    """Where in the order of settling the reader is: all up to `index` was handed out."""

    index: int
    is_live: bool = False  # nothing is replayed any more
    _ahead: set[int] = field(default_factory=set)

    def reopened(self) -> None:
        """It is replayed again from `index`."""
        self.is_live = False
        self._ahead.clear()

    def new_invoice(self) -> None:
        """The stream has told of one: what it replays is over."""
        self.is_live = True
        self.index = max(self._ahead | {self.index})
        self._ahead.clear()

    def settled(self, index: int) -> bool:
        """Whether it is news."""
        if index <= self.index or index in self._ahead:
            return False
        self._ahead.add(index)
        if self.is_live:
            self.new_invoice()
        while self.index + 1 in self._ahead:
            self.index += 1
            self._ahead.discard(self.index)
        return True


class Watch:
    """One reader's view. Raises BackendUnavailable when the stream is lost: whoever reads goes
    on from the cursor."""

    def __init__(
        self, api: LndApi, invoices: LndInvoices, *, since: Cursor | None, poll_s: float
    ) -> None:
        self._api = api
        self._invoices = invoices
        self._poll_s = poll_s
        self._place = Place(0 if since is None else int(since))
        self._open_holds: dict[int, PaymentHash] = {}  # by their add_index
        self._accepted: set[PaymentHash] = set()  # and told so
        self._looks = 0
        self._look_at_s = 0.0
        # None: the stream was opened anew
        self._lines: asyncio.Queue[Invoice | BackendUnavailable | None] = asyncio.Queue(
            MAX_WAITING
        )

    async def reports(self) -> AsyncGenerator[Told, None]:
        for told in await self._first_look():
            yield told
        self._look_at_s = asyncio.get_running_loop().time() + self._poll_s
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                for told in await self._next():
                    yield told
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    async def _first_look(self) -> list[Told]:
        told = []
        if self._place.index == 0:
            told = await self._lately_settled()
        if self._place.index == 0:
            self._place.index = await self._newest_index()
        return told + await self._held(after=0)

    async def _next(self) -> list[Told]:
        """What the next line tells, or a look at what no line tells of."""
        if asyncio.get_running_loop().time() >= self._look_at_s:
            return await self._look()  # however many lines there are
        try:
            async with asyncio.timeout_at(self._look_at_s):
                line = await self._lines.get()
        except TimeoutError:
            return await self._look()
        if isinstance(line, BackendUnavailable):
            raise line
        if line is None:
            self._place.reopened()
            return []
        if line.state == "OPEN" and not line.settle_indexes:
            self._place.new_invoice()
            if line.is_hold:
                self._open_holds[line.add_index] = line.hash
            return []
        # the stream leaves out the very first
        first = await self._lately_settled() if self._place.index == 0 else []
        return first + self._settled(line)

    async def _look(self) -> list[Told]:
        self._look_at_s = asyncio.get_running_loop().time() + self._poll_s
        self._looks += 1
        told = await self._lately_settled() if self._place.index == 0 else []
        if self._looks <= FIRST_LOOKS or self._looks % FULL_LOOK_EVERY == 0:
            return told + await self._held(after=0)
        if self._open_holds:
            return told + await self._held(after=min(self._open_holds) - 1)
        return told

    def _settled(self, invoice: Invoice) -> list[Told]:
        news = [self._place.settled(index) for index in invoice.settle_indexes]
        if not any(news):
            return []
        self._open_holds.pop(invoice.add_index, None)
        return list(self._told(invoice))

    def _told(self, invoice: Invoice) -> Iterator[Told]:
        report = self._invoices.report(invoice, now=int(time.time()))
        if report is None:
            log.warning("lnd.receipt_of_amp_left_out", add_index=invoice.add_index)
            return
        yield report, Cursor(str(self._place.index))

    # --- what the stream does not tell

    async def _lately_settled(self) -> list[Told]:
        """In the order of settling. What is older than a day is nobody's who asks first now."""
        since = int(time.time()) - LOOK_BACK_S
        listed = self._listed({"creation_date_start": since}, after=0)
        found = [each async for each in listed if each.state == "SETTLED"]
        told: list[Told] = []
        for invoice in sorted(found, key=lambda each: each.settle_index):
            self._place.index = max(self._place.index, *invoice.settle_indexes, 0)
            told.extend(self._told(invoice))
        return told

    async def _newest_index(self) -> int:
        """Near the end of a history that began before us."""
        before = 0
        while True:
            page = await self._invoices.page(
                operation=OPERATION, after=before, limit=PAGE_SIZE, query={"reversed": "true"}
            )
            indexes = [index for each in page.invoices for index in each.settle_indexes]
            before = page.first_index_offset
            if indexes or len(page.invoices) < PAGE_SIZE:
                return max(indexes, default=0)

    async def _held(self, *, after: int) -> list[Told]:
        """Hold invoices that are accepted by now; those that are open are remembered."""
        pending = [each async for each in self._listed({"pending_only": "true"}, after=after)]
        self._open_holds = {
            each.add_index: each.hash
            for each in pending
            if each.state == "OPEN" and each.is_hold
        }
        accepted = [each for each in pending if each.state == "ACCEPTED"]
        told = [
            told
            for each in accepted
            if each.hash not in self._accepted
            for told in self._told(each)
        ]
        known = self._accepted if after else set()
        self._accepted = known | {each.hash for each in accepted}
        return told

    async def _listed(
        self, query: Mapping[str, str | int], *, after: int
    ) -> AsyncGenerator[Invoice, None]:
        while True:
            page = await self._invoices.page(
                operation=OPERATION, after=after, limit=PAGE_SIZE, query=query
            )
            for invoice in page.invoices:
                yield invoice
            if len(page.invoices) < PAGE_SIZE:
                return
            after = page.last_index_offset

    # --- the stream

    async def _listen(self) -> None:
        """Put its lines into the queue; at last why it ended."""
        ended: BackendUnavailable = self._api.problem(
            OPERATION, "LND ended the stream", remedy="see LND's log, if it runs"
        )
        try:
            while await self._fell_silent():
                await self._lines.put(None)
        except BackendUnavailable as lost:
            ended = lost
        await self._lines.put(ended)

    async def _fell_silent(self) -> bool:
        """Read the stream to its end, or until it may be dead."""
        query = {"settle_index": max(1, self._place.index)}
        with suppress(Silent):
            async with self._api.listen(SUBSCRIBE, operation=OPERATION, query=query) as lines:
                async for reply in lines:
                    invoice = reply.read(Invoice)
                    if invoice is None:
                        raise self._api.unusable(reply, operation=OPERATION)
                    await self._lines.put(invoice)
            return False
        return True
