"""A canary in the place of every secret, an error on every path, and none of them in the log.

The real service at its most talkative level, on the sandbox and on four nodes that answer
every call with an error which repeats the credential that came with it.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from nwc_service.methods import METHODS
from nwc_service.methods.method import validated
from nwc_service.nip47 import uri
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from nwc_service.wallet.errors import RequestError
from tests.clients.raw import RawClient, raw_client
from tests.demo.sandbox import SandboxOutside
from tests.e2e.conftest import rows
from tests.e2e.service import CommandFailed, ServiceProcess, service_process
from tests.ops.echo import Echo, echo

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

MASTER_KEY = "ca9a41" * 10 + "0001"
PREIMAGE = "ca9a42" * 10 + "0002"
TOKEN = "c4nary-t0ken-ABCDEFGHIJ-abcdefghij-0123"
OTHER_TOKEN = "c4nary-0ther-ABCDEFGHIJ-abcdefghij-0123"
ADMIN_KEY = "ca9a43" * 5 + "03"
INVOICE_KEY = "ca9a44" * 5 + "04"
MACAROON = "0201036c6e64" + "ca9a45" * 40
RUNE = "KUhZzNlECC7pYsz3QVbF1TqjIUYi3oyESTI7n60hLMs9MCZtZXRob2Q="
PASSWORD = "c4naryPassword"
PLAINTEXT = "c4nary plaintext"
LINK_SECRET = "ca9a46" * 10 + "0006"

CONFIG = """
default_backend = "sandbox"
[solvency]
required_percent = 0
[payments]
timeout_s = 2
[backends.sandbox]
type = "sandbox"
[backends.lnbits]
type = "lnbits"
url = "http://127.0.0.1:{port}"
admin_key = "{admin_key}"
invoice_key = "{invoice_key}"
fee_cap = "2000, 1%"
timeout_s = 2.0
poll_s = 1.0
[backends.lnd]
type = "lnd"
url = "http://127.0.0.1:{port}"
macaroon_hex = "{macaroon}"
timeout_s = 2.0
[backends.cln]
type = "cln"
url = "http://127.0.0.1:{port}"
rune = "{rune}"
timeout_s = 2.0
[backends.phoenixd]
type = "phoenixd"
url = "http://127.0.0.1:{port}"
password = "{password}"
timeout_s = 2.0
poll_s = 1.0
"""
PATIENCE_S = 1.0
NO_ANSWERS = ("401 Unauthorized", "200 OK", "")
BACKENDS = ("sandbox", "lnbits", "lnd", "cln", "phoenixd")
PAYEE = "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@dataclass(slots=True)
class Told:
    text: str = ""
    canaries: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    directory = tmp_path_factory.mktemp("canaries")
    data_dir = directory / "data"
    data_dir.mkdir()
    (data_dir / "master.key").write_text(MASTER_KEY)
    (data_dir / "admin.token").write_text(TOKEN)
    async with echo() as node:
        config = config_of(directory, node)
        async with service_process(
            data_dir, NWC_CONFIG=str(config), NWC_LOG_LEVEL="debug"
        ) as service:
            found = Told(canaries=dict(FIXED))
            await use(service, node, found)
            await service.kill()
            await service.start()
            await asyncio.sleep(2)
            await service.stop()
            found.canaries |= kept(service)
            found.text += service.log_text()
        heard = "".join(node.heard)
        assert [name for name in SENT if FIXED[name] not in heard] == []
        yield found


def config_of(directory: Path, node: Echo) -> Path:
    file = directory / "config.toml"
    file.write_text(
        CONFIG.format(
            port=node.port,
            admin_key=ADMIN_KEY,
            invoice_key=INVOICE_KEY,
            macaroon=MACAROON,
            rune=RUNE,
            password=PASSWORD,
        )
    )
    return file


FIXED = {
    "master key": MASTER_KEY,
    "preimage of a keysend": PREIMAGE,
    "token": TOKEN,
    "another token": OTHER_TOKEN,
    "LNbits' admin key": ADMIN_KEY,
    "LNbits' invoice key": INVOICE_KEY,
    "macaroon": MACAROON,
    "rune": RUNE,
    "password": PASSWORD,
    "plaintext": PLAINTEXT,
    "secret in a link": LINK_SECRET,
}
SENT = ("LNbits' invoice key", "macaroon", "rune")
"""Beside phoenixd's password, which is sent in base64."""


async def use(service: ServiceProcess, node: Echo, found: Told) -> None:
    outside = SandboxOutside(service)
    for name in BACKENDS:
        await service.call("POST", "accounts", name=name, backend=name)
        credit = {"amount_msat": 1_000_000, "reason": PLAINTEXT, "force": True}
        await service.call("POST", f"accounts/{name}/credit", **credit)
        url = await service.connect(name, scopes="all")
        found.canaries[f"URI of {name}"] = url
        found.canaries[f"secret of {name}"] = url.rpartition("secret=")[2].partition("&")[0]
        async with raw_client(url) as client:
            await ask_all(client, await outside.make_invoice(6_000), found=found)
            await send_nonsense(client)
            for node.status in () if name == "sandbox" else NO_ANSWERS:
                await ask_all(client, await outside.make_invoice(6_000), found=found)
            node.status = "500 Internal Server Error"
            if name == "sandbox":
                await break_the_books(service, client, outside, found)
    await misuse_the_api(service)
    for name in BACKENDS:
        try:
            found.text += json.dumps(await service.cli("backend", "check", name))
        except CommandFailed as failed:
            found.text += failed.stderr


async def ask_all(client: RawClient, invoice: str, *, found: Told) -> None:
    """Every method that reaches a node, without waiting for what may never be answered."""
    found.canaries[f"invoice {len(found.canaries)}"] = invoice
    asked: list[Event] = []
    metadata = {"comment": PLAINTEXT}
    keysend = {"pubkey": PAYEE, "amount": 1_000, "preimage": PREIMAGE}
    for method, params in (
        ("get_info", {}),
        ("get_balance", {}),
        ("pay_invoice", {"invoice": invoice, "metadata": metadata}),
        ("multi_pay_invoice", {"invoices": [{"id": PLAINTEXT, "invoice": invoice}]}),
        ("pay_keysend", keysend),
        ("make_invoice", {"amount": 1_000, "description": PLAINTEXT, "metadata": metadata}),
        ("make_offer", {"amount": 1_000, "description": PLAINTEXT}),
        ("make_hold_invoice", {"amount": 1_000, "payment_hash": PREIMAGE}),
        ("settle_hold_invoice", {"preimage": PREIMAGE}),
        ("lookup_invoice", {"invoice": invoice}),
        ("lookup_invoice", {"payment_hash": "00" * 32}),
        ("list_transactions", {}),
        ("sign_message", {"message": PLAINTEXT}),
        ("create_connection", {"pubkey": PREIMAGE, "name": PLAINTEXT}),
        ("pay_invoice", {"invoice": f"{invoice}x", "amount": PLAINTEXT}),
        (PLAINTEXT.replace(" ", "_"), {PLAINTEXT: PREIMAGE}),
    ):
        asked.append(client.build_request(method, params))
        await client.send_event(asked[-1])
    waiting = (client.response_to(event.id, timeout_s=PATIENCE_S) for event in asked)
    await asyncio.gather(*waiting, return_exceptions=True)


async def send_nonsense(client: RawClient) -> None:
    for plaintext in (PLAINTEXT, f'{{"method": "{PLAINTEXT}', "[]", f'{{"x": "{PREIMAGE}"}}'):
        await client.send_event(client.build_event(plaintext))
    tags = client.request_tags("nip44_v2")
    await client.send_event(
        client.conversation.sign(PLAINTEXT, kind=23194, tags=tags, created_at=None)
    )


async def break_the_books(
    service: ServiceProcess, client: RawClient, outside: SandboxOutside, found: Told
) -> None:
    """Whatever needs these tables fails inside, with a traceback."""
    paths = ("payments?account=sandbox", "accounts", "audit", "alarms", "connections")
    path = service.data_dir / "nwc.sqlite"
    invoice = await outside.make_invoice(3_000)
    for table in ("request", "payment", "invoice", "outbox", "account"):
        with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
            database.execute(f"ALTER TABLE {table} RENAME TO gone")
        try:
            await ask_all(client, invoice, found=found)
            for each in paths:
                with suppress(httpx.TransportError):  # an error inside ends the connection
                    await service.admin.get(f"/api/v1/{each}")
        finally:
            with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
                database.execute(f"ALTER TABLE gone RENAME TO {table}")


async def misuse_the_api(service: ServiceProcess) -> None:
    link = uri.build(
        wallet_pubkey=Keypair(b"\x01" * 32).public_key, relays=["wss://r.x"], secret=LINK_SECRET
    )
    admin = service.admin
    for body in (
        {"link": link},
        {"link": f"nostr+walletauth://{LINK_SECRET}?secret={LINK_SECRET}"},
        {"name": PLAINTEXT, "token": OTHER_TOKEN},
        {"amount_msat": PLAINTEXT},
    ):
        for path in ("links", "links/accept", "accounts", "connections", "alarms/clear"):
            await admin.post(f"/api/v1/{path}", json=body)
    await admin.post("/api/v1/accounts", content=f'{{"name": "{OTHER_TOKEN}')
    wrong = httpx.Headers({"Authorization": f"Bearer {OTHER_TOKEN}"})
    await admin.get("/api/v1/accounts", headers=wrong)
    await admin.get(f"/api/v1/payments/{PREIMAGE}?token={OTHER_TOKEN}", headers=wrong)
    paid = {"preimage": PREIMAGE, "reason": PLAINTEXT}
    await admin.post(f"/api/v1/payments/{'0' * 32}/resolve", json=paid)


def kept(service: ServiceProcess) -> dict[str, str]:
    """What the books hold and nobody else may know."""
    queries = {
        "preimage": "SELECT preimage FROM payment WHERE preimage IS NOT NULL",
        "invoice": "SELECT invoice FROM payment WHERE invoice <> ''",
        "own invoice": "SELECT invoice FROM invoice WHERE invoice <> ''",
    }
    return {
        f"stored {name} {number}": str(row[0])
        for name, query in queries.items()
        for number, row in enumerate(rows(service, query))
    }


@pytest.mark.attack("A31")
async def test_no_canary_is_in_anything_that_was_written(told: Told) -> None:
    text = told.text.lower()

    assert len(told.canaries) > 30
    assert [name for name, canary in told.canaries.items() if canary.lower() in text] == []


async def test_no_error_of_parameters_holds_what_a_client_wrote() -> None:
    with pytest.raises(RequestError) as refused:
        validated(METHODS["pay_invoice"].params, {"invoice": [PREIMAGE], "amount": PLAINTEXT})

    assert "valid" in str(refused.value.__cause__)
    assert PLAINTEXT not in str(refused.value.__cause__)
    assert PREIMAGE not in str(refused.value.__cause__)


async def test_the_errors_really_came_about(told: Told) -> None:
    events = {line["event"] for line in told.lines}
    tracebacks = [line["exception"] for line in told.lines if "exception" in line]

    assert {
        "backend.unavailable",
        "method.failed",
        "request.failed",
        "lnbits.poll_failed",
        "request.opened",
        "payment.final",
    } <= events
    assert any("Exception in ASGI application" in str(event) for event in events)
    assert len(tracebacks) > 20


async def test_every_line_of_a_failed_request_has_its_id(told: Told) -> None:
    failed = [line for line in told.lines if line["event"].startswith(("method.", "request."))]

    assert len(failed) > 100
    assert [line for line in failed if len(line.get("request_id", "")) != 16] == []


async def test_every_line_about_a_payment_names_it(told: Told) -> None:
    lines = [line for line in told.lines if line["event"].startswith("payment.")]

    assert lines
    assert [line for line in lines if "payment_id" not in line] == []
