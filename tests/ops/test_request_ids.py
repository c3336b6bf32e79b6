"""Each line of the log that belongs to a request carries its id, on whatever thread it is
written; and no line that does not."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from nwc_service.nostr.event import Event
from tests.clients.raw import raw_client
from tests.demo.sandbox import SandboxOutside
from tests.e2e.conftest import rows, until
from tests.e2e.service import ServiceProcess, service_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

Line = dict[str, Any]


@dataclass(slots=True)
class Used:
    service: ServiceProcess
    asked: dict[str, Event] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[Line]:
        text = self.service.log_text().splitlines()
        return [json.loads(line) for line in text if line.startswith("{")]

    def of(self, request_id: str) -> list[Line]:
        return [line for line in self.lines if line.get("request_id") == request_id]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Used]:
    data_dir = tmp_path_factory.mktemp("ids") / "data"
    async with service_process(data_dir, NWC_LOG_LEVEL="debug") as service:
        found = Used(service)
        await service.create_account("alice", credit_msat=1_000_000)
        outside = SandboxOutside(service)
        async with raw_client(await service.connect("alice", scopes="all")) as client:
            wishes = {
                "get_balance": {},
                "pay_invoice": {"invoice": await outside.make_invoice(6_000)},
                "create_connection": {"pubkey": "ab" * 32, "name": "x", "methods": []},
            }
            for method, params in wishes.items():
                event = client.build_request(method, params)
                found.asked[method] = event
                await client.send_event(event)
                await client.response_to(event.id)
        for given in ("my-id_1.x", 'bad"id', "x" * 65, ""):
            response = await service.admin.get(
                "/api/v1/accounts", headers={"X-Request-Id": given} if given else {}
            )
            found.answered[given] = response.headers["x-request-id"]
        yield found


async def test_a_request_is_told_from_its_event_on(used: Used) -> None:
    for method, event in used.asked.items():
        lines = used.of(event.id[:16])
        assert [line["method"] for line in lines if line["event"] == "request.opened"] == [
            method
        ]


async def test_a_payment_is_told_with_its_request_though_another_thread_books_it(
    used: Used,
) -> None:
    [(payment_id,)] = rows(used.service, "SELECT payment_id FROM payment")

    async def final() -> bool:
        return any(line["event"] == "payment.final" for line in used.lines)

    await until(final)

    lines = used.of(used.asked["pay_invoice"].id[:16])
    told = {line["event"]: line.get("payment_id") for line in lines}
    assert told["payment.sending"] == told["payment.final"] == payment_id


async def test_what_outlives_the_request_has_not_its_id(used: Used) -> None:
    own = {event.id[:16] for event in used.asked.values()}

    beside = [line for line in used.lines if line["event"].startswith(("relay.", "backend."))]

    assert beside
    assert [line for line in beside if line.get("request_id") in own] == []


async def test_a_callers_id_is_given_back_and_any_that_is_not_in_order_is_replaced(
    used: Used,
) -> None:
    assert used.answered["my-id_1.x"] == "my-id_1.x"
    for given in ('bad"id', "x" * 65, ""):
        assert re.fullmatch("[0-9a-f]{16}", used.answered[given])
    assert len(set(used.answered.values())) == len(used.answered)


async def test_an_error_inside_is_logged_with_the_id_of_its_http_request(used: Used) -> None:
    path = used.service.data_dir / "nwc.sqlite"
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
        database.execute("ALTER TABLE account RENAME TO gone")
        try:
            response = await used.service.admin.get(
                "/api/v1/accounts", headers={"X-Request-Id": "of-an-error"}
            )
        finally:
            database.execute("ALTER TABLE gone RENAME TO account")

    assert response.status_code == 500
    assert response.headers["x-request-id"] == "of-an-error"
    assert any("Exception in ASGI" in line["event"] for line in used.of("of-an-error"))
