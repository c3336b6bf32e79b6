"""What phoenixd's words about an outgoing payment prove."""

from collections.abc import Mapping, Sequence
from itertools import count

from backends.phoenixd.api import MAX_WORDS_LENGTH, PhoenixdApi, Reply
from backends.phoenixd.node import PAGE_SIZE, Page, read_page
from backends.phoenixd.wire import MS_PER_S, NotPaid, OutgoingRow, Sent, proven
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    PaymentReport,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MSAT_PER_SAT, Msat, PaymentHash

OUTGOING = "/payments/outgoing"

# Answered before phoenixd looks at the payment: a redirect, no such path, no right to it.
NOT_PROCESSED: Mapping[int, FailReason] = {
    301: FailReason.UNAVAILABLE,
    302: FailReason.UNAVAILABLE,
    307: FailReason.UNAVAILABLE,
    308: FailReason.UNAVAILABLE,
    400: FailReason.BAD_REQUEST,
    401: FailReason.UNAVAILABLE,
    403: FailReason.UNAVAILABLE,
    404: FailReason.UNAVAILABLE,
    405: FailReason.UNAVAILABLE,
}

# Said of another attempt than this one, which may have paid.
OF_ANOTHER_ATTEMPT = ("already been paid", "in progress for that invoice")

REASONS: Mapping[str, FailReason] = {
    "not enough funds": FailReason.INSUFFICIENT_BALANCE,
    "features not supported": FailReason.UNSUPPORTED,
    "rejected the payment": FailReason.REJECTED,
    "fees are insufficient": FailReason.NO_ROUTE,
    "attempts exhausted": FailReason.NO_ROUTE,
    "offline": FailReason.NO_ROUTE,
    "liquidity issue": FailReason.NO_ROUTE,
    "channel": FailReason.UNAVAILABLE,
    "splicing": FailReason.UNAVAILABLE,
    "too many pending": FailReason.UNAVAILABLE,
}


class PhoenixdPayments:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: PhoenixdApi) -> None:
        self._api = api

    async def best(self, payment_hash: PaymentHash, *, operation: str) -> OutgoingRow | None:
        """Of all attempts of this hash, one that was paid, else one under way, else the first
        that failed. None: not known, which proves nothing, as phoenixd queues what it is told.
        """
        path = f"/payments/outgoingbyhash/{payment_hash}"
        reply = await self._api.get(path, operation=operation)
        if reply.status == 404:
            return None
        row = reply.read(OutgoingRow) if reply.status == 200 else None
        if row is None or row.hash != payment_hash:
            raise self._api.unusable(reply, operation=operation)
        return row

    async def look_up(self, payment_hash: PaymentHash, *, since: int) -> Outcome | None:
        """What became of the attempt that was made since then: an earlier one that failed
        proves nothing about it."""
        row = await self.best(payment_hash, operation="lookup_payment")
        if row is None or is_live(row) or row.created_at_ms >= since * MS_PER_S:
            return None if row is None else outcome_of(row)
        attempts = await self.attempts(payment_hash, since=since)
        own = next(filter(is_live, attempts), None) or next(iter(attempts), None)
        return None if own is None else outcome_of(own)

    async def page(self, query: Mapping[str, str | int], operation: str) -> Page[OutgoingRow]:
        reply = await self._api.get(OUTGOING, operation=operation, query=query)
        return read_page(reply, OutgoingRow, api=self._api, operation=operation)

    async def attempts(self, payment_hash: PaymentHash, *, since: int) -> Sequence[OutgoingRow]:
        """All that were made since then."""
        found: list[OutgoingRow] = []
        for number in count():
            query: Mapping[str, str | int] = {
                "all": "true",  # those that failed, too
                "from": since * MS_PER_S,
                "limit": PAGE_SIZE,
                "offset": number * PAGE_SIZE,
            }
            page = await self.page(query, "lookup_payment")
            if page.is_last:
                break
            found += [row for row in page.rows if row.hash == payment_hash]
        return found


def is_live(row: OutgoingRow) -> bool:
    """Paid, or not final yet."""
    return row.is_paid or row.completed_at_ms is None


def outcome_of(row: OutgoingRow) -> Outcome:
    if row.is_paid:
        preimage = proven(row.preimage, row.payment_hash)
        if preimage is None:
            return Unknown("phoenixd says paid without a preimage that proves it")
        settled_at = None if row.completed_at_ms is None else row.completed_at_ms // MS_PER_S
        return Settled(preimage, Msat(row.fees_msat), settled_at=settled_at)
    if row.completed_at_ms is None:
        return InFlight("phoenixd has it and it is not final")
    return Failed(FailReason.OTHER, "phoenixd says that it has failed")


def answer_of(reply: Reply, payment_hash: PaymentHash, *, max_fee_msat: Msat) -> Outcome:
    """What an answer of /payinvoice proves: HTTP 200 may carry a failure."""
    reason = NOT_PROCESSED.get(reply.status)
    if reason is not None:
        return NotSent(reason, f"phoenixd answered HTTP {reply.status} {reply.words}".rstrip())
    sent = reply.read(Sent) if reply.status == 200 else None
    if sent is not None and sent.payment_hash == payment_hash:
        preimage = proven(sent.preimage, payment_hash)
        if preimage is not None:
            return Settled(preimage, _fee_msat(sent, max_fee_msat))
    refused = reply.read(NotPaid) if reply.status == 200 else None
    if refused is None:
        return Unknown(f"phoenixd answered HTTP {reply.status}, and no outcome")
    words = f"phoenixd says: {refused.reason[:MAX_WORDS_LENGTH]}"
    if any(said in refused.reason for said in OF_ANOTHER_ATTEMPT):
        return Unknown(words)
    return Failed(_reason(refused.reason), words)


def payment_report(row: OutgoingRow) -> PaymentReport:
    return PaymentReport(
        payment_hash=row.hash,
        amount_msat=_amount_msat(row),
        outcome=outcome_of(row),
        created_at=row.created_at_ms // MS_PER_S,
    )


def _amount_msat(row: OutgoingRow) -> Msat:
    """`sent` is cut to whole sats and holds the fees: the invoice is exact."""
    try:
        named_msat = bolt11.decode(row.invoice or "").amount_msat
    except bolt11.InvalidInvoice:
        named_msat = None
    if named_msat is not None:
        return named_msat
    # an amount that was told is of whole sats, and the rest was cut off the sum
    fees_sat = row.fees_msat // MSAT_PER_SAT if row.is_paid else 0
    return Msat(max(0, row.sent_sat - fees_sat) * MSAT_PER_SAT)


def _fee_msat(sent: Sent, max_fee_msat: Msat) -> Msat:
    """Rounded up, but not beyond the cap that it surely kept."""
    at_least_msat = sent.routing_fee_sat * MSAT_PER_SAT
    return Msat(max(at_least_msat, min(at_least_msat + MSAT_PER_SAT - 1, max_fee_msat)))


def _reason(words: str) -> FailReason:
    return next((REASONS[said] for said in REASONS if said in words), FailReason.OTHER)
