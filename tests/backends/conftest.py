"""A test that asks for `rig` runs on every backend, for `any_rig` on the doubles of the tests
too, and one that asks for `sandbox` on that."""

from collections.abc import AsyncIterator

import pytest

from tests.backends.contract import DOUBLES, RIGS, Rig, open_rig
from tests.backends.rig_sandbox import SandboxRig, sandbox_rig
from tests.backends.table import Results

RESULTS = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    """What became of the contract's tests, for the test of the page, which comes after them."""
    config.stash[RESULTS] = Results()
    config.pluginmanager.register(config.stash[RESULTS])


@pytest.fixture(params=sorted(RIGS))
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with open_rig(request.param) as opened:
        yield opened


@pytest.fixture(params=sorted(RIGS | DOUBLES))
async def any_rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with open_rig(request.param) as opened:
        yield opened


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxRig]:
    async with sandbox_rig() as opened:
        yield opened
