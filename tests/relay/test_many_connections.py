"""The whole service with 500 connections over a relay that allows little."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nwc_service.app import Service, running
from nwc_service.config import load_settings
from nwc_service.wishes import Wish
from tests.clients.raw import raw_client
from tests.relay.scripted import until
from tests.relay.small_relay import SmallRelay, small_relay

CONNECTIONS = 500
AT_ONCE = 50
MAX_MESSAGE_BYTES = 16 * 1024


def a_strict_relay() -> SmallRelay:
    """As Alby's relay is: one subscription per socket, and frames of 16 KB."""
    limitation = {"max_subscriptions": 1, "max_message_length": MAX_MESSAGE_BYTES}
    return SmallRelay(
        document={"name": "strict", "limitation": limitation},
        max_subscriptions=1,
        max_message_bytes=MAX_MESSAGE_BYTES,
    )


@asynccontextmanager
async def service_on(
    relay: SmallRelay, directory: Path, **variables: str
) -> AsyncIterator[Service]:
    settings = load_settings(
        data_dir=directory, environment={"NWC_RELAYS": relay.url, **variables}
    )
    async with running(settings) as service:
        await until(lambda: service.relays.is_ready)
        yield service


async def connect_500(service: Service) -> list[str]:
    await service.accounts.create("main")
    await service.accounts.credit("main", 7_000, reason="a test")
    uris: list[str] = []
    for _ in range(CONNECTIONS // AT_ONCE):
        created = await asyncio.gather(
            *(
                service.connections.create(Wish(account="main", app="app"))
                for _ in range(AT_ONCE)
            )
        )
        uris += [each.uri for each in created if each.uri is not None]
    return uris


async def balances(uris: Sequence[str], relay: SmallRelay) -> list[object]:
    found: list[object] = []
    for uri in uris:
        async with raw_client(uri, relay=relay.url) as app:
            assert app.info is not None
            found.append((await app.request("get_balance")).result)
    return found


def keys_listened_for(relay: SmallRelay) -> list[int]:
    """On each socket of the service."""
    return sorted(
        len(wanted.tags["p"])
        for subscriber in relay.listeners()
        for filters in subscriber.subscriptions.values()
        for wanted in filters
    )


async def test_500_connections_over_one_subscription_per_socket_and_16_kb_messages(
    tmp_path: Path,
) -> None:
    """ "500 connections are served over a relay that allows one subscription per socket and
    16 KB messages, by more sockets": each socket has its share, and those of each are
    answered."""
    with capture_logs():
        async with small_relay(a_strict_relay()) as relay:
            async with service_on(relay, tmp_path) as service:
                uris = await connect_500(service)
                await until(lambda: sum(keys_listened_for(relay)) == CONNECTIONS)
                live = keys_listened_for(relay)
                by_then = await balances(uris[::83], relay)
            async with service_on(relay, tmp_path):
                await until(lambda: sum(keys_listened_for(relay)) == CONNECTIONS)
                again = keys_listened_for(relay)
                after_a_restart = await balances([uris[0], uris[300], uris[-1]], relay)

    assert by_then == [{"balance": 7_000}] * 7
    assert after_a_restart == [{"balance": 7_000}] * 3
    assert live == again
    assert len(live) == 3
    assert relay.refusals == []
    assert max(live) * 67 < relay.longest_frame <= MAX_MESSAGE_BYTES


async def test_500_connections_over_one_socket_by_a_filter_on_the_kind_alone(
    tmp_path: Path,
) -> None:
    """ "... or by a filter on the kind alone where the operator allows it"."""
    config = tmp_path / "nwc.toml"
    with capture_logs():
        async with small_relay(a_strict_relay()) as relay:
            config.write_text(
                f'[relay]\nurls = ["{relay.url}"]\nkind_only_urls = ["{relay.url}/"]\n'
            )
            settings = load_settings(file=config, data_dir=tmp_path / "data", environment={})
            async with running(settings) as service:
                await until(lambda: service.relays.is_ready)
                uris = await connect_500(service)
                subscriptions = [each.subscriptions for each in relay.listeners()]
                answers = await balances([uris[0], uris[250], uris[-1]], relay)

    assert answers == [{"balance": 7_000}] * 3
    [[[wanted]]] = [list(each.values()) for each in subscriptions]
    assert wanted.kinds == frozenset({23194})
    assert not wanted.tags
    assert relay.refusals == []


@pytest.mark.parametrize("count", [1, 3])
async def test_a_relay_that_says_nothing_of_its_limits_gets_one_socket(
    tmp_path: Path, count: int
) -> None:
    """protocol.md 3.3: "share ONE subscription for all connections of a relay, never one REQ
    per connection", and 3.1: "do not set `limit`". NIP-01: one websocket per relay."""
    with capture_logs():
        async with small_relay(SmallRelay()) as relay, service_on(relay, tmp_path) as service:
            await service.accounts.create("main")
            for _ in range(count):
                await service.connections.create(Wish(account="main", app="app"))
            await until(lambda: keys_listened_for(relay) == [count])
            [listener] = relay.listeners()
            [[wanted]] = listener.subscriptions.values()

    assert wanted.to_dict().keys() == {"kinds", "#p", "since"}
    assert set(relay.accepts) == {"application/nostr+json"}
