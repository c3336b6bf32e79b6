"""One running service, and whoever asks its admin API, by role."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from nwc_service import datadir
from nwc_service.admin.access import Role
from nwc_service.app import Service, running
from nwc_service.config import load_settings

Askers = Mapping[Role | None, httpx.AsyncClient]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("admin") / "data"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(data_dir: Path) -> AsyncIterator[Service]:
    async with running(load_settings(data_dir=data_dir, environment={})) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def owner(served: Service, data_dir: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with asker(served, datadir.admin_token(data_dir)) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def askers(served: Service, owner: httpx.AsyncClient) -> AsyncIterator[Askers]:
    """By role, and None for whoever has no token."""
    found: dict[Role | None, httpx.AsyncClient] = {Role.OWNER: owner}
    for role in (Role.OPERATOR, Role.READ_ONLY, Role.PROVISIONING):
        made = await owner.post("/api/v1/tokens", json={"name": f"a {role}", "role": role})
        found[role] = asker(served, made.json()["token"])
    found[None] = httpx.AsyncClient(base_url=served.admin_url, trust_env=False)
    yield found
    for client in found.values():
        await client.aclose()


def asker(served: Service, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=served.admin_url,
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=30,
    )
