"""What /metrics says, as Prometheus would read it."""

from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

from nwc_service.metrics.exposition import Exposition

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(read: Samples, name: str, **labels: str) -> float:
    """0 where there is no such sample."""
    return read.get((name, frozenset(labels.items())), 0)


def names(text: str) -> Iterator[str]:
    """Of all samples: with `_total`, `_bucket`, `_sum` and `_count`."""
    for family in text_string_to_metric_families(text):
        yield from (sample.name for sample in family.samples)


class Difference:
    """How much each counter of this process has grown since this was made."""

    def __init__(self) -> None:
        self._before: Samples = {}

    async def start(self) -> "Difference":
        self._before = await now()
        return self

    async def grown(self, name: str, **labels: str) -> float:
        return value(await now(), name, **labels) - value(self._before, name, **labels)


async def now() -> Samples:
    """Without the states, which only a running service lends."""
    return samples((await Exposition().text()).decode())
