"""Breadth-first search of a model: every state once, and the shortest way to a broken one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State")


class Model(Protocol[State]):
    def first(self) -> State: ...

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """All that can happen next, each in words of its own."""

    def broken(self, state: State) -> str | None:
        """What must never be, in words."""

    def changed(self, before: State, after: State) -> str | None:
        """What must never happen, in words."""

    def is_done(self, state: State) -> bool:
        """All of it has come to its end."""

    def is_at_bound(self, state: State) -> bool:
        """It may be stuck only because the model ends here."""


STUCK = "no end can be reached any more"


@dataclass(frozen=True, slots=True)
class Result:
    verdict: str | None  # None: safe
    states: int
    steps: int
    seconds: float
    trace: tuple[str, ...]  # the shortest way to what is broken
    at_bound: int = 0  # states that are stuck where the model ends


def explore(model: Model[State], *, wanted: str | None = None) -> Result:
    """Search for whatever is broken, or for nothing but what is `wanted`."""
    return _Search(model, wanted).run()


def replay(model: Model[State], trace: tuple[str, ...]) -> str | None:
    """What is broken at the end of `trace`. Raises KeyError where a step is not possible."""
    state, verdict = model.first(), None
    for step in trace:
        after = dict(model.steps(state))[step]
        verdict = model.changed(state, after) or model.broken(after)
        state = after
    return verdict


class _Search(Generic[State]):
    def __init__(self, model: Model[State], wanted: str | None) -> None:
        self._model = model
        self._wanted = wanted
        first = model.first()
        self._numbers = {first: 0}
        self._states = [first]
        self._sources: list[list[int]] = [[]]  # the first one is on the shortest way
        self._steps = 0

    def run(self) -> Result:
        started = time.perf_counter()
        verdict, trace = self._broken()
        at_bound = 0
        if verdict is None:
            stuck = self._stuck()
            free = [n for n in stuck if not self._model.is_at_bound(self._states[n])]
            at_bound = len(stuck) - len(free)
            if free:
                verdict, trace = STUCK, self._way_to(free[0])
        return Result(
            verdict=verdict,
            states=len(self._states),
            steps=self._steps,
            seconds=time.perf_counter() - started,
            trace=trace,
            at_bound=at_bound,
        )

    def _broken(self) -> tuple[str | None, tuple[str, ...]]:
        """The first thing that is broken, and the way to it."""
        # The list grows while it is read: breadth first.
        for number, state in enumerate(self._states):
            for step, after in self._model.steps(state):
                self._steps += 1
                is_new = self._reach(after, number)
                verdict = self._model.changed(state, after)
                if verdict is None and is_new:
                    verdict = self._model.broken(after)
                if verdict and self._wanted in (None, verdict):
                    return verdict, (*self._way_to(number), step)
        return None, ()

    def _reach(self, state: State, source: int) -> bool:
        """Whether it is a new one."""
        number = self._numbers.setdefault(state, len(self._states))
        if number < len(self._states):
            self._sources[number].append(source)
            return False
        self._states.append(state)
        self._sources.append([source])
        return True

    def _stuck(self) -> list[int]:
        """The states from which no end can be reached, in the order of their distance."""
        good = {n for n, state in enumerate(self._states) if self._model.is_done(state)}
        open_ones = list(good)
        while open_ones:
            fresh = [n for n in self._sources[open_ones.pop()] if n not in good]
            good.update(fresh)
            open_ones.extend(fresh)
        return [n for n in range(len(self._states)) if n not in good]

    def _way_to(self, number: int) -> tuple[str, ...]:
        way: list[str] = []
        while number:
            source = self._sources[number][0]
            target = self._states[number]
            steps = self._model.steps(self._states[source])
            way.append(next(step for step, after in steps if after == target))
            number = source
        return tuple(reversed(way))
