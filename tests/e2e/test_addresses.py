"""Lightning addresses of the real service: a wallet's library pays, a real relay gets the zap's
receipt, and the command line gives and takes names."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from websockets.asyncio.client import connect

from nwc_service.nip47 import uri
from nwc_service.nostr.event import Event, is_authentic, parse_event
from nwc_service.wallet import bolt11
from tests.clients.local_relay import local_relay
from tests.clients.node import NodeClient, node_driver
from tests.clients.raw import raw_client
from tests.demo.sandbox import SandboxOutside
from tests.e2e.conftest import Cli, proves, until
from tests.e2e.service import ServiceProcess, service_process
from tests.flow.paying import zap_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOMAIN = "example.org"
SATOSHI = 21
AMOUNT_MSAT = 21_000
PUBKEY = "63" * 32
CONFIG = f"""
[public]
domain = "{DOMAIN}"
host_burst = 10_000
[outbound]
allowed_hosts = ["127.0.0.1"]
"""


@pytest.fixture(scope="module")
def config() -> str:
    return CONFIG


def public_url(service: ServiceProcess) -> str:
    """Where the service said that it listens, last."""
    lines = [json.loads(line) for line in service.log_text().splitlines() if line[:1] == "{"]
    urls = [line["url"] for line in lines if line["event"] == "public.started"]
    return str(urls[-1])


@asynccontextmanager
async def wallet_of(service: ServiceProcess, name: str) -> AsyncIterator[NodeClient]:
    """@getalby/lightning-tools, for whoever wants to pay this name."""
    async with node_driver("lightning-address") as driver:
        yield NodeClient(driver, f"{name}@{DOMAIN}", {"base_url": public_url(service)})


async def an_address(service: ServiceProcess, *, name: str = "") -> str:
    """Of a new account of the same name."""
    name = name or f"a{token_hex(4)}"
    await service.create_account(name)
    await service.call("POST", "addresses", name=name, account=name, nostr_pubkey=PUBKEY)
    return name


async def available_msat(service: ServiceProcess, account: str) -> int:
    return int((await service.account(account))["available_msat"])


async def terms_of(service: ServiceProcess, name: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"{public_url(service)}/.well-known/lnurlp/{name}")


@pytest.mark.real
async def test_a_wallet_pays_an_address_and_sees_that_it_has(
    service: ServiceProcess, outside: SandboxOutside
) -> None:
    name = await an_address(service)
    said = {"name": "Bob", "email": "bob@example.org"}
    async with wallet_of(service, name) as wallet:
        asked = await wallet.call(
            "requestInvoice", {"satoshi": SATOSHI, "comment": "hello", "payerdata": said}
        )
        paid_before = bool(await wallet.call("isPaid"))
        await outside.pay(asked["invoice"])

        async def is_paid() -> bool:
            return bool(await wallet.call("isPaid"))

        await until(is_paid)

    terms = (await terms_of(service, name)).json()
    invoice = bolt11.decode(asked["invoice"])
    hashed = terms["metadata"] + json.dumps(said, separators=(",", ":"))
    assert not paid_before
    assert invoice.amount_msat == AMOUNT_MSAT
    assert invoice.description_hash == sha256(hashed.encode()).hexdigest()
    assert await available_msat(service, name) == AMOUNT_MSAT


@pytest.mark.real
async def test_a_zap_has_its_receipt_on_the_relay_that_was_asked_for(
    service: ServiceProcess, outside: SandboxOutside
) -> None:
    name = await an_address(service)
    async with (
        local_relay() as relay,
        receipts(relay) as receipt,
        wallet_of(service, name) as wallet,
    ):
        asked = await wallet.call(
            "zapInvoice", {"satoshi": SATOSHI, "comment": "zap", "relays": [relay]}
        )
        await outside.pay(asked["invoice"])
        found = await anext(receipt)

    request = found.tag_value("description") or ""
    invoice = bolt11.decode(asked["invoice"])
    assert is_authentic(found)
    assert found.pubkey == (await terms_of(service, name)).json()["nostrPubkey"]
    assert found.tag_value("bolt11") == asked["invoice"]
    assert (found.tag_value("p"), found.tag_value("P")) == (PUBKEY, asked["payer"])
    assert sha256(request.encode()).hexdigest() == invoice.description_hash
    assert proves(found.tag_value("preimage") or "", invoice.payment_hash)


@asynccontextmanager
async def receipts(relay: str) -> AsyncIterator[AsyncIterator[Event]]:
    """What comes to a relay of kind 9735 from now on."""
    async with connect(relay, proxy=None) as socket:
        await socket.send(json.dumps(["REQ", "zaps", {"kinds": [9735]}]))
        while json.loads(await socket.recv())[0] != "EOSE":
            pass

        async def read() -> AsyncIterator[Event]:
            async for text in socket:
                message = json.loads(text)
                if message[0] == "EVENT":
                    yield parse_event(message[2])

        yield read()


async def test_an_app_is_told_the_address_of_its_account(service: ServiceProcess) -> None:
    name = await an_address(service)
    connected = await service.connect(name)
    async with raw_client(connected) as app:
        told = (await app.request("get_info")).result
        await service.call("POST", f"addresses/{name}/remove")
        told_later = (await app.request("get_info")).result

    assert uri.parse(connected).lud16 == f"{name}@{DOMAIN}"
    assert told["lud16"] == f"{name}@{DOMAIN}"
    assert "lud16" not in told_later
    assert (await terms_of(service, name)).json()["status"] == "ERROR"


@pytest.mark.parametrize("place", ["in_credit", "after_credit"])
async def test_a_zap_that_was_paid_when_the_power_failed_is_credited_and_receipted(
    tmp_path: Path, place: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    async with (
        local_relay() as relay,
        receipts(relay) as receipt,
        service_process(tmp_path / "data", NWC_CONFIG=str(file)) as service,
    ):
        name = await an_address(service)
        await service.stop()
        await service.start(NWC_FAILPOINT=place)
        first_url = public_url(service)
        invoice = await asked_for(service, name, nostr=zap_request(relay).to_json())
        with suppress(httpx.TransportError):
            await SandboxOutside(service).pay(invoice)
        await service.wait()
        await service.start()

        found = await anext(receipt)

        assert found.tag_value("bolt11") == invoice
        assert await available_msat(service, name) == AMOUNT_MSAT
        assert public_url(service) == first_url
        assert (await service.audit())["problems"] == []


async def asked_for(service: ServiceProcess, name: str, **query: str) -> str:
    url = f"{public_url(service)}/lnurlp/{name}/callback"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url, params={"amount": str(AMOUNT_MSAT), **query})
    return str(answer.json()["pr"])


# --- the command line


async def test_addresses_are_given_listed_and_taken_away(
    service: ServiceProcess, cli: Cli
) -> None:
    account = f"account-{token_hex(4)}"
    await service.create_account(account)
    name = f"b{token_hex(4)}"

    added = await cli.json("address", "add", name, "--account", account)
    listed = await cli.json("address", "list", "--account", account)
    removed = await cli.json("address", "remove", name, "--reason", "a test")

    assert (added["name"], added["account"], added["nostr_pubkey"]) == (name, account, None)
    assert listed == [added]
    assert removed["name"] == name
    assert await cli.json("address", "list", "--account", account) == []


async def test_what_cannot_be_given_is_refused_in_one_line(
    service: ServiceProcess, cli: Cli
) -> None:
    name = await an_address(service)
    refusals = {
        ("add", name, "--account", name): "already",
        ("add", "Not A Name", "--account", name): "not of a-z",
        ("add", "postmaster", "--account", name): "reserved",
        ("add", "free", "--account", "nobody"): "no account",
        ("add", "free", "--account", name, "--nostr-pubkey", "x"): "nostr_pubkey",
        ("remove", "nobody"): "no address",
    }

    for arguments, says in refusals.items():
        assert says in await cli.failure("address", *arguments)


async def test_without_a_domain_there_are_no_addresses(tmp_path: Path) -> None:
    async with service_process(tmp_path / "data") as service:
        await service.create_account("alice")

        says = await Cli(service.data_dir).failure("address", "add", "a", "--account", "alice")

        assert "[public] domain" in says
        assert "public.started" not in service.log_text()
