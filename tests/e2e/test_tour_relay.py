"""The tour over relays that others wrote and run: one, one that restarts, and a dead one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nostr_sdk import LocalRelay, LocalRelayBuilder, NostrSdkError

from nwc_service.relay.pool import PUBLISH_TIMEOUT_S
from tests.backends.lnbits_server import free_port
from tests.clients.local_relay import RATE_LIMIT, local_relay
from tests.clients.raw import ConnectionUri, raw_client
from tests.demo.parties import ALBY, NOSTR_SDK, Clients, clients
from tests.demo.sandbox import SandboxOutside
from tests.demo.tour import Tour
from tests.e2e.conftest import AssertedStory, Flavour, every_library, join, until
from tests.e2e.service import ServiceProcess, service_process

RECONNECT_S = 60


@every_library
async def test_the_tour_over_an_independent_relay(library: str, tmp_path: Path) -> None:
    async with local_relay() as relay, running(tmp_path, relay) as (service, opened):
        tour = await a_tour(service, opened, library=library)

        await tour.take()

        assert (await service.audit())["problems"] == []


@every_library
async def test_the_tour_goes_on_after_the_relay_restarts(library: str, tmp_path: Path) -> None:
    port = free_port()
    relay = await relay_on(port)
    async with running(tmp_path, f"ws://127.0.0.1:{port}") as (service, opened):
        tour = await a_tour(service, opened, library=library)
        await tour.meet()

        relay.shutdown()
        await until(lambda: is_ready(service, wanted=False))
        relay = await relay_on(port)
        await until(lambda: is_ready(service), timeout_s=RECONNECT_S)
        await tour.pay()
        await tour.look_back()
        # Nothing is left on the new relay of what clients read first, unless it is told again.
        newcomer = await a_tour(service, opened, library=library)
        await newcomer.take()

        assert (await service.audit())["problems"] == []
    relay.shutdown()


@pytest.mark.attack("A27")
@pytest.mark.real
@pytest.mark.parametrize("order", ["dead-relay-first", "dead-relay-last"])
async def test_the_tour_with_one_relay_of_two(order: str, tmp_path: Path) -> None:
    async with local_relay() as live:
        relays = [a_dead_relay(), live]
        if order == "dead-relay-last":
            relays.reverse()
        async with running(tmp_path, *relays) as (service, opened):
            tour = await a_tour(service, opened, library=ALBY)

            await tour.take()

            assert (await service.audit())["problems"] == []


async def test_the_tour_with_one_relay_of_two_where_apps_know_the_live_one(
    tmp_path: Path,
) -> None:
    """nostr-sdk sends nothing unless all relays of its URI are there."""
    async with (
        local_relay() as live,
        running(tmp_path, a_dead_relay(), live, public_url=live) as (service, opened),
    ):
        tour = await a_tour(service, opened, library=NOSTR_SDK)

        await tour.take()

        assert (await service.audit())["problems"] == []


async def test_nobody_waits_for_a_dead_relay(tmp_path: Path) -> None:
    async with (
        local_relay() as live,
        running(tmp_path, a_dead_relay(), live) as (service, _),
    ):
        await service.create_account("main")
        started_at = time.monotonic()

        await service.connect("main")

        assert time.monotonic() - started_at < PUBLISH_TIMEOUT_S / 2


async def test_connections_advertise_the_configured_relays_or_the_public_name(
    tmp_path: Path,
) -> None:
    public = "wss://relay.example/nwc"
    async with local_relay() as relay:
        async with running(tmp_path / "a", relay) as (service, _):
            await service.create_account("main")
            plain = ConnectionUri.parse(await service.connect("main"))
        async with running(tmp_path / "b", relay, public_url=public) as (service, _):
            await service.create_account("main")
            renamed = ConnectionUri.parse(await service.connect("main"))

    assert plain.relays == (relay,)
    assert renamed.relays == (public,)


async def test_a_relay_that_wants_authentication_for_all_is_served(tmp_path: Path) -> None:
    async with (
        local_relay(auth=True) as relay,
        running(tmp_path, relay) as (service, _),
    ):
        await service.create_account("main", credit_msat=7_000)
        answers = []
        # The second key has to be authenticated on a socket that is open already.
        for _ in range(2):
            uri = await service.connect("main")
            await until(lambda: is_ready(service))
            async with raw_client(uri) as app:
                answers.append((app.info is not None, await app.request("get_balance")))

    assert [(announced, answer.result) for announced, answer in answers] == [
        (True, {"balance": 7_000})
    ] * 2


@asynccontextmanager
async def running(
    directory: Path, *relays: str, public_url: str = ""
) -> AsyncIterator[tuple[ServiceProcess, Clients]]:
    variables = {"NWC_RELAYS": ",".join(relays), "NWC_PUBLIC_RELAY_URL": public_url}
    async with (
        service_process(directory / "data", **variables) as service,
        clients() as opened,
    ):
        await until(lambda: is_ready(service))
        yield service, opened


def a_dead_relay() -> str:
    return f"ws://127.0.0.1:{free_port()}"


async def a_tour(service: ServiceProcess, opened: Clients, *, library: str) -> Tour:
    alice, bob = [await join(service, opened, flavour=Flavour(library)) for _ in range(2)]
    return Tour(alice, bob, outside=SandboxOutside(service), story=AssertedStory())


async def is_ready(service: ServiceProcess, *, wanted: bool = True) -> bool:
    answer = await service.admin.get("/readyz")
    return bool(answer.json()["relays"]) is wanted


async def relay_on(port: int) -> LocalRelay:
    """What it had stored is gone with its predecessor."""
    for _ in range(50):
        relay = LocalRelayBuilder().addr("127.0.0.1").port(port).rate_limit(RATE_LIMIT).build()
        try:
            await relay.run()
        except NostrSdkError:
            await asyncio.sleep(0.1)
        else:
            return relay
    raise AssertionError(f"port {port} is not free")
