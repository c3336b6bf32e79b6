"""What an app asks for with a link, and what the operator grants of it."""

import json
import os
import pty
import time
from asyncio import create_subprocess_exec, sleep, timeout
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio

from nwc_service.nostr.keys import Keypair
from tests.clients.raw import ConnectionUri, raw_client
from tests.e2e.conftest import Cli, only_ours
from tests.e2e.service import PROGRAM, START_TIMEOUT_S, ServiceProcess, service_process
from tests.relay.small_relay import SmallRelay, small_relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

JsonObject = dict[str, Any]

STATE = "9f2c4a" * 8
CREDIT_MSAT = 50_000
CALLBACK = "myapp://paired"


@pytest.fixture(scope="module")
def config() -> str:
    return '[outbound]\nallowed_hosts = ["127.0.0.1"]\n'


@pytest_asyncio.fixture(loop_scope="module")
async def account(service: ServiceProcess) -> str:
    name = f"account-{token_hex(4)}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    return name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(service: ServiceProcess) -> str:
    """The service's own."""
    await service.create_account("main")
    created = await service.call("POST", "connections", account="main", app="a test")
    return str(created["relays"][0])


class App:
    """An app with a key of its own, and the link that it shows."""

    def __init__(self, own_relay: str, **params: object) -> None:
        self.secret = token_bytes(32)
        self.pubkey = Keypair(self.secret).public_key
        self.relay = own_relay
        asked = {"relay": own_relay, "state": STATE, "request_methods": "get_balance"} | params
        present = {name: value for name, value in asked.items() if value is not None}
        query = urlencode(present, quote_via=quote)
        self.link = f"nostr+walletauth://{self.pubkey}?{query}"

    def uri(self, wallet_pubkey: str) -> str:
        relay = quote(self.relay, safe="")
        return f"nostr+walletconnect://{wallet_pubkey}?relay={relay}&secret={self.secret.hex()}"


@pytest.fixture
def app(relay: str) -> App:
    return App(relay)


async def accept(
    service: ServiceProcess, app: App, account: str, **consent: object
) -> JsonObject:
    return dict(
        await service.call("POST", "links/accept", link=app.link, account=account, **consent)
    )


async def refusal(service: ServiceProcess, link: str, account: str, **consent: object) -> str:
    before = (await service.call("GET", "connections"))["items"]
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await service.call("POST", "links/accept", link=link, account=account, **consent)
    assert refused.value.response.status_code == 400
    assert (await service.call("GET", "connections"))["items"] == before
    return str(json.loads(str(refused.value))["detail"])


# --- what is shown


async def test_what_an_app_asks_is_shown_and_its_own_words_are_called_unverified(
    service: ServiceProcess, relay: str
) -> None:
    """NWC-08: "`name` and `icon` are client-supplied and unverified"; "The user MUST be
    presented with a confirmation page showing the requesting app, the requested methods, and
    the expiry if present"."""
    app = App(
        relay,
        name="Tea",
        icon="https://tea.example/icon.png",
        request_methods="pay_invoice teleport",
        optional_request_methods="get_balance",
        notification_types="payment_sent",
        max_amount=1000,
        renewal_period="daily",
        expires_at=2_000_000_000,
    )

    shown = await service.call("POST", "links", link=app.link)

    assert shown == {
        "kind": "walletauth",
        "unverified_name": "Tea",
        "unverified_icon": "https://tea.example/icon.png",
        "opens": None,
        "wallet": None,
        "client_pubkey": app.pubkey,
        "relays": [relay],
        "request_methods": ["pay_invoice", "teleport"],
        "unsupported_methods": ["teleport"],
        "optional_request_methods": ["get_balance"],
        "notification_types": ["payment_sent"],
        "max_amount_msat": 1000,
        "renewal": "daily",
        "expires_at": 2_000_000_000,
        "isolated": False,
        "metadata": None,
    }


async def test_showing_a_link_changes_nothing(service: ServiceProcess, app: App) -> None:
    before = (await service.call("GET", "connections"))["items"]

    await service.call("POST", "links", link=app.link)

    assert (await service.call("GET", "connections"))["items"] == before


# --- what is granted


async def test_all_that_was_asked_is_granted_and_nothing_else(
    service: ServiceProcess, relay: str, account: str
) -> None:
    """NWC-08: "The wallet service MUST NOT grant request methods or notification types the
    client did not request"; "MUST enforce `max_amount` and the period or decline"."""
    ends_at = int(time.time()) + 3600
    app = App(
        relay,
        name="Tea",
        request_methods="pay_invoice receive",
        optional_request_methods="get_balance",
        notification_types="payment_sent no_such_type",
        max_amount=1000,
        renewal_period="weekly",
        expires_at=ends_at,
        metadata='{"a":1}',
    )

    granted = await accept(service, app, account)

    assert granted["scopes"] == ["pay_invoice", "receive"]
    assert granted["notifications"] == ["payment_sent"]
    assert (granted["budget"]["limit_msat"], granted["budget"]["renewal"]) == (1000, "weekly")
    assert (granted["app"], granted["client_pubkey"]) == ("Tea", app.pubkey)
    assert (granted["expires_at"], granted["metadata"]) == (ends_at, {"a": 1})
    assert (granted["relays"], granted["opened"]) == ([relay], None)


async def test_optional_methods_are_granted_only_when_the_operator_says_so(
    service: ServiceProcess, relay: str, account: str
) -> None:
    asked = {"optional_request_methods": "get_info teleport"}

    without = await accept(service, App(relay, **asked), account)
    with_them = await accept(service, App(relay, **asked), account, optional_methods=True)

    assert without["scopes"] == ["get_balance"]
    assert with_them["scopes"] == ["get_balance", "get_info"]


async def test_the_app_is_told_the_relay_and_its_state_and_is_served(
    service: ServiceProcess, app: App, account: str
) -> None:
    """NWC-08: "MUST then broadcast its NWC info event (kind `13194`) to the relays specified in
    the authorization URI"; "MUST include a `state` tag"."""
    granted = await accept(service, app, account, lud16="alice@example.org")

    async with raw_client(app.uri(granted["wallet_pubkey"])) as client:
        balance = await client.request("get_balance")
        told = await client.request("get_info")

    info = client.info
    assert info is not None
    assert ("p", app.pubkey, app.relay) in info.tags
    assert ("relay", app.relay) in info.tags
    assert ("state", STATE) in info.tags
    assert "alice@example.org" not in info.to_json()
    assert balance.result == {"balance": CREDIT_MSAT}
    assert told.result["lud16"] == "alice@example.org"


async def test_the_user_is_sent_back_with_what_the_app_needs(
    service: ServiceProcess, relay: str, account: str
) -> None:
    """NWC-08: "the wallet service SHOULD open the `return_to` URI with the `relay_url`,
    `wallet_pubkey`, `state` and optional `lud16` query parameters added"."""
    app = App(relay, return_to="https://tea.example/back?x=1#there")

    granted = await accept(service, app, account, lud16="alice@example.org")

    opened = urlsplit(granted["opened"])
    assert granted["opened"].startswith("https://tea.example/back?x=1&")
    assert opened.fragment == "there"
    assert parse_qs(opened.query) == {
        "x": ["1"],
        "relay_url": [relay],
        "wallet_pubkey": [granted["wallet_pubkey"]],
        "state": [STATE],
        "lud16": ["alice@example.org"],
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["its-own", "its-public-name"])
async def test_a_relay_of_the_operator_may_be_named_wherever_it_is(
    tmp_path: Path, host: str
) -> None:
    """ "Relays that the operator configured are exempt", whichever of its names the app took
    from a URI, and however the operator wrote it."""
    async with small_relay(SmallRelay()) as own:
        public_url = own.url.replace("127.0.0.1", "localhost")
        async with service_process(
            tmp_path, NWC_RELAYS=f"{own.url}/", NWC_PUBLIC_RELAY_URL=f"{public_url}/"
        ) as service:
            await service.create_account("main")
            app = App(own.url.replace("127.0.0.1", host))
            granted = await accept(service, app, "main")

    assert granted["relays"] == [app.relay]
    assert granted["wallet_pubkey"] in own.infos


async def test_an_app_that_wants_an_account_to_itself_gets_one_that_nobody_uses(
    service: ServiceProcess, relay: str, account: str
) -> None:
    """NWC-08: "Makes an isolated app connection / sub-wallet with its own balance and only
    access to its own transaction list"."""
    granted = await accept(service, App(relay, isolated="true"), account)

    said = await refusal(service, App(relay, isolated="true").link, account)
    await service.call("POST", f"connections/{granted['connection_id']}/revoke")
    await accept(service, App(relay, isolated="true"), account)

    assert granted["account"] == account
    assert "to itself" in said


async def test_the_older_form_without_methods_leaves_them_to_the_operator(
    service: ServiceProcess, relay: str, account: str
) -> None:
    app = App(relay, state=None, request_methods=None)

    said = await refusal(service, app.link, account)
    granted = await accept(service, app, account, scopes="read", budget_msat=5)

    assert "no methods" in said
    assert "get_balance" in granted["scopes"]
    assert granted["budget"]["limit_msat"] == 5


LIMITED = {
    "internal_only": True,
    "destinations": ["02" + "ab" * 32],
    "encryption": "nip44_v2",
    "expires_in_s": 3600,
    "max_payment_msat": 7,
}


@pytest.mark.parametrize("kind", ["walletauth", "deep-link"])
async def test_it_can_be_limited_as_any_connection(
    kind: str, service: ServiceProcess, relay: str, account: str
) -> None:
    link, scopes = App(relay).link, {}
    if kind == "deep-link":
        link, scopes = deep_link(callback=CALLBACK), {"scopes": "full"}
    asked_at = int(time.time())

    granted = await service.call(
        "POST", "links/accept", link=link, account=account, **scopes, **LIMITED
    )

    assert "warnings" in granted
    assert granted["internal_only"] is True
    assert granted["destinations"] == LIMITED["destinations"]
    assert granted["encryption"] == ["nip44_v2"]
    assert granted["max_payment_msat"] == 7
    assert asked_at + 3600 <= granted["expires_at"] <= int(time.time()) + 3600


async def test_the_command_line_has_the_same_limits(cli: Cli, app: App, account: str) -> None:
    granted = await cli.json(
        *("connection", "link", app.link, "--yes", "--account", account, "--internal-only"),
        *("--destination", "02" + "ab" * 32, "--destination", "03" + "ab" * 32),
        *("--encryption", "nip44_v2", "--expires-in", "1h"),
    )

    assert granted["internal_only"] is True
    assert granted["destinations"] == ["02" + "ab" * 32, "03" + "ab" * 32]
    assert granted["encryption"] == ["nip44_v2"]
    assert granted["expires_at"] - int(time.time()) in range(3500, 3601)


@pytest.mark.parametrize(("asked_s", "ends_s"), [(60, 60), (7200, 3600)])
async def test_of_the_links_end_and_the_operators_the_earlier_counts(
    asked_s: int, ends_s: int, service: ServiceProcess, relay: str, account: str
) -> None:
    """NWC-08 of `expires_at`: "The connection cannot be used after this date."."""
    began_at = int(time.time())
    app = App(relay, expires_at=began_at + asked_s)

    granted = await accept(service, app, account, expires_in_s=3600)

    assert began_at + ends_s <= granted["expires_at"] <= int(time.time()) + ends_s


# --- what is refused


@pytest.mark.parametrize(
    ("params", "consent", "told"),
    [
        pytest.param({"request_methods": "get_balance teleport"}, {}, "teleport", id="method"),
        pytest.param({"request_methods": "full"}, {}, "full", id="a-preset-is-no-method"),
        pytest.param({"request_methods": None}, {}, "no methods", id="nothing"),
        pytest.param(
            {"request_methods": None}, {"scopes": "full"}, "no methods", id="more-than-asked"
        ),
        pytest.param({}, {"scopes": "full"}, "scopes", id="other-than-asked"),
        pytest.param({"max_amount": 5}, {"budget_msat": 9}, "budget", id="another-budget"),
        pytest.param({"expires_at": 1}, {}, "expires_at", id="ended-already"),
        pytest.param({}, {"encryption": "rot13"}, "encryption", id="no-scheme"),
        pytest.param({}, {"destination": "02ab"}, "destination", id="no-node"),
        pytest.param({"state": "12"}, {}, "state", id="guessable-state"),
        pytest.param({"relay": "ws://10.0.0.1"}, {}, "relay", id="private-relay"),
        pytest.param({"relay": "ws://[::1]:80"}, {}, "relay", id="relay-on-this-machine"),
        pytest.param({"relay": "ws://169.254.169.254"}, {}, "relay", id="metadata-service"),
        pytest.param({"relay": None}, {}, "relay", id="no-relay"),
        pytest.param({}, {"account": "nobody"}, "nobody", id="no-such-account"),
        pytest.param({}, {"lud16": "alice"}, "lud16", id="no-address"),
    ],
)
async def test_what_cannot_be_granted_as_asked_is_not_granted_at_all(
    params: JsonObject,
    consent: JsonObject,
    told: str,
    service: ServiceProcess,
    relay: str,
    account: str,
    cli: Cli,
) -> None:
    """NWC-08: "MUST grant all `request_methods` or decline"."""
    before = await cli.json("connection", "list")
    app = App(relay, **params)
    options = {"account": account} | consent
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]

    said = await cli.failure("connection", "link", app.link, "--yes", *arguments)

    assert told in said
    assert await cli.json("connection", "list") == before


async def test_a_link_is_granted_once(service: ServiceProcess, app: App, account: str) -> None:
    granted = await accept(service, app, account)

    said = await refusal(service, app.link, account)
    await service.call("POST", f"connections/{granted['connection_id']}/revoke")
    again = await accept(service, app, account)

    assert "already" in said
    assert again["wallet_pubkey"] != granted["wallet_pubkey"]


@pytest.mark.parametrize(
    "link", ["", "hello", "https://x", "nostr+walletauth://", "nostrnwc:x"]
)
async def test_what_is_no_such_link_is_said_so(link: str, cli: Cli) -> None:
    said = await cli.failure("connection", "link", link, "--yes", "--account", "main")

    assert "link" in said


# --- deep links


def deep_link(**params: str) -> str:
    return f"nostrnwc://connect?{urlencode(params, quote_via=quote)}"


async def test_a_deep_link_is_answered_by_its_callback_with_the_uri(
    cli: Cli, account: str
) -> None:
    """NWC-07: "it should be returned to the client by opening the callback with the following
    parameters: `value` -- NWC pairing code"."""
    link = deep_link(appname="Tea", appicon="https://tea.example/i.png", callback=CALLBACK)

    granted = await cli.json(
        "connection", "link", link, "--yes", "--account", account, "--scopes", "read"
    )

    callback, _, query = granted["opened"].partition("?")
    [uri] = parse_qs(query)["value"]
    assert callback == CALLBACK
    assert ConnectionUri.parse(uri).wallet_pubkey == granted["wallet_pubkey"]
    assert (granted["app"], "pay_invoice" in granted["scopes"]) == ("Tea", False)
    async with raw_client(uri) as client:
        assert (await client.request("get_balance")).result == {"balance": CREDIT_MSAT}


async def test_a_deep_link_names_no_methods_so_the_operator_must(
    cli: Cli, account: str
) -> None:
    link = deep_link(callback=CALLBACK)

    said = await cli.failure("connection", "link", link, "--yes", "--account", account)

    assert "scopes" in said


async def test_the_secret_in_the_callback_is_shown_once_and_kept_nowhere(
    cli: Cli, account: str, service: ServiceProcess
) -> None:
    granted = await cli.json(
        "connection",
        "link",
        deep_link(callback=CALLBACK),
        *("--yes", "--account", account, "--scopes", "read"),
    )

    [uri] = parse_qs(urlsplit(granted["opened"]).query)["value"]
    shown = await cli.json("connection", "show", granted["connection_id"])
    secret = ConnectionUri.parse(uri).secret
    kept = [path.read_bytes() for path in service.data_dir.iterdir() if path.is_file()]
    assert "opened" not in shown
    assert len(kept) > 5
    assert not any(secret.encode() in each or bytes.fromhex(secret) in each for each in kept)


# --- the operator's word


async def test_without_a_terminal_nothing_is_granted_unless_told_to(
    cli: Cli, app: App, account: str
) -> None:
    said = await cli.failure("connection", "link", app.link, "--account", account)

    assert "--yes" in said
    assert "account" in await cli.failure("connection", "link", app.link, "--yes")


@pytest.mark.parametrize(("answer", "grants"), [("y", True), ("n", False), ("", False)])
async def test_on_a_terminal_the_operator_sees_what_is_asked_and_decides(
    answer: str, grants: bool, service: ServiceProcess, relay: str, account: str
) -> None:
    """NWC-08: "If the user declines, the wallet service publishes nothing."."""
    app = App(relay, name="Tea", request_methods="pay_invoice")
    before = len((await service.call("GET", "connections"))["items"])

    async with terminal(service, "connection", "link", app.link) as (shown, write):
        said = await shown("Account that the app gets")
        write(f"{account}\n")
        await shown("[y/N]")
        write(f"{answer}\n")

    after = (await service.call("GET", "connections"))["items"]
    assert "nobody has checked" in said
    assert "pay_invoice" in said
    assert len(after) - before == grants
    assert (app.pubkey in {each["client_pubkey"] for each in after}) is grants


@asynccontextmanager
async def terminal(service: ServiceProcess, *arguments: str) -> AsyncIterator[Any]:
    """The command on a terminal: wait for a text, and write a line."""
    ours, theirs = pty.openpty()
    environment = only_ours(os.environ) | {"NWC_DATA_DIR": str(service.data_dir)}
    process = await create_subprocess_exec(
        *PROGRAM, *arguments, stdin=theirs, stdout=theirs, stderr=DEVNULL, env=environment
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    heard = ""

    async def shown(text: str) -> str:
        nonlocal heard
        async with timeout(START_TIMEOUT_S):
            while text not in heard:
                heard += await _read(ours)
        return heard

    try:
        yield shown, lambda line: os.write(ours, line.encode())
        async with timeout(START_TIMEOUT_S):
            while process.returncode is None:
                await _read(ours)
    finally:
        os.close(ours)
        await process.wait()


async def _read(descriptor: int) -> str:
    await sleep(0.05)
    try:
        return os.read(descriptor, 65_536).decode(errors="replace")
    except OSError:  # nothing there yet, or the other end is closed
        return ""
