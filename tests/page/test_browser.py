"""The page in a real browser: a newcomer's way to a paying app, on a phone, by keyboard, by
the rules of WCAG, and without a byte from elsewhere."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    Page,
    ViewportSize,
    async_playwright,
)

from nwc_service.nostr.event import sign_event
from nwc_service.nostr.keys import Keypair
from tests.clients.raw import raw_client
from tests.page.conftest import House
from tests.parts import require_real

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.real]

AXE = Path(__file__).parents[1] / "clients" / "js" / "node_modules" / "axe-core" / "axe.min.js"
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=900)
MAX_FIRST_LOAD_BYTES = 100_000
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium")
    require_real("chromium", chromium is not None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


class Seen:
    """What went wrong in a browser, and what it fetched."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.received_bytes = 0
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("console", lambda line: self._heard(line.type, line.text))
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


async def signed_in(context: BrowserContext, owner: httpx.AsyncClient) -> Page:
    """By a link, as `nwc-service page` prints it."""
    page = await context.new_page()
    uri = (await owner.post("/sign-ins", json={})).json()["uri"]
    await page.goto(uri)
    await page.get_by_role("heading", name="Overview").wait_for()
    return page


async def test_a_newcomer_gets_from_nothing_to_a_paying_app(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    context = await browser.new_context(viewport=DESK)
    seen = Seen(context)
    page = await signed_in(context, owner)

    await page.get_by_role("link", name="Accounts").click()
    await page.get_by_label("Name", exact=True).fill("newcomer")
    await page.get_by_role("button", name="Make it").click()
    credit = page.locator("form", has=page.get_by_role("heading", name="Credit"))
    await credit.get_by_label("Amount, sat").fill("1000")
    await credit.get_by_label("Why").fill("pocket money")
    await credit.get_by_role("button", name="Credit").click()
    await page.get_by_text("Credited.", exact=True).wait_for()
    await page.get_by_role("link", name="Connect an app").click()
    await page.get_by_label("What the app is called").fill("a new app")
    await page.get_by_label("Budget, sat").fill("500")
    await page.get_by_role("button", name="Make the connection").click()
    uri = await page.get_by_role("textbox", name="Connection URI").input_value()
    assert await page.locator(".qr").is_visible()
    async with raw_client(uri) as client:
        balance = await client.request("get_balance", {})
        asked = await owner.post(
            "/backends/sandbox/commands/invoice", json={"amount_msat": 21_000}
        )
        paid = await client.request("pay_invoice", {"invoice": asked.json()["invoice"]})
    await page.get_by_role("link", name="To the connection").click()

    assert balance.result == {"balance": 1_000_000}
    assert paid.error_code is None
    await page.get_by_role("cell", name="settled").wait_for()
    assert "of 500 sat" in await page.inner_text("main")
    assert seen.complaints == []
    await context.close()


async def test_a_connection_is_changed_paused_rotated_and_revoked(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    wish = {"account": "ben", "app": "to be stopped"}
    made = (await owner.post("/connections", json=wish)).json()
    path = f"/connections/{made['connection_id']}"
    context = await browser.new_context(viewport=DESK)
    page = await signed_in(context, owner)
    questions: list[str] = []

    async def accept(dialog: object) -> None:
        questions.append(dialog.message)  # type: ignore[attr-defined]
        await dialog.accept()  # type: ignore[attr-defined]

    page.on("dialog", lambda dialog: asyncio.ensure_future(accept(dialog)))
    await page.goto(house.url + path)
    await page.get_by_label("What the app is called").fill("renamed")
    await page.get_by_label("Budget, sat").fill("77")
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Saved.", exact=True).wait_for()
    changed = (await owner.get(path)).json()
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_text("Paused.", exact=True).wait_for()
    paused = (await owner.get(path)).json()
    await page.get_by_role("button", name="Let it go on").click()
    await page.get_by_text("It goes on.", exact=True).wait_for()
    await page.get_by_role("button", name="New secret").click()
    uri = await page.get_by_role("textbox", name="Connection URI").input_value()
    await page.get_by_role("link", name="To the connection").click()
    await page.get_by_role("button", name="Revoke").click()
    await page.get_by_text("Revoked.", exact=True).wait_for()
    revoked = (await owner.get(path)).json()

    assert changed["app"] == "renamed"
    assert changed["scopes"] == made["scopes"]
    assert changed["budget"]["limit_msat"] == 77_000
    assert (paused["paused"], revoked["paused"], revoked["revoked"]) == (True, False, True)
    assert uri != made["uri"]
    assert len(questions) == 2
    await context.close()


async def test_a_payment_that_hangs_is_resolved(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    [held] = [
        each
        for each in (await owner.get("/payments", params={"account": "ann"})).json()["items"]
        if each["direction"] == "outgoing" and each["state"] == "pending"
    ]
    context = await browser.new_context(viewport=DESK)
    page = await signed_in(context, owner)
    page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))

    await page.goto(f"{house.url}/payments/{held['payment_id']}")
    vain = page.locator("form", has=page.get_by_role("heading", name="It never will be"))
    await vain.get_by_label("How you know").fill("only a try")
    await vain.get_by_role("button").click()
    refused = await page.get_by_role("alert").inner_text()

    assert "under way" in refused or "node" in refused
    after = (await owner.get(f"/payments/{held['payment_id']}")).json()
    assert after["state"] == "pending"
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_can_be_used_by_everybody(
    browser: Browser, house: House, owner: httpx.AsyncClient, scheme: str
) -> None:
    """axe finds nothing, and on a phone nothing is wider than the screen."""
    assert AXE.exists()
    context = await browser.new_context(
        viewport=PHONE,
        color_scheme=scheme,  # type: ignore[arg-type]
        bypass_csp=True,  # for axe alone
    )
    seen = Seen(context)
    stranger = await (await browser.new_context(bypass_csp=True)).new_page()
    await stranger.goto(f"{house.url}/sign-in")
    found = {"/sign-in": await violations(stranger)}
    page = await signed_in(context, owner)
    for address in house.addresses:
        await page.goto(house.url + address)
        for closed in await page.locator("details:not([open])").all():
            await closed.evaluate("each => { each.open = true; }")
        found[address] = await violations(page)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], address

    assert {address: each for address, each in found.items() if each} == {}
    assert seen.complaints == []
    await context.close()


async def violations(page: Page) -> list[str]:
    await page.add_script_tag(path=AXE)
    report = await page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    return [
        f"{each['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
        for each in report["violations"]
        for node in each["nodes"]
    ]


async def test_the_first_load_is_small_and_all_from_here(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    context = await browser.new_context(viewport=DESK)
    seen = Seen(context)
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    sizes: list[int] = []
    await session.send("Network.enable")
    session.on("Network.loadingFinished", lambda e: sizes.append(int(e["encodedDataLength"])))
    uri = (await owner.post("/sign-ins", json={})).json()["uri"]

    await page.goto(uri)
    await page.get_by_role("heading", name="Overview").wait_for()
    await page.wait_for_load_state("networkidle")

    assert seen.hosts == {urlsplit(house.url).netloc}
    assert 1_000 < sum(sizes) < MAX_FIRST_LOAD_BYTES, json.dumps(sizes)
    await context.close()


async def test_by_keyboard_alone(browser: Browser, house: House) -> None:
    context = await browser.new_context(viewport=DESK)
    page = await context.new_page()
    await page.goto(f"{house.url}/sign-in?next=/accounts")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "To the content"
    await page.keyboard.press("Tab")
    await page.keyboard.type(house.token)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Accounts").wait_for()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")

    assert await page.evaluate("document.activeElement.id") == "main"
    await page.keyboard.press("Tab")
    await page.keyboard.type("ben")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/accounts?prefix=ben*")
    assert await page.get_by_role("link", name="ben").is_visible()
    await context.close()


async def test_without_scripts_it_works_all_the_same(browser: Browser, house: House) -> None:
    context = await browser.new_context(viewport=DESK, java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{house.url}/sign-in")
    await page.get_by_label("Token").fill(house.token)
    await page.get_by_role("button", name="Sign in").click()
    await page.goto(f"{house.url}/connections/new?account=ben")
    await page.get_by_label("What the app is called").fill("scriptless")
    await page.get_by_role("button", name="Make the connection").click()

    assert (await page.get_by_role("textbox", name="Connection URI").input_value()).startswith(
        "nostr+wallet"
    )
    await context.close()


async def test_the_overview_stays_fresh(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    context = await browser.new_context(viewport=DESK)
    page = await signed_in(context, owner)
    before = await page.locator("#live").inner_text()
    await owner.post("/accounts", json={"name": "while-you-looked"})

    await page.wait_for_function("before => live.innerText !== before", arg=before)

    assert "accounts" in await page.locator("#live").inner_text()
    await context.close()


# --- the user of an account

EXTENSION = """window.nostr = {
  getPublicKey: async () => (await signForNostr({})).pubkey,
  signEvent: (draft) => signForNostr(draft),
};"""
KEY = Keypair(bytes([5]) * 32)


def sign_for_nostr(draft: dict[str, Any]) -> dict[str, object]:
    """As an extension does, with the user's consent."""
    event = sign_event(
        KEY,
        created_at=draft.get("created_at", 0),
        kind=draft.get("kind", 1),
        tags=draft.get("tags", []),
        content=draft.get("content", ""),
        aux=bytes(32),
    )
    return event.to_dict()


async def users_page(context: BrowserContext, owner: httpx.AsyncClient, name: str) -> Page:
    page = await context.new_page()
    uri = (await owner.post(f"/accounts/{name}/sign-ins", json={})).json()["uri"]
    await page.goto(uri)
    await page.get_by_role("heading", name="My account").wait_for()
    return page


async def test_a_user_uses_a_nostr_key_instead_of_the_next_link(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    await owner.post("/accounts", json={"name": "nostrich"})
    context = await browser.new_context(viewport=PHONE)
    seen = Seen(context)
    await context.expose_function("signForNostr", sign_for_nostr)
    await context.add_init_script(EXTENSION)
    page = await users_page(context, owner, "nostrich")

    await page.get_by_role("button", name="Use my Nostr key").click()
    await page.get_by_text("signs you in").wait_for()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in with Nostr").click()
    await page.get_by_role("heading", name="My account").wait_for()

    assert KEY.public_key in await page.inner_text("main")
    assert seen.complaints == []
    await context.close()


async def test_a_user_approves_what_an_app_asks_for(
    browser: Browser, house: House, owner: httpx.AsyncClient
) -> None:
    context = await browser.new_context(viewport=PHONE)
    page = await users_page(context, owner, "ben")

    await page.get_by_role("link", name="An app asks").click()
    await page.get_by_label("Link").fill(
        "nostrnwc://connect?appname=A%20shop&callback=shop://x"
    )
    await page.get_by_role("button", name="Look at it").click()
    await page.get_by_role("heading", name="A shop").wait_for()
    await page.get_by_label("Budget, sat").fill("9")
    await page.get_by_role("button", name="Connect it").click()
    back = await page.get_by_role("link", name="Back to the app").get_attribute("href")
    await page.get_by_role("link", name="What it may do").click()

    assert back is not None
    assert back.startswith("shop://x")
    assert "0 of 9 sat are used" in await page.inner_text("main")
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_users_pages_can_be_used_by_everybody(
    browser: Browser, house: House, owner: httpx.AsyncClient, scheme: str
) -> None:
    context = await browser.new_context(
        viewport=PHONE,
        color_scheme=scheme,  # type: ignore[arg-type]
        bypass_csp=True,  # for axe alone
    )
    seen = Seen(context)
    page = await users_page(context, owner, "ann")
    link = "nostrnwc://connect?appname=A%20shop&callback=shop://x"
    addresses = [
        "/my",
        f"/my/payments/{house.payment_ids[0]}",
        "/my/apps/new",
        f"/my/apps/{house.connection['connection_id']}",
        "/my/link",
        f"/my/link?link={quote(link, safe='')}",
    ]
    found = {}
    for address in addresses:
        answer = await page.goto(house.url + address)
        assert answer is not None
        assert answer.status == 200, address
        found[address] = await violations(page)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], address

    assert {address: each for address, each in found.items() if each} == {}
    assert seen.complaints == []
    await context.close()
