"""Who may do what at the admin API."""

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from nwc_service.admin.access import LEAST, ME, METRICS, PREFIX, RANK, Principal, Role
from nwc_service.app import Service
from tests.admin.conftest import Askers, asker

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.attack("A34")]

ROUTES = sorted({*LEAST, *ME})
OPEN = {"/healthz", "/readyz"}


def address(path: str) -> str:
    return (
        path
        if path == METRICS
        else PREFIX + path.replace("{movement}", "credit").replace("{", "").replace("}", "")
    )


async def test_the_table_has_every_route_and_no_other(owner: httpx.AsyncClient) -> None:
    paths = (await owner.get("/openapi.json")).json()["paths"]

    declared = {(verb.upper(), path) for path, verbs in paths.items() for verb in verbs}
    closed = {(verb, path) for verb, path in declared if path not in OPEN}
    assert {(verb, path.removeprefix(PREFIX)) for verb, path in closed} == set(LEAST) | ME
    assert not set(LEAST) & ME
    assert all(path.startswith(PREFIX) for _, path in closed if path != METRICS)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_without_a_token_may_do_anything(
    askers: Askers, method: str, path: str
) -> None:
    answer = await askers[None].request(method, address(path), json={})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["type"] == "urn:nwc-service:problem:unauthorized"


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.READ_ONLY, Role.PROVISIONING])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_each_role_may_do_what_the_table_says(
    askers: Askers, role: Role, method: str, path: str
) -> None:
    answer = await askers[role].request(method, address(path), json={})

    if role is Role.PROVISIONING:
        may = (method, path) in {
            ("POST", "/accounts"),
            ("POST", "/connections"),
            ("POST", "/bulk"),
        }
    else:
        least = LEAST.get((method, path))
        may = least is not None and RANK[role] >= RANK[least]
    assert (answer.status_code != 403) is may
    assert answer.status_code != 401


async def test_a_route_that_is_not_in_the_table_is_nobodys() -> None:
    assert not Principal("owner", Role.OWNER).may("GET", "/api/v1/new")
    assert not Principal("owner", Role.OWNER).may("DELETE", "/api/v1/accounts")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic b3duZXI6",
        "Bearer \xff",
        "Bearer " + "x" * 9000,
    ],
)
async def test_what_is_no_token_opens_nothing(served: Service, header: str) -> None:
    async with httpx.AsyncClient(base_url=served.admin_url, trust_env=False) as client:
        answer = await client.get(
            "/api/v1/accounts", headers=[(b"authorization", header.encode("latin-1"))]
        )

    assert answer.status_code == 401


async def test_a_token_ends_at_once_and_its_name_may_be_given_again(
    served: Service, owner: httpx.AsyncClient
) -> None:
    wish = {"name": "grafana", "role": "read-only"}
    first = (await owner.post("/api/v1/tokens", json=wish)).json()["token"]
    twice = await owner.post("/api/v1/tokens", json=wish)
    async with asker(served, first) as client:
        before = await client.get("/api/v1/accounts")
        await owner.post("/api/v1/tokens/grafana/revoke", json={"reason": "lost"})
        after = await client.get("/api/v1/accounts")
    again = await owner.post("/api/v1/tokens", json=wish)
    gone = await owner.post("/api/v1/tokens/nobody/revoke", json={})

    assert (before.status_code, after.status_code) == (200, 401)
    assert (twice.status_code, again.status_code, gone.status_code) == (400, 201, 404)
    assert again.json()["token"] != first


@pytest.mark.parametrize(
    "wish",
    [
        {"name": "", "role": "operator"},
        {"name": "owner", "role": "operator"},
        {"name": "x" * 65, "role": "operator"},
        {"name": "a\nb", "role": "operator"},
        {"name": "x", "role": "king"},
        {"name": "x"},
        {"name": "x", "role": "operator", "secret": "mine"},
    ],
)
async def test_a_token_that_cannot_be_made_is_refused(
    owner: httpx.AsyncClient, wish: dict[str, str]
) -> None:
    answer = await owner.post("/api/v1/tokens", json=wish)

    assert answer.status_code in (400, 422)
    assert "mine" not in answer.text


async def test_no_secret_is_stored_or_shown_again(
    owner: httpx.AsyncClient, data_dir: Path
) -> None:
    made = await owner.post("/api/v1/tokens", json={"name": "once", "role": "operator"})
    secret = made.json()["token"]
    listed = await owner.get("/api/v1/tokens")

    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database:
        dump = "\n".join(database.iterdump())
    assert secret not in dump
    assert secret not in listed.text
    assert "once" in [each["name"] for each in listed.json()]
    assert secret.startswith("nwc_")


async def test_what_is_decided_is_recorded_with_whose_token_it_was(
    askers: Askers, owner: httpx.AsyncClient
) -> None:
    await owner.post("/api/v1/accounts", json={"name": "decided"})
    body = {"amount_msat": 1_000, "reason": "a gift", "force": True}

    await askers[Role.OPERATOR].post("/api/v1/accounts/decided/credit", json=body)

    [decision] = [
        each
        for each in (await owner.get("/api/v1/decisions")).json()["items"]
        if each["subject"] == "decided"
    ]
    assert (decision["kind"], decision["decided_by"]) == ("credit_forced", "a operator")


async def test_when_a_token_was_used_is_noted(askers: Askers, owner: httpx.AsyncClient) -> None:
    await askers[Role.READ_ONLY].get("/api/v1/accounts")

    [token] = [
        each
        for each in (await owner.get("/api/v1/tokens")).json()
        if each["name"] == "a read-only" and not each["revoked_at"]
    ]
    assert token["last_used_at"] >= token["created_at"]
