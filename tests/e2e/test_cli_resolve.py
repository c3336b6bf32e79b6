"""nwc-service payment show and resolve: looking into a payment that hangs, and ending it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from nwc_service.nostr.event import Event
from tests.clients.raw import RawClient, raw_client
from tests.e2e.conftest import CREDIT_MSAT, Cli, node_holds, rows, until
from tests.e2e.money import FEE_RESERVE_MSAT
from tests.e2e.service import PROGRAM, ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

AMOUNT_MSAT = 21_000
HELD_MSAT = AMOUNT_MSAT + FEE_RESERVE_MSAT
REASON = "seen at the node"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A payment that the outside node holds, and the client that waits for its answer."""

    account: str
    client: RawClient
    request: Event
    payment_hash: str
    preimage: str

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [answer.payload for answer in self.client.responses_to(self.request.id)]

    async def answer(self) -> dict[str, Any]:
        return (await self.client.response_to(self.request.id)).payload


@pytest.fixture(scope="module")
def config() -> str:
    """While a payment is being sent nobody resolves it, so the send is short here."""
    return "[payments]\ntimeout_s = 1\n"


@pytest_asyncio.fixture(loop_scope="module")
async def stuck(service: ServiceProcess) -> AsyncIterator[Stuck]:
    account = f"account-{token_hex(4)}"
    await service.create_account(account, credit_msat=CREDIT_MSAT)
    held = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT, hold=True)
    async with raw_client(await service.connect(account)) as client:
        request = client.build_request("pay_invoice", {"invoice": held["invoice"]})
        await client.send_event(request)
        await node_holds(service, held["payment_hash"])
        await is_left_to_the_node(service, held["payment_hash"])
        preimage = payees_preimage(service, held["payment_hash"])
        yield Stuck(account, client, request, held["payment_hash"], preimage)


async def is_left_to_the_node(service: ServiceProcess, payment_hash: str) -> None:
    """Wait until the send has returned without an end."""
    heard = "SELECT heard FROM payment WHERE payment_hash = ? AND state <> 'RELEASED'"

    async def is_heard() -> bool:
        return rows(service, heard, payment_hash) != [(None,)]

    await until(is_heard)


def payees_preimage(service: ServiceProcess, payment_hash: str) -> str:
    """What the outside node knows and has not told."""
    path = service.data_dir / "sandbox.sqlite"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as books:
        [[preimage]] = books.execute(
            "SELECT preimage FROM outside_invoice WHERE payment_hash = ?", (payment_hash,)
        ).fetchall()
    return str(preimage)


@pytest.fixture
def preimage_file(stuck: Stuck, tmp_path: Path) -> str:
    path = tmp_path / "preimage"
    path.write_text(f"{stuck.preimage}\n")
    return str(path)


async def money(service: ServiceProcess, stuck: Stuck) -> tuple[int, int]:
    account = await service.account(stuck.account)
    return account["available_msat"], account["held_msat"]


# --- what is shown


async def test_the_whole_history_of_an_open_payment_is_shown(cli: Cli, stuck: Stuck) -> None:
    shown = await cli.json("payment", "show", stuck.payment_hash)

    created_at = shown["created_at"]
    expected = {
        "account": stuck.account,
        "state": "pending",
        "row_state": "DISPATCHED",
        "amount_msat": AMOUNT_MSAT,
        "fee_reserve_msat": FEE_RESERVE_MSAT,
        "held_msat": HELD_MSAT,
        "preimage": None,
        "proof": None,
        "final_at": None,
        "same_hash": [],
        "alarms": [],
        "decisions": [],
        "backend_says": "InFlight",
        "heard": "in flight held by the outside node",
        "heard_at": shown["accepted_at"],
    }
    assert shown | expected == shown
    assert created_at <= shown["dispatched_at"] < shown["expires_at"] < shown["unpayable_at"]
    [entry] = shown["entries"]
    assert (entry["kind"], entry["amount_msat"]) == ("reserve", HELD_MSAT)
    [request] = shown["requests"]
    assert request == {
        "request_id": stuck.request.id,
        "connection_id": shown["connection_id"],
        "method": "pay_invoice",
        "created_at": stuck.request.created_at,
        "claimed_at": request["claimed_at"],
        "answered_at": None,
    }
    assert await cli.json("payment", "show", shown["payment_id"]) == shown


async def test_a_node_that_does_not_answer_is_told_as_no_answer(
    cli: Cli, stuck: Stuck, service: ServiceProcess
) -> None:
    await service.sandbox("mode", mode="unreachable")
    shown = await cli.json("payment", "show", stuck.payment_hash)
    await service.sandbox("mode", mode="normal")

    assert shown["backend_says"] == "no answer"


async def test_for_people_every_part_is_under_its_name(cli: Cli, stuck: Stuck) -> None:
    done = await cli.run("payment", "show", stuck.payment_hash)

    lines = done.stdout.splitlines()
    assert (done.code, done.stderr) == (0, "")
    assert {"entries", "requests"} <= set(lines)
    assert "decisions" not in lines
    head = lines[: lines.index("")]
    assert "backend_says   InFlight" in head
    assert all(len(line) < 80 for line in head)
    assert any(line.split()[1:] == ["reserve", "31000", "available", "held"] for line in lines)


async def test_an_invoice_is_shown_with_its_receipt_and_without_its_preimage(
    cli: Cli, service: ServiceProcess, stuck: Stuck
) -> None:
    made = (await stuck.client.request("make_invoice", {"amount": 5_000})).result
    paid = await service.sandbox("pay", invoice=made["invoice"])
    await stuck.client.notifications.get()

    shown = await cli.json("payment", "show", made["payment_hash"])

    assert (shown["direction"], shown["row_state"]) == ("incoming", "SETTLED")
    [receipt] = shown["receipts"]
    assert receipt["amount_msat"] == 5_000
    assert [request["method"] for request in shown["requests"]] == ["make_invoice"]
    assert shown["preimage"] == "stored"
    assert paid["preimage"] not in str(shown)


# --- resolved as paid


async def test_a_payment_that_was_paid_is_charged_with_the_preimage_as_its_proof(
    cli: Cli, stuck: Stuck, service: ServiceProcess, preimage_file: str
) -> None:
    resolved = await resolve(
        cli, stuck, "--paid", "--preimage-file", preimage_file, "--fee-msat", "700"
    )

    answer = await stuck.answer()
    assert answer["result"] == {"preimage": stuck.preimage, "fees_paid": 700}
    assert await money(service, stuck) == (CREDIT_MSAT - AMOUNT_MSAT - 700, 0)
    assert (resolved["state"], resolved["row_state"]) == ("settled", "SETTLED")
    assert resolved["proof"] == {"kind": "operator", "detail": REASON}
    assert [entry["kind"] for entry in resolved["entries"]] == ["reserve", "settle", "settle"]
    assert resolved["requests"][0]["answered_at"] is not None
    assert resolved["preimage"] == "stored"
    assert stuck.preimage not in str(resolved)


async def test_where_no_fee_is_told_the_whole_reserve_is_charged(
    cli: Cli, stuck: Stuck, service: ServiceProcess, preimage_file: str
) -> None:
    resolved = await resolve(cli, stuck, "--paid", "--preimage-file", preimage_file)

    assert resolved["fee_msat"] == FEE_RESERVE_MSAT
    assert await money(service, stuck) == (CREDIT_MSAT - HELD_MSAT, 0)


async def test_a_preimage_comes_by_standard_input_and_is_nowhere_to_be_read(
    cli: Cli, stuck: Stuck, service: ServiceProcess
) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("payment", "resolve", stuck.payment_hash, "--paid", "--preimage-file", "-"),
        *("--reason", REASON, "--data-dir", str(service.data_dir)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(stuck.preimage.upper().encode())

    assert (process.returncode, stderr) == (0, b"")
    assert b"SETTLED" in stdout
    assert (await stuck.answer())["result"]["preimage"] == stuck.preimage
    told = stdout.decode() + service.log_text()
    assert stuck.preimage not in told.lower()
    assert '"payment.resolved"' in service.log_text()


@pytest.mark.parametrize(
    ("preimage", "said"),
    [
        pytest.param("00" * 32, "does not hash to the payment hash", id="another"),
        pytest.param("00" * 31, "64 hex digits", id="too-short"),
        pytest.param("ab " * 32, "64 hex digits", id="spaced"),
        pytest.param("", "64 hex digits", id="empty"),
        pytest.param("ä" * 64, "64 hex digits", id="no-hex"),
    ],
)
async def test_a_wrong_preimage_is_refused_and_changes_nothing(
    cli: Cli, stuck: Stuck, service: ServiceProcess, tmp_path: Path, preimage: str, said: str
) -> None:
    file = tmp_path / "wrong"
    file.write_text(preimage)
    before = await cli.json("payment", "show", stuck.payment_hash)

    refused = await cli.failure(
        *("payment", "resolve", stuck.payment_hash, "--reason", REASON),
        *("--paid", "--preimage-file", str(file)),
    )

    assert said in refused
    assert not preimage or preimage not in refused
    assert await cli.json("payment", "show", stuck.payment_hash) == before
    assert await money(service, stuck) == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)
    assert stuck.answers == []


# --- resolved as unpaid


async def test_a_payment_that_was_not_paid_is_given_back_and_answered(
    cli: Cli, stuck: Stuck, service: ServiceProcess
) -> None:
    resolved = await resolve(cli, stuck, "--unpaid", "--force")

    answer = await stuck.answer()
    assert answer["error"]["code"] == "PAYMENT_FAILED"
    assert await money(service, stuck) == (CREDIT_MSAT, 0)
    assert (resolved["state"], resolved["row_state"]) == ("failed", "RELEASED")
    assert resolved["proof"] == {"kind": "operator", "detail": REASON}
    assert resolved["held_msat"] == 0
    [decision] = resolved["decisions"]
    assert (decision["kind"], decision["reason"]) == ("payment_resolved", REASON)
    [newest, *_] = await cli.json("decision", "list")
    assert newest == decision
    assert newest["subject"] == resolved["payment_id"]


async def test_an_earlier_attempt_is_named_beside_the_one_that_counts(
    cli: Cli, stuck: Stuck
) -> None:
    earlier = await resolve(cli, stuck, "--unpaid", "--force")
    again = stuck.client.build_request("pay_invoice", {"invoice": earlier["invoice"]})
    await stuck.client.send_event(again)

    async def is_paid_again() -> bool:
        shown = await cli.json("payment", "show", stuck.payment_hash)
        return bool(shown["payment_id"] != earlier["payment_id"])

    await until(is_paid_again)
    shown = await cli.json("payment", "show", stuck.payment_hash)
    assert shown["state"] == "pending"
    assert shown["same_hash"] == [earlier["payment_id"]]
    assert await cli.json("payment", "show", earlier["payment_id"]) == earlier | {
        "same_hash": [shown["payment_id"]]
    }


# --- what is refused


@pytest.mark.parametrize("how", ["--unpaid", "--paid"])
async def test_a_final_payment_is_not_resolved_again(
    cli: Cli, stuck: Stuck, service: ServiceProcess, preimage_file: str, how: str
) -> None:
    await resolve(cli, stuck, "--paid", "--preimage-file", preimage_file)
    before = (await money(service, stuck), await cli.json("decision", "list"))
    with_file = ["--preimage-file", preimage_file] if how == "--paid" else ["--force"]

    refused = await cli.failure(
        "payment", "resolve", stuck.payment_hash, "--reason", REASON, how, *with_file
    )

    assert "SETTLED" in refused
    assert (await money(service, stuck), await cli.json("decision", "list")) == before


async def test_what_the_node_has_under_way_is_given_back_only_by_force(
    cli: Cli, stuck: Stuck, service: ServiceProcess
) -> None:
    refused = await cli.failure(
        "payment", "resolve", stuck.payment_hash, "--unpaid", "--reason", REASON
    )

    assert "InFlight" in refused
    assert "--force" in refused
    assert await money(service, stuck) == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)


@pytest.mark.parametrize("reason", ["", "  "], ids=repr)
async def test_without_a_reason_nothing_is_resolved(
    cli: Cli, stuck: Stuck, service: ServiceProcess, reason: str
) -> None:
    refused = await cli.failure(
        "payment", "resolve", stuck.payment_hash, "--unpaid", "--force", "--reason", reason
    )

    assert "a reason is required" in refused
    assert await money(service, stuck) == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)


@pytest.mark.parametrize("name", ["nothing", "ab" * 16, "ab" * 32, ""], ids=repr)
async def test_what_is_not_there_cannot_be_resolved(cli: Cli, name: str) -> None:
    refused = await cli.failure("payment", "resolve", name, "--unpaid", "--reason", REASON)

    assert refused


async def test_an_invoice_is_no_payment_to_resolve(cli: Cli, stuck: Stuck) -> None:
    made = (await stuck.client.request("make_invoice", {"amount": 5_000})).result

    refused = await cli.failure(
        "payment", "resolve", made["payment_hash"], "--unpaid", "--reason", REASON
    )

    assert "no outgoing payment" in refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--reason", REASON], "--paid", id="neither"),
        pytest.param(["--unpaid"], "--reason", id="no-reason"),
        pytest.param(["--paid", "--reason", REASON], "--preimage-file", id="no-proof"),
        pytest.param(
            ["--unpaid", "--reason", REASON, "--fee-msat", "1"], "--fee-msat", id="unpaid-fee"
        ),
        pytest.param(
            ["--unpaid", "--reason", REASON, "--preimage-file", "-"],
            "--preimage-file",
            id="unpaid-preimage",
        ),
    ],
)
async def test_an_incomplete_statement_is_a_usage_error(
    cli: Cli, arguments: list[str], said: str
) -> None:
    told = await cli.usage("payment", "resolve", "ab" * 16, *arguments)

    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("fee_msat", ["-1", str(10**30)])
async def test_an_impossible_fee_is_refused(
    cli: Cli, stuck: Stuck, service: ServiceProcess, preimage_file: str, fee_msat: str
) -> None:
    refused = await cli.failure(
        *("payment", "resolve", stuck.payment_hash, "--reason", REASON),
        *("--paid", "--preimage-file", preimage_file, f"--fee-msat={fee_msat}"),
    )

    assert "fee_msat" in refused
    assert await money(service, stuck) == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)


async def test_a_file_that_is_not_there_is_named(
    cli: Cli, stuck: Stuck, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")

    refused = await cli.failure(
        *("payment", "resolve", stuck.payment_hash, "--reason", REASON),
        *("--paid", "--preimage-file", missing),
    )

    assert missing in refused


async def test_the_api_takes_no_preimage_for_what_was_not_paid(
    service: ServiceProcess, stuck: Stuck
) -> None:
    response = await service.admin.post(
        f"/api/v1/payments/{stuck.payment_hash}/resolve",
        json={"reason": REASON, "paid": False, "preimage": stuck.preimage},
    )

    assert response.status_code == 400
    assert stuck.preimage not in response.text
    assert await money(service, stuck) == (CREDIT_MSAT - HELD_MSAT, HELD_MSAT)


# --- the service is down; last, since it cuts every client off


async def test_while_the_service_is_down_the_books_tell_and_nothing_is_resolved(
    cli: Cli, stuck: Stuck, service: ServiceProcess
) -> None:
    up = await cli.json("payment", "show", stuck.payment_hash)
    await service.kill()

    down = await cli.json("payment", "show", stuck.payment_hash)
    refused = await cli.failure(
        "payment", "resolve", stuck.payment_hash, "--unpaid", "--reason", REASON
    )
    state = rows(
        service, "SELECT state FROM payment WHERE payment_hash = ?", stuck.payment_hash
    )
    await service.start()

    assert down == up | {"backend_says": None}
    assert "is it running?" in refused
    assert state == [("DISPATCHED",)]


async def resolve(cli: Cli, stuck: Stuck, *how: str) -> dict[str, Any]:
    resolved = await cli.json(
        "payment", "resolve", stuck.payment_hash, "--reason", REASON, *how
    )
    return dict(resolved)
