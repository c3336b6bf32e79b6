"""The page over HTTP: who is let in, what a browser is told, and that nothing leaks."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from html import unescape
from pathlib import Path

import httpx
import pytest

from nwc_service.page import my
from nwc_service.page.site import ROUTES, SAFE
from tests.page.conftest import HOSTILE, OURS, House

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.attack("A34")]

COOKIE = "nwc_session"


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", "x", path)


@pytest.mark.parametrize(("method", "path"), sorted({*ROUTES, *my.ROUTES}))
async def test_nobody_sees_a_page_without_signing_in(
    visitor: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await visitor.request(method, filled(path))

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")
    assert answer.text == ""


async def test_every_page_is_shown_and_is_safe(
    operator: httpx.AsyncClient, house: House
) -> None:
    for address in house.addresses:
        answer = await operator.get(address)

        assert answer.status_code == 200, address
        assert dict(answer.headers).items() >= {k.lower(): v for k, v in SAFE.items()}.items()
        text = answer.text
        assert "<script>alert" not in text, address
        assert not re.search(r"\son\w+=|style=|javascript:|<style|https?://(?!127)", text), (
            address
        )
        assert len(re.findall(r"<script", text)) == 1
        assert house.token not in text
        assert house.connection["uri"].partition("secret=")[2] not in text
        assert text.count("<h1>") == 1


async def test_what_an_app_wrote_is_text(operator: httpx.AsyncClient, house: House) -> None:
    shown = await operator.get(f"/connections/{house.connection['connection_id']}")

    assert HOSTILE.replace("\u202e", "") in unescape(shown.text)


async def test_a_token_becomes_a_session_that_no_script_and_no_other_site_has(
    visitor: httpx.AsyncClient, house: House, data_dir: Path
) -> None:
    answer = await visitor.post("/sign-in", data={"token": house.token, "next": "/accounts"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/accounts")
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    secret = answer.cookies[COOKIE]
    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database:
        assert secret not in "\n".join(database.iterdump())


async def test_over_tls_the_cookie_is_for_tls_only(house: House) -> None:
    """Behind a proxy on this machine, which says so."""
    headers = OURS | {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.1"}
    async with httpx.AsyncClient(
        base_url=house.url, headers=headers, trust_env=False
    ) as client:
        answer = await client.post("/sign-in", data={"token": house.token})

    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "https://evil.example", "/\\evil.example", "", "javascript:alert(1)"],
)
async def test_signing_in_leads_nowhere_else(
    visitor: httpx.AsyncClient, house: House, address: str
) -> None:
    answer = await visitor.post("/sign-in", data={"token": house.token, "next": address})

    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("token", ["", "not a token", "nwc_" + "x" * 43])
async def test_what_is_no_token_signs_nobody_in(visitor: httpx.AsyncClient, token: str) -> None:
    answer = await visitor.post("/sign-in", data={"token": token})

    assert answer.status_code == 403
    assert COOKIE not in answer.cookies
    assert not token or token not in answer.text


async def test_signing_out_ends_the_session_itself(
    operator: httpx.AsyncClient, house: House
) -> None:
    secret = operator.cookies[COOKIE]
    await operator.post("/sign-out")

    async with httpx.AsyncClient(
        base_url=house.url, cookies={COOKIE: secret}, trust_env=False
    ) as thief:
        assert (await thief.get("/accounts")).status_code == 303


async def test_a_session_ends_after_a_while(
    operator: httpx.AsyncClient, data_dir: Path
) -> None:
    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database, database:
        database.execute("UPDATE session SET expires_at = expires_at - 12 * 3600 - 1")

    assert (await operator.get("/accounts")).status_code == 303


async def test_a_session_ends_with_its_token_and_may_no_more_than_it(
    visitor: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    wish = {"name": "a reader", "role": "read-only"}
    token = (await owner.post("/tokens", json=wish)).json()["token"]
    await visitor.post("/sign-in", data={"token": token})

    reads = await visitor.get("/accounts/ann")
    tokens = await visitor.get("/tokens")
    credits = await visitor.post(
        "/accounts/ann/credit", data={"amount": "1", "reason": "mine", "force": "yes"}
    )
    await owner.post("/tokens/a reader/revoke", json={})
    after = await visitor.get("/accounts/ann")

    assert [each.status_code for each in (reads, tokens, credits, after)] == [
        200,
        403,
        403,
        303,
    ]
    assert "may not do this" in credits.text
    assert 'href="/tokens"' not in reads.text


async def test_a_sign_up_server_has_no_page(
    visitor: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    wish = {"name": "sign-up", "role": "provisioning"}
    token = (await owner.post("/tokens", json=wish)).json()["token"]
    await visitor.post("/sign-in", data={"token": token})

    assert (await visitor.get("/")).status_code == 303


async def test_a_link_signs_in_once(
    visitor: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    uri = (await owner.post("/sign-ins", json={})).json()["uri"]
    secret = uri.partition("#")[2]

    is_bearer = await visitor.get(
        "/api/v1/overview", headers={"Authorization": f"Bearer {secret}"}
    )
    first = await visitor.post("/sign-in", data={"token": secret})
    second = await visitor.post("/sign-in", data={"token": secret})

    assert is_bearer.status_code == 401
    assert (first.status_code, second.status_code) == (303, 403)


async def test_a_link_is_not_good_for_long(
    visitor: httpx.AsyncClient, owner: httpx.AsyncClient, data_dir: Path
) -> None:
    uri = (await owner.post("/sign-ins", json={})).json()["uri"]
    with closing(sqlite3.connect(data_dir / "nwc.sqlite")) as database, database:
        database.execute("UPDATE session SET expires_at = expires_at - 601 WHERE is_link = 1")

    answer = await visitor.post("/sign-in", data={"token": uri.partition("#")[2]})

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
@pytest.mark.parametrize(
    "path", ["/sign-in", "/sign-out", "/accounts/ann/credit", "/connections"]
)
async def test_a_form_of_another_site_does_nothing(
    operator: httpx.AsyncClient, owner: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    before = (await owner.get("/accounts/ann")).json()["available_msat"]
    del operator.headers["Sec-Fetch-Site"]
    body = {"amount": "1", "reason": "mine", "force": "yes", "account": "ann", "app": "evil"}

    answer = await operator.post(path, data=body, headers=headers)

    assert answer.status_code == 403
    assert (await owner.get("/accounts/ann")).json()["available_msat"] == before
    assert (await operator.get("/accounts")).status_code == 200


async def test_an_older_browser_is_known_by_its_origin(
    operator: httpx.AsyncClient, house: House
) -> None:
    del operator.headers["Sec-Fetch-Site"]

    answer = await operator.post(
        "/accounts", data={"name": "by-origin"}, headers={"Origin": house.url}
    )

    assert answer.headers["location"] == "/accounts/by-origin?done=made"


async def test_a_form_that_is_refused_says_why_and_keeps_what_was_written(
    operator: httpx.AsyncClient,
) -> None:
    for data, word in (
        ({"amount": "a lot", "reason": "kept"}, "not an amount"),
        ({"amount": "0.0001", "reason": "kept"}, "three digits"),
        ({"amount": "", "reason": "kept"}, "missing"),
        ({"amount": "-5", "reason": "kept"}, "not between"),
        ({"amount": "NaN", "reason": "kept"}, "three digits"),
        ({"amount": "1e30", "reason": "kept"}, "not between"),
    ):
        answer = await operator.post("/accounts/ann/credit", data=data)

        assert answer.status_code in (400, 422)
        assert word in answer.text
        assert 'value="kept"' in answer.text


async def test_what_is_written_in_sat_is_booked_in_msat(
    operator: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    await owner.post("/accounts", json={"name": "exact"})

    await operator.post("/accounts/exact/credit", data={"amount": "1,234.567", "reason": "x"})
    await operator.post("/accounts/exact/debit", data={"amount": "0.001", "reason": "x"})

    assert (await owner.get("/accounts/exact")).json()["available_msat"] == 1_234_566


async def test_a_uri_is_shown_once_and_kept_by_nobody(operator: httpx.AsyncClient) -> None:
    made = await operator.post("/connections", data={"account": "ben", "app": "once"})
    uri = re.search(r"nostr\+walletconnect://[^<]+", unescape(made.text))

    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    assert uri is not None
    secret = uri.group().partition("secret=")[2]
    address = re.search(r"/connections/[0-9a-f]{32}", made.text)
    assert address is not None
    assert secret not in (await operator.get(address.group())).text


async def test_what_is_not_there_is_said(operator: httpx.AsyncClient) -> None:
    for address in ("/accounts/nobody", "/connections/none", "/payments/none"):
        answer = await operator.get(address)
        assert answer.status_code == 404
        assert "there is no" in answer.text


async def test_a_form_that_is_too_long_is_not_read(operator: httpx.AsyncClient) -> None:
    answer = await operator.post("/accounts", data={"name": "x" * 70_000})

    assert answer.status_code == 413


async def test_a_form_without_an_end_is_not_read(visitor: httpx.AsyncClient) -> None:
    async def for_ever() -> AsyncIterator[bytes]:
        yield b"token=x"

    answer = await visitor.post("/sign-in", content=for_ever())

    assert answer.status_code == 411


async def test_a_payment_is_found_by_its_hash(
    operator: httpx.AsyncClient, owner: httpx.AsyncClient
) -> None:
    [first, *_] = (await owner.get("/payments")).json()["items"]

    answer = await operator.get("/payments", params={"name": first["payment_hash"]})

    assert answer.headers["location"].startswith("/payments/")
