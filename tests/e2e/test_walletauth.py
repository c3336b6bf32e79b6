"""The apps of the real libraries ask for a connection by `nostr+walletauth://`, and get it."""

from collections.abc import AsyncIterator
from secrets import token_hex

import pytest
import pytest_asyncio

from tests.clients.client import ClientError, JsonObject
from tests.clients.local_relay import local_relay
from tests.clients.node import NodeClient, node_driver
from tests.e2e.conftest import Cli
from tests.e2e.service import ServiceProcess

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.real]

CREDIT_MSAT = 50_000
METHODS = ["get_info", "get_balance", "make_invoice"]
ASKED = {
    "name": "Tea",
    "requestMethods": METHODS,
    "maxAmount": 21_000,
    "budgetRenewal": "weekly",
}
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def config() -> str:
    return '[outbound]\nallowed_hosts = ["127.0.0.1"]\n'


@pytest_asyncio.fixture(loop_scope="module")
async def account(service: ServiceProcess) -> str:
    name = f"account-{token_hex(4)}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    return name


@pytest_asyncio.fixture(params=["embedded", "independent"], loop_scope="module")
async def relay(
    request: pytest.FixtureRequest, service: ServiceProcess, account: str
) -> AsyncIterator[str]:
    """The service's own relay, or one that it has never heard of."""
    if request.param == "embedded":
        created = await service.call("POST", "connections", account=account, app="a test")
        yield str(created["relays"][0])
    else:
        async with local_relay() as url:
            yield url


@pytest_asyncio.fixture(params=["alby-nwa", "applesauce-nwa"], loop_scope="module")
async def app(request: pytest.FixtureRequest, relay: str) -> AsyncIterator[NodeClient]:
    async with node_driver(request.param) as driver:
        yield driver.client(relay, **ASKED)


async def test_an_app_with_its_own_key_is_connected_and_gets_what_it_asked_for(
    app: NodeClient, cli: Cli, account: str
) -> None:
    """protocol.md 1.8: "publishes an info event 13194 tagged `["p",<client pubkey>]` on those
    relays"; the app takes its author as the wallet."""
    link = str((await app.call("link"))["link"])

    granted = await cli.json("connection", "link", link, "--account", account, "--yes")
    found: JsonObject = await app.call("granted", timeout_s=TIMEOUT_S)
    balance = await app.request("get_balance")
    info = await app.request("get_info")
    with pytest.raises(ClientError):
        await app.request("list_transactions", {})

    assert found["wallet_pubkey"] == granted["wallet_pubkey"]
    assert (granted["app"], granted["budget"]["limit_msat"]) == ("Tea", 21_000)
    assert granted["budget"]["renewal"] == "weekly"
    assert balance["balance"] == CREDIT_MSAT
    assert set(info["methods"]) == set(METHODS)


async def test_the_address_comes_with_get_info(app: NodeClient, cli: Cli, account: str) -> None:
    """NWC-08: "To discover the lightning address, the client MAY look for the presence of the
    `lud16` parameter in the response to a `get_info` request"."""
    link = str((await app.call("link"))["link"])

    await cli.json(
        *("connection", "link", link, "--account", account, "--yes"),
        *("--lud16", "alice@example.org"),
    )
    found: JsonObject = await app.call("granted", timeout_s=TIMEOUT_S)
    info = await app.request("get_info")

    assert info["lud16"] == "alice@example.org"
    assert found.get("lud16", "alice@example.org") == "alice@example.org"
