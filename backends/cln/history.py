"""Receipts in the order of making: CLN's own invoices, then those of the hold plugin."""

from backends.cln.holds import ClnHolds
from backends.cln.invoices import ClnInvoices, invoice_report
from nwc_service.backend import BadRequest, Cursor, HistoryPage

PLAIN, HOLD = "i", "h"
MAX_DIGITS = 18  # of what CLN can count to


async def receipts(
    invoices: ClnInvoices,
    holds: ClnHolds | None,
    *,
    cursor: Cursor | None,
    limit: int,
    now: int,
) -> HistoryPage:
    """Raises BackendUnavailable and BadRequest."""
    kind, place = _parse(cursor)
    reports, read = [], 0
    if kind == PLAIN:
        page = await invoices.page(
            index="created", start=place + 1, limit=limit, operation="list_history"
        )
        rows, read, place = page.invoices, len(page.invoices), 0
        found = (invoice_report(row, now=now) for row in rows if row.status == "paid")
        reports = [report for report in found if report is not None]
        if read == limit:
            return HistoryPage(reports, Cursor(f"{PLAIN}{rows[-1].created_index}"))
    if holds is None:
        return HistoryPage(reports, None)
    all_of_them = await holds.all(operation="list_history")
    end = place + limit - read
    settled = (holds.report(h, now=now) for h in all_of_them[place:end] if h.state == "paid")
    reports += [report for report in settled if report is not None]
    following = Cursor(f"{HOLD}{end}") if end < len(all_of_them) else None
    return HistoryPage(reports, following)


def _parse(cursor: Cursor | None) -> tuple[str, int]:
    if cursor is None:
        return PLAIN, 0
    kind, place = cursor[:1], cursor[1:]
    is_number = place.isascii() and place.isdecimal() and len(place) <= MAX_DIGITS
    if kind not in (PLAIN, HOLD) or not is_number:
        raise BadRequest("cursor: not one of CLN")
    return kind, int(place)
