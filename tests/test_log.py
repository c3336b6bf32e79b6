"""What is written to the log, and what never is: a canary in each secret's place."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from nwc_service import log
from nwc_service.backend import InvoiceSpec
from nwc_service.nip47 import uri
from nwc_service.nostr.keys import Keypair
from nwc_service.wallet.units import Msat, Preimage
from tests.clients.raw import ConnectionUri

SECRET = "5ec4e7" * 10 + "abcd"
PREIMAGE = "9e1a9e" * 10 + "abcd"
TOKEN = "t0ken-CANARY_abcdefghijklmnopqrstuvwxyz0123"
RUNE = "KUhZzNlECC7pYsz3QVbF1TqjIUYi3oyESTI7n60hLMs9MCZtZXRob2Q="
BASIC = "OmM0bmFyeS1wYXNzd29yZA=="
PASSWORD = "c4nary"
MACAROON = "0201036c6e6402f801030a10" + "3c" * 90
LNURL = "lnurl1dp68gurn8ghj7um9wfmxjcm99e3k7mf0v9cxj0m385ekvcenxc6r2c35"
HASH = "ab" * 32
NODE_KEY = "02" + HASH

INVOICE = (
    "lnbcrt1u1p4sv9cusp5cyg9z7zx632zdf636vvwkl29c969lhunvyr2a0t9dn2rmvtkjt4qpp5dlekjm5fgwqhj"
)
CONNECTION_URI = uri.build(
    wallet_pubkey=Keypair(b"\x01" * 32).public_key, relays=["wss://r.example"], secret=SECRET
)
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """structlog and logging as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Any:
    """What was written to standard error."""

    def logged() -> str:
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return logged


def logger() -> Any:
    """Of a process that has set it up to log everything."""
    log.configure("debug")
    return structlog.get_logger().bind()


# --- what never is

LEAKS = [
    pytest.param(CONNECTION_URI, SECRET, id="a-connection-uri"),
    pytest.param(
        CONNECTION_URI.replace("//", ""), SECRET, id="a-connection-uri-without-slashes"
    ),
    pytest.param(CONNECTION_URI.upper(), SECRET.upper(), id="a-connection-uri-in-upper-case"),
    pytest.param(f"nostrwalletconnect://x?secret={SECRET}", SECRET, id="the-older-scheme"),
    pytest.param(INVOICE, INVOICE[:40], id="an-invoice"),
    pytest.param(INVOICE.upper(), INVOICE[:40].upper(), id="an-invoice-in-upper-case"),
    pytest.param(INVOICE.replace("bcrt", "bc", 1), INVOICE[8:40], id="an-invoice-of-mainnet"),
    pytest.param(f"lightning:{INVOICE}", INVOICE[:40], id="an-invoice-with-its-scheme"),
    pytest.param(NSEC, NSEC, id="an-nsec"),
    pytest.param(f"secret={SECRET}", SECRET, id="a-named-secret"),
    pytest.param(f"{{'preimage': '{PREIMAGE}'}}", PREIMAGE, id="a-preimage-in-a-dict"),
    pytest.param(f'{{"preimage":"{PREIMAGE}"}}', PREIMAGE, id="a-preimage-in-json"),
    pytest.param(f"payment_preimage: {PREIMAGE}", PREIMAGE, id="a-named-preimage"),
    pytest.param(f"preimage=b'{PREIMAGE}'", PREIMAGE, id="a-preimage-in-bytes"),
    pytest.param(f"X-Api-Key: {TOKEN}", TOKEN, id="an-api-key"),
    pytest.param(f"Authorization: Bearer {TOKEN}", TOKEN, id="a-bearer-token"),
    pytest.param(
        f"{{'authorization': 'Bearer {TOKEN}'}}", TOKEN, id="a-bearer-token-in-a-dict"
    ),
    pytest.param(f"token={TOKEN}", TOKEN, id="a-named-token"),
    pytest.param(f"admin_key='{TOKEN}'", TOKEN, id="a-named-admin-key"),
    pytest.param(f"401 for {TOKEN}", TOKEN, id="a-token-without-a-name"),
    pytest.param(f"Rune: {RUNE}", RUNE, id="a-rune"),
    pytest.param(f"{{'message': 'Not authorized: {RUNE}'}}", RUNE, id="a-rune-in-a-reply"),
    pytest.param(RUNE.rstrip("="), RUNE.rstrip("="), id="a-rune-without-its-padding"),
    pytest.param(f"Authorization: Basic {BASIC}", BASIC, id="basic-authorization"),
    pytest.param(f"'authorization', b'basic {BASIC}'", BASIC, id="basic-in-lower-case"),
    pytest.param(f"http-password={PASSWORD}", PASSWORD, id="a-password"),
    pytest.param(f'{{"password": "{PASSWORD}"}}', PASSWORD, id="a-password-in-json"),
    pytest.param(f"http://:{PASSWORD}@127.0.0.1:9740/x", PASSWORD, id="a-password-in-a-url"),
    pytest.param(f"wss://me:{PASSWORD}@relay.example", PASSWORD, id="a-user-in-a-url"),
    pytest.param(f"Grpc-Metadata-macaroon: {MACAROON}", MACAROON, id="a-macaroon"),
    pytest.param(f"permission denied: {MACAROON}", MACAROON, id="a-macaroon-without-a-name"),
    pytest.param(f"r_preimage: '{PREIMAGE}'", PREIMAGE, id="a-preimage-of-lnd"),
    pytest.param(f"master_key={SECRET}", SECRET, id="a-master-key"),
    pytest.param(LNURL, LNURL, id="an-lnurl"),
    pytest.param(
        f"[type=int_type, input_value={{'a': 'b {PASSWORD}'}}, input_type=dict]",
        PASSWORD,
        id="what-pydantic-could-not-read",
    ),
    pytest.param(
        f"https://host/api/v1/ws/{TOKEN}?api-key={TOKEN}#x", f"={TOKEN}", id="a-query"
    ),
]


@pytest.mark.attack("A31")
@pytest.mark.parametrize(("text", "canary"), LEAKS)
def test_a_secret_in_a_text_is_not_seen(text: str, canary: str, logged: Any) -> None:
    logger().error("it.happened", problem=f"before {text} after")

    assert canary not in logged()


@pytest.mark.attack("A31")
@pytest.mark.parametrize(("text", "canary"), LEAKS)
def test_a_secret_in_a_traceback_is_not_seen(text: str, canary: str, logged: Any) -> None:
    try:
        raise RuntimeError(f"before {text} after") from ValueError(text)
    except RuntimeError:
        logger().exception("it.happened")

    written = logged()
    assert canary not in written
    assert "RuntimeError" in written


@pytest.mark.parametrize(
    "field",
    [
        *("secret", "preimage", "invoice", "bolt11", "token", "uri", "admin_key"),
        *("invoice_key", "own_preimage", "rune", "password", "authorization", "params"),
    ],
)
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda field: {field: TOKEN}, id="a-field"),
        pytest.param(lambda field: {"body": {field: TOKEN}}, id="in-an-object"),
        pytest.param(lambda field: {"rows": [{"deep": {field: TOKEN}}]}, id="deep-down"),
        pytest.param(lambda field: {field: TOKEN.encode()}, id="as-bytes"),
        pytest.param(lambda field: {field: [TOKEN]}, id="a-list-of-them"),
    ],
)
def test_a_secret_field_is_not_seen(field: str, wrap: Any, logged: Any) -> None:
    logger().error("it.happened", **wrap(field))

    written = logged()
    assert TOKEN not in written
    assert field in written


@pytest.mark.parametrize(("text", "canary"), LEAKS)
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda text: [text], id="in-a-list"),
        pytest.param(lambda text: {"x": (1, text)}, id="in-a-tuple-in-an-object"),
        pytest.param(ValueError, id="in-an-exception"),
        pytest.param(lambda text: {text: 1}, id="as-a-key"),
    ],
)
def test_a_secret_inside_a_value_is_not_seen(
    text: str, canary: str, wrap: Any, logged: Any
) -> None:
    logger().error("it.happened", problem=wrap(text))

    assert canary not in logged()


@pytest.mark.parametrize(("text", "canary"), LEAKS)
def test_a_secret_in_the_name_of_an_event_is_not_seen(
    text: str, canary: str, logged: Any
) -> None:
    logger().error(text)

    assert canary not in logged()


@pytest.mark.parametrize(("text", "canary"), LEAKS)
def test_what_a_library_logs_is_looked_at_too(text: str, canary: str, logged: Any) -> None:
    log.configure("debug")
    try:
        raise RuntimeError(text)
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("request to %s failed", text)

    written = logged()
    assert "RuntimeError" in written
    assert canary not in written


@pytest.mark.parametrize(
    ("value", "canary"),
    [
        pytest.param(Keypair(bytes.fromhex(SECRET)), SECRET, id="a-keypair"),
        pytest.param(
            InvoiceSpec("id", Msat(1), "", None, 60, Preimage(PREIMAGE)),
            PREIMAGE,
            id="an-invoice-spec",
        ),
        pytest.param(ConnectionUri.parse(CONNECTION_URI), SECRET, id="a-parsed-uri"),
    ],
)
def test_what_holds_a_secret_does_not_show_it(value: object, canary: str, logged: Any) -> None:
    logger().error("it.happened", value=value, text=f"{value!r}")

    assert canary not in logged()
    assert canary not in repr(value)


# --- what is


def test_a_line_is_one_json_object_where_there_is_no_terminal(logged: Any) -> None:
    logger().info("payment.final", payment_hash=HASH, amount_msat=5)

    [line] = logged().splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "payment.final",
        "level": "info",
        "payment_hash": HASH,
        "amount_msat": 5,
    }


@pytest.mark.parametrize(
    "harmless",
    [
        HASH,
        "http://127.0.0.1:4444",
        "wss://relay.example/path",
        "the invoice has expired",
        "secret key out of range",
        "lnbcrt",
        "10 ln1 lnbc",
        "npub1qqqqqq",
        "token is missing",
        "a valid bearer token is required",
        "the password is not that of phoenixd",
        "no rune was given",
        NODE_KEY,
        "/usr/lib/python3.11/site-packages/websockets/asyncio/client.py",
        "tests.backends.test_cln_rune.ARuneThatIsLongButHasNoFigureInItAtAll",
        "wss://relay.example:4848/path",
    ],
)
def test_what_is_no_secret_is_seen(harmless: str, logged: Any) -> None:
    logger().info("it.happened", value=harmless, values=[harmless, {"deep": harmless}])

    entry = json.loads(logged())
    assert entry["value"] == harmless
    assert entry["values"] == [harmless, {"deep": harmless}]


def test_around_a_secret_the_text_is_seen(logged: Any) -> None:
    logger().info("it.happened", value=f"paying {INVOICE} failed")

    assert json.loads(logged())["value"] == "paying [redacted] failed"


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["a", "b", "c", "d"]),
        ("info", ["b", "c", "d"]),
        ("warning", ["c", "d"]),
        ("error", ["d"]),
    ],
)
def test_below_the_level_nothing_is_written(
    level: str, seen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(level)

    for name, method in zip("abcd", ["debug", "info", "warning", "error"], strict=True):
        getattr(structlog.get_logger(), method)(name)

    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == seen


def test_a_library_is_heard_from_warnings_on(logged: Any) -> None:
    log.configure("debug")
    library = logging.getLogger("websockets.client")

    library.debug("quiet")
    library.info("quiet")
    library.warning("loud %s", "and clear")

    [line] = logged().splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"]) == ("loud and clear", "warning")
    assert entry["logger"] == "websockets.client"
