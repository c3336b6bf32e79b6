"""Budgets renew by the calendar in UTC; a payment counts in the period of its reservation."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nwc_service.store import connections
from nwc_service.wallet.budget import Renewal, period_start
from tests.protocol.wallet import Client, WalletInProcess, wallet_in_process

DAY_S = 86_400
DAYS_AHEAD = {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[WalletInProcess]:
    """One whose clock a test may turn."""
    async with wallet_in_process(tmp_path) as opened:
        yield opened


async def pay(client: Client, amount_msat: int) -> str | None:
    """The code of the error; None when it was paid."""
    payee = await client.wallet.connect()
    return (await client.pay(await payee.invoice(amount_msat))).error_code


async def used_msat(client: Client, *, at: int) -> int:
    connection_id = client.connection.connection_id
    start = period_start(Renewal.DAILY, at)
    return await client.wallet.db.read(
        lambda tx: connections.budget_used_msat(tx, connection_id, period_start=start)
    )


@pytest.mark.parametrize("renewal", DAYS_AHEAD)
async def test_a_budget_renews_with_its_period(renewal: str, wallet: WalletInProcess) -> None:
    """Section 4, "budget periods": "calendar in UTC: midnight, Monday, 1st of the month, 1
    January"."""
    client = await wallet.connect(budget_msat=1_000, budget_renewal=renewal)

    spent = [await pay(client, 1_000), await pay(client, 1)]
    wallet.ahead_s = DAYS_AHEAD[renewal] * DAY_S
    in_the_next = [await pay(client, 1_000), await pay(client, 1)]

    assert spent == in_the_next == [None, "QUOTA_EXCEEDED"]


async def test_a_budget_that_never_renews_stays_spent(wallet: WalletInProcess) -> None:
    client = await wallet.connect(budget_msat=1_000, budget_renewal="never")

    await pay(client, 1_000)
    wallet.ahead_s = 3 * 366 * DAY_S

    assert await pay(client, 1) == "QUOTA_EXCEEDED"


async def test_a_daily_budget_renews_at_midnight(wallet: WalletInProcess) -> None:
    """Section 4, "budget periods": "calendar in UTC: midnight, Monday, 1st of the month, 1
    January"."""
    client = await wallet.connect(budget_msat=1_000, budget_renewal="daily")
    today = datetime.now(UTC)
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    wallet.ahead_s = int((midnight - today).total_seconds()) - 30
    before = await pay(client, 1_000)
    still_before = await pay(client, 1)

    wallet.ahead_s += 60
    after = await pay(client, 1_000)

    assert (before, still_before, after) == (None, "QUOTA_EXCEEDED", None)


async def test_a_payment_counts_in_the_period_in_which_it_was_reserved(
    wallet: WalletInProcess,
) -> None:
    """Section 4, "budget periods": "a payment counts in the period in which it was
    reserved"."""
    client = await wallet.connect(budget_msat=200_000, budget_renewal="daily")
    yesterday = wallet.clock()
    held = await wallet.outside("invoice", amount_msat=100_000, hold=True)
    await client.send_event(client.build_request("pay_invoice", {"invoice": held["invoice"]}))
    await client.until_known(held["payment_hash"])
    while_held = await used_msat(client, at=yesterday)

    wallet.ahead_s = DAY_S
    await wallet.outside("settle", payment_hash=held["payment_hash"])
    await wallet.idle()

    assert while_held == 110_000
    assert await used_msat(client, at=yesterday) == 101_000
    assert await used_msat(client, at=wallet.clock()) == 0
