"""Attacks on the operator's door, screen and credentials."""

from collections.abc import AsyncIterator
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import httpx
import pytest
from fastapi import FastAPI

from nwc_service.admin.state import State
from nwc_service.backend import BackendUnavailable, PaymentRef, PayRequest
from nwc_service.cli import common
from nwc_service.page import site
from nwc_service.wallet.units import Msat
from tests.backends.contract import a_spec
from tests.backends.lnbits_double import (
    ADMIN_KEY,
    AMOUNT_MSAT,
    PAY,
    PAYMENT_HASH,
    WALLET,
    LnbitsDouble,
    a_backend,
    an_invoice,
    lnbits_double,
)

TOKEN = "the token"
WITHOUT_A_TOKEN = {"/healthz", "/readyz"}


@pytest.fixture
def app() -> FastAPI:
    """With nothing behind it that could answer."""
    state = Mock()
    state.db.read = AsyncMock(return_value=None)  # there is no other token
    return site.build(cast("State", state), token=TOKEN)


@pytest.fixture
async def visitor(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://admin"
    ) as client:
        yield client


def doors(app: FastAPI) -> list[tuple[str, str]]:
    return [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in app.openapi()["paths"].items()
        if path not in WITHOUT_A_TOKEN
        for method in methods
    ]


@pytest.mark.attack("A22", "A34")
@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param({}, id="none"),
        pytest.param({"headers": {"Authorization": "Bearer "}}, id="empty"),
        pytest.param({"headers": {"Authorization": "Bearer None"}}, id="none-as-text"),
        pytest.param({"headers": {"Authorization": f"Basic {TOKEN}"}}, id="another-scheme"),
        pytest.param({"cookies": {"token": TOKEN, "Authorization": TOKEN}}, id="a-cookie"),
        pytest.param({"params": {"token": TOKEN, "access_token": TOKEN}}, id="in-the-url"),
        pytest.param({"headers": {"X-Forwarded-For": "127.0.0.1"}}, id="says-it-is-local"),
    ],
)
async def test_whoever_comes_without_the_token_in_its_header_finds_every_door_shut(
    app: FastAPI, visitor: httpx.AsyncClient, credentials: dict[str, Any]
) -> None:
    visitor.cookies.update(credentials.get("cookies", {}))
    how = {name: value for name, value in credentials.items() if name != "cookies"}

    statuses = {
        (method, path): (await visitor.request(method, path, json={}, **how)).status_code
        for method, path in doors(app)
    }

    assert len(statuses) > 15
    assert set(statuses.values()) == {401}, statuses


@pytest.mark.attack("A34")
async def test_another_sites_page_may_not_read_what_the_admin_api_answers(
    visitor: httpx.AsyncClient,
) -> None:
    answer = await visitor.options(
        "/api/v1/accounts",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )

    assert "access-control-allow-origin" not in answer.headers
    assert "set-cookie" not in answer.headers


# --- what is written for people to read


HOSTILE_TEXTS = [
    pytest.param("\x1b]0;owned\x07\x1b[2J\x1b[1;31mpaid", id="terminal-escapes"),
    pytest.param("\x9b2Jpaid", id="one-byte-escapes"),
    pytest.param("paid\r-1000 msat", id="overwritten-line"),
    pytest.param("tea\nstate  settled", id="another-line"),
    pytest.param("gpj.exe\u202e", id="turned-around"),
]


@pytest.mark.attack("A33")
@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_memo_moves_nothing_on_the_operators_terminal(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common.show({"description": text, "metadata": {"memo": text}}, as_json=False)
    common.show_list([{"app": text}], as_json=False, columns=["app"])

    shown = capsys.readouterr().out
    assert all(character == "\n" or character.isprintable() for character in shown), shown
    assert len(shown.splitlines()) == 4  # two fields, a heading and a row


@pytest.mark.attack("A33")
@pytest.mark.parametrize("text", ["[bold]tea[/bold]", "[/]", "[link=https://evil.example]x"])
def test_a_name_is_shown_as_it_is_and_never_read_as_markup(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common.show_list([{"app": text}], as_json=False, columns=["app"])

    assert text in capsys.readouterr().out


@pytest.mark.attack("A33")
@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_memo_in_json_stays_one_line_of_ascii(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common.show({"description": text}, as_json=True)

    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert shown.strip().isascii()
    assert shown.strip().isprintable()


# --- credentials of the node


@pytest.fixture
async def double() -> AsyncIterator[LnbitsDouble]:
    async with lnbits_double() as opened:
        yield opened


@pytest.mark.attack("A23")
async def test_the_key_that_can_spend_is_shown_to_pay_and_for_nothing_else(
    double: LnbitsDouble,
) -> None:
    backend = a_backend(double.url)
    await backend.start()
    try:
        await backend.balance()
        await backend.lookup_payment(PaymentRef("our_id", PAYMENT_HASH, 0))
        await backend.lookup_invoice(PAYMENT_HASH)
        await backend.list_history("out", None, 10)
        with pytest.raises(BackendUnavailable):
            await backend.create_invoice(a_spec())
        await backend.pay(a_pay_request())
    finally:
        await backend.close()

    admin = [request for request in double.requests if request.key == ADMIN_KEY]
    assert {request.name for request in admin} == {WALLET, PAY}
    assert all(request.body["out"] is True for request in admin if request.name == PAY)
    assert len(double.requests) > len(admin) + 4


def a_pay_request() -> PayRequest:
    return PayRequest(
        our_id="our_id",
        invoice=an_invoice(),
        payment_hash=PAYMENT_HASH,
        amount_msat=AMOUNT_MSAT,
        amount_is_override=False,
        max_fee_msat=Msat(2_000),
        timeout_s=0.3,
    )
