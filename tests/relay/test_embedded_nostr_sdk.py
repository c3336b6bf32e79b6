"""The embedded relay with nostr-sdk, a client that is not ours."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import nostr_sdk
import pytest

from nwc_service.nostr.event import Event
from tests.relay.raw import (
    STRANGER,
    WALLET,
    a_response,
    an_info,
    relay_of_its_own,
)

CLIENT_KEYS = nostr_sdk.Keys.parse("1".rjust(64, "0"))  # the same as raw.CLIENT
STRANGER_KEYS = nostr_sdk.Keys.parse("3".rjust(64, "0"))
TIMEOUT_S = 5


@asynccontextmanager
async def sdk_client(
    url: str, *, keys: nostr_sdk.Keys = CLIENT_KEYS
) -> AsyncIterator[nostr_sdk.Client]:
    # Where it calls the signer. It holds for the process, so it must not outlive the loop.
    nostr_sdk.uniffi_set_event_loop(asyncio.get_running_loop())
    authenticator = nostr_sdk.SignerAuthenticator(keys)
    client = nostr_sdk.ClientBuilder().authenticator(authenticator).build()
    await client.add_relay(nostr_sdk.RelayUrl.parse(url))
    await client.try_connect(timedelta(seconds=TIMEOUT_S))
    try:
        yield client
    finally:
        await client.shutdown()
        nostr_sdk.uniffi_set_event_loop(None)


def sdk_request(keys: nostr_sdk.Keys = CLIENT_KEYS) -> nostr_sdk.Event:
    return (
        nostr_sdk.EventBuilder(nostr_sdk.Kind(23194), "?")
        .tags([nostr_sdk.Tag.parse(["p", WALLET.public_key])])
        .finalize(keys)
    )


def responses() -> nostr_sdk.ReqTarget:
    wanted = nostr_sdk.Filter().kind(nostr_sdk.Kind(23195)).pubkey(CLIENT_KEYS.public_key())
    return nostr_sdk.ReqTarget.auto([wanted])


async def next_event(stream: nostr_sdk.ClientNotificationStream) -> nostr_sdk.Event:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            item = await stream.next()
            if isinstance(item, nostr_sdk.ClientNotification.NEW_EVENT):
                return item.event


@pytest.mark.parametrize("require_auth", [False, True])
async def test_it_publishes_a_request_and_gets_the_response(
    require_auth: bool, requests: list[Event]
) -> None:
    async with (
        relay_of_its_own(requests.append, require_auth=require_auth, now=time.time) as relay,
        sdk_client(relay.url) as client,
    ):
        stream = client.notifications()
        await client.subscribe(responses())
        sent = await client.send_event(sdk_request())
        response = a_response(requests[0], created_at=int(time.time()))
        relay.publish(response)
        received = await next_event(stream)

    assert sent.failed == {}
    assert [request.id for request in requests] == [sent.id.to_hex()]
    assert received.as_json() == response.to_json()


async def test_it_finds_the_info_event() -> None:
    info = an_info(created_at=int(time.time()))
    wanted = nostr_sdk.Filter().kind(nostr_sdk.Kind(13194)).limit(1)
    author = nostr_sdk.PublicKey.parse(WALLET.public_key)

    async with relay_of_its_own(now=time.time) as relay, sdk_client(relay.url) as client:
        relay.publish(info)
        found = await client.fetch_events(
            nostr_sdk.ReqTarget.auto([wanted.author(author)]), timedelta(seconds=TIMEOUT_S)
        )

    assert [event.as_json() for event in found] == [info.to_json()]


async def test_a_stranger_is_told_why_not(requests: list[Event]) -> None:
    async with (
        relay_of_its_own(requests.append, now=time.time) as relay,
        sdk_client(relay.url, keys=STRANGER_KEYS) as client,
    ):
        sent = await client.send_event(sdk_request(STRANGER_KEYS))

    assert STRANGER_KEYS.public_key().to_hex() == STRANGER.public_key
    assert [reason.startswith("restricted:") for reason in sent.failed.values()] == [True]
    assert requests == []
