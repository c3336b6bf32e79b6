"""Relays that users name: looked at before every connect, and connected to at an address that
was looked at; those of the operator are exempt."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from nwc_service.keyring import Keyring
from nwc_service.outbound import Outbound
from nwc_service.ratelimit import Rate
from nwc_service.relay import relay as relay_module
from nwc_service.relay.pool import RelayPool
from nwc_service.relays import Relays
from tests.relay.raw import CLIENT, NOW, OTHER_WALLET, WALLET, a_request, a_response
from tests.relay.scripted import until
from tests.relay.small_relay import SmallRelay, small_relay
from tests.relay.test_announcer import a_connection

NAME = "relay.of-a-user.invalid"


class NameServer:
    """Of an attacker: it answers each time what it likes."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        if len(self.addresses) > 1:
            return [self.addresses.pop(0)]
        return self.addresses[:1]


@asynccontextmanager
async def service(
    names: NameServer, *, allowed_hosts: frozenset[str] = frozenset()
) -> AsyncIterator[RelayPool]:
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.add(asyncio.create_task(work))

    pool = RelayPool(
        client_of=lambda _: CLIENT.public_key,
        keypair_of=lambda _: WALLET,
        on_request=lambda event, _: True,
        spawn=spawn,
        clock=lambda: NOW,
        rate=Rate(per_s=100, burst=100),
        on_open=lambda _: None,
        outbound=Outbound(allowed_hosts=allowed_hosts, resolve=names),
    )
    try:
        yield pool
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def named(relay: SmallRelay) -> str:
    return relay.url.replace("127.0.0.1", NAME)


async def test_a_user_s_relay_on_a_private_address_is_never_connected_to() -> None:
    names = NameServer("127.0.0.1")
    with capture_logs() as logs:
        async with small_relay(SmallRelay()) as relay, service(names) as pool:
            pool.listen([WALLET.public_key], relays=[named(relay)], are_checked=True)
            await until(lambda: names.asked >= 1)
            await asyncio.sleep(0.1)
            connected = bool(relay.subscribers), relay.accepts

    assert connected == (False, [])
    assert {log["error"] for log in logs if log["event"] == "relay.unreachable"} == {
        "ForbiddenAddress"
    }


async def test_the_operator_s_relay_on_a_private_address_is() -> None:
    async with small_relay(SmallRelay()) as relay, service(NameServer()) as pool:
        pool.listen([WALLET.public_key], relays=[relay.url])
        await until(lambda: pool.is_subscribed)

        assert len(relay.listeners()) == 1


async def test_a_relay_that_the_operator_names_too_is_his() -> None:
    async with small_relay(SmallRelay()) as relay, service(NameServer("10.0.0.1")) as pool:
        pool.listen([OTHER_WALLET.public_key], relays=[relay.url], are_checked=True)
        pool.listen([WALLET.public_key], relays=[relay.url])
        pool.listen([OTHER_WALLET.public_key], relays=[relay.url], are_checked=True)
        await until(lambda: pool.is_subscribed)

        assert len(relay.listeners()) == 1


async def test_a_user_s_relay_on_a_host_that_the_operator_allows_is_used_by_its_name() -> None:
    """The name need not exist for the socket: the address is the one that was looked at."""
    names = NameServer("127.0.0.1")
    async with (
        small_relay(SmallRelay(document={})) as relay,
        service(names, allowed_hosts=frozenset({NAME})) as pool,
    ):
        pool.listen([WALLET.public_key], relays=[named(relay)], are_checked=True)
        await until(lambda: pool.is_subscribed)
        [subscriber] = relay.listeners()
        assert subscriber.socket.request is not None
        host = subscriber.socket.request.headers["Host"]

        relay_saw = await pool.publish(a_response(a_request()), relays=[named(relay)])

    assert host == named(relay).removeprefix("ws://")
    assert relay_saw
    assert names.asked == 1


async def test_a_name_that_changes_its_mind_is_looked_at_again_before_each_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: a public address first, and a private one for the reconnect."""
    names = NameServer("93.184.216.34", "127.0.0.1")
    went_to: list[str | None] = []

    async def no_limits(url: str, *, address: str | None) -> None:
        went_to.append(address)
        raise OSError("the test connects to nobody outside")

    monkeypatch.setattr(relay_module, "fetch_limits", no_limits)
    with capture_logs() as logs:
        async with small_relay(SmallRelay()) as relay, service(names) as pool:
            pool.listen([WALLET.public_key], relays=[named(relay)], are_checked=True)
            await until(lambda: names.asked >= 2)
            await asyncio.sleep(0.05)
            connected = bool(relay.subscribers)

    assert went_to == ["93.184.216.34"]
    assert not connected
    assert [log["error"] for log in logs if log["event"] == "relay.unreachable"] == [
        "OSError",
        "ForbiddenAddress",
    ]


async def test_no_redirect_is_followed() -> None:
    """It could lead past the address that was looked at."""
    async with (
        small_relay(SmallRelay()) as target,
        small_relay(SmallRelay(leads_to=target)) as relay,
    ):
        names = NameServer("127.0.0.1")
        with capture_logs() as logs:
            async with service(names, allowed_hosts=frozenset({NAME})) as pool:
                pool.listen([WALLET.public_key], relays=[named(relay)], are_checked=True)
                await until(lambda: names.asked >= 2)

    assert target.refusals == []
    assert not target.was_joined
    assert {log["error"] for log in logs if log["event"] == "relay.unreachable"} == {
        "InvalidStatus"
    }


OWN = "ws://10.0.0.7:7777"
PUBLIC = "wss://relay.of-the-operator.example"


@pytest.mark.parametrize(
    ("url", "is_own"), [(OWN, True), (PUBLIC, True), ("wss://other.example", False)]
)
async def test_a_relay_that_the_operator_configured_is_his_under_either_name(
    url: str, is_own: bool
) -> None:
    """ "Relays that the operator configured are exempt": a user names the one that the URIs
    show, and the service may reach it by another."""
    names = NameServer("10.0.0.7")
    connection = a_connection(Keyring(b"\x55" * 32), "c", relays=(url,), relays_by_user=True)
    async with service(names) as pool:
        relays = Relays(pool)
        relays.own(urls=[OWN], advertised_urls=[PUBLIC])
        relays.listen(connection)

        assert pool._relays[url].is_checked is not is_own
        assert relays.is_own(url) is is_own
