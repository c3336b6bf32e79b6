"""nwc-service payment …, sandbox … and audit, as scripts rely on them."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from nwc_service.wallet import bolt11
from tests.clients.raw import RawClient, raw_client
from tests.e2e.conftest import CREDIT_MSAT, Cli, node_holds, proves
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = [
    "payment_id",
    "account",
    "connection_id",
    "direction",
    "state",
    "payment_hash",
    "amount_msat",
    "fee_msat",
    "backend",
    "created_at",
    "settled_at",
]
BOOKED_KEYS = [
    *("payment_hash", "direction", "amount_msat", "fee_msat", "state"),
    *("tlv_records", "payer_note"),
]
NOBODYS_HASH = "ab" * 32


@dataclass(frozen=True, slots=True)
class Customer:
    account: str
    connection_id: str
    client: RawClient

    async def invoice(self, amount_msat: int) -> str:
        made = await self.client.request("make_invoice", {"amount": amount_msat})
        return str(made.result["invoice"])

    async def pay(self, invoice: str) -> str | None:
        """The error's code, if there is one."""
        return (await self.client.request("pay_invoice", {"invoice": invoice})).error_code


@pytest_asyncio.fixture(loop_scope="module")
async def customer(service: ServiceProcess) -> AsyncIterator[Customer]:
    name = f"account-{token_hex(4)}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    created = await service.call("POST", "connections", account=name, app="an app")
    async with raw_client(created["uri"]) as client:
        yield Customer(name, created["connection_id"], client)


async def test_a_payment_outside_is_shown_with_its_fee(cli: Cli, customer: Customer) -> None:
    made = await cli.json("sandbox", "invoice", "21000")
    await customer.pay(made["invoice"])

    [payment] = await cli.json("payment", "list", "--account", customer.account)

    assert list(payment) == KEYS
    assert payment == {
        "payment_id": payment["payment_id"],
        "account": customer.account,
        "connection_id": customer.connection_id,
        "direction": "outgoing",
        "state": "settled",
        "payment_hash": made["payment_hash"],
        "amount_msat": 21_000,
        "fee_msat": 1_000,
        "backend": "sandbox",
        "created_at": payment["created_at"],
        "settled_at": payment["settled_at"],
    }
    assert payment["created_at"] <= payment["settled_at"] <= time.time()
    assert await shown(cli, payment["payment_id"]) == payment


async def test_an_invoice_is_shown_as_what_comes_in(cli: Cli, customer: Customer) -> None:
    invoice = await customer.invoice(5_000)
    [waiting] = await cli.json("payment", "list", "--account", customer.account)

    paid = await cli.json("sandbox", "pay", invoice)
    settled = await eventually(cli, waiting["payment_id"], state="settled")

    assert list(waiting) == KEYS
    assert (waiting["direction"], waiting["state"]) == ("incoming", "pending")
    assert (waiting["amount_msat"], waiting["settled_at"]) == (5_000, None)
    assert list(paid) == ["preimage"]
    assert proves(paid["preimage"], waiting["payment_hash"])
    assert settled["settled_at"] is not None
    assert settled == waiting | {"state": "settled", "settled_at": settled["settled_at"]}


async def test_a_payment_that_is_held_waits_and_one_that_fails_costs_nothing(
    cli: Cli, customer: Customer
) -> None:
    held = await cli.json("sandbox", "invoice", "3000", "--hold")
    paying = asyncio.create_task(customer.pay(held["invoice"]))
    [waiting] = await once_there(cli, customer.account)
    account = await cli.json("account", "show", customer.account)

    canceled = await cli.json("sandbox", "cancel", held["payment_hash"])
    refused = await paying
    failed = await shown(cli, waiting["payment_id"])

    assert (waiting["direction"], waiting["state"]) == ("outgoing", "pending")
    assert (waiting["fee_msat"], waiting["settled_at"]) == (None, None)
    assert account["held_msat"] == 13_000
    assert canceled == {"payment_hash": held["payment_hash"], "state": "failed"}
    assert refused == "PAYMENT_FAILED"
    assert failed == waiting | {"state": "failed"}
    account = await cli.json("account", "show", customer.account)
    assert (account["available_msat"], account["held_msat"]) == (CREDIT_MSAT, 0)


async def test_a_held_payment_is_settled_on_command(
    cli: Cli, customer: Customer, service: ServiceProcess
) -> None:
    held = await cli.json("sandbox", "invoice", "3000", "--hold")
    paying = asyncio.create_task(customer.pay(held["invoice"]))
    await node_holds(service, held["payment_hash"])

    settled = await cli.json("sandbox", "settle", held["payment_hash"])

    assert settled == {"payment_hash": held["payment_hash"], "state": "settled"}
    assert await paying is None


async def test_payments_are_listed_newest_first_for_all_accounts_or_one(
    cli: Cli, customer: Customer
) -> None:
    for amount_msat in (1_000, 2_000, 3_000):
        await customer.invoice(amount_msat)

    mine = await cli.json("payment", "list", "--account", customer.account)
    everything = await cli.json("payment", "list")

    assert isinstance(mine, list)
    assert sorted(each["amount_msat"] for each in mine) == [1_000, 2_000, 3_000]
    dates = [each["created_at"] for each in everything]
    assert dates == sorted(dates, reverse=True)
    assert [each for each in everything if each["account"] == customer.account] == mine


async def test_the_newest_are_shown_and_that_there_are_more_is_said(
    cli: Cli, customer: Customer
) -> None:
    for amount_msat in (1_000, 2_000, 3_000):
        await customer.invoice(amount_msat)
    everything = await cli.json("payment", "list", "--account", customer.account)

    two = ["payment", "list", "--account", customer.account, "--limit", "2"]
    cut, told = await cli.json(*two), await cli.run(*two)
    whole = await cli.run("payment", "list", "--account", customer.account, "--limit", "3")

    assert cut == everything[:2]
    assert "more than 2" in told.stderr
    assert whole.stderr == ""


@pytest.mark.parametrize("payment_id", ["nothing", "ab" * 16, "..", ""], ids=repr)
async def test_a_payment_that_is_not_there_is_said_not_to_be(payment_id: str, cli: Cli) -> None:
    said = await cli.failure("payment", "show", payment_id)

    assert "no payment" in said


async def test_the_payments_of_an_unknown_account_are_a_failure(cli: Cli) -> None:
    said = await cli.failure("payment", "list", "--account", "nobody")

    assert "no account 'nobody'" in said


async def test_the_outside_node_asks_for_money(cli: Cli) -> None:
    made = await cli.json("sandbox", "invoice", "21001", "--expiry-s", "60")
    open_amount = await cli.json("sandbox", "invoice")

    assert list(made) == ["invoice", "payment_hash"]
    decoded = bolt11.decode(made["invoice"])
    assert decoded.payment_hash == made["payment_hash"]
    assert (decoded.network, decoded.amount_msat, decoded.expiry_s) == ("regtest", 21_001, 60)
    assert bolt11.decode(open_amount["invoice"]).amount_msat is None


async def test_an_invoice_that_fails_is_refused_by_the_outside_node(
    cli: Cli, customer: Customer
) -> None:
    made = await cli.json("sandbox", "invoice", "1000", "--fail")

    assert await customer.pay(made["invoice"]) == "PAYMENT_FAILED"


async def test_the_books_of_the_outside_node_have_every_payment(
    cli: Cli, customer: Customer
) -> None:
    before = await cli.json("sandbox", "show")
    made = await cli.json("sandbox", "invoice", "21000")
    await customer.pay(made["invoice"])
    invoice = await customer.invoice(5_000)
    await cli.json("sandbox", "pay", invoice)

    books = await cli.json("sandbox", "show")

    assert list(books) == [
        *("outside_pubkey", "block_height"),
        *("received_msat", "paid_msat", "node_available_msat", "payments"),
    ]
    assert books["received_msat"] == before["received_msat"] + 21_000
    assert books["paid_msat"] == before["paid_msat"] + 5_000
    moved_msat = 5_000 - 21_000 - 1_000
    assert books["node_available_msat"] == before["node_available_msat"] + moved_msat
    added = books["payments"][len(before["payments"]) :]
    assert all(list(each) == BOOKED_KEYS for each in books["payments"])
    assert added == [
        {
            "payment_hash": made["payment_hash"],
            "direction": "outgoing",
            "amount_msat": 21_000,
            "fee_msat": 1_000,
            "state": "settled",
            "tlv_records": None,
            "payer_note": None,
        },
        {
            "payment_hash": bolt11.decode(invoice).payment_hash,
            "direction": "incoming",
            "amount_msat": 5_000,
            "fee_msat": 0,
            "state": "settled",
            "tlv_records": None,
            "payer_note": None,
        },
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["invoice", "1000", "--hold", "--fail"], "hold", id="hold-and-fail"),
        pytest.param(["invoice", "0"], "amount_msat", id="nothing"),
        pytest.param(["invoice", "9" * 30], "amount_msat", id="absurd-amount"),
        pytest.param(["invoice", "1", "--expiry-s=-1"], "expiry_s", id="negative-expiry"),
        pytest.param(["settle", NOBODYS_HASH], "payment_hash", id="settle-nothing"),
        pytest.param(["cancel", NOBODYS_HASH], "payment_hash", id="cancel-nothing"),
        pytest.param(["settle", "tea"], "payment_hash", id="settle-no-hash"),
        pytest.param(["pay", "tea"], "invoice", id="pay-no-invoice"),
        pytest.param(["pay", ""], "invoice", id="pay-nothing"),
        pytest.param(["mode", "asleep"], "mode", id="unknown-mode"),
    ],
)
async def test_what_the_outside_node_cannot_do_is_a_failure(
    arguments: list[str], told: str, cli: Cli
) -> None:
    said = await cli.failure("sandbox", *arguments)

    assert told in said


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["settle"], id="settle-what"),
        pytest.param(["cancel"], id="cancel-what"),
        pytest.param(["pay"], id="pay-what"),
        pytest.param(["mode"], id="which-mode"),
        pytest.param(["invoice", "ten"], id="no-number"),
        pytest.param(["invoice", "1", "--expiry-s", "1m"], id="no-seconds"),
        pytest.param(["dance"], id="unknown-command"),
    ],
)
async def test_an_incomplete_command_is_a_usage_error(arguments: list[str], cli: Cli) -> None:
    assert await cli.usage("sandbox", *arguments)


async def test_an_invoice_is_not_paid_with_another_amount_nor_twice(
    cli: Cli, customer: Customer
) -> None:
    invoice = await customer.invoice(5_000)

    other_amount = await cli.failure("sandbox", "pay", invoice, "5001")
    await cli.json("sandbox", "pay", invoice, "5000")
    twice = await cli.failure("sandbox", "pay", invoice)

    assert "amount_msat" in other_amount
    assert "settled" in twice


async def test_the_node_behaves_as_it_is_told_and_ready_tells(
    cli: Cli, customer: Customer, service: ServiceProcess
) -> None:
    made = await cli.json("sandbox", "invoice", "1000")
    for mode in ("lose-reply", "slow", "unreachable"):
        assert await cli.json("sandbox", "mode", mode) == {"mode": mode}

    refused = await customer.pay(made["invoice"])
    not_ready = await eventually_ready(service, ready=False)
    alive = await service.admin.get("/healthz")
    assert await cli.json("sandbox", "mode", "normal") == {"mode": "normal"}
    ready = await eventually_ready(service, ready=True)

    assert refused == "INTERNAL"
    assert not_ready["backends"] == {"sandbox": False}
    assert alive.status_code == 200
    assert ready["backends"] == {"sandbox": True}
    assert await customer.pay(made["invoice"]) is None


async def test_the_audit_counts_and_finds_nothing(cli: Cli, customer: Customer) -> None:
    before = await cli.json("audit")
    made = await cli.json("sandbox", "invoice", "21000")
    await customer.pay(made["invoice"])

    audit = await cli.json("audit")

    assert list(audit) == [
        "ok",
        "accounts",
        "entries",
        "payments",
        "invoices",
        "problems",
    ]
    assert (audit["ok"], audit["problems"]) == (True, [])
    assert audit["accounts"] == len(await cli.json("account", "list"))
    # Reserve; settle to the node, and back what was reserved too much.
    assert audit["entries"] == before["entries"] + 3


async def shown(cli: Cli, payment_id: str) -> dict[str, object]:
    """Of the whole history, what the list has too: it comes first."""
    history = await cli.json("payment", "show", payment_id)
    assert list(history)[: len(KEYS)] == KEYS
    return {name: history[name] for name in KEYS}


async def eventually(cli: Cli, payment_id: str, *, state: str) -> dict[str, object]:
    async with asyncio.timeout(10):
        while True:
            payment = await shown(cli, payment_id)
            if payment["state"] == state:
                return payment


async def once_there(cli: Cli, account: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while True:
            if found := await cli.json("payment", "list", "--account", account):
                return list(found)


async def eventually_ready(service: ServiceProcess, *, ready: bool) -> dict[str, object]:
    """The service asks the node every few seconds."""
    async with asyncio.timeout(30):
        while True:
            answer = await service.admin.get("/readyz")
            if answer.json()["ready"] is ready:
                assert answer.status_code == (200 if ready else 503)
                return dict(answer.json())
            await asyncio.sleep(0.1)
