"""A POST with an Idempotency-Key is done once."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from nwc_service.admin.access import Role
from tests.admin.conftest import Askers

pytestmark = pytest.mark.asyncio(loop_scope="module")


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def credited_msat(owner: httpx.AsyncClient, name: str) -> int:
    return int((await owner.get(f"/api/v1/accounts/{name}")).json()["available_msat"])


async def test_money_moves_once_however_often_it_is_asked_for(owner: httpx.AsyncClient) -> None:
    await owner.post("/api/v1/accounts", json={"name": "once"})
    body = {"amount_msat": 1_000, "reason": "a gift", "force": True}
    path = "/api/v1/accounts/once/credit"

    answers = await asyncio.gather(
        *(owner.post(path, json=body, headers=key("gift-1")) for _ in range(8))
    )
    later = await owner.post(path, json=body, headers=key("gift-1"))
    other = await owner.post(path, json=body, headers=key("gift-2"))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert later.status_code == other.status_code == 200
    assert later.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in other.headers
    assert later.json()["available_msat"] == 1_000
    assert await credited_msat(owner, "once") == 2_000


async def test_the_key_is_not_for_another_request(owner: httpx.AsyncClient) -> None:
    await owner.post("/api/v1/accounts", json={"name": "first"}, headers=key("k1"))

    other_body = await owner.post("/api/v1/accounts", json={"name": "x"}, headers=key("k1"))
    other_path = await owner.post("/api/v1/links", json={"name": "first"}, headers=key("k1"))

    for answer in (other_body, other_path):
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:nwc-service:problem:key-reused"


async def test_each_caller_has_keys_of_its_own(
    owner: httpx.AsyncClient, askers: Askers
) -> None:
    operator = askers[Role.OPERATOR]
    mine = await owner.post("/api/v1/accounts", json={"name": "mine"}, headers=key("k2"))
    theirs = await operator.post("/api/v1/accounts", json={"name": "its"}, headers=key("k2"))

    assert (mine.status_code, theirs.status_code) == (201, 201)


async def test_what_was_refused_may_be_asked_for_again(owner: httpx.AsyncClient) -> None:
    refused = await owner.post("/api/v1/accounts", json={"name": "BAD"}, headers=key("k3"))
    invalid = await owner.post("/api/v1/accounts", json={"nam": "x"}, headers=key("k3"))
    good = await owner.post("/api/v1/accounts", json={"name": "good"}, headers=key("k3"))

    assert [each.status_code for each in (refused, invalid, good)] == [400, 422, 201]


async def test_what_was_cut_off_is_told_so(owner: httpx.AsyncClient, data_dir: Path) -> None:
    """As a kill leaves it: claimed, and without an answer."""
    await owner.post("/api/v1/accounts", json={"name": "cut"}, headers=key("k4"))
    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database, database:
        database.execute("UPDATE keyed_request SET status = NULL WHERE key = 'k4'")

    again = await owner.post("/api/v1/accounts", json={"name": "cut"}, headers=key("k4"))

    assert again.status_code == 409
    assert again.json()["type"] == "urn:nwc-service:problem:under-way"


async def test_no_secret_is_kept_with_the_answer(
    owner: httpx.AsyncClient, data_dir: Path
) -> None:
    await owner.post("/api/v1/accounts", json={"name": "secretive"})
    wish = {"account": "secretive", "app": "an app"}

    first = await owner.post("/api/v1/connections", json=wish, headers=key("k5"))
    again = await owner.post("/api/v1/connections", json=wish, headers=key("k5"))
    token = {"name": "keyed", "role": "read-only"}
    made = await owner.post("/api/v1/tokens", json=token, headers=key("k6"))
    later = await owner.post("/api/v1/tokens", json=token, headers=key("k6"))

    assert again.json() == first.json() | {"uri": None}
    assert later.json() == made.json() | {"token": None}
    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database:
        dump = "\n".join(database.iterdump())
    assert first.json()["uri"].partition("secret=")[2] not in dump
    assert made.json()["token"] not in dump


@pytest.mark.parametrize("bad", ["", "with space", "x" * 256, "\u00e9"])
async def test_what_is_no_key_is_refused(owner: httpx.AsyncClient, bad: str) -> None:
    answer = await owner.post(
        "/api/v1/accounts",
        json={"name": "never-made"},
        headers=[(b"idempotency-key", bad.encode("latin-1"))],
    )

    assert answer.status_code == 400
    assert (await owner.get("/api/v1/accounts/never-made")).status_code == 404


async def test_keys_are_forgotten_after_a_day(owner: httpx.AsyncClient, data_dir: Path) -> None:
    await owner.post("/api/v1/accounts", json={"name": "yesterday"}, headers=key("k7"))
    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database, database:
        database.execute("UPDATE keyed_request SET created_at = created_at - 86401")

    again = await owner.post("/api/v1/accounts", json={"name": "yesterday"}, headers=key("k7"))

    assert again.status_code == 400
    assert "already" in again.json()["detail"]
