"""The service at a glance, and over time."""

import asyncio

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_overview_adds_up(owner: httpx.AsyncClient) -> None:
    before = (await owner.get("/api/v1/overview")).json()
    await owner.post("/api/v1/accounts", json={"name": "seen"})
    body = {"amount_msat": 7_000, "reason": "to be seen"}
    await owner.post("/api/v1/accounts/seen/credit", json=body)
    await owner.post("/api/v1/connections", json={"account": "seen", "app": "an app"})

    after = (await owner.get("/api/v1/overview")).json()

    grown = {name: after[name] - before[name] for name in ("accounts", "connections")}
    assert grown == {"accounts": 1, "connections": 1}
    assert after["owed_msat"] - before["owed_msat"] == 7_000
    assert after["covered"] is True
    assert after["backends"] == {"sandbox": True}
    assert [relay["embedded"] for relay in after["relays"]] == [True]
    assert (await owner.get("/api/v1/relays")).json() == after["relays"]


async def test_what_was_settled_is_in_its_step(owner: httpx.AsyncClient) -> None:
    made = (await owner.post("/api/v1/accounts", json={"name": "stepped"})).json()
    record = {"type": 696969, "value": made["keysend_id"].encode().hex()}
    for amount_msat in (1_500, 2_999):
        await owner.post(
            "/api/v1/backends/sandbox/commands/keysend",
            json={"amount_msat": amount_msat, "tlv_records": [record]},
        )
    async with asyncio.timeout(20):
        while (await owner.get("/api/v1/accounts/stepped")).json()["available_msat"] < 4_499:
            await asyncio.sleep(0.05)

    found = (await owner.get("/api/v1/series", params={"period": "day"})).json()

    assert found["step_s"] == 3_600
    assert len(found["at"]) == 25
    assert sum(row["amount_sat"] for row in found["incoming"]) >= 3
    assert {row["at"] for row in found["incoming"]} <= set(found["at"])
    assert (await owner.get("/api/v1/series", params={"period": "ever"})).status_code == 422
