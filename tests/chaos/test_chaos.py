"""The harness itself: the service passes it, and sown bugs do not."""

import asyncio
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SEED = os.environ.get("NWC_TEST_CHAOS_SEED") or str(random.SystemRandom().getrandbits(32))
TIMEOUT_S = 300  # of one run, which lasts as long as a slow machine's episodes do
FIGURES = "msat lost", "msat created", "unanswered", "differing"


@dataclass(frozen=True, slots=True)
class Total:
    code: int | None
    output: str

    @property
    def row(self) -> list[int]:
        """Kills, payments, msat lost, msat created, unanswered, differing, seconds."""
        [line] = [line for line in self.output.splitlines() if line.startswith("total ")]
        return [int(figure) for figure in line.split()[1:]]

    @property
    def figures(self) -> dict[str, int]:
        return dict(zip(FIGURES, self.row[2:6], strict=True))


async def chaos(directory: Path, *options: str) -> Total:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.chaos", "--jobs", "1", "--directory", str(directory), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Total(process.returncode, output.decode())


@pytest.mark.timeout(2 * TIMEOUT_S)
async def test_fifteen_kills_lose_nothing_and_leave_nothing_unanswered(tmp_path: Path) -> None:
    total = await chaos(tmp_path, "--kills", "15", "--seed", SEED)

    assert total.code == 0, total.output
    kills, payments, *wrong, _ = total.row
    assert kills == 15
    assert payments > 50, total.output
    assert wrong == [0, 0, 0, 0], total.output


SOWN = {
    "release_on_not_found": "msat lost",
    "release_on_no_reply": "msat lost",
    "credit_each_event": "msat created",
    "answer_anew": "differing",
    "keep_silent": "unanswered",
    "credit_on_accepted": "msat created",
    "pay_items_again": "msat lost",
}


@pytest.mark.timeout(2 * len(SOWN) * TIMEOUT_S)
async def test_every_sown_bug_is_seen(tmp_path: Path) -> None:
    two_at_a_time = asyncio.Semaphore(2)

    async def sown(sabotage: str, wrong: str) -> Total:
        async with two_at_a_time:
            options = ("--seed", SEED, "--sabotage", sabotage)
            few = await chaos(tmp_path / sabotage, "--kills", "8", *options)
            if few.figures[wrong]:
                return few
            # Nothing may have happened that brings it to light: once more, for longer.
            return await chaos(tmp_path / f"{sabotage}-again", "--kills", "32", *options)

    totals = await asyncio.gather(*(sown(*each) for each in SOWN.items()))

    for (sabotage, wrong), total in zip(SOWN.items(), totals, strict=True):
        assert total.code == 1, sabotage
        assert total.figures[wrong] > 0, (sabotage, total.output)
