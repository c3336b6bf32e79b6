"""Lists come in pages, whose cursors say nothing and are believed in nothing."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import httpx
import pytest
import pytest_asyncio

from nwc_service.cursors import after, place_of
from nwc_service.store.history import Place
from nwc_service.wallet.errors import Refused
from tests.clients.client import JsonObject

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 7


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def payments(owner: httpx.AsyncClient) -> None:
    """Of two accounts, coming in by keysend."""
    for name in ("ann", "ben"):
        made = (await owner.post("/api/v1/accounts", json={"name": name})).json()
        record = {"type": 696969, "value": made["keysend_id"].encode().hex()}
        for _ in range(COUNT):
            await owner.post(
                "/api/v1/backends/sandbox/commands/keysend",
                json={"amount_msat": 1_000, "tlv_records": [record]},
            )
    async with asyncio.timeout(30):
        while len((await owner.get("/api/v1/payments")).json()["items"]) < 2 * COUNT:
            await asyncio.sleep(0.1)


async def pages(
    owner: httpx.AsyncClient,
    path: str = "payments",
    *,
    query: Mapping[str, str | int] | None = None,
) -> list[list[JsonObject]]:
    found: list[list[JsonObject]] = []
    cursor: str | None = None
    while True:
        more: dict[str, str | int] = {"cursor": cursor} if cursor else {}
        answer = await owner.get(f"/api/v1/{path}", params={**(query or {}), **more})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


async def test_all_pages_together_are_all_of_it(owner: httpx.AsyncClient) -> None:
    [whole] = await pages(owner)
    parts = await pages(owner, query={"limit": 3})

    assert [len(part) for part in parts] == [3, 3, 3, 3, 2]
    assert [row for part in parts for row in part] == whole
    assert len({row["payment_id"] for row in whole}) == 2 * COUNT


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"account": "ann"}, COUNT),
        ({"direction": "incoming"}, 2 * COUNT),
        ({"direction": "outgoing"}, 0),
        ({"connection_id": "none"}, 0),
        ({"since": 2**40}, 0),
        ({"until": 1}, 0),
    ],
)
async def test_what_is_asked_for(
    owner: httpx.AsyncClient, query: dict[str, str | int], count: int
) -> None:
    assert sum(len(page) for page in await pages(owner, query={"limit": 2} | query)) == count


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"account": "nobody"}, 404),
        ({"cursor": "x"}, 400),
        ({"cursor": "\u00e9"}, 400),
        ({"cursor": "A" * 300}, 400),
        ({"limit": 0}, 422),
        ({"limit": 1001}, 422),
        ({"since": -1}, 422),
        ({"direction": "up"}, 422),
        ({"acount": "ann"}, 422),
    ],
)
async def test_what_cannot_be_asked_for(
    owner: httpx.AsyncClient, query: dict[str, str | int], status: int
) -> None:
    assert (await owner.get("/api/v1/payments", params=query)).status_code == status


@pytest.mark.parametrize("side", ["in", "out"])
async def test_a_cursor_is_a_place(side: str) -> None:
    place = Place(1_800_000_000, side, "ab" * 16)  # type: ignore[arg-type]

    assert place_of(after(place)) == place


@pytest.mark.parametrize(
    "content", [1, [], [1, "in"], ["1", "in", "a"], [1, "up", "a"], [-1, "in", "a"], {"a": 1}]
)
async def test_what_is_no_place_is_no_cursor(content: object) -> None:
    cursor = urlsafe_b64encode(json.dumps(content).encode()).decode()

    with pytest.raises(Refused, match="cursor"):
        place_of(cursor)


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("accounts", {"prefix": "page-"}, "name"),
        ("connections", {"account": "page-0"}, "connection_id"),
        ("decisions", {}, "subject"),
    ],
)
async def test_each_list_is_whole_over_its_pages(
    owner: httpx.AsyncClient, path: str, query: dict[str, str], name: str
) -> None:
    for number in range(COUNT):
        await owner.post("/api/v1/accounts", json={"name": f"page-{number}"})
        body = {"amount_msat": 1, "reason": "a page", "force": True}
        await owner.post(f"/api/v1/accounts/page-{number}/credit", json=body)
        await owner.post("/api/v1/connections", json={"account": "page-0", "app": "a page"})

    [whole] = await pages(owner, path, query=query | {"limit": "1000"})
    parts = await pages(owner, path, query=query | {"limit": "3"})

    assert [row for part in parts for row in part] == whole
    assert len(whole) >= COUNT
    assert len(parts[0]) == 3
    assert path == "decisions" or len({row[name] for row in whole}) == len(whole)


@pytest.mark.parametrize("path", ["accounts", "connections", "decisions"])
async def test_a_cursor_of_another_list_is_none(owner: httpx.AsyncClient, path: str) -> None:
    of_payments = after(Place(1_800_000_000, "in", "ab" * 16))

    for cursor in (of_payments, "x", "W10"):
        answer = await owner.get(f"/api/v1/{path}", params={"cursor": cursor})
        assert answer.status_code == 400


async def test_a_prefix_is_text_and_no_pattern(owner: httpx.AsyncClient) -> None:
    for prefix, count in (("ann", 1), ("%", 0), ("an_", 0), ("ANN", 0)):
        found = await owner.get("/api/v1/accounts", params={"prefix": prefix})
        assert len(found.json()["items"]) == count
