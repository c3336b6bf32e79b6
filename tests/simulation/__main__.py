"""python -m tests.simulation --seeds N: play many seeds and sum up; --seed X: replay one."""

import argparse
import gc
import os
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.scenario import play
from tests.simulation.world import NEVER_AWAITED, World, run

BATCH = 50


@dataclass(slots=True)
class Summary:
    seeds: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: "Summary") -> None:
        self.seeds += other.seeds
        self.counts += other.counts
        self.failed |= other.failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100, help="how many to play")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--seed", type=int, help="replay this one and tell all of it")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return replay(chosen.seed)
    return report(chosen.seeds, first=chosen.first, jobs=chosen.jobs)


def replay(seed: int) -> int:
    world = World(seed, tell=print)
    run(world, play)
    print("trace", world.digest, dict(world.counts))
    for problem in world.problems:
        print("PROBLEM", problem)
    return 1 if world.problems else 0


def report(seeds: int, *, first: int, jobs: int) -> int:
    began_at = time.monotonic()
    total = Summary()
    starts = range(first, first + seeds, BATCH)
    ends = [min(start + BATCH, first + seeds) for start in starts]
    with ProcessPoolExecutor(jobs) as pool:
        for summary in pool.map(play_all, starts, ends):
            total.add(summary)
            for seed, problems in summary.failed.items():
                print(
                    f"seed {seed}: {problems[0]}\n  again: make simulate SEED={seed}",
                    flush=True,
                )
            if sys.stderr.isatty():
                print(f"\r{total.seeds} of {seeds}", end="", file=sys.stderr, flush=True)
    print(_summed_up(total, took_s=time.monotonic() - began_at))
    return 1 if total.failed else 0


def play_all(first: int, end: int) -> Summary:
    gc.disable()
    warnings.filterwarnings("ignore", NEVER_AWAITED)
    summary = Summary()
    for seed in range(first, end):
        world = World(seed)
        run(world, play)
        summary.seeds += 1
        summary.counts += world.counts
        if world.problems:
            summary.failed[seed] = world.problems
        if seed % 10 == 0:
            gc.collect()
    return summary


def _summed_up(total: Summary, *, took_s: float) -> str:
    counts = total.counts
    return (
        f"simulation: {total.seeds} seeds, {counts['requests']} requests,"
        f" {counts['payments']} payments, {counts['offers']} offers,"
        f" {counts['commits']} commits,"
        f" {counts['crashes']} crashes, {counts['faults']} faults of relay and database;"
        f" {counts['lost_msat']} msat lost, {counts['created_msat']} msat created,"
        f" {counts['unanswered']} unanswered, {counts['differing']} answers that differ;"
        f" {counts['operator_msat']} msat of lies borne by the operator,"
        f" {counts['stuck']} held without a rule;"
        f" {len(total.failed)} seeds failed; {took_s:.1f} s,"
        f" {total.seeds / took_s:.1f} seeds/s"
    )


if __name__ == "__main__":
    sys.exit(main())
