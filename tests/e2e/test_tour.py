"""What a wallet does, asked by two unmodified client libraries, with exact figures."""

import asyncio
import time

import httpx
import pytest

from nwc_service.wallet import bolt11
from tests.clients.client import ClientError, JsonObject
from tests.clients.raw import raw_client
from tests.demo.parties import NOSTR_SDK, Clients, Party
from tests.demo.sandbox import SandboxOutside
from tests.demo.tour import METHODS
from tests.e2e.conftest import (
    CREDIT_MSAT,
    Flavour,
    join,
    node_holds,
    node_rows,
    proves,
    rows,
    until,
)
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK_SLACK_S = 10

OF_THE_SANDBOX = {
    "multi_pay_invoice",
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
}


async def test_get_info_says_what_runs_here_and_what_the_connection_may_do(
    alice: Party,
) -> None:
    info = await alice.client.info()

    assert info["alias"] == "SANDBOX (simulated, no real money)"
    assert info["network"] == "regtest"
    assert len(info["pubkey"]) == 66
    assert info["color"] == "808080"
    assert info["block_height"] > 0
    assert set(info["methods"]) == METHODS | OF_THE_SANDBOX
    assert {"payment_received", "payment_sent"} <= set(info["notifications"])


async def test_a_new_account_has_nothing_and_a_credited_one_what_was_credited(
    alice: Party, bob: Party
) -> None:
    balances_msat = await alice.client.balance(), await bob.client.balance()

    assert balances_msat == (CREDIT_MSAT, 0)


async def test_an_app_speaks_the_scheme_that_its_connection_offers(
    bob: Party, flavour: Flavour, service: ServiceProcess
) -> None:
    await bob.client.make_invoice(1_000)

    used = rows(
        service,
        "SELECT request.encryption FROM request JOIN connection USING (connection_id)"
        " JOIN account USING (account_id) WHERE account.name = ?",
        bob.name,
    )
    assert used == [(flavour.encryption or "nip44_v2",)]


async def test_an_invoice_is_what_was_asked_for(bob: Party) -> None:
    made = await bob.client.make_invoice(21_001, description="two teas", expiry=600)

    decoded = bolt11.decode(made["invoice"])
    assert (decoded.amount_msat, decoded.description, decoded.expiry_s) == (
        21_001,
        "two teas",
        600,
    )
    assert made["payment_hash"] == decoded.payment_hash
    assert made["amount"] == 21_001
    assert made["expires_at"] == made["created_at"] + 600
    assert abs(made["created_at"] - time.time()) < CLOCK_SLACK_S
    assert not made.get("preimage")
    assert not made.get("settled_at")


async def test_money_from_outside_arrives_whole_and_is_told_once(
    bob: Party, outside: SandboxOutside
) -> None:
    made = await bob.client.make_invoice(123_457, description="tea")

    await outside.pay(made["invoice"])
    news = await bob.hear()

    assert news["notification_type"] == "payment_received"
    told = news["notification"]
    assert fields(told) == {
        "type": "incoming",
        "state": "settled",
        "amount": 123_457,
        "fees_paid": 0,
        "invoice": made["invoice"],
        "description": "tea",
        "payment_hash": made["payment_hash"],
    }
    assert proves(told["preimage"], made["payment_hash"])
    assert told["settled_at"] >= told["created_at"]
    assert await bob.client.balance() == 123_457
    assert bob.heard.empty()


async def test_money_between_accounts_moves_whole_and_both_are_told_once(
    alice: Party, bob: Party
) -> None:
    made = await bob.client.make_invoice(250_001)

    paid = await alice.client.pay_invoice(made["invoice"])
    sent, received = await alice.hear(), await bob.hear()

    assert paid["fees_paid"] == 0
    assert proves(paid["preimage"], made["payment_hash"])
    assert (sent["notification_type"], received["notification_type"]) == (
        "payment_sent",
        "payment_received",
    )
    for news, direction in ((sent, "outgoing"), (received, "incoming")):
        assert news["notification"]["type"] == direction
        assert news["notification"]["amount"] == 250_001
        assert news["notification"]["fees_paid"] == 0
        assert news["notification"]["payment_hash"] == made["payment_hash"]
    assert await alice.client.balance() == CREDIT_MSAT - 250_001
    assert await bob.client.balance() == 250_001
    assert alice.heard.empty()
    assert bob.heard.empty()


async def test_an_account_may_pay_its_own_invoice(alice: Party) -> None:
    made = await alice.client.make_invoice(7_000)

    paid = await alice.client.pay_invoice(made["invoice"])

    assert proves(paid["preimage"], made["payment_hash"])
    assert await alice.client.balance() == CREDIT_MSAT
    both = [await alice.hear(), await alice.hear()]
    assert {news["notification_type"] for news in both} == {"payment_sent", "payment_received"}


@pytest.mark.parametrize(
    ("amount_msat", "fee_msat"),
    [
        pytest.param(21_000, 1_000, id="the-least-fee"),
        pytest.param(5_000_001, 5_001, id="a-thousandth-rounded-up"),
    ],
)
async def test_a_payment_outside_costs_its_amount_and_the_fee_and_no_more(
    amount_msat: int,
    fee_msat: int,
    alice: Party,
    service: ServiceProcess,
    outside: SandboxOutside,
) -> None:
    invoice = await outside.make_invoice(amount_msat)
    payment_hash = bolt11.decode(invoice).payment_hash

    paid = await alice.client.pay_invoice(invoice)
    news = await alice.hear()

    assert paid["fees_paid"] == fee_msat
    assert proves(paid["preimage"], payment_hash)
    assert news["notification_type"] == "payment_sent"
    told = news["notification"]
    assert (told["type"], told["state"]) == ("outgoing", "settled")
    assert (told["amount"], told["fees_paid"]) == (amount_msat, fee_msat)
    account = await service.account(alice.name)
    assert (account["available_msat"], account["held_msat"]) == (
        CREDIT_MSAT - amount_msat - fee_msat,
        0,
    )
    assert await node_rows(service, payment_hash) == [
        ("outgoing", amount_msat, fee_msat, "settled")
    ]


async def test_an_invoice_without_an_amount_is_paid_with_the_amount_that_is_given(
    alice: Party, service: ServiceProcess
) -> None:
    made = await service.sandbox("invoice")

    paid = await alice.client.pay_invoice(made["invoice"], amount_msat=2_345_678)

    assert paid["fees_paid"] == 2_346
    assert proves(paid["preimage"], made["payment_hash"])
    assert await alice.client.balance() == CREDIT_MSAT - 2_345_678 - 2_346
    assert await node_rows(service, made["payment_hash"]) == [
        ("outgoing", 2_345_678, 2_346, "settled")
    ]


async def test_an_invoice_is_found_by_hash_and_by_itself_from_either_side(
    alice: Party, bob: Party
) -> None:
    made = await bob.client.make_invoice(30_000, description="tea")
    waiting = await bob.client.lookup_invoice(payment_hash=made["payment_hash"])
    await alice.client.pay_invoice(made["invoice"])

    for party, direction in ((bob, "incoming"), (alice, "outgoing")):
        by_hash = await party.client.lookup_invoice(payment_hash=made["payment_hash"])
        by_invoice = await party.client.lookup_invoice(invoice=made["invoice"])

        assert by_hash == by_invoice
        assert fields(by_hash) == {
            "type": direction,
            "state": "settled",
            "amount": 30_000,
            "fees_paid": 0,
            "invoice": made["invoice"],
            "description": "tea",
            "payment_hash": made["payment_hash"],
        }
        assert proves(by_hash["preimage"], made["payment_hash"])
    assert waiting["state"] == "pending"
    assert not waiting.get("preimage")


async def test_what_belongs_to_another_account_is_not_found(alice: Party, bob: Party) -> None:
    made = await bob.client.make_invoice(30_000)

    with pytest.raises(ClientError) as refused:
        await alice.client.lookup_invoice(payment_hash=made["payment_hash"])

    assert refused.value.code == "NOT_FOUND"


async def test_the_list_has_what_is_paid_and_on_request_what_is_not(
    alice: Party, bob: Party, service: ServiceProcess
) -> None:
    unpaid = await alice.client.make_invoice(1_000)
    theirs = await bob.client.make_invoice(2_000)
    await alice.client.pay_invoice(theirs["invoice"])
    held = await service.sandbox("invoice", amount_msat=3_000, hold=True)
    paying = asyncio.create_task(alice.client.pay_invoice(held["invoice"]))
    await node_holds(service, held["payment_hash"])

    settled = await alice.client.list_transactions()
    everything = await alice.client.list_transactions(unpaid=True)
    incoming = await alice.client.list_transactions(unpaid=True, type="incoming")
    outgoing = await alice.client.list_transactions(unpaid=True, type="outgoing")
    await service.sandbox("settle", payment_hash=held["payment_hash"])
    await paying

    hashes = {
        "unpaid": unpaid["payment_hash"],
        "theirs": theirs["payment_hash"],
        "held": held["payment_hash"],
    }
    assert states(settled) == {hashes["theirs"]: "settled"}
    assert states(incoming) == {hashes["unpaid"]: "pending"}
    assert states(outgoing) == {hashes["theirs"]: "settled", hashes["held"]: "pending"}
    assert states(everything) == states(incoming) | states(outgoing)


async def test_the_list_is_paged_newest_first_without_gaps(alice: Party, bob: Party) -> None:
    made = [await bob.client.make_invoice(1_000 + number) for number in range(5)]
    for invoice in made:
        await alice.client.pay_invoice(invoice["invoice"])

    whole = await alice.client.list_transactions()
    pages = [await alice.client.list_transactions(limit=2, offset=at) for at in (0, 2, 4, 6)]

    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [one for page in pages for one in page] == whole
    assert sorted(one["amount"] for one in whole) == [1_000, 1_001, 1_002, 1_003, 1_004]
    dates = [one["created_at"] for one in whole]
    assert dates == sorted(dates, reverse=True)


async def test_the_list_is_bounded_by_the_time_of_creation_inclusively(
    bob: Party, outside: SandboxOutside
) -> None:
    made = await bob.client.make_invoice(1_000)
    await outside.pay(made["invoice"])
    await bob.hear()
    at = made["created_at"]

    found = {
        span: len(await bob.client.list_transactions(**{"from": span[0], "until": span[1]}))
        for span in ((at, at), (at + 1, at + 100), (1, at - 1))
    }

    assert found == {(at, at): 1, (at + 1, at + 100): 0, (1, at - 1): 0}


async def test_the_total_is_of_all_that_match_whatever_the_page(
    service: ServiceProcess, opened: Clients
) -> None:
    bob = await join(service, opened, flavour=Flavour(NOSTR_SDK))
    for _ in range(3):
        await bob.client.make_invoice(1_000)

    async with raw_client(await service.connect(bob.name)) as client:
        page = await client.request("list_transactions", {"unpaid": True, "limit": 1})
        paid = await client.request("list_transactions", {"limit": 1}, encryption="nip04")

    assert (len(page.result["transactions"]), page.result["total_count"]) == (1, 3)
    assert (paid.result["transactions"], paid.result["total_count"]) == ([], 0)


async def test_what_is_paid_between_accounts_never_reaches_the_node_and_is_withdrawn_there(
    service: ServiceProcess, opened: Clients, outside: SandboxOutside
) -> None:
    alice = await join(service, opened, flavour=Flavour(NOSTR_SDK), credit_msat=CREDIT_MSAT)
    bob = await join(service, opened, flavour=Flavour(NOSTR_SDK))
    made = await bob.client.make_invoice(5_000)
    await alice.client.pay_invoice(made["invoice"])
    await withdrawn(service, made["payment_hash"])

    with pytest.raises(httpx.HTTPStatusError, match="invoice: canceled"):
        await outside.pay(made["invoice"])

    assert await node_rows(service, made["payment_hash"]) == []
    assert await bob.client.balance() == 5_000


def fields(transaction: JsonObject) -> JsonObject:
    names = (
        "type",
        "state",
        "amount",
        "fees_paid",
        "invoice",
        "description",
        "payment_hash",
    )
    return {name: transaction[name] for name in names}


def states(transactions: list[JsonObject]) -> dict[str, str]:
    return {one["payment_hash"]: one["state"] for one in transactions}


async def withdrawn(service: ServiceProcess, payment_hash: str) -> None:
    """The node is told within some seconds."""
    query = "SELECT 1 FROM cancellation WHERE payment_hash = ? AND done_at IS NOT NULL"

    async def done() -> bool:
        return bool(rows(service, query, payment_hash))

    await until(done)
