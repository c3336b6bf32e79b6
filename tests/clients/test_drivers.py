"""The client libraries reach a wallet through a real relay, and tell what it answered."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import is_authentic
from tests.clients.alby import alby_driver
from tests.clients.client import LIBRARY, NO_ANSWER, ClientError, JsonObject, NwcClient
from tests.clients.install import JS_DIR
from tests.clients.local_relay import local_relay
from tests.clients.nostr_sdk_client import nostr_sdk_client
from tests.clients.raw import ConnectionUri, RawClient, raw_client
from tests.clients.responder import Responder, Script, Seen, responder

TRANSACTION: JsonObject = {
    "type": "incoming",
    "state": "settled",
    "invoice": "lnbcrt1",
    "preimage": "aa" * 32,
    "payment_hash": "bb" * 32,
    "amount": 21_000,
    "fees_paid": 0,
    "created_at": 1_700_000_000,
    "expires_at": 1_700_003_600,
    "settled_at": 1_700_000_001,
    "metadata": {"comment": "tea", "numbers": [1, -2, 1.5, None, True]},
}
INFO = {"alias": "script", "methods": ["get_info", "get_budget"], "notifications": []}
REFUSAL = ("INSUFFICIENT_BALANCE", "it would need [more]")
SCRIPT: Script = {
    "get_info": INFO,
    "get_balance": {"balance": 21_000},
    "make_invoice": {"invoice": "lnbcrt1", "amount": 21_000},
    "lookup_invoice": TRANSACTION,
    "list_transactions": {"transactions": [TRANSACTION]},
    "pay_invoice": ClientError(*REFUSAL),
}

POINT = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

Library = Callable[[str], AbstractAsyncContextManager[NwcClient]]


@pytest.fixture
async def wallet() -> AsyncIterator[Responder]:
    async with local_relay() as relay, responder(relay, SCRIPT) as wallet:
        yield wallet


@asynccontextmanager
async def alby_client(uri: str) -> AsyncIterator[NwcClient]:
    async with alby_driver() as driver:
        yield driver.client(uri)


every_library = pytest.mark.parametrize(
    "library",
    [
        pytest.param(nostr_sdk_client, id="nostr-sdk"),
        pytest.param(alby_client, id="alby", marks=pytest.mark.real),
    ],
)


@every_library
async def test_a_library_tells_what_the_wallet_answers(
    library: Library, wallet: Responder
) -> None:
    async with library(wallet.uri) as client:
        info = await client.info()
        balance_msat = await client.balance()
        invoice = await client.make_invoice(21_000)
        found = await client.lookup_invoice(payment_hash="bb" * 32)
        listed = await client.list_transactions()

    assert info == INFO
    assert balance_msat == 21_000
    assert invoice == SCRIPT["make_invoice"]
    assert found == TRANSACTION
    assert listed == [TRANSACTION]


@every_library
@pytest.mark.parametrize(
    ("method", "params"),
    [
        pytest.param("get_info", {}, id="get_info"),
        pytest.param(
            "make_invoice",
            {"amount": 21_000, "description": "tea", "expiry": 60},
            id="make_invoice",
        ),
        pytest.param("lookup_invoice", {"invoice": "lnbcrt1"}, id="lookup_invoice"),
        pytest.param(
            "list_transactions",
            {
                "from": 1,
                "until": 2_000_000_000,
                "limit": 5,
                "offset": 1,
                "unpaid": True,
                "type": "outgoing",
            },
            id="list_transactions",
        ),
    ],
)
async def test_a_library_asks_in_the_words_of_nip47(
    library: Library, method: str, params: JsonObject, wallet: Responder
) -> None:
    async with library(wallet.uri) as client:
        await client.request(method, params)

    assert wallet.seen == [Seen(method, params, "nip44_v2")]


@every_library
async def test_a_refusal_keeps_its_code_and_message(
    library: Library, wallet: Responder
) -> None:
    async with library(wallet.uri) as client:
        with pytest.raises(ClientError) as refused:
            await client.pay_invoice("lnbcrt1", amount_msat=5_000)

    assert (refused.value.code, refused.value.message) == REFUSAL
    assert [request.params for request in wallet.seen] == [
        {"invoice": "lnbcrt1", "amount": 5_000}
    ]


@every_library
@pytest.mark.parametrize("encryption", ["nip44_v2 nip04", "nip04"])
async def test_a_library_hears_a_notification_once(library: Library, encryption: str) -> None:
    async with (
        local_relay() as relay,
        responder(relay, SCRIPT, encryption=encryption) as wallet,
        library(wallet.uri) as client,
    ):
        heard = await client.notifications()
        await wallet.notify("payment_received", TRANSACTION)
        first = await asyncio.wait_for(heard.get(), 10)
        await client.balance()  # a repeat would have come before this answer

    assert first == {"notification_type": "payment_received", "notification": TRANSACTION}
    assert heard.empty()


@every_library
@pytest.mark.parametrize(
    ("announced", "used"),
    [
        pytest.param("nip44_v2 nip04", "nip44_v2", id="nip44-where-there-is-a-choice"),
        pytest.param("nip04", "nip04", id="nip04-where-there-is-none"),
    ],
)
async def test_a_library_encrypts_as_the_info_event_says(
    library: Library, announced: str, used: str
) -> None:
    async with (
        local_relay() as relay,
        responder(relay, SCRIPT, encryption=announced) as wallet,
        library(wallet.uri) as client,
    ):
        balance_msat = await client.balance()

    assert balance_msat == 21_000
    assert wallet.seen == [Seen("get_balance", {}, used)]


async def test_nostr_sdk_waits_no_longer_than_it_was_told(wallet: Responder) -> None:
    nobody = new_uri(relay=ConnectionUri.parse(wallet.uri).relays[0])

    async with nostr_sdk_client(nobody, timeout_s=0.5) as client:
        with pytest.raises(ClientError) as failed:
            await client.balance()

    assert failed.value.code == NO_ANSWER


@pytest.mark.real
async def test_what_the_alby_sdk_refuses_itself_is_no_answer_of_the_wallet(
    wallet: Responder,
) -> None:
    async with alby_client(wallet.uri) as client:
        with pytest.raises(ClientError, match="No amount specified") as failed:
            await client.make_invoice(0)

    assert failed.value.code == LIBRARY
    assert wallet.seen == []


@pytest.mark.real
async def test_one_driver_serves_several_connections_at_a_time(wallet: Responder) -> None:
    relay = ConnectionUri.parse(wallet.uri).relays[0]

    async with (
        responder(relay, {"get_balance": {"balance": 7}}) as other_wallet,
        alby_driver() as driver,
    ):
        balance_msat, other_balance_msat = await asyncio.gather(
            driver.client(wallet.uri).balance(), driver.client(other_wallet.uri).balance()
        )

    assert (balance_msat, other_balance_msat) == (21_000, 7)


@pytest.mark.parametrize("encryption", ["nip44_v2", "nip04"])
async def test_the_raw_client_speaks_either_encryption(
    encryption: str, wallet: Responder
) -> None:
    async with raw_client(wallet.uri) as client:
        response = await client.request("get_balance", encryption=encryption)

    assert response.encryption == encryption
    assert response.payload == {
        "result_type": "get_balance",
        "error": None,
        "result": {"balance": 21_000},
    }
    assert response.event.kind == kinds.RESPONSE


async def test_the_raw_client_reads_refusals_notifications_and_the_info_event(
    wallet: Responder,
) -> None:
    async with raw_client(wallet.uri) as client:
        refused = await client.request("pay_invoice", {"invoice": "lnbcrt1"})
        await wallet.notify("payment_received", TRANSACTION)
        heard = [await asyncio.wait_for(client.notifications.get(), 10) for _ in range(2)]

    assert refused.error_code == REFUSAL[0]
    assert {(one.event.kind, one.encryption) for one in heard} == {
        (kinds.NOTIFICATION, "nip44_v2"),
        (kinds.NOTIFICATION_NIP04, "nip04"),
    }
    assert all(one.payload["notification"] == TRANSACTION for one in heard)
    assert client.info is not None
    assert client.info.kind == kinds.INFO


async def test_the_raw_client_keeps_every_distinct_response(wallet: Responder) -> None:
    async with raw_client(wallet.uri) as client:
        request = client.build_request("get_balance")
        await client.send_event(request)
        first = await client.response_to(request.id)
        wallet.requests.put_nowait(request)  # a wallet that answers one request twice
        await wallet.link.publish(first.event)  # a relay that delivers one response twice
        await client.request("get_info")  # answered after both

    assert len(client.responses_to(request.id)) == 2
    assert client.responses_to(request.id)[0] == first


async def test_the_raw_client_hears_of_silence(wallet: Responder) -> None:
    async with raw_client(new_uri(relay=ConnectionUri.parse(wallet.uri).relays[0])) as client:
        with pytest.raises(TimeoutError):
            await client.request("get_balance", timeout_s=0.2)


async def test_the_raw_client_tells_what_the_relay_said_to_a_forged_event(
    wallet: Responder,
) -> None:
    async with raw_client(wallet.uri) as client:
        honest = client.build_request("get_balance")
        forged = replace(honest, sig=client.build_request("get_balance", created_at=1).sig)
        published = await client.send_event(forged)

    assert not published.accepted
    assert wallet.seen == []


async def test_the_raw_client_authenticates_where_the_relay_wants_it() -> None:
    async with (
        local_relay(auth=True) as relay,
        responder(relay, SCRIPT) as wallet,
        raw_client(wallet.uri) as client,
    ):
        response = await client.request("get_balance")

    assert response.result == {"balance": 21_000}


def test_a_raw_request_carries_what_it_was_told() -> None:
    client = RawClient(new_uri(relay="ws://relay.test"))

    event = client.build_request("get_info", encryption="rot13", created_at=7, expiration=8)

    assert event.kind == kinds.REQUEST
    assert event.created_at == 7
    assert event.tags == (
        ("p", client.uri.wallet_pubkey),
        ("encryption", "rot13"),
        ("expiration", "8"),
    )
    assert is_authentic(event)


def test_a_raw_event_may_hold_any_plaintext() -> None:
    client = RawClient(new_uri(relay="ws://relay.test"))

    event = client.build_event("{not json", encryption="nip04", tags=[("p", "x")])

    assert client.conversation.decrypt(event.content) == "{not json"
    assert event.tags == (("p", "x"),)


def test_a_connection_uri_may_name_several_relays_and_hides_its_secret() -> None:
    text = new_uri(relay="ws://one.test") + "&relay=wss%3A%2F%2Ftwo.test%2Fpath"

    uri = ConnectionUri.parse(text)

    assert uri.relays == ("ws://one.test", "wss://two.test/path")
    assert uri.secret in text
    assert uri.secret not in repr(uri)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://example.test/?relay=ws://x&secret=y", id="another-scheme"),
        pytest.param(f"nostr+walletconnect://{'ab' * 31}?relay=r&secret=s", id="short-key"),
        pytest.param(f"nostr+walletconnect://{POINT}?relay=r", id="no-secret"),
        pytest.param(f"nostr+walletconnect://{POINT}?secret=s", id="no-relay"),
    ],
)
def test_what_is_no_connection_uri_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"connection URI|public key"):
        ConnectionUri.parse(text)


def test_every_npm_package_is_locked_by_hash_and_no_registry_is_named() -> None:
    text = (JS_DIR / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}

    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
    assert "registry" not in text


def new_uri(*, relay: str) -> str:
    """Of a wallet that nobody runs."""
    return Responder(relay, {}, encryption="nip44_v2").uri
