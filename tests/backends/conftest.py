"""A test that asks for `rig` runs on every backend, one that asks for `sandbox` on that."""

from collections.abc import AsyncIterator

import pytest

from tests.backends.contract import RIGS, Rig, open_rig
from tests.backends.rig_sandbox import SandboxRig, sandbox_rig


@pytest.fixture(params=sorted(RIGS))
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with open_rig(request.param) as opened:
        yield opened


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxRig]:
    async with sandbox_rig() as opened:
        yield opened
