"""nwc-service suspense … and alarm …: what waits for the operator, and how it ends."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from secrets import token_hex

import pytest
import pytest_asyncio

from tests.clients.raw import raw_client
from tests.e2e.conftest import CREDIT_MSAT, Cli, node_holds, until
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

AMOUNT_MSAT = 5_000
REASON = "asked around"

Write = Callable[..., None]


@pytest.fixture
def write(service: ServiceProcess) -> Write:
    """Into the books of the running service, as only the service itself does."""

    def run(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(service.data_dir / "nwc.sqlite", timeout=10)) as books:
            books.execute(statement, values)
            books.commit()

    return run


@pytest_asyncio.fixture(loop_scope="module")
async def account(service: ServiceProcess) -> str:
    name = f"account-{token_hex(4)}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    return name


def alarm(write: Write, kind: str, subject: str) -> None:
    write("INSERT INTO alarm VALUES (?, ?, 'as it was', ?)", kind, subject, int(time.time()))


@pytest.fixture
def foreign(write: Write) -> str:
    """The hash of a receipt that nobody here asked for, with its entry and its alarm."""
    payment_hash, now = token_hex(32), int(time.time())
    write(
        "INSERT INTO receipt (backend, payment_hash, amount_msat, created_at)"
        " VALUES ('sandbox', ?, ?, ?)",
        payment_hash,
        AMOUNT_MSAT,
        now,
    )
    write(
        "INSERT INTO entry (kind, source, destination, amount_msat, created_at)"
        " VALUES ('receive', 'node:sandbox', 'suspense', ?, ?)",
        AMOUNT_MSAT,
        now,
    )
    for book, moved_msat in (("node:sandbox", -AMOUNT_MSAT), ("suspense", AMOUNT_MSAT)):
        write(
            "INSERT INTO book VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET"
            " balance_msat = book.balance_msat + excluded.balance_msat",
            book,
            moved_msat,
        )
    alarm(write, "unattributed", payment_hash)
    return payment_hash


# --- suspense


async def test_a_receipt_in_suspense_is_listed_and_assigned_once(
    cli: Cli, service: ServiceProcess, account: str, foreign: str
) -> None:
    [listed] = await cli.json("suspense", "list")
    still_so = await cli.failure("alarm", "clear", "unattributed", foreign, "--reason", REASON)

    assigned = await cli.json(
        "suspense", "assign", foreign, "--account", account, "--reason", REASON
    )
    again = await cli.failure("suspense", "assign", foreign, "--operator", "--reason", REASON)

    assert (listed["payment_hash"], listed["amount_msat"]) == (foreign, AMOUNT_MSAT)
    assert f"suspense assign {foreign}" in still_so
    assert assigned == {
        "payment_hash": foreign,
        "backend": "sandbox",
        "amount_msat": AMOUNT_MSAT,
        "assigned_to": account,
        "reason": REASON,
    }
    assert "nothing waits" in again
    assert (await service.account(account))["available_msat"] == CREDIT_MSAT + AMOUNT_MSAT
    assert await cli.json("suspense", "list") == []
    assert await cli.json("alarm", "list") == []
    [decision, *_] = await cli.json("decision", "list")
    assert (decision["kind"], decision["subject"]) == ("receipt_assigned", foreign)
    assert (await service.audit())["problems"] == []


async def test_a_receipt_can_be_the_operators(
    cli: Cli, service: ServiceProcess, foreign: str
) -> None:
    assigned = await cli.json(
        *("suspense", "assign", foreign, "--operator", "--backend", "sandbox"),
        *("--reason", REASON),
    )

    assert assigned["assigned_to"] == "operator"
    assert (await service.audit())["problems"] == []


@pytest.mark.parametrize(
    "whose", [[], ["--operator", "--account", "main"]], ids=["nobody", "both"]
)
async def test_it_is_one_s_or_the_other_s(cli: Cli, whose: list[str]) -> None:
    told = await cli.usage("suspense", "assign", "ab" * 32, *whose, "--reason", REASON)

    assert "--account and --operator" in told


@pytest.mark.parametrize("whose", [{}, {"operator": True, "account": "main"}], ids=repr)
async def test_the_api_wants_one_of_them_too(
    service: ServiceProcess, whose: dict[str, object]
) -> None:
    refused = await service.admin.post(
        f"/api/v1/suspense/{'ab' * 32}/assign", json={"reason": REASON, **whose}
    )

    assert (refused.status_code, "one of them" in refused.text) == (400, True)


# --- alarms


@pytest.mark.parametrize(
    "kind",
    ["late_success", "fee_above_cap", "account_full", "node_forgot_payment", "insolvent"],
)
async def test_an_alarm_of_what_happened_is_cleared_with_a_reason(
    cli: Cli, write: Write, kind: str
) -> None:
    """Also that the funds did not cover what was owed, where they do by now."""
    subject = token_hex(16)
    alarm(write, kind, subject)

    blank = await cli.failure("alarm", "clear", kind, subject, "--reason", " ")
    cleared = await cli.json("alarm", "clear", kind, subject, "--reason", REASON)
    again = await cli.failure("alarm", "clear", kind, subject, "--reason", REASON)

    assert "reason is required" in blank
    assert (cleared["kind"], cleared["subject"], cleared["reason"]) == (kind, subject, REASON)
    assert "there is no alarm" in again
    assert await cli.json("alarm", "list") == []
    [decision, *_] = await cli.json("decision", "list")
    assert decision["kind"] == "alarm_cleared"
    assert (decision["subject"], decision["reason"]) == (subject, REASON)
    assert decision["detail"] == f"{kind}: as it was"


async def test_of_a_paused_backend_the_alarm_stays(cli: Cli, write: Write) -> None:
    alarm(write, "backend_paused", "sandbox")
    write("INSERT INTO pause VALUES ('sandbox', 'outgoing', 0, 'a test', '', 0)")

    refused = await cli.failure(
        "alarm", "clear", "backend_paused", "sandbox", "--reason", REASON
    )
    [stays] = await cli.json("alarm", "list")
    await cli.json("backend", "resume", "sandbox", "--reason", REASON)

    assert "`backend resume sandbox`" in refused
    assert stays["kind"] == "backend_paused"
    assert await cli.json("alarm", "list") == []


async def test_of_a_payment_that_hangs_the_alarm_stays_until_it_is_final(
    cli: Cli, write: Write, service: ServiceProcess, account: str
) -> None:
    held = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT, hold=True)
    async with raw_client(await service.connect(account)) as client:
        await client.send_event(
            client.build_request("pay_invoice", {"invoice": held["invoice"]})
        )
        await node_holds(service, held["payment_hash"])
        payment_id = (await cli.json("payment", "show", held["payment_hash"]))["payment_id"]
        alarm(write, "payment_stuck", payment_id)

        refused = await cli.failure(
            "alarm", "clear", "payment_stuck", payment_id, "--reason", REASON
        )
        await service.sandbox("cancel", payment_hash=held["payment_hash"])

        async def is_over() -> bool:
            return not await cli.json("alarm", "list")

        await until(is_over)

    assert f"`payment resolve {payment_id}`" in refused
