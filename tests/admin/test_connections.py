"""What an operator does with a connection after it was made."""

import asyncio
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clients.client import JsonObject
from tests.clients.raw import raw_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def account(owner: httpx.AsyncClient) -> None:
    await owner.post("/api/v1/accounts", json={"name": "ann"})


async def connect(owner: httpx.AsyncClient, **wish: object) -> JsonObject:
    answer = await owner.post(
        "/api/v1/connections", json={"account": "ann", "app": "an app"} | wish
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def tell(
    owner: httpx.AsyncClient, made: JsonObject, word: str, **body: Any
) -> JsonObject:
    path = f"/api/v1/connections/{made['connection_id']}/{word}"
    answer = await owner.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_change_changes_what_is_given_and_nothing_else(
    owner: httpx.AsyncClient,
) -> None:
    made = await connect(owner, budget_msat=5_000, budget_renewal="daily", lud16="a@b.example")
    path = f"/api/v1/connections/{made['connection_id']}"

    change = {"app": "renamed", "scopes": "read", "max_payment_msat": 7, "destinations": [NODE]}
    changed = (await owner.patch(path, json=change)).json()
    unlimited = (await owner.patch(path, json={"budget_msat": None})).json()

    expected = {name: made[name] for name in changed} | {
        "app": "renamed",
        "scopes": sorted(["get_balance", "get_info", "list_transactions", "lookup_invoice"]),
        "max_payment_msat": 7,
        "destinations": [NODE],
    }
    assert changed == expected | {"scopes": changed["scopes"]}
    assert "pay_invoice" not in changed["scopes"]
    assert set(expected["scopes"]) <= set(changed["scopes"])
    assert unlimited == changed | {"budget": None}


async def test_a_budget_keeps_what_no_change_names(
    owner: httpx.AsyncClient,
) -> None:
    made = await connect(owner, budget_msat=5_000, budget_renewal="daily")
    path = f"/api/v1/connections/{made['connection_id']}"

    more = (await owner.patch(path, json={"budget_msat": 6_000})).json()["budget"]
    weekly = (await owner.patch(path, json={"budget_renewal": "weekly"})).json()["budget"]

    assert (more["limit_msat"], more["renewal"]) == (6_000, "daily")
    assert (weekly["limit_msat"], weekly["renewal"]) == (6_000, "weekly")


@pytest.mark.parametrize(
    "change",
    [
        {"app": ""},
        {"scopes": "everything"},
        {"max_payment_msat": 0},
        {"budget_renewal": "daily"},
        {"expires_at": 1},
        {"destinations": ["02aa"]},
        {"lud16": "nobody"},
        {"account": "ben"},
        {"client_pubkey": "aa" * 32},
        {"app": None},
    ],
)
async def test_a_bad_change_changes_nothing(
    owner: httpx.AsyncClient, change: dict[str, object]
) -> None:
    made = await connect(owner)
    path = f"/api/v1/connections/{made['connection_id']}"

    refused = await owner.patch(path, json={"max_payment_msat": 9} | change)

    assert refused.status_code in (400, 422)
    assert (await owner.get(path)).json()["max_payment_msat"] is None


async def test_what_is_revoked_stays_as_it_is(owner: httpx.AsyncClient) -> None:
    made = await connect(owner)
    await tell(owner, made, "revoke", reason="lost")
    path = f"/api/v1/connections/{made['connection_id']}"

    answers = [
        await owner.patch(path, json={"app": "again"}),
        await owner.post(f"{path}/pause", json={}),
        await owner.post(f"{path}/resume", json={}),
        await owner.post(f"{path}/rotate", json={}),
    ]

    assert [answer.status_code for answer in answers] == [400] * 4
    assert {answer.json()["detail"] for answer in answers} == {
        "the connection is revoked, for good"
    }


@pytest.mark.parametrize("word", ["pause", "resume", "rotate", "revoke"])
async def test_what_is_not_there_is_said(owner: httpx.AsyncClient, word: str) -> None:
    answer = await owner.post(f"/api/v1/connections/nothing/{word}", json={})

    assert answer.status_code == 404


async def test_an_app_on_a_paused_connection_is_told_so_until_it_is_resumed(
    owner: httpx.AsyncClient,
) -> None:
    made = await connect(owner)
    async with raw_client(made["uri"]) as client:
        await tell(owner, made, "pause", reason="odd payments")
        read = await client.request("get_balance", {})
        mutation = await client.request("make_invoice", {"amount": 1_000})
        await tell(owner, made, "resume")
        after = await client.request("get_balance", {})

    for told in (read, mutation):
        assert told.error_code == "RESTRICTED"
        assert "paused" in told.payload["error"]["message"]
    assert after.result == {"balance": 0}


async def test_a_new_key_works_at_once_and_the_old_one_never_again(
    owner: httpx.AsyncClient,
) -> None:
    made = await connect(owner)
    async with raw_client(made["uri"]) as old:
        before = await old.request("get_balance", {})
        rotated = await tell(owner, made, "rotate")
        async with raw_client(rotated["uri"]) as new:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await old.request("get_balance", {})
            after = await new.request("get_balance", {})

    assert before.result == after.result == {"balance": 0}
    assert rotated["wallet_pubkey"] == made["wallet_pubkey"]
    assert rotated["client_pubkey"] != made["client_pubkey"]


async def test_an_app_with_its_own_key_brings_the_next_one(
    owner: httpx.AsyncClient,
) -> None:
    made = await connect(owner, client_pubkey=NODE[2:])
    path = f"/api/v1/connections/{made['connection_id']}/rotate"

    same = await owner.post(path, json={"client_pubkey": NODE[2:]})
    bad = await owner.post(path, json={"client_pubkey": "aa"})
    new = await owner.post(path, json={"client_pubkey": made["wallet_pubkey"]})

    assert (same.status_code, bad.status_code, new.status_code) == (400, 400, 200)
    assert new.json()["uri"] is None


async def test_each_decision_is_in_the_books(owner: httpx.AsyncClient) -> None:
    made = await connect(owner)
    await owner.patch(
        f"/api/v1/connections/{made['connection_id']}", json={"lud16": None, "app": "b"}
    )
    for word in ("rotate", "pause", "pause", "resume", "resume", "revoke", "revoke"):
        answer = await owner.post(
            f"/api/v1/connections/{made['connection_id']}/{word}",
            json={} if word == "rotate" else {"reason": f"why {word}"},
        )
        assert answer.status_code in (200, 400)

    decided = [
        (each["kind"], each["reason"], each["detail"], each["decided_by"])
        for each in (await owner.get("/api/v1/decisions")).json()["items"]
        if each["subject"] == made["connection_id"]
    ]
    assert list(reversed(decided)) == [
        ("connection_changed", "", "app, lud16", "owner"),
        ("connection_rotated", "", "", "owner"),
        ("connection_paused", "why pause", "", "owner"),
        ("connection_resumed", "why resume", "", "owner"),
        ("connection_revoked", "why revoke", "", "owner"),
    ]
