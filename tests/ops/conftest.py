"""The flow of the service in this process, as in tests/flow."""

import pytest

from tests.flow.conftest import alice, backend, bob, clock, plain_tracebacks, start, world
from tests.ops.scrape import Difference

__all__ = ["alice", "backend", "bob", "clock", "counted", "plain_tracebacks", "start", "world"]


@pytest.fixture
async def counted() -> Difference:
    """How much each counter grows in the test: they are the whole process's."""
    return await Difference().start()
