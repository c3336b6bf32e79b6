"""Some seeds of `make simulate`, and that each can be had again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.scenario import play
from tests.simulation.world import NEVER_AWAITED, World, run

pytestmark = pytest.mark.filterwarnings(f"ignore:{NEVER_AWAITED}")

ROOT = Path(__file__).parents[2]
SEEDS = 60
BATCH = 10


def played(seed: int) -> World:
    world = World(seed)
    run(world, play)
    return world


@pytest.mark.parametrize("first", range(1, SEEDS + 1, BATCH))
def test_no_seed_loses_or_makes_money_or_leaves_a_request_unanswered(first: int) -> None:
    worlds = [played(seed) for seed in range(first, first + BATCH)]

    assert {world.seed: world.problems for world in worlds if world.problems} == {}
    assert sum(world.counts["crashes"] for world in worlds) > 0
    assert sum(world.counts["payments"] for world in worlds) > BATCH


def test_a_seed_plays_the_same_again_whatever_was_played_before() -> None:
    first = played(7)
    played(8)

    again = played(7)

    assert again.digest == first.digest
    assert again.counts == first.counts


def test_other_seeds_play_otherwise() -> None:
    assert len({played(seed).digest for seed in (7, 8, 9)}) == 3


def test_a_seed_plays_the_same_in_another_process_whatever_the_order_of_its_sets() -> None:
    told = {_replayed(7, hash_seed=hash_seed) for hash_seed in ("1", "2")}

    assert told == {played(7).digest}


def _replayed(seed: int, *, hash_seed: str) -> str:
    """The digest that a replay of this seed tells."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    [digest] = [
        line.split()[1] for line in done.stdout.splitlines() if line.startswith("trace ")
    ]
    return digest
