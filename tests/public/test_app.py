"""What the world gets over HTTP, as LUD-06, LUD-16, LUD-21 and NIP-05 have it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from nwc_service.public.app import MAX_QUERY_BYTES
from nwc_service.public.server import open_public
from nwc_service.wallet.bolt11 import decode
from tests.doubles.scripted_backend import ScriptedBackend, hash_of
from tests.flow.parties import Clock
from tests.flow.paying import AMOUNT_MSAT, DOMAIN, NAME, Office, open_office
from tests.flow.world import World, open_world

PUBKEY = "63" * 32


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    path, backend = tmp_path / "nwc.sqlite", ScriptedBackend()
    async with open_world(path, backend=backend, clock=Clock()) as opened:
        await opened.account("alice")
        yield opened


@pytest.fixture
async def office(world: World) -> Office:
    opened = open_office(world, host_burst=5, host_rate_per_s=1)
    await opened.addresses.add(NAME, account="alice", nostr_pubkey=PUBKEY)
    return opened


@pytest.fixture
async def url(office: Office) -> AsyncIterator[str]:
    proxies = ("127.0.0.1",)
    async with open_public(
        office.payers, host="127.0.0.1", port=0, trusted_proxies=proxies
    ) as public:
        yield public.url


@pytest.fixture
async def payer(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def ask(payer: httpx.AsyncClient, **query: str) -> httpx.Response:
    return await payer.get(f"/lnurlp/{NAME}/callback", params=query)


@pytest.mark.attack("A19")
async def test_a_payer_is_led_from_the_address_to_an_invoice_to_its_proof(
    payer: httpx.AsyncClient, world: World
) -> None:
    terms = (await payer.get(f"/.well-known/lnurlp/{NAME}")).json()
    called = (await ask(payer, amount=str(AMOUNT_MSAT))).json()
    path = called["verify"].removeprefix(f"https://{DOMAIN}")
    before = (await payer.get(path)).json()
    invoice = decode(called["pr"])
    report = world.backend.receive(invoice.payment_hash)
    await world.crediter.credit(world.backend.name, report)

    after = (await payer.get(path)).json()

    assert terms["callback"] == f"https://{DOMAIN}/lnurlp/{NAME}/callback"
    assert (terms["tag"], terms["minSendable"]) == ("payRequest", 1000)
    assert invoice.amount_msat == AMOUNT_MSAT
    assert (before["status"], before["settled"], before["preimage"]) == ("OK", False, None)
    assert (after["settled"], after["pr"]) == (True, called["pr"])
    assert hash_of(after["preimage"]) == invoice.payment_hash


async def test_a_name_is_found_whatever_its_case(payer: httpx.AsyncClient) -> None:
    answer = await payer.get("/.well-known/lnurlp/ALICE")

    assert answer.json()["tag"] == "payRequest"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/.well-known/lnurlp/nobody", 404),
        ("/lnurlp/nobody/callback?amount=21000", 404),
        (f"/lnurlp/{NAME}/callback", 400),
        (f"/lnurlp/{NAME}/callback?amount=1", 400),
        (f"/lnurlp/{NAME}/callback?amount=21000&amount=22000", 400),
        (f"/lnurlp/{NAME}/callback?amount=21000&nostr=%7B%7D", 400),
        (f"/lnurlp/{NAME}/callback?amount=21000&comment={'x' * MAX_QUERY_BYTES}", 414),
        ("/lnurlp/verify/00/00", 404),
        ("/.well-known/lnurlp/%ff%00", 404),
        ("/api/v1/accounts", 404),
    ],
)
async def test_what_is_wrong_is_told_in_lnurls_words_to_any_page(
    payer: httpx.AsyncClient, world: World, path: str, status: int
) -> None:
    answer = await payer.get(path)

    assert answer.json()["status"] == "ERROR"
    assert answer.json()["reason"]
    assert answer.status_code == status
    assert await world.count("invoice") == 0


async def test_every_answer_may_be_read_by_a_web_page(payer: httpx.AsyncClient) -> None:
    paths = (f"/.well-known/lnurlp/{NAME}", "/.well-known/nostr.json?name=alice", "/nothing")

    for path in paths:
        answer = await payer.get(path)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "server" not in answer.headers


async def test_a_nostr_name_is_told_by_nip05(payer: httpx.AsyncClient) -> None:
    found = (await payer.get("/.well-known/nostr.json", params={"name": NAME})).json()
    nobody = (await payer.get("/.well-known/nostr.json", params={"name": "nobody"})).json()

    assert (found, nobody) == ({"names": {NAME: PUBKEY}}, {"names": {}})


@pytest.mark.attack("A28")
async def test_a_host_that_asks_too_often_is_told_to_wait(payer: httpx.AsyncClient) -> None:
    first = [await payer.get(f"/.well-known/lnurlp/{NAME}") for _ in range(5)]

    answer = await ask(payer, amount=str(AMOUNT_MSAT))

    assert {each.status_code for each in first} == {200}
    assert (answer.status_code, answer.json()["status"]) == (429, "ERROR")


async def test_behind_a_trusted_proxy_each_host_counts_for_itself(
    payer: httpx.AsyncClient,
) -> None:
    path = f"/.well-known/lnurlp/{NAME}"
    for _ in range(6):
        flooded = await payer.get(path, headers={"X-Forwarded-For": "192.0.2.1"})

    other = await payer.get(path, headers={"X-Forwarded-For": "192.0.2.2"})

    assert (flooded.status_code, other.status_code) == (429, 200)


async def test_who_is_no_trusted_proxy_speaks_for_himself_only(office: Office) -> None:
    path = f"/.well-known/lnurlp/{NAME}"
    async with (
        open_public(office.payers, host="127.0.0.1", port=0, trusted_proxies=()) as public,
        httpx.AsyncClient(base_url=public.url, trust_env=False) as client,
    ):
        answers = [
            await client.get(path, headers={"X-Forwarded-For": f"192.0.2.{number}"})
            for number in range(6)
        ]

    assert [each.status_code for each in answers] == [200] * 5 + [429]
