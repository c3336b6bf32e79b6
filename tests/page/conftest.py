"""One running service, with an account that has every kind of payment, and who is signed in."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from nwc_service import datadir
from nwc_service.app import Service, running
from nwc_service.config import load_settings
from tests.clients.client import JsonObject
from tests.clients.raw import raw_client

HOSTILE = "<script>alert(1)</script> \u202egnp.exe"
OURS = {"Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True, slots=True)
class House:
    """What the pages are about."""

    url: str
    token: str
    connection: JsonObject
    payment_ids: list[str]

    @property
    def addresses(self) -> list[str]:
        """Every page that is looked at without a form."""
        connection_id = self.connection["connection_id"]
        return [
            "/",
            "/accounts",
            "/accounts?prefix=a",
            "/accounts/ann",
            "/connections",
            "/connections?account=ann",
            "/connections/new?account=ann",
            f"/connections/{connection_id}",
            "/payments",
            "/payments?account=ann&direction=outgoing&since=2026-01-01&until=2099-12-31",
            *(f"/payments/{each}" for each in self.payment_ids),
            "/backends",
            "/relays",
            "/alarms",
            "/decisions",
            "/audit?run=1",
            "/over-time?period=day",
            "/over-time?period=year",
            "/tokens",
        ]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "data"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served(data_dir: Path) -> AsyncIterator[Service]:
    async with running(load_settings(data_dir=data_dir, environment={})) as service:
        yield service


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def owner(served: Service, data_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    """At the API."""
    headers = {"Authorization": f"Bearer {datadir.admin_token(data_dir)}"}
    async with httpx.AsyncClient(
        base_url=f"{served.admin_url}/api/v1", headers=headers, trust_env=False, timeout=30
    ) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(served: Service, owner: httpx.AsyncClient, data_dir: Path) -> House:
    for name in ("ann", "ben"):
        await owner.post("/accounts", json={"name": name})
        body = {"amount_msat": 5_000_000, "reason": "a beginning"}
        await owner.post(f"/accounts/{name}/credit", json=body)
    wish = {"account": "ann", "app": HOSTILE.replace("\u202e", ""), "budget_msat": 4_000_000}
    made = (await owner.post("/connections", json=wish)).json()
    await owner.post("/tokens", json={"name": "grafana", "role": "read-only"})
    await _pay(made["uri"], owner)
    rows = (await owner.get("/payments", params={"account": "ann"})).json()["items"]
    token = datadir.admin_token(data_dir)
    return House(served.admin_url, token, made, [row["payment_id"] for row in rows])


async def _pay(uri: str, owner: httpx.AsyncClient) -> None:
    """Something that is settled, failed, open, and that came in."""
    sandbox = "/backends/sandbox/commands"
    async with raw_client(uri) as client:
        for body in ({}, {"fail": True}, {"hold": True}):
            asked = await owner.post(f"{sandbox}/invoice", json={"amount_msat": 21_000} | body)
            order = client.request("pay_invoice", {"invoice": asked.json()["invoice"]})
            if "hold" in body:
                held = asyncio.create_task(order)
            else:
                await order
        mine = await client.request("make_invoice", {"amount": 7_000})
        await owner.post(f"{sandbox}/pay", json={"invoice": mine.result["invoice"]})
        await client.request("make_invoice", {"amount": 8_000, "description": HOSTILE})
        async with asyncio.timeout(20):
            while not await _settled(owner) or not await _held(owner):
                await asyncio.sleep(0.1)
        held.cancel()


async def _settled(owner: httpx.AsyncClient) -> bool:
    rows = (await owner.get("/payments", params={"direction": "incoming"})).json()["items"]
    return any(row["state"] == "settled" for row in rows)


async def _held(owner: httpx.AsyncClient) -> bool:
    return int((await owner.get("/accounts/ann")).json()["held_msat"]) > 0


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without anybody."""
    async with httpx.AsyncClient(
        base_url=house.url, headers=OURS, trust_env=False, timeout=30
    ) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def operator(visitor: httpx.AsyncClient, house: House) -> httpx.AsyncClient:
    """A browser in which the owner is signed in."""
    await visitor.post("/sign-in", data={"token": house.token})
    return visitor
