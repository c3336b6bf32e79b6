"""One service and one Node process a library for each module; apps for each test."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from tests.clients.apps import Apps, Drivers
from tests.e2e.conftest import config, service
from tests.e2e.service import ServiceProcess

__all__ = ["apps", "config", "drivers", "service"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drivers() -> AsyncIterator[Drivers]:
    async with AsyncExitStack() as stack:
        yield Drivers(stack)


@pytest_asyncio.fixture(loop_scope="module")
async def apps(service: ServiceProcess, drivers: Drivers) -> AsyncIterator[Apps]:
    async with AsyncExitStack() as stack:
        yield Apps(service, drivers, stack)
