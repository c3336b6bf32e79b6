"""One misbehaviour of a relay at a time, and what the service makes of it.

Each test names the behaviour; the outcome is always one of: the request is answered exactly
once, nothing is executed twice, and the other relay serves on.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.relay import connection as relay_connection
from nwc_service.relay import delivery, pool
from tests.doubles.hostile_relay import OK_PREFIXES, HostileRelay, Mischief, forgeries
from tests.e2e.conftest import rows
from tests.relay.hostility import (
    QUIET_S,
    App,
    Scene,
    a_scene,
    in_this_process,
    soon,
    until,
)
from tests.relay.raw import STRANGER, an_event

__all__ = ["soon"]

pytestmark = in_this_process


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
async def app(scene: Scene) -> App:
    app = await scene.app()
    await scene.until_subscribed()
    return app


async def serves(app: App, relay: HostileRelay) -> None:
    """This relay alone carries a question and its answer."""
    question = app.question()
    await relay.publish(question)
    await app.is_answered(question, by=relay)


# --- what comes in


async def test_an_honest_relay_is_served(scene: Scene, app: App) -> None:
    """The double itself: what the others change, works."""
    payment = await app.payment()
    await scene.bad.publish(payment.request)
    await app.is_paid_once(payment)
    await app.has_spent(payments=1)
    assert all(relay.took_answer_to(payment.request) for relay in scene.relays)


@pytest.mark.attack("A27")
async def test_duplicates_are_one_request(scene: Scene, app: App) -> None:
    """protocol.md 3.6: "the same event arrives once per relay within ms; a losing copy must not
    publish an "in progress" error"."""
    scene.bad.does.duplicates = 20
    payment = await app.payment()
    await asyncio.gather(*(relay.publish(payment.request) for relay in scene.relays))
    await app.is_paid_once(payment)
    await app.has_spent(payments=1)


@pytest.mark.attack("A26")
async def test_replays_get_the_stored_bytes_and_are_never_executed_again(
    scene: Scene, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """protocol.md 3.6: "on redelivery of a completed id re-publish the stored response event
    (identical id) or stay silent, never re-execute"."""
    monkeypatch.setattr(pool, "ECHO_S", 0.2)
    scene.bad.does.replays_after_s = (0.1, 0.5, 0.9, 1.3)
    payment = await app.payment()
    invoice = app.client.build_request("make_invoice", {"amount": 1_000})
    for request in (payment.request, invoice):
        await scene.bad.publish(request)
    await app.is_paid_once(payment)
    await asyncio.sleep(1.5)
    await app.is_paid_once(payment)
    await app.has_spent(payments=1)
    assert (len(scene.answers_to(invoice)), invoices(scene)) == (1, 1)


async def test_reordered_requests_are_all_answered(scene: Scene, app: App) -> None:
    scene.bad.does.holds_back = 9
    payments = [await app.payment() for _ in range(10)]
    for payment in payments:
        await scene.bad.publish(payment.request)
    for payment in payments:
        await app.is_paid_once(payment)
    await app.has_spent(payments=10)


async def test_what_one_relay_withholds_the_other_brings(scene: Scene, app: App) -> None:
    payments = [await app.payment() for _ in range(6)]
    kept_back = {payment.request.id for payment in payments[::2]}
    scene.bad.does.withholds = lambda event: event.id in kept_back
    scene.good.does.withholds = lambda event: event.id not in kept_back
    for payment in payments:
        for relay in scene.relays:
            await relay.publish(payment.request)
    for payment in payments:
        await app.is_paid_once(payment)
    await app.has_spent(payments=6)


async def test_a_relay_that_ignores_filters_makes_nothing_of_what_was_not_asked_for(
    scene: Scene, app: App
) -> None:
    """protocol.md 3.1: "re-check kind, `p`, author, since, signature locally"."""
    scene.bad.does.ignores_filters = True
    other = await scene.app()
    await scene.until_subscribed()
    theirs = (await other.payment()).request
    mine = await app.payment()
    strange = [
        an_event(STRANGER, kinds.REQUEST, [("p", app.client.uri.wallet_pubkey)]),
        an_event(app.client.keypair, kinds.RESPONSE, [("p", app.client.uri.wallet_pubkey)]),
        an_event(app.client.keypair, kinds.REQUEST, [("p", other.client.uri.wallet_pubkey)]),
        an_event(app.client.keypair, 1),
        an_event(app.client.keypair, kinds.REQUEST),
    ]
    for event in (*strange, mine.request, theirs):
        await scene.bad.publish(event)
    await app.is_paid_once(mine)
    await other.is_answered(theirs)
    assert [scene.answers_to(event) for event in strange] == [{}] * len(strange)


@pytest.mark.attack("A28")
async def test_forged_ids_and_signatures_burn_nothing(scene: Scene, app: App) -> None:
    """money-safety.md A28: nothing is remembered before the signature holds."""
    scene.bad.does.forges = True
    payments = [await app.payment() for _ in range(5)]
    for payment in payments:
        await scene.bad.publish(payment.request)
    for payment in payments:
        await app.is_paid_once(payment)
        others = [one for one in forgeries(payment.request) if one.id != payment.request.id]
        assert [scene.answers_to(one) for one in others] == [{}] * len(others)
    await app.has_spent(payments=5)


GARBAGE: tuple[str | bytes, ...] = (
    "",
    "null",
    "[]",
    "{",
    "\x00",
    b"\xff\xfe",
    '["EVENT"]',
    '["EVENT","nwc0",null]',
    '["EVENT","nwc0",{}]',
    '["EVENT","nwc0",{"kind":23194,"content":"","pubkey":7,"tags":[["p"]]}]',
    '["EVENT","nwc0",{"kind":23194,"content":"","pubkey":"","tags":{"p":1}}]',
    '["OK","' + "0" * 64 + '",true,""]',
    '["OK",null,"yes"]',
    '["EOSE",{}]',
    '["EOSE","nobody"]',
    '["CLOSED"]',
    '["CLOSED","nobody","error: what"]',
    '["AUTH",null]',
    '["NOTICE"]',
    '["NOTICE","' + "n" * 100_000 + '"]',
    "[" * 100_000,
    '["EVENT","nwc0",' + "[" * 500 + "]" * 500 + "]",
    '["COUNT","nwc0",{"count":1e400}]',
)


async def test_garbage_costs_nothing_on_the_same_socket(scene: Scene, app: App) -> None:
    scene.bad.does.garbage = GARBAGE
    sockets = [guest.socket for guest in scene.bad.guests]
    payment = await app.payment()
    await scene.bad.publish(payment.request)
    await app.is_paid_once(payment)
    assert [guest.socket for guest in scene.bad.guests] == sockets


async def test_after_an_oversize_frame_the_relay_is_connected_anew(
    scene: Scene, app: App
) -> None:
    """The frame is not read; what the relay kept meanwhile comes with the next subscription."""
    [before] = [guest.socket for guest in scene.bad.guests]
    await scene.bad.send('["NOTICE","' + "x" * 3 * relay_connection.MAX_FRAME_BYTES + '"]')
    payment = await app.payment()
    await scene.bad.publish(payment.request)
    await app.is_paid_once(payment)
    await serves(app, scene.good)
    await serves(app, scene.bad)
    assert before not in [guest.socket for guest in scene.bad.guests]


# --- the subscription


@pytest.mark.parametrize("prefix", ["error", "restricted", "auth-required", "rate-limited", ""])
async def test_closed_at_any_time_is_subscribed_again(
    prefix: str, scene: Scene, app: App
) -> None:
    """protocol.md 3.1: "`CLOSED` can arrive at any time, also for an established subscription
    ("idle", shutdown, error): must re-REQ with backoff"."""
    payment = await app.payment()
    await scene.bad.close_subscriptions(f"{prefix}: enough" if prefix else "")
    await scene.bad.publish(payment.request)  # kept by the relay until somebody asks
    await app.is_paid_once(payment)
    await serves(app, scene.bad)


async def test_a_relay_that_closes_every_subscription_is_asked_ever_more_rarely(
    scene: Scene, app: App
) -> None:
    scene.bad.does.closes = "error: shutting down"
    before = scene.bad.said["REQ"]
    await scene.bad.close_subscriptions("error: shutting down")
    await asyncio.sleep(2)
    # After 0.05 s, and doubled up to 0.5 s: about seven in two seconds.
    assert 0 < scene.bad.said["REQ"] - before < 20
    await serves(app, scene.good)


async def test_without_eose_requests_are_served_all_the_same(tmp_path: Path) -> None:
    async with a_scene(tmp_path / "data", relays=1) as scene:
        scene.bad.does.sends_no_eose = True
        scene.bad.drop()
        await until(lambda: not scene.bad.is_subscribed)
        app = await scene.app()
        await scene.until_subscribed()
        payment = await app.payment()
        await scene.bad.publish(payment.request)
        await app.is_paid_once(payment)


# --- authentication


async def test_challenges_at_any_time_are_answered_and_cost_no_request(
    scene: Scene, app: App
) -> None:
    """protocol.md 3.2: "Challenge valid per connection, newest wins"."""
    payments = [await app.payment() for _ in range(5)]
    for payment in payments:
        await scene.bad.challenge()
        await scene.bad.publish(payment.request)
        await scene.bad.challenge()
    for payment in payments:
        await app.is_paid_once(payment)
    await until(lambda: scene.bad.said["AUTH"] > 0)
    await serves(app, scene.bad)


async def test_challenges_without_end_get_few_signatures(scene: Scene, app: App) -> None:
    """Each message, the answer to a challenge too, brings a new challenge."""
    scene.bad.does.challenges = True
    for _ in range(200):
        await scene.bad.challenge()
    await serves(app, scene.good)
    await asyncio.sleep(1)
    assert scene.bad.said["AUTH"] < 20


# --- what goes out


@pytest.mark.parametrize("prefix", OK_PREFIXES)
async def test_an_answer_that_one_relay_refuses_goes_by_the_other(
    prefix: str, scene: Scene, app: App
) -> None:
    """protocol.md 3.1: "false reasons prefixed `duplicate: pow: blocked: rate-limited: invalid:
    restricted: mute: error:` (+ NIP-42 `auth-required:`)"."""
    scene.bad.does.refuses = f"{prefix}: no"
    payment = await app.payment()
    await scene.bad.publish(payment.request)
    await app.is_paid_once(payment)
    await app.is_answered(payment.request, by=scene.good)


@pytest.mark.parametrize("prefix", ["rate-limited", "mute", "error", "auth-required"])
async def test_what_a_relay_refuses_for_now_is_brought_to_it_later(
    prefix: str, scene: Scene, app: App
) -> None:
    """Though the other has it: an app may listen on this relay alone."""
    scene.bad.does.refuses = f"{prefix}: not now"
    payment = await app.payment()
    await scene.good.publish(payment.request)
    await app.is_paid_once(payment)
    scene.bad.does.refuses = ""
    await app.is_answered(payment.request, by=scene.bad)
    await app.is_paid_once(payment)


@pytest.mark.parametrize("prefix", ["pow", "blocked", "invalid", "restricted"])
async def test_what_a_relay_refuses_for_good_is_not_brought_again(
    prefix: str, scene: Scene, app: App
) -> None:
    scene.bad.does.refuses = f"{prefix}: never"
    payment = await app.payment()
    await scene.good.publish(payment.request)
    await app.is_paid_once(payment)
    await asyncio.sleep(1)
    assert published(scene.bad, payment.request) == 1


@pytest.mark.parametrize("prefix", [each for each in OK_PREFIXES if each != "duplicate"])
async def test_a_refused_answer_is_offered_again_until_it_is_taken(
    prefix: str, tmp_path: Path
) -> None:
    """protocol.md 3.6: "Queue and retry with backoff on disconnect / rate-limited"; the bytes
    are those that were signed first."""
    async with a_scene(tmp_path / "data", relays=1) as scene:
        app = await scene.app()
        await scene.until_subscribed()
        scene.bad.does.refuses = f"{prefix}: not now"
        payment = await app.payment()
        await scene.bad.publish(payment.request)
        await until(lambda: bool(scene.bad.answers_to(payment.request)))
        scene.bad.does.refuses = ""
        await app.is_paid_once(payment)


async def test_duplicate_is_success(tmp_path: Path) -> None:
    """protocol.md 3.1: "OK true with `duplicate:` = success"; an event that the relay has is
    not offered again, whatever the boolean."""
    async with a_scene(tmp_path / "data", relays=1) as scene:
        app = await scene.app()
        await scene.until_subscribed()
        scene.bad.does.refuses = "duplicate: have it"
        payment = await app.payment()
        await scene.bad.publish(payment.request)
        await app.is_paid_once(payment)
        await asyncio.sleep(2)
        assert published(scene.bad, payment.request) == 1


async def test_without_ok_the_same_bytes_are_offered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a second answer: the relay may have passed on the first."""
    monkeypatch.setattr(delivery, "PUBLISH_TIMEOUT_S", 0.3)
    async with a_scene(tmp_path / "data", relays=1) as scene:
        app = await scene.app()
        await scene.until_subscribed()
        scene.bad.does.answers_no_event = True
        payment = await app.payment()
        await scene.bad.publish(payment.request)
        await until(lambda: published(scene.bad, payment.request) > 1)
        scene.bad.does.answers_no_event = False
        await app.is_paid_once(payment)
        await app.has_spent(payments=1)


async def test_a_relay_that_says_no_ok_delays_nobody(scene: Scene, app: App) -> None:
    scene.bad.does.answers_no_event = True
    async with asyncio.timeout(delivery.PUBLISH_TIMEOUT_S / 2):
        for _ in range(5):
            await serves(app, scene.good)


def invoices(scene: Scene) -> int:
    [(count,)] = rows(scene.service, "SELECT count(*) FROM invoice")
    return int(str(count))


def published(relay: HostileRelay, request: Event) -> int:
    """How often answers to this request were offered."""
    return sum(event.tag_value("e") == request.id for event in relay.heard)


# --- the socket


async def test_a_half_open_socket_is_found_by_ping_and_the_gap_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """protocol.md 3.6: "ping/pong ... to detect half-open sockets"; 3.4: "a reconnect within 5
    min with `since` = ... recovers missed requests, and *also redelivers handled ones*"."""
    monkeypatch.setattr(relay_connection, "PING_INTERVAL_S", 0.3)
    monkeypatch.setattr(relay_connection, "PING_TIMEOUT_S", 0.3)
    async with a_scene(tmp_path / "data") as scene:
        app = await scene.app()
        await scene.until_subscribed()
        handled = await app.payment()
        await scene.bad.publish(handled.request)
        await app.is_paid_once(handled)

        scene.bad.go_deaf()
        missed = await app.payment()
        await scene.bad.publish(missed.request)

        await serves(app, scene.good)
        for payment in (missed, handled):
            await app.is_paid_once(payment)
        await app.has_spent(payments=2)


async def test_a_socket_that_is_lost_between_a_payment_and_its_answer(tmp_path: Path) -> None:
    async with a_scene(tmp_path / "data", relays=1) as scene:
        app = await scene.app()
        await scene.until_subscribed()
        for _ in range(3):
            payment = await app.payment()
            await scene.bad.publish(payment.request)
            scene.bad.drop()
            await app.is_paid_once(payment)


async def test_all_at_once(scene: Scene, app: App) -> None:
    scene.bad.does = Mischief(
        duplicates=3,
        replays_after_s=(0.2, 0.7),
        forges=True,
        ignores_filters=True,
        garbage=GARBAGE,
        refuses="error: everything",
        sends_no_eose=True,
        challenges=True,
    )
    payments = [await app.payment() for _ in range(5)]
    for payment in payments:
        await scene.bad.publish(payment.request)
        await scene.bad.close_subscriptions("error: and closed")
        await scene.good.publish(payment.request)
    for payment in payments:
        await app.is_paid_once(payment)
    await asyncio.sleep(QUIET_S)
    await app.has_spent(payments=5)


def test_garbage_is_what_it_says() -> None:
    """None of it is a request of anybody."""
    readable = [json.loads(one) for one in GARBAGE if is_json(one)]
    assert not any(
        isinstance(message, list) and message[:1] == ["EVENT"] and has_id(message[-1])
        for message in readable
    )


def is_json(frame: str | bytes) -> bool:
    try:
        json.loads(frame)
    except (ValueError, RecursionError):
        return False
    return True


def has_id(raw: object) -> bool:
    return isinstance(raw, dict) and "id" in raw
