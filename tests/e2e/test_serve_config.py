"""What `serve` is told by a file and by the environment, and refuses by the key's name."""

from pathlib import Path

import pytest

from tests.clients.raw import raw_client
from tests.e2e.conftest import Cli, refused_start
from tests.e2e.service import service_process

FILE = """
[backends.play]
type = "sandbox"
path = "play.sqlite"

[payments]
fee_reserve_floor_msat = 2_000

[invoices]
expiry_s = 600

[log]
level = "debug"
"""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("colour = 1", "colour", id="unknown-key"),
        pytest.param("[payments]\nfee_floor_msat = 1", "payments.fee_floor_msat", id="nested"),
        pytest.param("[paymnts]\ntimeout_s = 1", "paymnts", id="unknown-section"),
        pytest.param("[payments]\ntimeout_s = 0", "payments.timeout_s", id="too-small"),
        pytest.param("[payments]\ntimeout_s = 'soon'", "payments.timeout_s", id="no-number"),
        pytest.param("[payments]\nmax_open = 1.5", "payments.max_open", id="fraction"),
        pytest.param("[relay]\nurls = ['http://x']", "relay.urls", id="no-websocket"),
        pytest.param("[admin]\nlisten = '4321'", "admin.listen", id="no-host"),
        pytest.param("[admin]\nlisten = '127.0.0.1:99999'", "admin.listen", id="no-port"),
        pytest.param("[log]\nlevel = 'loud'", "log.level", id="unknown-level"),
        pytest.param("[database]\nurl = 'mysql://x'", "database.url", id="unknown-database"),
        pytest.param("data_dir = '/tmp'", "data_dir", id="data-dir-has-its-option"),
        pytest.param("[backends.x]\nname = 'x'", "backends.x.type", id="backend-of-no-type"),
        pytest.param(
            "[backends.x]\ntype = 'sandbox'\n[backends.y]\ntype = 'sandbox'",
            "default_backend",
            id="which-of-two",
        ),
        pytest.param(
            "default_backend = 'z'\n[backends.x]\ntype = 'sandbox'",
            "default_backend",
            id="default-of-no-backend",
        ),
        pytest.param("backends = 1", "backends", id="no-table"),
        pytest.param("[[backends]]\ntype = 'sandbox'", "backends", id="array-of-tables"),
        pytest.param("relay = 'ws://x'", "relay", id="a-section-that-is-none"),
    ],
)
async def test_a_wrong_file_is_refused_by_its_key(text: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "nwc.toml"
    file.write_text(text)

    said = await Cli(tmp_path / "data").failure("serve", "--config", str(file))

    assert key in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"colour = ", id="no-toml"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(None, id="no-file"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "nwc.toml"
    if content is not None:
        file.write_bytes(content)

    said = await Cli(tmp_path / "data").failure("serve", "--config", str(file))

    assert str(file) in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        pytest.param({"NWC_ADMIN_LISTEN": "here"}, "admin.listen", id="admin"),
        pytest.param({"NWC_EMBEDDED_RELAY_LISTEN": ":"}, "embedded_relay.listen", id="relay"),
        pytest.param({"NWC_RELAYS": "ws://a,http://b"}, "relay.urls", id="relays"),
        pytest.param({"NWC_PUBLIC_RELAY_URL": "b"}, "relay.public_url", id="public-relay"),
        pytest.param({"NWC_DATABASE_URL": "postgres://x"}, "database.url", id="database"),
        pytest.param({"NWC_ADMIN_LISTEN": "127.0.0.1:65536"}, "admin.listen", id="port"),
        pytest.param({"NWC_LOG_LEVEL": "loud"}, "log.level", id="log-level"),
    ],
)
async def test_a_wrong_variable_is_refused_by_its_key(
    variables: dict[str, str], key: str, tmp_path: Path
) -> None:
    said = await Cli(tmp_path / "data").failure("serve", **variables)

    assert key in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("type = 'foo'", "no backend of type 'foo'", id="unknown"),
        pytest.param("type = 'sandbox'\ncolour = 1", "colour", id="unknown-option"),
        pytest.param("type = 'lnbits'", "url is missing", id="without-options"),
    ],
)
async def test_a_backend_that_cannot_be_is_refused_by_its_name(
    text: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "nwc.toml"
    file.write_text(f"[backends.mine]\n{text}")

    said = await refused_start(tmp_path / "data", "--config", str(file))

    assert "backends.mine" in said
    assert told in said


async def test_a_variable_does_not_hide_that_a_section_is_none(tmp_path: Path) -> None:
    file = tmp_path / "nwc.toml"
    file.write_text("log = 'debug'")

    said = await Cli(tmp_path / "data").failure(
        "serve", "--config", str(file), NWC_LOG_LEVEL="debug"
    )

    assert "log: must be a table" in said


async def test_the_file_rules_and_the_environment_rules_over_it(tmp_path: Path) -> None:
    file = tmp_path / "nwc.toml"
    file.write_text(FILE)
    variables = {"NWC_CONFIG": str(file), "NWC_LOG_LEVEL": "ERROR"}

    async with service_process(tmp_path / "data", **variables) as service:
        account = await service.create_account("main", credit_msat=23_000)
        async with raw_client(await service.connect("main")) as client:
            made = await client.request("make_invoice", {"amount": 1_000})
            outside = await service.sandbox("invoice", amount_msat=21_000)
            paid = await client.request("pay_invoice", {"invoice": outside["invoice"]})
        books = await Cli(service.data_dir).json("sandbox", "show", **variables)

    assert made.result["expires_at"] - made.result["created_at"] == 600
    assert paid.result["fees_paid"] == 1_000  # out of a reserve of 2000
    assert account["available_msat"] == 23_000
    assert [each["amount_msat"] for each in books["payments"]] == [21_000]
    assert (tmp_path / "data" / "play.sqlite").exists()
    assert "service.started" not in service.log_text()


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
async def test_the_books_that_are_shown_are_those_of_the_service(
    up: bool, tmp_path: Path
) -> None:
    """Though a file named them to `serve` alone, and older books lie where the default is."""
    data_dir = tmp_path / "data"
    file = tmp_path / "nwc.toml"
    file.write_text(f'[database]\nurl = "sqlite:///{tmp_path}/elsewhere.sqlite"\n')
    cli = Cli(data_dir)
    async with service_process(data_dir) as service:
        await service.create_account("old")

    async with service_process(data_dir, NWC_CONFIG=str(file)) as service:
        await service.create_account("new")
        shown = await cli.json("account", "list") if up else None
    shown = shown or await cli.json("account", "list")

    assert [account["name"] for account in shown] == ["new"]
    assert (await cli.json("audit"))["accounts"] == 1
