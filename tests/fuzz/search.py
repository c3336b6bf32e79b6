"""Inputs changed at random, and kept where they reach a line that none before has reached."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.targets import Target

MAX_POOL_BYTES = 4_096
"""What is longer is tried but not kept: long inputs make a slow search."""

Step = tuple[CodeType, int, int]
Change = Callable[["Search", bytes], bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    data: bytes
    told: str


@dataclass(slots=True)
class Search:
    target: Target
    random: Random
    pool: list[bytes]
    seen: set[Step] = field(default_factory=set)
    fresh: list[bytes] = field(default_factory=list)
    findings: dict[str, Finding] = field(default_factory=dict)
    tried: int = 0
    slowest: tuple[float, bytes] = (0.0, b"")

    def run(self, *, seconds: float | None = None, inputs: int | None = None) -> None:
        """For so long, or for so many inputs; first of all the pool as it is."""
        for data in list(self.pool):
            self._try(data)
        self.fresh.clear()
        ends_at = None if seconds is None else time.monotonic() + seconds
        while ends_at is None or time.monotonic() < ends_at:
            if inputs is not None and self.tried >= inputs:
                return
            self._try(self._changed(self.random.choice(self.pool)))

    def _try(self, data: bytes) -> None:
        self.tried += 1
        began_at = time.thread_time()
        with steps(self.target) as taken:
            try:
                self.target.feed(data)
            except Exception as error:  # noqa: BLE001 - this is what is looked for
                self._found(data, error)
        took_s = time.thread_time() - began_at
        self.slowest = max(self.slowest, (took_s, data))
        if not taken <= self.seen and len(data) <= MAX_POOL_BYTES:
            self.pool.append(data)
            self.fresh.append(data)
        self.seen |= taken

    def _found(self, data: bytes, error: Exception) -> None:
        """Once for each place that raises."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        told = "".join(traceback.format_exception(error))
        self.findings.setdefault(f"{last.filename}:{last.lineno}", Finding(data, told))

    def _changed(self, data: bytes) -> bytes:
        for _ in range(self.random.choice((1, 1, 2, 3, 8))):
            data = self.random.choice(CHANGES)(self, data)
        return data[: self.target.max_bytes]

    def place(self, data: bytes) -> int:
        return self.random.randint(0, len(data))

    def piece(self, data: bytes) -> tuple[int, int]:
        start = self.place(data)
        return start, min(len(data), start + self.random.choice((1, 1, 2, 4, 16, 64, 512)))


def _flip(search: Search, data: bytes) -> bytes:
    if not data:
        return data
    place = search.random.randrange(len(data))
    flipped = data[place] ^ 1 << search.random.randrange(8)
    return data[:place] + bytes([flipped]) + data[place + 1 :]


def _overwrite(search: Search, data: bytes) -> bytes:
    start, end = search.piece(data)
    return data[:start] + search.random.randbytes(end - start) + data[end:]


def _insert_token(search: Search, data: bytes) -> bytes:
    place = search.place(data)
    return data[:place] + search.random.choice(search.target.tokens) + data[place:]


def _replace_by_token(search: Search, data: bytes) -> bytes:
    start, end = search.piece(data)
    return data[:start] + search.random.choice(search.target.tokens) + data[end:]


def _delete(search: Search, data: bytes) -> bytes:
    start, end = search.piece(data)
    return data[:start] + data[end:]


def _repeat(search: Search, data: bytes) -> bytes:
    start, end = search.piece(data)
    return data[:start] + data[start:end] * search.random.choice((2, 3, 40)) + data[end:]


def _splice(search: Search, data: bytes) -> bytes:
    other = search.random.choice(search.pool)
    return data[: search.place(data)] + other[search.place(other) :]


def _truncate(search: Search, data: bytes) -> bytes:
    return data[: search.place(data)]


def _swap_case(search: Search, data: bytes) -> bytes:
    start, end = search.piece(data)
    return data[:start] + data[start:end].swapcase() + data[end:]


CHANGES: Sequence[Change] = (
    _flip,
    _overwrite,
    _insert_token,
    _replace_by_token,
    _delete,
    _repeat,
    _splice,
    _truncate,
    _swap_case,
)


@contextmanager
def steps(target: Target) -> Iterator[set[Step]]:
    """Which lines of the target's modules follow on which, while this is open."""
    files = {module.__file__ for module in target.modules}
    taken: set[Step] = set()

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        last = 0

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            taken.add((frame.f_code, last, frame.f_lineno))
            last = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield taken
    finally:
        sys.settrace(before)
