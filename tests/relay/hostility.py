"""The service in this process between relays that misbehave, and apps that use both."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nwc_service import outbox
from nwc_service.app import running
from nwc_service.config import load_settings
from nwc_service.nostr.event import Event
from nwc_service.relay import backoff, delivery
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.doubles.hostile_relay import HostileRelay, hostile_relay
from tests.e2e.conftest import node_rows
from tests.e2e.service import ServiceProcess

CREDIT_MSAT = 100_000_000
AMOUNT_MSAT = 50_000
FEE_MSAT = 1_000  # the sandbox's lowest
WAIT_S = 8
QUIET_S = 0.3


@dataclass(frozen=True, slots=True)
class Payment:
    """A request to pay, and what tells whether it was done."""

    request: Event
    payment_hash: str


class Scene:
    """`bad` is the relay that misbehaves, `good` the other one."""

    def __init__(self, service: ServiceProcess, relays: Sequence[HostileRelay]) -> None:
        self.service = service
        self.relays = relays
        self._apps = 0

    @property
    def bad(self) -> HostileRelay:
        return self.relays[0]

    @property
    def good(self) -> HostileRelay:
        return self.relays[-1]

    async def app(self) -> "App":
        self._apps += 1
        name = f"user-{self._apps}"
        await self.service.create_account(name, credit_msat=CREDIT_MSAT)
        return App(self, RawClient(await self.service.connect(name)), name)

    def answers_to(self, request: Event) -> dict[str, Event]:
        """Every distinct answer that any relay ever got, by id."""
        return {event.id: event for relay in self.relays for event in relay.answers_to(request)}

    async def until_subscribed(self, *relays: HostileRelay) -> None:
        await until(lambda: all(relay.is_subscribed for relay in relays or self.relays))


class App:
    def __init__(self, scene: Scene, client: RawClient, account: str) -> None:
        self.client = client
        self.account = account
        self._scene = scene

    async def payment(self) -> Payment:
        """Of a new invoice; nothing is sent yet."""
        invoice = await self._scene.service.sandbox("invoice", amount_msat=AMOUNT_MSAT)
        request = self.client.build_request("pay_invoice", {"invoice": invoice["invoice"]})
        return Payment(request, invoice["payment_hash"])

    def question(self) -> Event:
        return self.client.build_request("get_balance")

    async def is_answered(self, request: Event, *, by: HostileRelay | None = None) -> None:
        """Wait for an answer that a relay, or this one, has taken."""
        relays = [by] if by else self._scene.relays
        await until(lambda: any(relay.took_answer_to(request) for relay in relays))

    def payloads(self, request: Event) -> list[JsonObject]:
        answers = self._scene.answers_to(request).values()
        opened = [self.client.conversation.decrypt(answer.content) for answer in answers]
        return [json.loads(text) for text in opened]

    async def is_paid_once(self, payment: Payment) -> None:
        """Once answered and quiet: one send, one distinct answer, and that says so."""
        await self.is_answered(payment.request)
        await asyncio.sleep(QUIET_S)
        [payload] = self.payloads(payment.request)
        assert (payload["error"], payload["result_type"]) == (None, "pay_invoice")
        assert await node_rows(self._scene.service, payment.payment_hash) == [
            ("outgoing", AMOUNT_MSAT, FEE_MSAT, "settled")
        ]

    async def has_spent(self, *, payments: int) -> None:
        account = await self._scene.service.account(self.account)
        spent_msat = payments * (AMOUNT_MSAT + FEE_MSAT)
        assert (account["available_msat"], account["held_msat"]) == (
            CREDIT_MSAT - spent_msat,
            0,
        )


@asynccontextmanager
async def a_scene(
    data_dir: Path, *, relays: int = 2, seed: int = 0, **environment: str
) -> AsyncIterator[Scene]:
    """At the end the books are in order."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(hostile_relay(rng=random.Random(seed + number)))
            for number in range(relays)
        ]
        urls = ",".join(relay.url for relay in opened)
        settings = load_settings(
            data_dir=data_dir, environment={"NWC_RELAYS": urls, **environment}
        )
        await stack.enter_async_context(running(settings))
        service = ServiceProcess(data_dir, {})
        stack.push_async_callback(service.admin.aclose)
        assert await service._answers(data_dir / "admin.url")
        scene = Scene(service, opened)
        yield scene
        assert (await service.audit())["problems"] == []


async def until(condition: Callable[[], bool], *, timeout_s: float = WAIT_S) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits a second before it tries again waits a twentieth, and half a one at most."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.05)
    monkeypatch.setattr(backoff, "LAST_S", 0.5)
    for module in (outbox, delivery):
        monkeypatch.setattr(module, "FIRST_RETRY_S", 0.05)
        monkeypatch.setattr(module, "LONGEST_RETRY_S", 0.5)


# A service that is stopped ends tasks that have not begun, and Python remarks on it.
in_this_process = [
    pytest.mark.usefixtures("soon"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]
