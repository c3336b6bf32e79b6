"""Many accounts and connections in one call."""

import json
from typing import Any

import httpx
import pytest

from nwc_service.admin import bulk
from nwc_service.admin.access import Role
from tests.admin.conftest import Askers
from tests.clients.raw import raw_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 300


def lines(*values: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in values)


async def sent(client: httpx.AsyncClient, content: bytes) -> list[dict[str, Any]]:
    answer = await client.post("/api/v1/bulk", content=content, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_each_line_is_made_and_answered_in_its_order(owner: httpx.AsyncClient) -> None:
    wanted = [
        {"name": f"many-{n}", "connections": [{"app": "an app", "budget_msat": 5_000}]}
        for n in range(COUNT)
    ]

    found = await sent(owner, lines(*wanted))

    assert [each["name"] for each in found] == [each["name"] for each in wanted]
    uris = [each["connections"][0]["uri"] for each in found]
    assert len(set(uris)) == COUNT
    listed = await owner.get("/api/v1/accounts", params={"prefix": "many-", "limit": 1000})
    assert len(listed.json()["items"]) == COUNT
    async with raw_client(uris[-1]) as client:
        assert (await client.request("get_balance", {})).result == {"balance": 0}


async def test_a_line_that_is_refused_stops_no_other(owner: httpx.AsyncClient) -> None:
    content = lines(
        {"name": "good-1"},
        {"name": "BAD"},
        {"name": "good-1"},
        {"nam": "x"},
        {"name": "part", "connections": [{"app": "ok"}, {"app": ""}, {"app": "ok too"}]},
        {"name": "too-many", "connections": [{"app": "x"}] * 21},
        {"name": "theirs", "connections": [{"app": "x", "account": "good-1"}]},
        ["no object"],
    ) + (
        b"{ no json\n\n\n" + b'{"name": "' + b"x" * 70_000 + b'"}\n' + lines({"name": "good-2"})
    )

    found = await sent(owner, content)

    assert [bool(each.get("problem")) for each in found[:8]] == [
        False,
        True,
        True,
        True,
        False,
        True,
        True,
        True,
    ]
    assert [bool(each.get("uri")) for each in found[4]["connections"]] == [True, False, True]
    assert found[-1]["name"] == "good-2"
    assert all(each.get("problem") for each in found[8:-1])
    for name in ("too-many", "theirs"):
        assert (await owner.get(f"/api/v1/accounts/{name}")).status_code == 404


async def test_a_server_that_signs_people_up_may_do_it_too(askers: Askers) -> None:
    found = await sent(
        askers[Role.PROVISIONING],
        lines({"name": "signed-up-in-bulk", "connections": [{"app": "a"}]}),
    )

    assert found[0]["connections"][0]["uri"].startswith("nostr+walletconnect://")


async def test_what_is_too_long_is_refused_whole(
    owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_BYTES", 1_000)

    answer = await owner.post(
        "/api/v1/bulk", content=lines({"name": "never-bulk"}) + b" " * 1_000
    )

    assert answer.status_code == 413
    assert (await owner.get("/api/v1/accounts/never-bulk")).status_code == 404


async def test_a_key_is_not_for_many(owner: httpx.AsyncClient) -> None:
    answer = await owner.post(
        "/api/v1/bulk", content=lines({"name": "keyed-bulk"}), headers={"Idempotency-Key": "k"}
    )

    assert answer.status_code == 400
    assert (await owner.get("/api/v1/accounts/keyed-bulk")).status_code == 404
