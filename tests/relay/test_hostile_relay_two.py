"""Two relays, one of them hostile or down at any time: nothing is lost, nothing done twice."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nwc_service.nostr.event import Event
from nwc_service.relay import delivery, pool
from tests.doubles.hostile_relay import OK_PREFIXES, HostileRelay, Mischief
from tests.e2e.conftest import node_rows, rows
from tests.relay.hostility import (
    AMOUNT_MSAT,
    FEE_MSAT,
    QUIET_S,
    App,
    Payment,
    Scene,
    a_scene,
    in_this_process,
    soon,
    until,
)
from tests.relay.test_hostile_relay import GARBAGE

__all__ = ["soon"]

pytestmark = in_this_process

TURNS = 8
APPS = 2


def some_mischief(rng: random.Random) -> Mischief:
    """Each of them with some probability, so that they come together too."""

    def maybe(value: object, otherwise: object) -> object:
        return value if rng.random() < 0.3 else otherwise

    withheld = rng.random()
    chosen: dict[str, object] = {
        "duplicates": maybe(5, 0),
        "replays_after_s": maybe((0.1, 0.4, 0.8), ()),
        "holds_back": maybe(3, 0),
        "withholds": maybe(lambda event: int(event.id[:8], 16) / 2**32 < withheld, no_event),
        "ignores_filters": maybe(True, False),
        "forges": maybe(True, False),
        "garbage": maybe(GARBAGE, ()),
        "refuses": maybe(f"{rng.choice(OK_PREFIXES)}: no", ""),
        "answers_no_event": maybe(True, False),
        "sends_no_eose": maybe(True, False),
        "closes": maybe("error: closed", ""),
        "challenges": maybe(True, False),
    }
    return Mischief(**chosen)  # type: ignore[arg-type]


def no_event(_: Event) -> bool:
    return False


async def happen(relay: HostileRelay, rng: random.Random) -> None:
    """Something sudden, or nothing."""
    events: list[Callable[[], object]] = [
        relay.drop,
        relay.go_deaf,
        lambda: relay.close_subscriptions("error: all of you"),
        relay.challenge,
        lambda: relay.send('["NOTICE","' + "x" * 2_000_000 + '"]'),
        lambda: None,
    ]
    done = rng.choice(events)()
    if asyncio.iscoroutine(done):
        await done


class Story:
    """What was asked for, over which relays, by whom."""

    def __init__(self, scene: Scene, apps: list[App], rng: random.Random) -> None:
        self._scene = scene
        self._rng = rng
        self._apps = apps
        self.payments: list[tuple[App, Payment]] = []
        self.invoices: list[tuple[App, Event]] = []

    async def turn(self) -> None:
        """One relay is honest, the other is hostile or down; apps ask over one or both."""
        hostile, honest = self._rng.sample(self._scene.relays, 2)
        honest.does = Mischief()
        hostile.does = some_mischief(self._rng)
        is_down = self._rng.random() < 0.3
        if is_down:
            await hostile.stop()
        for app in self._apps:
            for request in await self._requests(app):
                await self._send(request)
                await happen(hostile, self._rng)
        if is_down:
            await hostile.start()

    async def _requests(self, app: App) -> list[Event]:
        payment = await app.payment()
        invoice = app.client.build_request("make_invoice", {"amount": AMOUNT_MSAT})
        self.payments.append((app, payment))
        self.invoices.append((app, invoice))
        return [payment.request, invoice]

    async def _send(self, request: Event) -> None:
        """Over one relay or both, perhaps the hostile one alone, and perhaps again."""
        for relay in self._rng.sample(self._scene.relays, self._rng.choice([1, 2, 2])):
            await relay.publish(request)

    @property
    def requests(self) -> list[Event]:
        return [payment.request for _, payment in self.payments] + [
            request for _, request in self.invoices
        ]


@pytest.mark.attack("A26", "A27")
@pytest.mark.parametrize("seed", range(6))
async def test_one_relay_hostile_or_down_loses_nothing_and_doubles_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two relays, one of them hostile or down, no request is lost that a relay delivered,
    none is executed twice, and every request gets exactly one logical answer."""
    monkeypatch.setattr(pool, "ECHO_S", 0.2)
    monkeypatch.setattr(delivery, "PUBLISH_TIMEOUT_S", 0.5)
    rng = random.Random(seed)
    async with a_scene(tmp_path / "data", seed=seed) as scene:
        apps = [await scene.app() for _ in range(APPS)]
        await scene.until_subscribed()
        story = Story(scene, apps, rng)
        for _ in range(TURNS):
            await story.turn()
        await make_peace(scene)
        await everything_is_delivered(scene, story)

        for request in story.requests:
            await apps[0].is_answered(request)
        await asyncio.sleep(QUIET_S)

        assert {len(scene.answers_to(request)) for request in story.requests} == {1}
        await was_paid_once(scene, story)
        was_invoiced_once(scene, story)


async def make_peace(scene: Scene) -> None:
    """Both relays are honest, and what they had kept back can be asked for again."""
    for relay in scene.relays:
        relay.does = Mischief()
        relay.drop()
    await asyncio.sleep(0.05)
    await scene.until_subscribed()


async def everything_is_delivered(scene: Scene, story: Story) -> None:
    wanted = {request.id for request in story.requests}
    await until(lambda: wanted <= set().union(*(relay.delivered for relay in scene.relays)))


async def was_paid_once(scene: Scene, story: Story) -> None:
    for app, payment in story.payments:
        [payload] = app.payloads(payment.request)
        assert payload["error"] is None
        assert await node_rows(scene.service, payment.payment_hash) == [
            ("outgoing", AMOUNT_MSAT, FEE_MSAT, "settled")
        ]
    for app in {app for app, _ in story.payments}:
        await app.has_spent(payments=sum(one is app for one, _ in story.payments))


def was_invoiced_once(scene: Scene, story: Story) -> None:
    made = [app.payloads(request)[0]["result"]["invoice"] for app, request in story.invoices]
    [(kept,)] = rows(scene.service, "SELECT count(*) FROM invoice")
    assert (len(set(made)), kept) == (len(made), len(made))
