"""Children of the metrics, bound before anything is counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from nwc_service import metrics
from nwc_service.metrics.instruments import OTHER, Counter, Histogram
from nwc_service.wallet.errors import ErrorCode
from nwc_service.wallet.outcome import Failed, InFlight, NotSent, Outcome, Settled, Unknown
from nwc_service.wallet.payment import INSIDE, Payment, PaymentKind, PaymentState

__all__ = [
    "EMBEDDED",
    "OTHER",
    "RelayMeter",
    "count_receipt",
    "count_refusal",
    "dropped",
    "know_backends",
    "know_methods",
    "payment_meter",
    "relay_label",
    "relay_meter",
    "request_meter",
]

OK = "ok"
OUTCOMES = frozenset({OK, *ErrorCode})
EMBEDDED = "embedded"
NO_BACKEND = "none"
"""Of what never leaves the ledger."""
# NIP-01 and NIP-42: the words before the colon that machines may read.
PREFIXES = ("auth-required", "blocked", "invalid", "rate-limited", "restricted")


_SENT = {
    Settled: "settled",
    Failed: "failed",
    InFlight: "in_flight",
    NotSent: "not_sent",
    Unknown: "unknown",
}


class RequestMeter:
    """Of one method."""

    __slots__ = ("_method", "_outcomes", "seconds")

    def __init__(self, method: str) -> None:
        self._method = method
        # Those that alerts ask about are there from the start: a rate sees no first one.
        self._outcomes = {
            str(each): metrics.REQUESTS.of(method, each) for each in (OK, ErrorCode.INTERNAL)
        }
        self.seconds = metrics.REQUEST_SECONDS.of(method)

    def answered(self, code: str | None) -> None:
        """With an error's code, or with a result."""
        outcome = OK if code is None else code
        counter = self._outcomes.get(outcome)
        if counter is None:
            known = outcome if outcome in OUTCOMES else ErrorCode.OTHER
            counter = self._outcomes[known] = metrics.REQUESTS.of(self._method, known)
        counter.inc()


_request_meters = {OTHER: RequestMeter(OTHER)}


def know_methods(names: Iterable[str]) -> None:
    """Those that have a label of their own."""
    for name in names:
        _request_meters.setdefault(name, RequestMeter(name))


def request_meter(method: str) -> RequestMeter:
    """OTHER's of whatever is no method."""
    return _request_meters.get(method) or _request_meters[OTHER]


class PaymentMeter:
    """Of the payments of one kind through one backend."""

    __slots__ = ("_fees", "_labels", "_msat", "_released", "_sent", "_settled")

    def __init__(self, backend: str, kind: PaymentKind) -> None:
        self._labels = backend, str(kind)
        self._settled = metrics.PAYMENTS.of(backend, kind, "settled")
        self._released = metrics.PAYMENTS.of(backend, kind, "released")
        self._msat = metrics.PAYMENT_MSAT.of(backend, kind)
        self._fees = metrics.FEES_MSAT.of(backend)
        self._sent: dict[type[Outcome], Histogram] = {}

    def sent(self, outcome: Outcome, *, seconds: float) -> None:
        kind = type(outcome)
        histogram = self._sent.get(kind)
        if histogram is None:
            histogram = metrics.PAYMENT_SECONDS.of(*self._labels, _SENT[kind])
            self._sent[kind] = histogram
        histogram.observe(seconds)

    def final(self, payment: Payment) -> None:
        if payment.state is PaymentState.RELEASED:
            self._released.inc()
            return
        self._settled.inc()
        self._msat.inc(payment.amount_msat)
        self._fees.inc(payment.fee_msat or 0)


@cache
def _payment_meter(backend: str, kind: PaymentKind) -> PaymentMeter:
    return PaymentMeter(backend, kind)


def know_backends(names: Iterable[str]) -> None:
    """So that their first payment and receipt is seen as one more."""
    for name in names:
        for kind in PaymentKind:
            _payment_meter(NO_BACKEND if kind in INSIDE else name, kind)
        for to in ("account", "suspense"):
            metrics.RECEIPTS.of(name, to)


def payment_meter(payment: Payment) -> PaymentMeter:
    backend = None if payment.kind in INSIDE else payment.backend
    return _payment_meter(backend or NO_BACKEND, payment.kind)


def count_receipt(backend: str, *, to_account: bool, msat: int) -> None:
    to = "account" if to_account else "suspense"
    metrics.RECEIPTS.of(backend, to).inc()
    metrics.RECEIPTS_MSAT.of(backend, to).inc(msat)


def dropped(reason: str) -> Counter:
    return metrics.DROPPED.of(reason)


@dataclass(frozen=True, slots=True)
class RelayMeter:
    """Of one relay, or of all that users named."""

    connects: Counter
    events: Counter
    accepted: Counter
    refused: Counter
    unanswered: Counter


@cache
def relay_meter(label: str) -> RelayMeter:
    """`label` is what `relay_label` made of a URL of the operator's, or OTHER."""
    publishes = metrics.RELAY_PUBLISHES
    return RelayMeter(
        connects=metrics.RELAY_CONNECTS.of(label),
        events=metrics.RELAY_EVENTS.of(label),
        accepted=publishes.of(label, "accepted"),
        refused=publishes.of(label, "refused"),
        unanswered=publishes.of(label, "unanswered"),
    )


def relay_label(url: str) -> str:
    """Its URL without what may be a secret: user and password, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(
        netloc=parts.netloc.rpartition("@")[2], query="", fragment=""
    ).geturl()


_refusals = {each: metrics.EMBEDDED_REFUSALS.of(each) for each in (*PREFIXES, OTHER)}


def count_refusal(message: str) -> None:
    """What the embedded relay said no with."""
    prefix, colon, _ = message.partition(":")
    _refusals[prefix if colon and prefix in PREFIXES else OTHER].inc()
