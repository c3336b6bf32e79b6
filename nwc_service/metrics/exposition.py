"""The text that Prometheus reads, made from the families and at most so often."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate

import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from nwc_service.metrics.instruments import FAMILIES, Counter, Family, Histogram

__all__ = ["CONTENT_TYPE", "Exposition", "exposition", "reading"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LASTS_S = 2.0
"""However often it is scraped, states are not read more often than this."""

log = structlog.get_logger()

Read = Callable[[], Awaitable[None]]


class _Families(Collector):
    def collect(self) -> Iterable[Metric]:
        return map(_metric, list(FAMILIES.values()))


class Exposition:
    """`reading` lends it who reads the states of a running service."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._registry = CollectorRegistry()
        self._registry.register(_Families())
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._readers: list[Read] = []
        self._one_at_a_time = asyncio.Lock()
        self._text = b""
        self._read_at: float | None = None

    async def text(self) -> bytes:
        """States as they were within the last LASTS_S; never raises."""
        async with self._one_at_a_time:
            now = self._clock()
            if self._read_at is None or now - self._read_at >= LASTS_S:
                for read in self._readers:
                    await _alone(read)
                self._text = generate_latest(self._registry)
                self._read_at = self._clock()
            return self._text

    @contextmanager
    def reading(self, read: Read) -> Iterator[None]:
        self._readers.append(read)
        self._read_at = None
        try:
            yield
        finally:
            self._readers.remove(read)


exposition = Exposition()
"""Of this process."""
reading = exposition.reading


async def _alone(read: Read) -> None:
    """What cannot be read is missing from the text, and the counters are still in it."""
    try:
        await read()
    except Exception:
        log.exception("metrics.read_failed")


def _metric(family: Family[Counter] | Family[Histogram]) -> Metric:
    labels = family.labels
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help_text, labels=labels)
        for values, child in family.children():
            if isinstance(child, Histogram):
                histogram.add_metric(values, buckets=_buckets(child), sum_value=child.total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help_text, labels=labels)
    for values, child in family.children():
        if isinstance(child, Counter):
            metric.add_metric(values, child.value)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(_bound, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _bound(bound: float) -> str:
    return repr(float(bound))
