"""One service for each module: alice is its node, bob forwards, carol is outside."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.service import ServiceProcess
from tests.regtest.network import RegtestNetwork, shared_network
from tests.regtest.outside import LndOutside
from tests.regtest.service import service_on
from tests.regtest.wallet import CREDIT_MSAT, Wallet
from tests.regtest.wire import Wire, wire_to

READ_AGAIN_S = 30
# Just enough for one that forwards less than two million msat.
FEE_RESERVE_MSAT = 1_001
SETTINGS = f"""\
[payments]
fee_reserve_floor_msat = {FEE_RESERVE_MSAT}
fee_reserve_share_ppm = 0
timeout_s = 20
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network() -> RegtestNetwork:
    return await shared_network()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(network: RegtestNetwork) -> AsyncIterator[Wire]:
    """Between the service and its node."""
    async with wire_to(network.nodes["alice"].url) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    network: RegtestNetwork, wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("service")
    alice = network.nodes["alice"]
    async with service_on(alice, directory, settings=SETTINGS, url=wire.url) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def wallet(service: ServiceProcess) -> AsyncIterator[Wallet]:
    await in_order(service)
    account = f"account-{secrets.token_hex(4)}"
    await service.create_account(account, credit_msat=CREDIT_MSAT)
    opened = Wallet(service, account, await service.connect(account, scopes="all"))
    yield opened
    assert (await opened.figures())[1] == 0
    await in_order(service)


async def in_order(service: ServiceProcess) -> None:
    """While its channels are not active again, a node that was killed has nothing to spend,
    and the service reads that every ten seconds."""
    deadline = time.monotonic() + READ_AGAIN_S
    while problems := (await service.audit())["problems"]:
        assert time.monotonic() < deadline, problems
        await asyncio.sleep(0.2)


@pytest.fixture
def carol(network: RegtestNetwork) -> LndOutside:
    return LndOutside(network.nodes["carol"])
