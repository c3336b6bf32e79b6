"""What a wallet refuses, as two unmodified client libraries are told it, and that nothing of
it moves money."""

import asyncio
import time
from collections.abc import Mapping

import pytest

from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash
from tests.clients.client import ClientError
from tests.demo.parties import Clients, Party
from tests.demo.sandbox import SandboxOutside
from tests.e2e.conftest import CREDIT_MSAT, Flavour, join, node_holds, node_rows, proves
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEE_RESERVE_MSAT = 10_000  # the least
LIFETIME_S = 5  # long enough for a first request on a busy machine

# 9 900 990 msat and the reserve of 1 %, rounded up, are just what CREDIT_MSAT covers.
MOST_OUTSIDE_MSAT = 9_900_990


async def test_the_amount_and_the_fee_reserve_must_be_there(
    alice: Party, service: ServiceProcess, outside: SandboxOutside
) -> None:
    refused = await refusal(alice, await outside.make_invoice(MOST_OUTSIDE_MSAT + 1))
    left_alone = await untouched(service, alice)
    paid = await alice.client.pay_invoice(await outside.make_invoice(MOST_OUTSIDE_MSAT))

    assert refused == "INSUFFICIENT_BALANCE"
    assert left_alone
    assert paid["fees_paid"] == 9_901
    assert await alice.client.balance() == CREDIT_MSAT - MOST_OUTSIDE_MSAT - 9_901


async def test_an_account_can_spend_its_last_msat_inside(alice: Party, bob: Party) -> None:
    one_too_many = await bob.client.make_invoice(CREDIT_MSAT + 1)
    everything = await bob.client.make_invoice(CREDIT_MSAT)

    refused = await refusal(alice, one_too_many["invoice"])
    await alice.client.pay_invoice(everything["invoice"])

    assert refused == "INSUFFICIENT_BALANCE"
    assert await alice.client.balance() == 0
    assert await bob.client.balance() == CREDIT_MSAT


async def test_a_connection_does_what_it_was_granted_and_no_more(
    alice: Party, service: ServiceProcess, opened: Clients, outside: SandboxOutside
) -> None:
    uri = await service.connect(alice.name, scopes="read")
    reader = await opened.open(uri, library=alice.library)
    invoice = await outside.make_invoice(1_000)

    with pytest.raises(ClientError) as paying:
        await reader.pay_invoice(invoice)
    with pytest.raises(ClientError) as asking:
        await reader.make_invoice(1_000)

    assert (paying.value.code, asking.value.code) == ("RESTRICTED", "RESTRICTED")
    assert await reader.balance() == CREDIT_MSAT
    assert set((await reader.info())["methods"]) == {
        "get_info",
        "get_balance",
        "lookup_invoice",
        "list_transactions",
    }
    assert await untouched(service, alice)


async def test_a_budget_counts_fees_and_is_never_exceeded(
    alice: Party, service: ServiceProcess, opened: Clients, outside: SandboxOutside
) -> None:
    created = await limited(service, alice, budget_msat=50_000, budget_renewal="daily")
    client = await opened.open(str(created["uri"]), library=alice.library)
    await client.pay_invoice(await outside.make_invoice(30_000))
    shown = await service.call("GET", f"connections/{created['connection_id']}")

    with pytest.raises(ClientError) as refused:  # 31 000 are used; 10 000 would be reserved
        await client.pay_invoice(await outside.make_invoice(9_001))
    await client.pay_invoice(await outside.make_invoice(9_000))

    assert refused.value.code == "QUOTA_EXCEEDED"
    assert shown["budget"]["used_msat"] == 31_000
    shown = await service.call("GET", f"connections/{created['connection_id']}")
    assert shown["budget"]["used_msat"] == 41_000
    assert await alice.client.balance() == CREDIT_MSAT - 41_000


async def test_no_payment_is_larger_than_the_cap_of_the_connection(
    alice: Party, service: ServiceProcess, opened: Clients, outside: SandboxOutside
) -> None:
    created = await limited(service, alice, max_payment_msat=5_000)
    client = await opened.open(str(created["uri"]), library=alice.library)

    with pytest.raises(ClientError) as refused:
        await client.pay_invoice(await outside.make_invoice(5_001))
    await client.pay_invoice(await outside.make_invoice(5_000))

    assert refused.value.code == "QUOTA_EXCEEDED"
    assert await alice.client.balance() == CREDIT_MSAT - 6_000


async def test_an_invoice_is_paid_once_and_its_result_told_again(
    alice: Party, bob: Party, service: ServiceProcess, outside: SandboxOutside
) -> None:
    invoice = await outside.make_invoice(21_000)
    first = await alice.client.pay_invoice(invoice)

    again = await alice.client.pay_invoice(invoice)
    by_another = await refusal(bob, invoice)

    assert again == first
    assert by_another == "OTHER"
    assert await alice.client.balance() == CREDIT_MSAT - 22_000
    assert await bob.client.balance() == 0
    payment_hash = bolt11.decode(invoice).payment_hash
    assert await node_rows(service, payment_hash) == [("outgoing", 21_000, 1_000, "settled")]


async def test_an_invoice_between_accounts_is_paid_once_too(
    alice: Party, bob: Party, service: ServiceProcess, opened: Clients, flavour: Flavour
) -> None:
    carol = await join(service, opened, flavour=flavour, credit_msat=CREDIT_MSAT)
    made = await bob.client.make_invoice(21_000)
    first = await alice.client.pay_invoice(made["invoice"])

    again = await alice.client.pay_invoice(made["invoice"])
    by_another = await refusal(carol, made["invoice"])

    assert again == first
    assert by_another == "OTHER"
    assert await alice.client.balance() == CREDIT_MSAT - 21_000
    assert await carol.client.balance() == CREDIT_MSAT
    assert await bob.client.balance() == 21_000


async def test_two_requests_for_one_invoice_at_a_time_are_one_payment(
    alice: Party, service: ServiceProcess
) -> None:
    held = await service.sandbox("invoice", amount_msat=21_000, hold=True)
    paying = [asyncio.create_task(alice.client.pay_invoice(held["invoice"])) for _ in "12"]
    await node_holds(service, held["payment_hash"])
    account = await service.account(alice.name)

    await service.sandbox("settle", payment_hash=held["payment_hash"])
    first, second = await asyncio.gather(*paying)

    assert account["held_msat"] == 21_000 + FEE_RESERVE_MSAT
    assert first == second
    assert proves(first["preimage"], held["payment_hash"])
    assert await alice.client.balance() == CREDIT_MSAT - 22_000
    assert await node_rows(service, held["payment_hash"]) == [
        ("outgoing", 21_000, 1_000, "settled")
    ]


@pytest.mark.parametrize(
    ("command", "amount_msat", "code"),
    [
        pytest.param({"amount_msat": 1_000, "fail": True}, None, "PAYMENT_FAILED", id="fails"),
        pytest.param({"amount_msat": 1_000, "expiry_s": 0}, None, "OTHER", id="expired"),
        pytest.param({"amount_msat": 1_000}, 1_001, "OTHER", id="another-amount"),
        pytest.param({}, None, "OTHER", id="no-amount"),
    ],
)
async def test_a_payment_that_is_refused_or_fails_costs_nothing(
    command: Mapping[str, object],
    amount_msat: int | None,
    code: str,
    alice: Party,
    service: ServiceProcess,
) -> None:
    made = await service.sandbox("invoice", **command)

    refused = await refusal(alice, made["invoice"], amount_msat=amount_msat)

    assert refused == code
    assert await untouched(service, alice)
    assert alice.heard.empty()


@pytest.mark.parametrize(
    "invoice",
    [
        pytest.param("tea", id="no-invoice"),
        pytest.param("lnbcrt1", id="truncated"),
        pytest.param("", id="empty"),
        pytest.param("lnbcrt1" + "q" * 8_000, id="too-long"),
        pytest.param(
            bolt11.encode(
                network="mainnet",
                amount_msat=Msat(1_000),
                payment_hash=PaymentHash("ab" * 32),
                payment_secret="cd" * 32,
                description="tea",
                created_at=int(time.time()),
                expiry_s=3600,
                secret_key=bytes([1] * 32),
            ),
            id="of-another-network",
        ),
    ],
)
async def test_what_is_no_invoice_is_refused(
    invoice: str, alice: Party, service: ServiceProcess
) -> None:
    refused = await refusal(alice, invoice)

    assert refused == "OTHER"
    assert await untouched(service, alice)


async def test_a_revoked_connection_is_told_so(
    alice: Party, service: ServiceProcess, opened: Clients
) -> None:
    created = await limited(service, alice)
    client = await opened.open(str(created["uri"]), library=alice.library)
    before_msat = await client.balance()
    await service.call("POST", f"connections/{created['connection_id']}/revoke")

    with pytest.raises(ClientError) as refused:
        await client.balance()

    assert before_msat == CREDIT_MSAT
    assert refused.value.code == "UNAUTHORIZED"
    assert await alice.client.balance() == CREDIT_MSAT


async def test_a_connection_that_has_expired_is_told_so(
    alice: Party, service: ServiceProcess, opened: Clients
) -> None:
    created = await limited(service, alice, expires_in_s=LIFETIME_S)
    client = await opened.open(str(created["uri"]), library=alice.library)
    # Some read the info event at their first request only, and one that has ended has none.
    before_msat = await client.balance()
    await asyncio.sleep(LIFETIME_S)

    with pytest.raises(ClientError) as refused:
        await client.balance()

    assert before_msat == CREDIT_MSAT
    assert refused.value.code == "UNAUTHORIZED"


async def limited(service: ServiceProcess, party: Party, **wishes: object) -> dict[str, object]:
    """A further connection on the account, with limits."""
    body = {"account": party.name, "app": "limited", **wishes}
    return dict(await service.call("POST", "connections", **body))


async def refusal(party: Party, invoice: str, *, amount_msat: int | None = None) -> str:
    with pytest.raises(ClientError) as refused:
        await party.client.pay_invoice(invoice, amount_msat=amount_msat)
    return refused.value.code


async def untouched(service: ServiceProcess, party: Party) -> bool:
    """All of the credit is there, and none of it held."""
    account = await service.account(party.name)
    return (account["available_msat"], account["held_msat"]) == (CREDIT_MSAT, 0)
