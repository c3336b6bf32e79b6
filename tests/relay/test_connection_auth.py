"""NIP-42 from the client's side, against relays that do as they are told."""

import asyncio

import pytest

from nwc_service.nostr.filter import Filter
from nwc_service.nostr.keys import Keypair
from nwc_service.relay.connection import PublishResult
from tests.relay.raw import OTHER_WALLET, WALLET, a_request, a_response
from tests.relay.scripted import Peer, Service, scripted_relay, until

RESPONSE = a_response(a_request())


async def test_every_key_is_authenticated_and_all_is_subscribed_again() -> None:
    authors: set[object] = set()
    challenges: set[object] = set()

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        await peer.subscribed()
        for _ in range(2):
            verb, event = await peer.receive()
            assert verb == "AUTH"
            assert isinstance(event, dict)
            assert event["kind"] == 22242
            authors.add(event["pubkey"])
            challenges.add(dict(event["tags"])["challenge"])
            await peer.send("OK", event["id"], True, "")
        await peer.subscribed()
        await peer.send("EVENT", "requests", {"id": "seen only by the authenticated"})

    service = Service()
    service.keys = [WALLET, OTHER_WALLET]
    async with scripted_relay(play) as url, service.connected_to(url):
        event = await service.next_event()

    assert authors == {WALLET.public_key, OTHER_WALLET.public_key}
    assert challenges == {"prove it"}
    assert event == {"id": "seen only by the authenticated"}


@pytest.mark.parametrize("public_url", [None, "wss://relay.example.com"])
async def test_the_relay_is_called_what_it_calls_itself(public_url: str | None) -> None:
    """NIP-42: the `relay` tag is "the relay URL", which the relay compares with its own; past a
    proxy it is reached by another."""
    named: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "tags": tags}]:
                    named.append(dict(tags)["relay"])
                    await peer.send("OK", event_id, True, "")

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url, public_url=public_url):
        await until(lambda: bool(named))

    assert named == [public_url or url]


async def test_a_new_key_is_authenticated_with_the_same_challenge() -> None:
    authors: list[object] = []
    subscribed: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "pubkey": author}]:
                    authors.append(author)
                    await peer.send("OK", event_id, True, "")
                case ["REQ", name, _]:
                    subscribed.append(name)

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: len(subscribed) == 2)
        service.keys = [WALLET, OTHER_WALLET]
        await connection.refresh()
        await until(lambda: len(authors) == 2)
        await connection.publish(RESPONSE, timeout_s=0.05)

    assert authors == [WALLET.public_key, OTHER_WALLET.public_key]
    assert len(subscribed) == 2, "all over again only for the first"


async def test_a_new_challenge_is_answered_with_every_key_again() -> None:
    challenges: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "first")
        while len(challenges) < 2:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "tags": [_, ["challenge", challenge]]}]:
                    challenges.append(challenge)
                    await peer.send("OK", event_id, True, "")
                    await peer.send("AUTH", "second")

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url):
        await until(lambda: len(challenges) == 2)

    assert challenges == ["first", "second"]


@pytest.mark.parametrize("are_new", [True, False])
async def test_challenges_without_end_are_answered_later_and_later(are_new: bool) -> None:
    answered: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "first")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id}]:
                    answered.append(event_id)
                    await peer.send("OK", event_id, True, "")
                    await peer.send("AUTH", f"after {len(answered)}" if are_new else "first")

    service = Service()
    service.keys = [WALLET, OTHER_WALLET]
    async with scripted_relay(play) as url, service.connected_to(url):
        await until(lambda: len(service.waits_s) >= 6)
        answered_by_then = len(answered)

    assert service.waits_s[:6] == [1, 2, 4, 8, 16, 32]
    assert answered_by_then <= 7 * len(service.keys)


async def test_a_challenge_after_a_stable_minute_is_answered_soon() -> None:
    challenges: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "0")
        while len(challenges) < 4:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "tags": [_, ["challenge", challenge]]}]:
                    challenges.append(challenge)
                    await peer.send("OK", event_id, True, "")
                    service.clock_s += 60
                    await peer.send("AUTH", str(len(challenges)))

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url):
        await until(lambda: len(challenges) == 4)

    assert service.waits_s[:3] == [1, 1, 1]


async def test_auth_required_is_obeyed_and_the_event_sent_once_more() -> None:
    verbs: list[object] = []

    async def play(peer: Peer) -> None:
        while True:
            message = await peer.receive()
            verbs.append(message[0])
            match message:
                case ["EVENT", {"id": event_id}] if "AUTH" not in verbs:
                    await peer.send("AUTH", "prove it")
                    await peer.send("OK", event_id, False, "auth-required: who are you?")
                case ["EVENT" | "AUTH", {"id": event_id}]:
                    await peer.send("OK", event_id, True, "")

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        got = await connection.publish(RESPONSE, timeout_s=5)

    assert got == PublishResult(True, "")
    assert verbs == ["REQ", "EVENT", "AUTH", "REQ", "EVENT"]


async def test_a_relay_that_goes_instead_of_authenticating_is_lost_at_once() -> None:
    async def play(peer: Peer) -> None:
        await peer.subscribed()
        await peer.receive()
        await peer.send("AUTH", "prove it")
        await peer.send("OK", RESPONSE.id, False, "auth-required: who are you?")
        await peer.receive()
        peer.socket.transport.abort()

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        async with asyncio.timeout(2):
            got = await connection.publish(RESPONSE, timeout_s=60)

    assert got == PublishResult(False, "error: the connection was lost")


@pytest.mark.parametrize(
    "keys", [pytest.param([], id="no-key"), pytest.param([WALLET], id="key-refused")]
)
async def test_who_cannot_authenticate_gets_the_refusal(keys: list[Keypair]) -> None:
    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id}]:
                    await peer.send("OK", event_id, False, "restricted: not you")
                case ["EVENT", {"id": event_id}]:
                    await peer.send("OK", event_id, False, "auth-required: who are you?")

    service = Service()
    service.keys = keys
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        got = await connection.publish(RESPONSE, timeout_s=5)

    assert got == PublishResult(False, "auth-required: who are you?")


class SleepsForEver(Service):
    async def sleep(self, wait_s: float) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("reason", ["auth-required: who are you?", "restricted: not you"])
async def test_a_subscription_closed_before_authentication_is_opened_by_it(reason: str) -> None:
    async def play(peer: Peer) -> None:
        name = (await peer.receive())[1]
        await peer.send("AUTH", "prove it")
        await peer.send("CLOSED", name, reason)
        _, auth = await peer.receive()
        assert isinstance(auth, dict)
        await peer.send("OK", auth["id"], True, "")
        await peer.subscribed()

    service = SleepsForEver()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: connection.is_subscribed)
        is_subscribed = connection.is_subscribed

    assert is_subscribed


def asks_for(*wallets: Keypair) -> dict[str, list[Filter]]:
    keys = frozenset(wallet.public_key for wallet in wallets)
    return {"requests": [Filter(kinds=frozenset({23194}), tags={"p": keys})]}


def keys_of(message: list[object]) -> list[str]:
    assert isinstance(message[2], dict)
    keys = message[2]["#p"]
    assert isinstance(keys, list)
    return keys


@pytest.mark.parametrize(
    ("reason", "is_given_up"),
    [("restricted: not you", True), ("error: come again", False)],
)
async def test_restricted_after_auth_gives_up_for_that_key_alone(
    reason: str, is_given_up: bool
) -> None:
    """protocol.md 3.2: "`restricted:` after AUTH = give up for that key"."""
    asked: list[list[str]] = []
    refused: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "pubkey": author}]:
                    is_one = author == WALLET.public_key
                    refused.extend([author] * is_one)
                    await peer.send("OK", event_id, not is_one, reason if is_one else "")
                case ["REQ", name, _] as message:
                    asked.append(keys_of(message))
                    await peer.send("EOSE", name)

    service = Service()
    service.keys = [WALLET, OTHER_WALLET]
    service.wanted = dict(asks_for(WALLET, OTHER_WALLET))
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: len(asked) == 2 and connection.is_subscribed)
        await connection.refresh()
        await connection.publish(RESPONSE, timeout_s=0.05)

    left = {OTHER_WALLET.public_key} | ({WALLET.public_key} if not is_given_up else set())
    assert set(asked[-1]) == left
    assert refused == [WALLET.public_key]


async def test_with_every_key_refused_it_is_not_subscribed() -> None:
    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id}]:
                    await peer.send("OK", event_id, False, "restricted: not you")
                case ["CLOSE", *_]:
                    closed.set()

    closed = asyncio.Event()
    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await closed.wait()
        is_subscribed = connection.is_subscribed

    assert not is_subscribed


async def test_a_new_key_is_in_no_subscription_before_it_is_authenticated() -> None:
    """Or the relay would close the subscription that the others share with it."""
    seen: list[tuple[object, list[str]]] = []

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "pubkey": author}]:
                    seen.append(("AUTH", [author]))
                    await peer.send("OK", event_id, True, "")
                case ["REQ", name, _] as message:
                    seen.append(("REQ", sorted(keys_of(message))))
                    await peer.send("EOSE", name)

    service = Service()
    service.keys = [WALLET]
    service.wanted = dict(asks_for(WALLET))
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: len(seen) == 3 and connection.is_subscribed)
        service.keys = [WALLET, OTHER_WALLET]
        service.wanted = dict(asks_for(WALLET, OTHER_WALLET))
        await connection.refresh()
        await until(lambda: len(seen) == 5)

    both = sorted([WALLET.public_key, OTHER_WALLET.public_key])
    assert seen[3:] == [("AUTH", [OTHER_WALLET.public_key]), ("REQ", both)]


async def test_an_event_of_a_new_key_waits_for_that_key() -> None:
    authenticated: set[object] = set()

    async def play(peer: Peer) -> None:
        await peer.send("AUTH", "prove it")
        while True:
            match await peer.receive():
                case ["AUTH", {"id": event_id, "pubkey": author}]:
                    if author == OTHER_WALLET.public_key:
                        await asyncio.sleep(0.1)
                    authenticated.add(author)
                    await peer.send("OK", event_id, True, "")
                case ["EVENT", {"id": event_id, "pubkey": author}]:
                    known = author in authenticated
                    await peer.send("OK", event_id, known, "" if known else "auth-required: ?")

    service = Service()
    service.keys = [WALLET]
    async with scripted_relay(play) as url, service.connected_to(url) as connection:
        await until(lambda: WALLET.public_key in authenticated)
        service.keys = [WALLET, OTHER_WALLET]
        await connection.refresh()
        got = await connection.publish(a_response(a_request(), OTHER_WALLET), timeout_s=5)

    assert got.accepted
