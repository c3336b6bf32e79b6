"""nwc-service connection …, as scripts rely on it."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from nwc_service.announcer import UNTAKEN
from nwc_service.nostr.keys import Keypair
from tests.clients.local_relay import local_relay
from tests.clients.raw import ConnectionUri
from tests.e2e.conftest import Cli
from tests.e2e.service import ServiceProcess, service_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = [
    "connection_id",
    "account",
    "app",
    "wallet_pubkey",
    "client_pubkey",
    "relays",
    "scopes",
    "notifications",
    "encryption",
    "budget",
    "max_payment_msat",
    "internal_only",
    "destinations",
    "lud16",
    "metadata",
    "parent_id",
    "created_at",
    "expires_at",
    "paused",
    "revoked",
]
READ = ["get_balance", "get_info", "list_transactions", "lookup_invoice"]
HOLD = ["make_hold_invoice", "settle_hold_invoice", "cancel_hold_invoice"]
RECEIVE = sorted([*READ, *HOLD, "make_invoice"])
FULL = sorted([*RECEIVE, "multi_pay_invoice", "pay_invoice"])

CLIENT_PUBKEY = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
NODES = [f"02{CLIENT_PUBKEY}", f"03{CLIENT_PUBKEY}"]
DAY_S = 86_400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def account(service: ServiceProcess) -> str:
    return str((await service.create_account("main"))["name"])


class Creator:
    """`connection create` on the module's account."""

    def __init__(self, cli: Cli, account: str) -> None:
        self._cli = cli
        self._command = ("connection", "create", "--account", account, "--app", "an app")

    async def json(self, *options: str) -> dict[str, Any]:
        return dict(await self._cli.json(*self._command, *options))

    async def failure(self, *options: str) -> str:
        return await self._cli.failure(*self._command, *options)

    async def usage(self, *options: str) -> str:
        return await self._cli.usage(*self._command, *options)


@pytest.fixture
def create(cli: Cli, account: str) -> Creator:
    return Creator(cli, account)


async def test_a_connection_by_default_may_do_everything_without_limits(
    create: Creator, account: str
) -> None:
    created = await create.json()

    assert list(created) == [*KEYS, "uri", "warnings"]
    assert created["account"] == account
    assert created["app"] == "an app"
    assert created["scopes"] == FULL
    assert created["notifications"] == [
        "hold_invoice_accepted",
        "payment_received",
        "payment_sent",
    ]
    assert created["encryption"] == ["nip44_v2", "nip04"]
    assert abs(created["created_at"] - time.time()) < 10
    unlimited = ("budget", "max_payment_msat", "expires_at", "lud16", "metadata", "parent_id")
    assert {created[name] for name in unlimited} == {None}
    assert (created["internal_only"], created["destinations"]) == (False, [])
    assert created["revoked"] is False


async def test_the_uri_is_that_of_the_connection_and_has_its_secret(create: Creator) -> None:
    created = await create.json()

    uri = ConnectionUri.parse(created["uri"])
    assert uri.wallet_pubkey == created["wallet_pubkey"]
    assert list(uri.relays) == created["relays"]
    assert re.fullmatch(r"ws://127\.0\.0\.1:[0-9]+", created["relays"][0])
    assert Keypair(bytes.fromhex(uri.secret)).public_key == created["client_pubkey"]


async def test_every_connection_has_keys_of_its_own(create: Creator) -> None:
    one, other = await create.json(), await create.json()

    for key in ("connection_id", "wallet_pubkey", "client_pubkey", "uri"):
        assert one[key] != other[key]


@pytest.mark.attack("A31")
async def test_the_uri_is_shown_at_creation_only_and_the_secret_kept_nowhere(
    create: Creator, cli: Cli, service: ServiceProcess
) -> None:
    created = await create.json()
    without_uri = {name: created[name] for name in KEYS}

    shown = await cli.json("connection", "show", created["connection_id"])
    listed = await cli.json("connection", "list")

    assert shown == without_uri
    assert without_uri in listed
    assert all("uri" not in each for each in listed)
    secret = ConnectionUri.parse(created["uri"]).secret
    files = [path for path in service.data_dir.iterdir() if path.is_file()]
    assert len(files) > 5
    for path in files:
        kept = path.read_bytes()
        assert secret.encode() not in kept, path.name
        assert bytes.fromhex(secret) not in kept, path.name


async def test_a_connection_that_no_relay_shows_yet_is_made_with_a_warning(
    tmp_path: Path,
) -> None:
    """The URI is good once a relay is back; until then the app finds no info event."""
    async with service_process(tmp_path, NWC_RELAYS="ws://127.0.0.1:1") as service:
        await service.create_account("main")
        command = ("connection", "create", "--account", "main", "--app", "an app")
        as_text = await Cli(tmp_path).run(*command)
        as_json = await Cli(tmp_path).run(*command, "--json")
        by_api = await service.call("POST", "connections", account="main", app="an app")

    said = f"nwc-service: warning: {UNTAKEN}\n"
    assert by_api["warnings"] == json.loads(as_json.stdout)["warnings"] == [UNTAKEN]
    assert [(done.code, done.stderr) for done in (as_text, as_json)] == [(0, said)] * 2
    assert "warning" not in as_text.stdout
    assert "nostr+walletconnect://" in as_text.stdout


async def test_a_client_that_made_its_own_key_gets_no_uri(create: Creator) -> None:
    created = await create.json("--client-pubkey", CLIENT_PUBKEY)

    assert created["client_pubkey"] == CLIENT_PUBKEY
    assert created["uri"] is None


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("zz" * 32, id="not-hex"),
        pytest.param("ab" * 31, id="short"),
        pytest.param("02" + CLIENT_PUBKEY, id="33-bytes"),
        pytest.param("ff" * 32, id="not-on-the-curve"),
        pytest.param(
            "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5", id="nsec"
        ),
    ],
)
async def test_what_is_no_public_key_is_refused_and_not_repeated(
    key: str, create: Creator
) -> None:
    said = await create.failure("--client-pubkey", key)

    assert "client_pubkey" in said
    assert not key or key not in said


@pytest.mark.parametrize(
    ("scopes", "granted"),
    [
        pytest.param("read", READ, id="read"),
        pytest.param("receive", sorted([*RECEIVE, "receive"]), id="receive"),
        pytest.param("full", FULL, id="full"),
        pytest.param("pay_invoice", ["pay_invoice"], id="a-method"),
        pytest.param(
            "get_info, make_invoice", ["get_info", "make_invoice"], id="methods-and-spaces"
        ),
        pytest.param(
            "read,pay_invoice", sorted([*READ, "pay_invoice"]), id="preset-and-method"
        ),
    ],
)
async def test_scopes_are_presets_or_methods(
    scopes: str, granted: list[str], create: Creator
) -> None:
    created = await create.json("--scopes", scopes)

    assert created["scopes"] == granted


@pytest.mark.parametrize(
    ("types", "chosen"),
    [
        pytest.param("payment_sent", ["payment_sent"], id="one"),
        pytest.param(
            "payment_sent,payment_received", ["payment_received", "payment_sent"], id="both"
        ),
        pytest.param("", [], id="none"),
    ],
)
async def test_notifications_are_chosen(types: str, chosen: list[str], create: Creator) -> None:
    created = await create.json("--notifications", types)

    assert created["notifications"] == chosen


@pytest.mark.parametrize(
    ("schemes", "chosen"),
    [
        pytest.param("nip44_v2", ["nip44_v2"], id="nip44"),
        pytest.param("nip04", ["nip04"], id="nip04"),
        pytest.param("nip04,nip44_v2", ["nip44_v2", "nip04"], id="the-better-first"),
    ],
)
async def test_encryption_is_chosen(schemes: str, chosen: list[str], create: Creator) -> None:
    created = await create.json("--encryption", schemes)

    assert created["encryption"] == chosen


@pytest.mark.parametrize(
    ("options", "renewal", "renews"),
    [
        pytest.param([], "never", False, id="never-by-default"),
        pytest.param(["--budget-renewal", "never"], "never", False, id="never"),
        pytest.param(["--budget-renewal", "daily"], "daily", True, id="daily"),
        pytest.param(["--budget-renewal", "weekly"], "weekly", True, id="weekly"),
        pytest.param(["--budget-renewal", "monthly"], "monthly", True, id="monthly"),
        pytest.param(["--budget-renewal", "yearly"], "yearly", True, id="yearly"),
    ],
)
async def test_a_budget_has_a_limit_a_renewal_and_what_is_used(
    options: list[str], renewal: str, renews: bool, create: Creator
) -> None:
    created = await create.json("--budget-msat", "250000", *options)

    budget = created["budget"]
    assert list(budget) == ["limit_msat", "renewal", "used_msat", "renews_at"]
    assert budget["limit_msat"] == 250_000
    assert (budget["renewal"], budget["used_msat"]) == (renewal, 0)
    assert (budget["renews_at"] is not None) is renews
    if renews:
        at = datetime.fromtimestamp(budget["renews_at"], UTC)
        assert at.timestamp() > time.time()
        assert (at.hour, at.minute, at.second) == (0, 0, 0)


async def test_a_payment_may_be_capped(create: Creator) -> None:
    created = await create.json("--max-payment-msat", "5000")

    assert created["max_payment_msat"] == 5_000


async def test_a_connection_may_pay_inside_only_or_certain_nodes_only(create: Creator) -> None:
    nodes = ["--destination", NODES[0], "--destination", NODES[1], "--destination", NODES[0]]

    inside = await create.json("--internal-only")
    certain = await create.json(*nodes)

    assert (inside["internal_only"], inside["destinations"]) == (True, [])
    assert (certain["internal_only"], certain["destinations"]) == (False, NODES)


async def test_a_lightning_address_is_in_the_uri(create: Creator) -> None:
    """protocol.md 1.3: "`lud16` recommended"."""
    created = await create.json("--lud16", "alice+tips@example.org:8080")

    assert created["lud16"] == "alice+tips@example.org:8080"
    assert created["uri"].endswith("&lud16=alice%2Btips%40example.org%3A8080")


async def test_metadata_is_any_object(create: Creator) -> None:
    created = await create.json("--metadata", '{"app": {"id": [1, "☕"]}}')

    assert created["metadata"] == {"app": {"id": [1, "☕"]}}


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "tea"])
async def test_what_is_no_object_is_a_usage_error(text: str, create: Creator) -> None:
    said = await create.usage(f"--metadata={text}")

    assert "JSON object" in said


@pytest.mark.parametrize(
    ("duration", "length_s"),
    [("90s", 90), ("15m", 900), ("12h", 12 * 3600), ("30d", 30 * DAY_S)],
)
async def test_a_connection_may_expire(duration: str, length_s: int, create: Creator) -> None:
    created = await create.json("--expires-in", duration)

    assert created["expires_at"] - created["created_at"] == length_s


@pytest.mark.parametrize(
    "duration", ["0s", "5", "1w", "", "-1d", "1.5h", "1 d", "d", "1D", "1000000000d"]
)
async def test_what_is_no_duration_is_a_usage_error(duration: str, create: Creator) -> None:
    said = await create.usage(f"--expires-in={duration}")

    assert "duration" in said


async def test_relays_of_its_own_are_what_the_uri_shows(create: Creator) -> None:
    async with local_relay() as one, local_relay() as other:
        created = await create.json("--relay", f"{one}/", "--relay", other, "--relay", one)

    assert created["relays"] == [one, other]
    assert list(ConnectionUri.parse(created["uri"]).relays) == [one, other]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param(["--scopes", "foo"], "'foo'", id="unknown-scope"),
        pytest.param(["--scopes", ""], "scope", id="no-scope"),
        pytest.param(["--scopes", "pay_offer"], "scope", id="no-such-method"),
        pytest.param(["--notifications", "foo"], "notifications", id="unknown-notification"),
        pytest.param(["--encryption", "rot13"], "encryption", id="unknown-encryption"),
        pytest.param(["--encryption", ""], "encryption", id="no-encryption"),
        pytest.param(["--budget-msat", "0"], "budget_msat", id="budget-of-nothing"),
        pytest.param(["--budget-msat=-1"], "budget_msat", id="negative-budget"),
        pytest.param(["--budget-renewal", "daily"], "budget_msat", id="renewal-of-nothing"),
        pytest.param(
            ["--budget-msat", "1", "--budget-renewal", "hourly"],
            "budget_renewal",
            id="unknown-renewal",
        ),
        pytest.param(["--max-payment-msat", "0"], "max_payment_msat", id="cap-of-nothing"),
        pytest.param(["--max-payment-msat", "9" * 30], "max_payment_msat", id="absurd-cap"),
        pytest.param(["--expires-in", "999999999d"], "expires_in_s", id="absurd-expiry"),
        pytest.param(["--relay", "https://relay.example"], "relay", id="no-websocket"),
        pytest.param(["--relay", "ws://"], "relay", id="no-host"),
        pytest.param(["--relay", "ws://a b"], "relay", id="space-in-relay"),
        pytest.param(
            [f"--relay=ws://relay{number}.example" for number in range(9)],
            "relays",
            id="too-many-relays",
        ),
        pytest.param(["--destination", CLIENT_PUBKEY], "destination", id="32-byte-node"),
        pytest.param(["--destination", f"04{CLIENT_PUBKEY}"], "destination", id="no-node-key"),
        pytest.param(
            ["--destination", f"02{'ff' * 32}"], "destination", id="node-off-the-curve"
        ),
        pytest.param(["--destination", ""], "destination", id="no-node"),
        pytest.param([f"--destination={NODES[0]}"] * 101, "destinations", id="too-many-nodes"),
        pytest.param(["--lud16", "alice"], "lud16", id="no-domain"),
        pytest.param(["--lud16", "a@b c"], "lud16", id="space-in-address"),
        pytest.param(["--lud16", ""], "lud16", id="no-address"),
        pytest.param(
            ["--metadata", f'{{"a": "{"x" * 4096}"}}'], "metadata", id="long-metadata"
        ),
        pytest.param(["--app", ""], "app", id="no-name"),
        pytest.param(["--app", "x" * 129], "app", id="long-name"),
        pytest.param(["--app", "a\nb"], "app", id="line-break-in-name"),
        pytest.param(["--account", "nobody"], "nobody", id="unknown-account"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(
    options: list[str], told: str, create: Creator, cli: Cli
) -> None:
    before = await cli.json("connection", "list")

    said = await create.failure(*options)

    assert told in said
    assert await cli.json("connection", "list") == before


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--app", "x"], id="no-account"),
        pytest.param(["--account", "main"], id="no-app"),
        pytest.param(["--account", "main", "--app", "x", "extra"], id="an-argument-too-many"),
        pytest.param(["--account", "main", "--app", "x", "--foo", "1"], id="unknown-option"),
        pytest.param(
            ["--account", "main", "--app", "x", "--budget-msat", "1.5"], id="fraction"
        ),
        pytest.param(
            ["--account", "main", "--app", "x", "--max-payment-msat", "ten"], id="no-number"
        ),
    ],
)
async def test_an_incomplete_command_is_a_usage_error(arguments: list[str], cli: Cli) -> None:
    assert await cli.usage("connection", "create", *arguments)


async def test_connections_are_listed_by_account(cli: Cli, service: ServiceProcess) -> None:
    names = [f"account-{token_hex(4)}" for _ in range(2)]
    for name in names:
        await service.create_account(name)
        await cli.json("connection", "create", "--account", name, "--app", f"of {name}")

    listed = await cli.json("connection", "list", "--account", names[0])
    everything = await cli.json("connection", "list")

    assert isinstance(listed, list)
    assert [each["app"] for each in listed] == [f"of {names[0]}"]
    assert listed[0] in everything
    assert {f"of {name}" for name in names} <= {each["app"] for each in everything}
    assert all(list(each) == KEYS for each in everything)


async def test_a_revoked_connection_is_shown_as_such_and_stays(
    create: Creator, cli: Cli
) -> None:
    created = await create.json()

    revoked = await cli.json("connection", "revoke", created["connection_id"])
    again = await cli.json("connection", "revoke", created["connection_id"])

    assert revoked == {name: created[name] for name in KEYS} | {"revoked": True}
    assert again == revoked
    assert await cli.json("connection", "show", created["connection_id"]) == revoked


@pytest.mark.parametrize("command", ["show", "revoke"])
@pytest.mark.parametrize("connection_id", ["nothing", "ab" * 16, "%2e"])
async def test_a_connection_that_is_not_there_is_said_not_to_be(
    command: str, connection_id: str, cli: Cli
) -> None:
    said = await cli.failure("connection", command, connection_id)

    assert "no connection" in said


async def test_the_connections_of_an_unknown_account_are_a_failure(
    cli: Cli, service: ServiceProcess
) -> None:
    local = await cli.failure("connection", "list", "--account", "nobody")
    url = (service.data_dir / "admin.url").read_text().strip()
    remote = await cli.failure("connection", "list", "--account", "nobody", NWC_ADMIN_URL=url)

    assert local == remote
    assert "no account 'nobody'" in local
