"""Counters, gauges and histograms that cost the request path an addition.

`prometheus_client` has all of these, five times as dear (a lock and two checks each time); it
renders ours. An increment reads, adds and stores without a call between, so that one from the
thread of the database is not lost beside one from the event loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, Literal, TypeVar

__all__ = ["FAMILIES", "Counter", "Family", "Histogram", "counters", "gauges", "histograms"]

OTHER = "other"
"""The label of whatever has no label of its own."""
MAX_CHILDREN = 1000
"""Of one family. No label may come from outside; this is what remains if one ever does."""

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]


class Counter:
    """A gauge too, where it is given what goes down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Histogram:
    """How many were at most each of `bounds`, which rise; and the sum of all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


T = TypeVar("T", Counter, Histogram)


class Family(Generic[T]):
    """One metric under its name, with a child for each combination of labels.

    `of` is for whoever binds a child, once; what counts has the child at hand.
    """

    def __init__(
        self, name: str, help_text: str, *, kind: Kind, labels: Labels, make: Callable[[], T]
    ) -> None:
        self.name = name
        self.help_text = help_text
        self.kind = kind
        self.labels = labels
        self._make: Callable[[], T] = make
        self._children: dict[Labels, T] = {}
        if not labels:
            self.of()
        FAMILIES[name] = self

    def of(self, *values: str) -> T:
        """The child of these label values, in the order of `labels`."""
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}")
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= MAX_CHILDREN:
                values = (OTHER,) * len(values)
            child = self._children.setdefault(values, self._make())
        return child

    def children(self) -> Iterator[tuple[Labels, T]]:
        yield from list(self._children.items())

    def clear(self) -> None:
        """Forget all children: a state that is not known is not shown."""
        self._children.clear()


FAMILIES: dict[str, Family[Counter] | Family[Histogram]] = {}
"""Every metric that there is, by name, in the order in which they are shown."""


def counters(name: str, help_text: str, *labels: str) -> Family[Counter]:
    return Family(name, help_text, kind="counter", labels=labels, make=Counter)


def gauges(name: str, help_text: str, *labels: str) -> Family[Counter]:
    """What is so at the moment of a scrape; see `show`."""
    family = Family(name, help_text, kind="gauge", labels=labels, make=Counter)
    family.clear()
    return family


def histograms(
    name: str, help_text: str, *labels: str, bounds: Iterable[float]
) -> Family[Histogram]:
    rising = tuple(bounds)
    return Family(
        name, help_text, kind="histogram", labels=labels, make=lambda: Histogram(rising)
    )


def show(family: Family[Counter], values: Mapping[Labels, float]) -> None:
    """Make a gauge's children these, and no others."""
    family.clear()
    for labels, value in values.items():
        family.of(*labels).value = value
