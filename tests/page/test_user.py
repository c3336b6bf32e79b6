"""The user of an account sees and changes that account, and nothing of any other."""

import json
import re
import time
from collections.abc import AsyncIterator
from html import unescape

import httpx
import pytest
import pytest_asyncio

from nwc_service.admin import me
from nwc_service.admin.access import LEAST, ME, METRICS, PREFIX, SIGNED_IN, Principal, Role
from nwc_service.nostr.event import sign_event
from nwc_service.nostr.keys import Keypair
from nwc_service.page import my, site
from nwc_service.page.api import Api
from tests.clients.client import JsonObject
from tests.clients.raw import raw_client
from tests.page.conftest import HOSTILE, OURS, House

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.attack("A20", "A34")]


async def browser_of(house: House, owner: httpx.AsyncClient, name: str) -> httpx.AsyncClient:
    uri = (await owner.post(f"/accounts/{name}/sign-ins", json={})).json()["uri"]
    browser = httpx.AsyncClient(base_url=house.url, headers=OURS, trust_env=False, timeout=30)
    begun = await browser.post("/sign-in", data={"token": uri.partition("#")[2]})
    assert begun.status_code == 303
    return browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ben(house: House, owner: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    browser = await browser_of(house, owner, "ben")
    yield browser
    await browser.aclose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ann(house: House, owner: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    browser = await browser_of(house, owner, "ann")
    yield browser
    await browser.aclose()


async def test_the_account_is_that_of_who_is_signed_in(
    ann: httpx.AsyncClient, ben: httpx.AsyncClient, house: House
) -> None:
    home = await ann.get("/")
    hers, his = await ann.get("/my"), await ben.get("/my")

    assert (home.status_code, home.headers["location"]) == (303, "/my")
    assert house.connection["connection_id"] in hers.text
    assert house.connection["connection_id"] not in his.text
    assert not re.search(r'href="/(accounts|payments|alarms|tokens)', his.text)


def filled(path: str, *, house: House) -> str:
    """With what is Ann's."""
    return (
        path.replace("{connection_id}", house.connection["connection_id"])
        .replace("{payment_id}", house.payment_ids[0])
        .replace("{word}", "revoke")
        .replace("{name}", house.payment_ids[0])
        .replace("{movement}", "debit")
        .replace("{payment_hash}", "00" * 32)
    )


async def test_no_page_shows_or_changes_anything_of_another_account(
    ben: httpx.AsyncClient, owner: httpx.AsyncClient, house: House
) -> None:
    """Every route and method of the page, with what is Ann's, asked by Ben."""
    before = await all_of_ann(owner, house)
    form = {"account": "ann", "app": "x", "scopes": "full", "amount": "1", "reason": "x"}
    own = {"/my", "/my/payments.csv", "/my/apps/new", "/my/link", "/my/apps", "/my/nostr", "/"}
    for method, path in (*site.ROUTES, *my.ROUTES):
        answer = await ben.request(
            method, filled(path, house=house), data=form if method == "POST" else None
        )
        where = f"{method} {path}"
        if path not in own:
            assert answer.status_code in (403, 404), where
        assert (
            house.connection["connection_id"]
            not in answer.text.replace(filled(path, house=house), "")
            or answer.status_code == 404
        ), where
        assert not any(each in answer.text for each in house.payment_ids[1:]), where
    assert await all_of_ann(owner, house) == before


async def all_of_ann(owner: httpx.AsyncClient, house: House) -> list[JsonObject]:
    paths = ("/accounts/ann", f"/connections/{house.connection['connection_id']}")
    found = [(await owner.get(path)).json() for path in paths]
    listed = await owner.get("/connections", params={"account": "ann"})
    return [*found, {"connections": len(listed.json()["items"])}]


async def test_no_route_of_the_api_does_either(house: House, owner: httpx.AsyncClient) -> None:
    """As if the page were to ask for it in Ben's name."""
    account = (await owner.get("/accounts/ben")).json()
    principal = Principal("ben", Role.USER, account_id=account["account_id"])
    for method, path in sorted(LEAST):
        assert not principal.may(method, PREFIX + path if path != METRICS else path)
    for method, path in sorted(ME):
        assert principal.may(method, PREFIX + path)
        assert not Principal("owner", Role.OWNER).may(method, PREFIX + path)


async def test_nothing_over_a_socket_says_who_is_signed_in(house: House) -> None:
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as stranger:
        for headers in ({SIGNED_IN: "owner"}, {SIGNED_IN.replace(".", "-"): "owner"}):
            assert (await stranger.get("/api/v1/me", headers=headers)).status_code == 401
            assert (await stranger.get("/api/v1/accounts", headers=headers)).status_code == 401


async def test_a_user_connects_an_app_and_stops_it(
    ben: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    form = {"app": "of Ben", "scopes": "full", "budget": "5", "budget_renewal": "daily"}
    made = await ben.post("/my/apps", data=form)
    uri = re.search(r"nostr\+walletconnect://[^<]+", unescape(made.text))
    address = re.search(r"/my/apps/[0-9a-f]{32}", made.text)
    assert uri is not None
    assert address is not None
    async with raw_client(uri.group()) as client:
        balance = await client.request("get_balance", {})
        saved = await ben.post(
            address.group(), data={"app": "renamed", "scopes": "read", "budget": ""}
        )
        restricted = await client.request("make_invoice", {"amount": 1_000})
    paused = await ben.post(f"{address.group()}/pause")
    await ben.post(f"{address.group()}/resume")
    rotated = await ben.post(f"{address.group()}/rotate")
    revoked = await ben.post(f"{address.group()}/revoke")
    shown = await ben.get(address.group())
    name = address.group().rpartition("/")[2]
    decided = [
        (each["kind"], each["decided_by"])
        for each in (await owner.get("/decisions")).json()["items"]
        if each["subject"] == name
    ]

    assert balance.result["balance"] > 0
    assert [each.status_code for each in (saved, paused, revoked)] == [303] * 3
    assert restricted.error_code == "RESTRICTED"
    assert "nostr+walletconnect" in rotated.text
    assert "revoked" in shown.text
    assert {by for _, by in decided} == {"the user of ben"}
    assert len(decided) == 5


async def test_what_only_the_operator_grants_is_refused(ben: httpx.AsyncClient) -> None:
    for scopes in ("sign_message", "full,sign_message"):
        answer = await ben.post("/my/apps", data={"app": "x", "scopes": scopes})
        assert answer.status_code == 400
        assert "only the operator" in answer.text


async def test_a_user_makes_only_so_many(
    house: House, owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("busy", "rich-in-apps"):
        await owner.post("/accounts", json={"name": name})
    busy, rich = [await browser_of(house, owner, name) for name in ("busy", "rich-in-apps")]

    quick = [
        await busy.post("/my/apps", data={"app": "x", "scopes": "read"}) for _ in range(31)
    ]
    monkeypatch.setattr(me, "MAX_CONNECTIONS", 2)
    many = [await rich.post("/my/apps", data={"app": "x", "scopes": "read"}) for _ in range(3)]
    for browser in (busy, rich):
        await browser.aclose()

    assert [answer.status_code for answer in quick] == [200] * 30 + [400]
    assert "wait a minute" in quick[-1].text
    assert [answer.status_code for answer in many] == [200, 200, 400]
    assert "revoke one first" in many[-1].text


async def test_a_frozen_user_only_looks(owner: httpx.AsyncClient, house: House) -> None:
    await owner.post("/accounts", json={"name": "icy"})
    icy = await browser_of(house, owner, "icy")
    await owner.post("/accounts/icy/freeze", json={"reason": "a question"})

    made = await icy.post("/my/apps", data={"app": "x", "scopes": "full"})
    shown = await icy.get("/my")
    await icy.aclose()

    assert made.status_code == 400
    assert "frozen" in made.text
    assert (shown.status_code, "frozen" in shown.text) == (200, True)


async def test_the_history_is_exported_whole_and_without_formulas(
    ann: httpx.AsyncClient, house: House
) -> None:
    answer = await ann.get("/my/payments.csv")

    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = answer.text.splitlines()
    assert head.split(",")[0] == "created_at_utc"
    assert len(rows) == len(house.payment_ids)
    assert [my._cell("description", text) for text in ("=1+1", "@x", "-2", "+3", "fine")] == [
        "'=1+1",
        "'@x",
        "'-2",
        "'+3",
        "fine",
    ]
    assert my._cell("amount_msat", 5) == "5"
    assert "<script>" in answer.text  # CSV knows no HTML, and is no page
    assert HOSTILE.split("<")[0] in answer.text


async def test_an_app_is_connected_by_the_link_with_which_it_asks(
    ben: httpx.AsyncClient,
) -> None:
    link = "nostrnwc://connect?appname=A%20shop&callback=shop%3A%2F%2Fback"

    asked = await ben.get("/my/link", params={"link": link})
    refused = await ben.post("/my/link", data={"link": "nostrnwc://x"})
    form = {"link": link, "accept": "yes", "scopes": "receive", "max_payment": "1"}
    linked = await ben.post("/my/link", data=form)

    assert "A shop" in asked.text
    assert refused.status_code == 400
    assert linked.status_code == 200
    assert "shop://back" in unescape(linked.text)


KEY = Keypair(bytes([7]) * 32)


def proof(url: str, *, key: Keypair = KEY, age_s: int = 0, method: str = "POST") -> str:
    event = sign_event(
        key,
        created_at=int(time.time()) - age_s,
        kind=27_235,
        tags=(("u", url), ("method", method)),
        content="",
        aux=bytes(32),
    )
    return event.to_json()


async def test_a_nostr_key_signs_its_user_in(ben: httpx.AsyncClient, house: House) -> None:
    linked = await ben.post("/my/nostr", data={"event": proof(f"{house.url}/my/nostr")})
    async with httpx.AsyncClient(base_url=house.url, headers=OURS, trust_env=False) as browser:
        event = proof(f"{house.url}/sign-in/nostr")
        begun = await browser.post("/sign-in/nostr", data={"event": event})
        shown = await browser.get("/my")
    async with httpx.AsyncClient(base_url=house.url, headers=OURS, trust_env=False) as thief:
        replayed = await thief.post("/sign-in/nostr", data={"event": event})

    assert linked.status_code == 303
    assert (begun.status_code, begun.headers["location"]) == (303, "/")
    assert "My account" in shown.text
    assert (replayed.status_code, "set-cookie" in replayed.headers) == (403, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "https://evil.example/sign-in/nostr"},
        {"url": "/my/nostr"},
        {"age_s": 61},
        {"age_s": -61},
        {"method": "GET"},
        {"key": Keypair(bytes([8]) * 32)},
    ],
)
async def test_what_proves_nothing_signs_nobody_in(
    visitor: httpx.AsyncClient, house: House, wrong: dict[str, object]
) -> None:
    url = str(wrong.pop("url", "/sign-in/nostr"))
    address = url if url.startswith("https") else house.url + url

    answer = await visitor.post(
        "/sign-in/nostr",
        data={"event": proof(address, **wrong)},  # type: ignore[arg-type]
    )

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "x" * 1000])
async def test_what_is_no_event_signs_nobody_in(visitor: httpx.AsyncClient, text: str) -> None:
    answer = await visitor.post("/sign-in/nostr", data={"event": text})

    assert answer.status_code == 403


async def test_a_forged_signature_signs_nobody_in(
    visitor: httpx.AsyncClient, house: House
) -> None:
    event = json.loads(proof(f"{house.url}/sign-in/nostr"))
    event["sig"] = event["sig"][:-2] + ("00" if event["sig"][-2:] != "00" else "11")

    answer = await visitor.post("/sign-in/nostr", data={"event": json.dumps(event)})

    assert answer.status_code == 403


async def test_a_key_is_of_one_account_and_can_be_forgotten(
    ann: httpx.AsyncClient, ben: httpx.AsyncClient, house: House, owner: httpx.AsyncClient
) -> None:
    key = Keypair(bytes([9]) * 32)
    url = f"{house.url}/my/nostr"
    await ben.post("/my/nostr", data={"event": proof(url, key=key)})
    taken = await ann.post("/my/nostr", data={"event": proof(url, key=key, age_s=20)})
    await ben.post("/my/nostr", data={})
    again = await ann.post("/my/nostr", data={"event": proof(url, key=key, age_s=40)})

    assert taken.status_code == 400
    assert "another account" in taken.text
    assert again.status_code == 303


async def test_two_users_have_keys_of_their_own_for_a_repeated_request(
    house: House, owner: httpx.AsyncClient
) -> None:
    """An Idempotency-Key is no way to another one's answers."""
    ids = [
        (await owner.get(f"/accounts/{name}")).json()["account_id"] for name in ("ann", "ben")
    ]
    callers = {Principal("x", Role.USER, account_id=each).caller_id for each in ids}
    assert len(callers | {Principal("owner", Role.OWNER).caller_id}) == 3
    assert Api is not None
