"""Payments while nodes and service are killed, as `python -m tests.regtest.kills` has more."""

import os
import random
from pathlib import Path

import pytest

from tests.regtest.kills import a_run, told

SEED = os.environ.get("NWC_TEST_KILLS_SEED") or str(random.SystemRandom().getrandbits(32))
PAYMENTS, KILLS = 100, 3

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


async def test_a_hundred_payments_and_three_kills_lose_nothing(tmp_path: Path) -> None:
    async with a_run(tmp_path, seed=SEED) as run:
        await run.run(payments=PAYMENTS, kills=KILLS)

    figures = f"seed {SEED}\n{told(run)}"
    assert run.score.is_clean, figures
    assert run.score.kills == KILLS
    assert run.score.payments >= PAYMENTS, figures
