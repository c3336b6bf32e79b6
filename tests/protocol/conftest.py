from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.protocol.wallet import Client, WalletInProcess, wallet_in_process


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def wallet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WalletInProcess]:
    """One wallet for all; every test has accounts and connections of its own."""
    async with wallet_in_process(tmp_path_factory.mktemp("wallet")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="package")
async def client(wallet: WalletInProcess) -> Client:
    """Of a connection that may do everything, on an account with plenty of money."""
    return await wallet.connect()
