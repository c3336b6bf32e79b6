"""The service and its clients over khatru, a relay that others wrote, with NIP-42 required."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from nwc_service.nip47 import kinds
from tests.clients.client import ClientError, NwcClient
from tests.clients.raw import ConnectionUri, RawClient, raw_client
from tests.demo.parties import clients
from tests.e2e.conftest import every_library, node_rows, until
from tests.e2e.service import ServiceProcess, service_process
from tests.relay.test_connection_since import Cable
from tests.relays.khatru import KhatruRelay, khatru_relay

pytestmark = pytest.mark.real

CREDIT_MSAT = 10_000_000
AMOUNT_MSAT = 50_000
FEE_MSAT = 1_000  # the sandbox's lowest
RECONNECT_S = 30


@asynccontextmanager
async def serving(relay: KhatruRelay, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    async with service_process(tmp_path / "data", NWC_RELAYS=relay.url) as service:
        await until(is_ready(service))
        yield service
        assert (await service.audit())["problems"] == []


def is_ready(service: ServiceProcess, *, wanted: bool = True) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        answer = await service.admin.get("/readyz")
        return bool(answer.json()["relays"]) is wanted

    return ask


async def an_app(service: ServiceProcess, name: str = "alice") -> str:
    """The connection URI of an app whose account has CREDIT_MSAT."""
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    return await service.connect(name)


async def pays_once(service: ServiceProcess, client: RawClient) -> None:
    invoice = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
    request = client.build_request("pay_invoice", {"invoice": invoice["invoice"]})
    await client.send_event(request)

    answer = await client.response_to(request.id)

    assert (answer.error_code, client.responses_to(request.id)) == (None, [answer])
    assert await node_rows(service, invoice["payment_hash"]) == [
        ("outgoing", AMOUNT_MSAT, FEE_MSAT, "settled")
    ]


async def test_a_payment_over_a_relay_that_wants_nip_42_of_all(tmp_path: Path) -> None:
    """protocol.md 3.2: "AUTH challenge may arrive at connect ... Reply kind 22242 ...; wait for
    OK; then resend the REQ/EVENT." """
    async with khatru_relay() as relay, serving(relay, tmp_path) as service:
        uri = await an_app(service)
        async with raw_client(uri) as client:
            await pays_once(service, client)

            assert client.info is not None


async def test_a_relay_is_reached_past_its_proxy_and_authenticated_to_by_its_own_name(
    tmp_path: Path,
) -> None:
    """`NWC_RELAYS` is the short way and `NWC_PUBLIC_RELAY_URL` what the relay calls itself: it
    refuses who names another."""
    async with (
        khatru_relay() as relay,
        Cable(relay.url) as way,
        service_process(
            tmp_path / "data", NWC_RELAYS=way.url, NWC_PUBLIC_RELAY_URL=relay.url
        ) as service,
    ):
        uri = await an_app(service)
        await until(is_ready(service))
        async with raw_client(uri) as client:
            await pays_once(service, client)

        assert ConnectionUri.parse(uri).relays == (relay.url,)


async def test_the_relay_shows_a_request_to_nobody_but_its_receiver(tmp_path: Path) -> None:
    """The relay itself: what the other tests go through is really guarded."""
    async with khatru_relay() as relay, serving(relay, tmp_path) as service:
        victim = ConnectionUri.parse(await an_app(service))
        async with raw_client(await an_app(service, "eve")) as eve:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await eve.link.subscribe(
                        "spy", {"kinds": [kinds.REQUEST], "#p": [victim.wallet_pubkey]}
                    )

            assert any(
                message[:2] == ["CLOSED", "spy"] and str(message[2]).startswith("restricted:")
                for message in eve.link.said
            )


async def test_several_service_keys_are_authenticated_on_one_socket(tmp_path: Path) -> None:
    """protocol.md 3.2: "with unique service keys per connection, AUTH **each** service pubkey
    (relays like strfry can restrict reads to involved `authors`/`#p`)." """
    async with khatru_relay() as relay, serving(relay, tmp_path) as service:
        uris = [await an_app(service, f"user-{number}") for number in range(4)]
        async with AsyncExitStack() as stack:
            apps = [await stack.enter_async_context(raw_client(uri)) for uri in uris]
            await until(lambda: is_heard_by_the_service(apps[-1]))
            for client in apps:
                await pays_once(service, client)


async def is_heard_by_the_service(client: RawClient) -> bool:
    """khatru tells a sender whether somebody listened."""
    return (await client.send_event(client.build_request("get_balance"))).accepted


async def test_a_new_connection_is_served_at_once_and_leaves_those_before_it_served(
    tmp_path: Path,
) -> None:
    """Its key has to be authenticated before a subscription names it: a relay that refuses the
    subscription cuts off whoever is in it, and keeps no request for later."""
    async with (
        khatru_relay() as relay,
        serving(relay, tmp_path) as service,
        AsyncExitStack() as stack,
    ):
        apps: list[RawClient] = []
        for number in range(5):
            uri = await an_app(service, f"user-{number}")
            apps.append(await stack.enter_async_context(raw_client(uri)))
            for client in apps:
                answer = await client.request("get_balance", timeout_s=4)
                assert answer.result == {"balance": CREDIT_MSAT}


async def test_after_a_restart_of_the_relay_all_is_as_before(tmp_path: Path) -> None:
    """protocol.md 3.6: "Reconnect: ..., re-AUTH, re-REQ, republish 13194 (on connect, ...)"."""
    async with khatru_relay() as relay, serving(relay, tmp_path) as service:
        uri = await an_app(service)
        async with raw_client(uri) as client:
            await pays_once(service, client)

        await relay.stop()
        await until(is_ready(service, wanted=False))
        await relay.start()
        await until(is_ready(service), timeout_s=RECONNECT_S)

        async with raw_client(uri) as client:
            await pays_once(service, client)

            async def is_announced() -> bool:
                await client.link.subscribe("again", *client.filters())
                return client.info is not None

            await until(is_announced)


async def test_an_answer_that_nobody_listens_for_is_kept_until_somebody_does(
    tmp_path: Path,
) -> None:
    """protocol.md 3.1: "`mute:` ... = nobody was subscribed to your ephemeral event: the client
    was not listening. Retry with backoff for a short window; not fatal." """
    async with khatru_relay() as relay, serving(relay, tmp_path) as service:
        uri = await an_app(service)
        invoice = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
        async with raw_client(uri) as client:
            request = client.build_request("pay_invoice", {"invoice": invoice["invoice"]})
            await client.link.send_text('["CLOSE","nwc"]')
            await asyncio.sleep(0.2)  # khatru handles frames side by side
            await client.send_event(request)
            await until(lambda: is_paid(service, invoice["payment_hash"]))

        async with raw_client(uri) as client:
            answer = await client.response_to(request.id)

            assert answer.error_code is None
            assert len(client.responses_to(request.id)) == 1


async def is_paid(service: ServiceProcess, payment_hash: str) -> bool:
    return [row[3] for row in await node_rows(service, payment_hash)] == ["settled"]


@asynccontextmanager
async def an_app_of(library: str, uri: str) -> AsyncIterator[NwcClient]:
    async with clients() as opened:
        yield await opened.open(uri, library=library)


@every_library
async def test_apps_pay_where_only_the_service_has_to_authenticate(
    library: str, tmp_path: Path
) -> None:
    async with (
        khatru_relay(auth="requests") as relay,
        serving(relay, tmp_path) as service,
        an_app_of(library, await an_app(service)) as app,
    ):
        heard = await app.notifications()
        invoice = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT)

        await app.pay_invoice(invoice["invoice"])

        assert await app.balance() == CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT
        async with asyncio.timeout(5):
            assert (await heard.get())["notification_type"] == "payment_sent"


@every_library
async def test_apps_without_nip_42_are_kept_out_where_they_need_it(
    library: str, tmp_path: Path
) -> None:
    """Neither library authenticates. When this fails one has learned it: docs/clients.md."""
    async with (
        khatru_relay() as relay,
        serving(relay, tmp_path) as service,
        an_app_of(library, await an_app(service)) as app,
    ):
        with pytest.raises(ClientError, match=r"auth-required|publish"):
            await app.balance()
