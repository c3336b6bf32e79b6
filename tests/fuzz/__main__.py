"""python -m tests.fuzz --seconds N: look for inputs that a parser does not survive."""

import argparse
import secrets
import sys
from random import Random

from tests.fuzz import kept
from tests.fuzz.search import Search
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--only", choices=TARGETS, help="this target alone")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--keep", action="store_true", help="keep what reached a new line")
    chosen = parser.parse_args()
    names = [chosen.only] if chosen.only else list(TARGETS)
    print(f"seed {chosen.seed}")
    found = [
        _fuzz(name, seconds=chosen.seconds / len(names), seed=chosen.seed, keeps=chosen.keep)
        for name in names
    ]
    return 1 if any(found) else 0


def _fuzz(name: str, *, seconds: float, seed: int, keeps: bool) -> int:
    pool = list(kept.inputs(name).values())
    search = Search(TARGETS[name], Random(f"{seed} {name}"), pool)
    search.run(seconds=seconds)
    slowest_s, slowest = search.slowest
    print(
        f"{name:15}{search.tried:8} inputs{len(search.seen):6} steps{len(search.fresh):5} new"
        f"   slowest {slowest_s * 1000:.1f} ms at {len(slowest)} bytes, watched"
    )
    for data in search.fresh if keeps else ():
        kept.keep(name, data, why="reached")
    for finding in search.findings.values():
        path = kept.keep(name, finding.data, why="failed")
        print(f"FAILED, see {path}\n{finding.told}", file=sys.stderr)
    return len(search.findings)


if __name__ == "__main__":
    sys.exit(main())
