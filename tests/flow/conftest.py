from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import structlog

from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.parties import Client, Clock, Relay
from tests.flow.world import World, open_world

Open = Callable[[], AbstractAsyncContextManager[World]]

CREDIT_MSAT = 1_000_000


@pytest.fixture(scope="package", autouse=True)
def plain_tracebacks() -> Iterator[None]:
    """These tests fail things on purpose, and a traceback with colours takes a second each."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ]
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def start(tmp_path: Path, backend: ScriptedBackend, clock: Clock) -> Open:
    """Start the service on the test's database; after leaving it, start it again."""
    relay = Relay()
    return lambda: open_world(
        tmp_path / "nwc.sqlite", backend=backend, clock=clock, relay=relay
    )


@pytest.fixture
async def world(start: Open) -> AsyncIterator[World]:
    async with start() as opened:
        yield opened


@pytest.fixture
async def alice(world: World) -> Client:
    """An app with 1 000 000 msat."""
    await world.account("alice", credit_msat=CREDIT_MSAT)
    return await world.connect("alice")


@pytest.fixture
async def bob(world: World) -> Client:
    await world.account("bob", credit_msat=CREDIT_MSAT)
    return await world.connect("bob")
