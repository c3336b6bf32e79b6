"""pay_invoice: what is refused, what is paid, and what the client is told."""

from hashlib import sha256

import pytest
from coincurve import PrivateKey

from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import Network
from nwc_service.wallet.units import Msat, PaymentHash
from tests.protocol.wallet import PLENTY_MSAT, Client, WalletInProcess, now

pytestmark = pytest.mark.asyncio(loop_scope="package")


def foreign_invoice(
    *,
    network: Network = "regtest",
    amount_msat: int | None = 100_000,
    created_at: int | None = None,
    expiry_s: int = 3600,
) -> str:
    """Of a node that nobody here knows."""
    return bolt11.encode(
        network=network,
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(sha256(PrivateKey().secret).hexdigest()),
        payment_secret="cd" * 32,
        description="",
        created_at=now() if created_at is None else created_at,
        expiry_s=expiry_s,
        secret_key=b"\x09" * 32,
    )


def proves(preimage: str, invoice: str) -> bool:
    return sha256(bytes.fromhex(preimage)).hexdigest() == bolt11.decode(invoice).payment_hash


# --- paid


async def test_a_payment_to_the_outside_costs_amount_and_fee(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(2_000_000)

    opened = await client.pay(invoice)

    assert opened.payload["error"] is None
    assert proves(opened.result["preimage"], invoice)
    assert opened.result["fees_paid"] == 2_000
    assert await client.balance_msat() == PLENTY_MSAT - 2_002_000


async def test_a_payment_to_another_account_costs_no_fee(
    client: Client, wallet: WalletInProcess
) -> None:
    payee = await wallet.connect()
    invoice = await payee.invoice(2_000_000)

    opened = await client.pay(invoice)

    assert proves(opened.result["preimage"], invoice)
    assert opened.result["fees_paid"] == 0
    assert await client.balance_msat() == PLENTY_MSAT - 2_000_000
    assert await payee.balance_msat() == PLENTY_MSAT + 2_000_000


async def test_an_invoice_in_upper_case_is_the_same_invoice(
    client: Client, wallet: WalletInProcess
) -> None:
    payee = await wallet.connect()
    invoice = await payee.invoice(1_000)

    opened = await client.pay(invoice.upper())

    assert opened.result["fees_paid"] == 0


async def test_one_app_pays_another_of_its_own_account(
    client: Client, wallet: WalletInProcess
) -> None:
    other = await wallet.connect(client.account)

    opened = await client.pay(await other.invoice(1_000_000))

    assert opened.error_code is None
    assert await client.balance_msat() == PLENTY_MSAT


@pytest.mark.attack("A9")
async def test_an_account_pays_itself_only_what_it_has(wallet: WalletInProcess) -> None:
    poor = await wallet.connect(await wallet.account(credit_msat=999))

    opened = await poor.pay(await poor.invoice(1_000))

    assert opened.error_code == "INSUFFICIENT_BALANCE"


# --- the amount beside an invoice


@pytest.mark.attack("A6")
async def test_amount_beside_an_invoice_with_an_amount_must_be_equal(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "`amount` beside an invoice with an amount": "must be equal, else OTHER"."""
    refused = await client.pay(await wallet.outside_invoice(100_000), amount=100_001)
    paid = await client.pay(await wallet.outside_invoice(100_000), amount=100_000)

    assert refused.error_code == "OTHER"
    assert refused.payload["error"]["message"].startswith("amount: ")
    assert paid.error_code is None


async def test_an_invoice_without_an_amount_needs_one(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(None)

    refused = await client.pay(invoice)
    paid = await client.pay(invoice, amount=50_000)

    assert refused.error_code == "OTHER"
    assert paid.error_code is None
    assert await client.balance_msat() == PLENTY_MSAT - 51_000


# --- refused before anything is sent


@pytest.mark.parametrize(
    ("invoice", "code"),
    [
        pytest.param(foreign_invoice(network="mainnet"), "OTHER", id="mainnet"),
        pytest.param(foreign_invoice(network="testnet"), "OTHER", id="testnet"),
        pytest.param(foreign_invoice(network="signet"), "OTHER", id="signet"),
        pytest.param(foreign_invoice(expiry_s=0), "OTHER", id="expired-at-once"),
        pytest.param(foreign_invoice(created_at=now() - 7200), "OTHER", id="expired"),
        pytest.param(
            foreign_invoice(created_at=now() + 10 * 86_400), "OTHER", id="from-the-future"
        ),
        pytest.param(foreign_invoice(amount_msat=10**15), "INSUFFICIENT_BALANCE", id="dear"),
        pytest.param(foreign_invoice(), "PAYMENT_FAILED", id="no-route"),
        pytest.param(f"{foreign_invoice()}q", "OTHER", id="a-letter-too-many"),
        pytest.param(f"lightning:{foreign_invoice()}", "OTHER", id="with-a-scheme"),
        pytest.param(f" {foreign_invoice()}", "OTHER", id="with-a-space"),
    ],
)
async def test_an_invoice_that_is_not_paid_costs_nothing(
    invoice: str, code: str, client: Client
) -> None:
    """NIP-47: "`PAYMENT_FAILED`: The payment failed"."""
    opened = await client.pay(invoice)

    assert opened.error_code == code
    assert invoice not in str(opened.payload)
    assert await client.balance_msat() == PLENTY_MSAT


@pytest.mark.parametrize(
    ("balance_msat", "code"),
    [
        pytest.param(109_999, "INSUFFICIENT_BALANCE", id="amount-without-the-whole-reserve"),
        pytest.param(110_000, None, id="amount-and-reserve"),
    ],
)
async def test_the_balance_must_cover_amount_and_fee_reserve(
    balance_msat: int, code: str | None, wallet: WalletInProcess
) -> None:
    """NIP-47: "`INSUFFICIENT_BALANCE`: The wallet does not have enough funds to cover a fee
    reserve or the payment amount"."""
    client = await wallet.connect(await wallet.account(credit_msat=balance_msat))

    opened = await client.pay(await wallet.outside_invoice(100_000))

    assert opened.error_code == code


async def test_an_internal_payment_needs_no_reserve(wallet: WalletInProcess) -> None:
    payer = await wallet.connect(await wallet.account(credit_msat=100_000))
    payee = await wallet.connect(await wallet.account(credit_msat=0))

    opened = await payer.pay(await payee.invoice(100_000))

    assert opened.error_code is None
    assert (await payer.balance_msat(), await payee.balance_msat()) == (0, 100_000)


# --- limits of the connection


@pytest.mark.parametrize(
    ("amount_msat", "code"), [(100_000, None), (100_001, "QUOTA_EXCEEDED")]
)
async def test_no_payment_is_larger_than_the_connections_cap(
    amount_msat: int, code: str | None, wallet: WalletInProcess
) -> None:
    client = await wallet.connect(max_payment_msat=100_000)

    outside = await client.pay(await wallet.outside_invoice(amount_msat))
    inside = await client.pay(await (await wallet.connect()).invoice(amount_msat))

    assert (outside.error_code, inside.error_code) == (code, code)


async def test_a_budget_counts_amount_fee_and_reserve(wallet: WalletInProcess) -> None:
    """NIP-47: "`QUOTA_EXCEEDED`: The wallet has exceeded its spending quota"."""
    client = await wallet.connect(budget_msat=211_000, budget_renewal="never")

    codes = [
        (await client.pay(await wallet.outside_invoice(amount_msat))).error_code
        # 100 000 and a fee of 1 000 leave 110 000: room for 100 000 and its reserve of 10 000.
        for amount_msat in (100_000, 100_001, 100_000)
    ]

    assert codes == [None, "QUOTA_EXCEEDED", None]


async def test_a_budget_is_the_connections_and_not_the_accounts(
    wallet: WalletInProcess,
) -> None:
    """Section 4, "several connections on one account": "the budget is the connection's"."""
    limited = await wallet.connect(budget_msat=150_000, budget_renewal="daily")
    other = await wallet.connect(limited.account)
    payee = await wallet.connect()

    await other.pay(await payee.invoice(1_000_000))
    paid = await limited.pay(await payee.invoice(150_000))
    refused = await limited.pay(await payee.invoice(1))

    assert (paid.error_code, refused.error_code) == (None, "QUOTA_EXCEEDED")


async def test_what_failed_counts_in_no_budget(wallet: WalletInProcess) -> None:
    client = await wallet.connect(budget_msat=110_000, budget_renewal="monthly")

    failed = await client.pay(await wallet.outside_invoice(100_000, fail=True))
    paid = await client.pay(await wallet.outside_invoice(100_000))

    assert (failed.error_code, paid.error_code) == ("PAYMENT_FAILED", None)


# --- the same invoice again


async def test_invoice_paid_before_gives_the_stored_success_to_the_same_account(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "invoice paid before": "the stored success for the same account"."""
    other_app = await wallet.connect(client.account)
    invoice = await wallet.outside_invoice(100_000)

    first = await client.pay(invoice)
    again = await client.pay(invoice)
    from_the_other_app = await other_app.pay(invoice)

    assert first.error_code is None
    assert again.result == from_the_other_app.result == first.result
    assert await client.balance_msat() == PLENTY_MSAT - 101_000


@pytest.mark.attack("A32")
@pytest.mark.parametrize("where", ["inside", "outside"])
async def test_invoice_paid_before_is_refused_to_another_account_in_one_wording(
    where: str, client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "invoice paid before": "another account gets OTHER with a uniform message"."""
    stranger = await wallet.connect()
    if where == "inside":
        invoice = await (await wallet.connect()).invoice(100_000)
    else:
        invoice = await wallet.outside_invoice(100_000)
    await client.pay(invoice)

    refused = await stranger.pay(invoice)

    assert refused.payload["error"] == {
        "code": "OTHER",
        "message": "this invoice is being paid or was paid before",
    }
    assert await stranger.balance_msat() == PLENTY_MSAT


async def test_a_failed_payment_may_be_tried_again(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(100_000, fail=True)

    codes = [(await client.pay(invoice)).error_code for _ in range(2)]

    assert codes == ["PAYMENT_FAILED", "PAYMENT_FAILED"]
    assert await client.balance_msat() == PLENTY_MSAT


# --- outcomes that wait


async def test_outcome_not_known_yet_is_no_answer_and_lookup_shows_pending(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "outcome not known yet": "no answer until final, however late"; "lookup shows
    pending"."""
    invoice = await wallet.outside_invoice(100_000, hold=True)
    payment_hash = bolt11.decode(invoice).payment_hash
    request = client.build_request("pay_invoice", {"invoice": invoice})
    await client.send_event(request)

    pending = await client.until_known(payment_hash)
    unanswered = client.responses_to(request.id)
    await wallet.outside("settle", payment_hash=payment_hash)
    answer = await client.response_to(request.id)

    assert (pending["state"], pending["preimage"]) == ("pending", "")
    assert "settled_at" not in pending
    assert unanswered == []
    assert proves(answer.result["preimage"], invoice)
    assert await client.balance_msat() == PLENTY_MSAT - 101_000


async def test_a_payment_that_the_payee_gives_back_fails(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(100_000, hold=True)
    payment_hash = bolt11.decode(invoice).payment_hash
    request = client.build_request("pay_invoice", {"invoice": invoice})
    await client.send_event(request)
    await client.until_known(payment_hash)

    await wallet.outside("cancel", payment_hash=payment_hash)
    answer = await client.response_to(request.id)

    assert answer.error_code == "PAYMENT_FAILED"
    assert await client.balance_msat() == PLENTY_MSAT
    found = await client.request("lookup_invoice", {"payment_hash": payment_hash})
    assert (found.result["state"], found.result["preimage"]) == ("failed", "")


async def test_two_requests_for_one_held_invoice_share_one_payment(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(100_000, hold=True)
    payment_hash = bolt11.decode(invoice).payment_hash
    requests = [client.build_request("pay_invoice", {"invoice": invoice}) for _ in range(2)]
    for request in requests:
        await client.send_event(request)
        await client.until_known(payment_hash)

    await wallet.outside("settle", payment_hash=payment_hash)
    answers = [await client.response_to(request.id) for request in requests]

    assert answers[0].result == answers[1].result
    assert await client.balance_msat() == PLENTY_MSAT - 101_000


async def test_the_books_are_clean_after_all_of_this(wallet: WalletInProcess) -> None:
    assert (await wallet.audit()).problems == ()
