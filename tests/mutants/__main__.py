"""python -m tests.mutants: sow each bug into a copy, and see the tests kill it.

The tests are first run without any bug: where they are not green, a kill says nothing.
"""

import argparse
import queue
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.mutants.mutant import Mutant, mutants
from tests.mutants.tree import Broken, Tree, copied

LINE = "{:3} {:12} {:58} {:>5}  {}"
ALL_QUICK = ("tests/core", "tests/store", "tests/flow", "tests/protocol", "tests/model")


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    seconds: float = 0.0
    killer: str | None = None
    problem: str | None = None  # why the run says nothing

    @property
    def words(self) -> str:
        return self.problem or self.killer or "SURVIVES"


class Nursery:
    """Copies of the project, each for one run at a time."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self._free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for tree in trees:
            self._free.put(tree)
        self._pool = ThreadPoolExecutor(len(trees))

    def without_bugs(self, parts: Sequence[Sequence[str]]) -> list[str]:
        """What is not in order before anything is sown."""
        return [problem for problem in self._pool.map(self._green, parts) if problem]

    def judge(self, sown: Sequence[Mutant], *, looks_further: bool) -> Iterator[Verdict]:
        return self._pool.map(lambda m: self._judge(m, looks_further=looks_further), sown)

    @contextmanager
    def _tree(self) -> Iterator[Tree]:
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)

    def _green(self, part: Sequence[str]) -> str | None:
        with self._tree() as tree:
            if not tree.imports_itself():
                return f"{tree.path} runs other code than its own"
            try:
                return tree.test(part, writes_bytecode=True).failed
            except Broken as broken:
                return str(broken)

    def _judge(self, mutant: Mutant, *, looks_further: bool) -> Verdict:
        with self._tree() as tree:
            try:
                with tree.sown(mutant.patch):
                    run = tree.test(mutant.killers)
                    if run.failed is None and looks_further:
                        run = tree.test(ALL_QUICK)
            except Broken as broken:
                return Verdict(mutant, problem=f"BROKEN {broken}")
        return Verdict(mutant, run.seconds, killer=run.failed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--only", nargs="+", metavar="NN", help="the numbers of some")
    parser.add_argument(
        "--survivors-full", action="store_true", help="run all quick tests on what survives"
    )
    parser.add_argument("-v", action="store_true", help="show how each test failed")
    chosen = parser.parse_args()
    sown = [m for m in mutants() if not chosen.only or m.number in chosen.only]
    with ExitStack() as stack:
        trees = [stack.enter_context(copied()) for _ in range(chosen.jobs)]
        verdicts = judged(
            Nursery(trees), sown, jobs=chosen.jobs, looks_further=chosen.survivors_full
        )
        return report(verdicts, of=len(sown), shows_failures=chosen.v)


def judged(
    nursery: Nursery, sown: Sequence[Mutant], *, jobs: int, looks_further: bool
) -> Iterator[Verdict]:
    """Nothing where the tests are not green by themselves."""
    selection = sorted({killer for mutant in sown for killer in mutant.killers})
    parts = [selection[first::jobs] for first in range(jobs)]
    if problems := nursery.without_bugs([part for part in parts if part]):
        print("without any bug:", *problems, sep="\n")
        return
    yield from nursery.judge(sown, looks_further=looks_further)


def report(verdicts: Iterator[Verdict], *, of: int, shows_failures: bool) -> int:
    began_at = time.monotonic()
    killed = 0
    print(LINE.format("", "attack", "bug", "s", "killed by"), flush=True)
    for verdict in verdicts:
        mutant, words = verdict.mutant, verdict.words
        if verdict.killer is not None:
            killed += 1
            words = words if shows_failures else words.partition(" - ")[0]
        attacks = ", ".join(mutant.attacks)
        line = LINE.format(mutant.number, attacks, mutant.name, f"{verdict.seconds:.1f}", words)
        print(line, flush=True)
    print(f"score: {killed}/{of}; {time.monotonic() - began_at:.0f} s")
    return 0 if killed == of else 1


if __name__ == "__main__":
    sys.exit(main())
