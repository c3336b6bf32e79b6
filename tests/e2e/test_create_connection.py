"""create_connection against the real process: kills around its commit, and what revoke ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_bytes, token_hex
from urllib.parse import quote

import pytest
import pytest_asyncio

from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from tests.clients.client import JsonObject
from tests.clients.raw import ConnectionUri, RawClient, raw_client
from tests.e2e.conftest import rows
from tests.e2e.money import send_without_waiting
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREDIT_MSAT = 50_000
PLACES = ("before_claim", "in_create_connection", "after_create_connection", "after_publish")


@dataclass(frozen=True, slots=True)
class Maker:
    connection_id: str
    uri: str

    def uri_of(self, app: bytes, wallet_pubkey: str) -> str:
        relay = quote(ConnectionUri.parse(self.uri).relays[0], safe="")
        return f"nostr+walletconnect://{wallet_pubkey}?relay={relay}&secret={app.hex()}"


@pytest_asyncio.fixture(loop_scope="module")
async def maker(service: ServiceProcess) -> Maker:
    name = f"account-{token_hex(4)}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    created = await service.call(
        "POST", "connections", account=name, app="a test", scopes="read,create_connection"
    )
    return Maker(created["connection_id"], created["uri"])


def wish(app: bytes, **asked: object) -> JsonObject:
    pubkey = Keypair(app).public_key
    return {"pubkey": pubkey, "name": "tea", "request_methods": ["get_balance"]} | asked


@asynccontextmanager
async def child(maker: Maker, **asked: object) -> AsyncIterator[RawClient]:
    """The app of a connection that the maker has just made."""
    app = token_bytes(32)
    async with raw_client(maker.uri) as client:
        made = await client.request("create_connection", wish(app, **asked))
    async with raw_client(maker.uri_of(app, made.result["wallet_pubkey"])) as opened:
        yield opened


async def test_the_new_app_is_announced_and_served(maker: Maker) -> None:
    async with child(maker) as client:
        balance = await client.request("get_balance")

    assert balance.result == {"balance": CREDIT_MSAT}
    assert client.info is not None
    assert client.info.content == "get_balance get_info"


async def test_the_operator_sees_who_made_it_and_its_account(
    maker: Maker, service: ServiceProcess
) -> None:
    async with child(maker, isolated=True) as client:
        balance = await client.request("get_balance")

    listed = (await service.call("GET", "connections"))["items"]
    [made] = [each for each in listed if each["parent_id"] == maker.connection_id]
    assert balance.result == {"balance": 0}
    assert made["account"].startswith("app-")
    assert (await service.account(made["account"]))["available_msat"] == 0


async def test_revoking_the_maker_ends_what_it_made_and_takes_its_info_event_back(
    maker: Maker, service: ServiceProcess
) -> None:
    async with child(maker) as client:
        await service.call("POST", f"connections/{maker.connection_id}/revoke")
        refused = await client.request("get_balance")
        uri = client.uri

    listed = (await service.call("GET", "connections"))["items"]
    [made] = [each for each in listed if each["parent_id"] == maker.connection_id]
    assert refused.error_code == "UNAUTHORIZED"
    assert made["revoked"] is True
    async with raw_client(
        f"nostr+walletconnect://{uri.wallet_pubkey}?relay={uri.relays[0]}&secret={uri.secret}"
    ) as later:
        assert later.info is None


@pytest.mark.parametrize("place", PLACES)
async def test_killed_anywhere_it_is_made_once_answered_once_and_announced(
    place: str, maker: Maker, service: ServiceProcess
) -> None:
    app = token_bytes(32)
    await service.stop()
    await service.start(NWC_FAILPOINT=place)
    async with raw_client(maker.uri) as client:
        request = client.build_request("create_connection", wish(app))
        await send_without_waiting(client, request)
        await service.wait()

    await service.start()
    async with raw_client(maker.uri) as client:
        await client.send_event(request)
        answer = await client.response_to(request.id)
    async with raw_client(maker.uri_of(app, answer.result["wallet_pubkey"])) as opened:
        balance = await opened.request("get_balance")

    assert children_of(service, request) == 1
    assert balance.result == {"balance": CREDIT_MSAT}
    assert opened.info is not None
    assert opened.info.content == "get_balance get_info"


def children_of(service: ServiceProcess, request: Event) -> int:
    return len(
        rows(service, "SELECT connection_id FROM connection WHERE request_id = ?", request.id)
    )
