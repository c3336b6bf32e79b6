"""Kills the real service again and again: `python -m tests.chaos --kills 300`.

Each episode has a fresh data directory and a hostile node of its own, and ends with all books
compared. It is drawn from its seed: what is done and when is the same again, though not how
the processes interleave. A failed episode leaves its directory.
"""

import argparse
import os
import pickle
import random
import shutil
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from tests.chaos.episode import EpisodeSpec, run_episode
from tests.chaos.life import prepare
from tests.chaos.nursery import open_nursery
from tests.chaos.points import PLACES, REACHED
from tests.chaos.sabotage import SABOTAGES
from tests.chaos.score import Score

KILLS_PER_EPISODE = 120
COLUMNS = "{:<22}{:>8}{:>10}{:>12}{:>14}{:>12}{:>12}{:>9}"
HEAD = "seed", "kills", "payments", "msat lost", "msat created", "unanswered", "differing", "s"


@dataclass(slots=True)
class Running:
    spec: EpisodeSpec
    pid: int
    report: int  # where the pickled score comes


def main() -> int:
    options = _options()
    seed = options.seed or str(random.SystemRandom().getrandbits(32))
    print(f"seed {seed}, {options.kills} kills, {options.jobs} at a time", flush=True)
    prepare()
    print(COLUMNS.format(*HEAD), flush=True)
    began_at = time.monotonic()
    total = _run_all(options, seed)
    total.seconds = time.monotonic() - began_at
    _print_total(total)
    return 0 if total.is_clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", help="printed at the start of each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--payments-per-life", type=int, default=80, metavar="N")
    parser.add_argument("--minutes", type=float, help="begin no episode after that time")
    parser.add_argument("--directory", type=Path, help="where the data of failed ones stays")
    parser.add_argument(
        "--places",
        type=_places,
        default=PLACES,
        metavar="NAME,...",
        help="the failpoints to die at, of all that the traffic comes to",
    )
    parser.add_argument(
        "--sabotage", choices=SABOTAGES, help="sow a known bug, to see it found"
    )
    return parser.parse_args()


def _places(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(REACHED):
        raise argparse.ArgumentTypeError(f"{unknown} is none of {', '.join(REACHED)}")
    return names


def _specs(options: argparse.Namespace, seed: str) -> list[EpisodeSpec]:
    root = options.directory or Path(mkdtemp(prefix="nwc-chaos-"))
    per_job = -(-options.kills // options.jobs)
    size = min(KILLS_PER_EPISODE, per_job)
    kills = [min(size, options.kills - first) for first in range(0, options.kills, size)]
    return [
        EpisodeSpec(
            seed=f"{seed}/{number}",
            kills=some,
            payments_per_life=options.payments_per_life,
            directory=root / str(number),
            places=options.places,
            sabotage=options.sabotage,
        )
        for number, some in enumerate(kills)
    ]


def _run_all(options: argparse.Namespace, seed: str) -> Score:
    total = Score()
    waiting = _specs(options, seed)
    stop_at = time.monotonic() + 60 * options.minutes if options.minutes else None
    running: dict[int, Running] = {}
    lifeline = os.pipe()
    while waiting or running:
        if stop_at is not None and time.monotonic() > stop_at:
            waiting.clear()
        while waiting and len(running) < options.jobs:
            started = _start(waiting.pop(0), lifeline)
            running[started.pid] = started
        if running:
            pid, _ = os.wait()
            ended = running.pop(pid)
            _add(total, _score(ended), spec=ended.spec)
    return total


def _start(spec: EpisodeSpec, lifeline: tuple[int, int]) -> Running:
    """`lifeline` closes when this process has ended, and its episodes end with it."""
    spec.directory.mkdir(parents=True)
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(readable)
        os.close(lifeline[1])
        nursery = open_nursery()
        threading.Thread(target=_end_with, args=(lifeline[0],), daemon=True).start()
        try:
            report = pickle.dumps(run_episode(spec, nursery))
        except Exception:  # noqa: BLE001 (it is reported)
            report = pickle.dumps(Score(problems=[traceback.format_exc()]))
        with os.fdopen(writable, "wb") as pipe:
            pipe.write(report)
        os._exit(0)
    os.close(writable)
    return Running(spec, pid, readable)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def _score(ended: Running) -> Score:
    with os.fdopen(ended.report, "rb") as pipe:
        report = pipe.read()
    score = pickle.loads(report) if report else Score(problems=["it ended without a word"])
    assert isinstance(score, Score)
    return score


def _add(total: Score, score: Score, *, spec: EpisodeSpec) -> None:
    print(_row(spec.seed, score), flush=True)
    if score.is_clean:
        shutil.rmtree(spec.directory)
    else:
        print(f"  {spec.directory}", *score.problems[:20], sep="\n  ", flush=True)
    for name in Score.__slots__:
        was, more = getattr(total, name), getattr(score, name)
        setattr(total, name, was + more)


def _row(seed: str, score: Score) -> str:
    return COLUMNS.format(
        seed,
        score.kills,
        score.payments,
        score.lost_msat,
        score.created_msat,
        score.unanswered,
        score.differing,
        round(score.seconds),
    )


def _print_total(total: Score) -> None:
    print(_row("total", total))
    restart_ms = 1000 * total.restart_s / max(total.restarts, 1)
    print(
        f"\n{total.kills / total.seconds:.1f} kills/s,"
        f" {total.payments / total.seconds:.0f} payments/s,"
        f" {restart_ms:.0f} ms from kill to ready, {total.requests} requests,"
        f" {total.repeated} answers asked for again"
    )
    for title, counted in (("where it died", total.places), ("answers", total.answers)):
        print(f"\n{title}:")
        for name, times in counted.most_common():
            print(f"{times:>8}  {name}")
    spared = [name for name in REACHED if f"failpoint {name}" not in total.places]
    print(f"\nfailpoints where it never died: {', '.join(spared) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
