"""What an account may hold and pay, whatever its connections may."""

from dataclasses import replace

import pytest

from nwc_service.ratelimit import Buckets, Rate
from nwc_service.store import ledger
from nwc_service.store.ledger import AccountLimits
from nwc_service.wallet.errors import ErrorCode
from nwc_service.wallet.outcome import Failed, FailReason, InFlight
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.test_wide_races import AMOUNT_MSAT, HELD_MSAT, an_invoice, slow
from tests.flow.world import World

DAY_S = 86_400


async def limited(world: World, name: str = "alice", **limits: int | None) -> None:
    await world.accounts.set_limits(name, limits)


async def used_msat(world: World) -> list[int]:
    rows = await world.db.read(
        lambda tx: tx.all("SELECT used_msat FROM account_day ORDER BY day")
    )
    return [row["used_msat"] for row in rows]


def codes(world: World, client: Client, events: list[object]) -> list[str | None]:
    found = [world.answer(client, event) for event in events]  # type: ignore[arg-type]
    return [each["error"]["code"] if each.get("error") else None for each in found]


@pytest.mark.attack("A1", "A7")
async def test_slow_payments_of_many_apps_pass_no_daily_limit(world: World) -> None:
    """Each is reserved at once or refused, however they interleave."""
    world.lift_caps()
    await world.account("carol", credit_msat=100 * HELD_MSAT)
    await limited(world, "carol", max_daily_msat=5 * HELD_MSAT)
    apps = [await world.connect("carol") for _ in range(4)]
    world.backend.pay_script.extend([InFlight()] * 100)

    async with slow(world, "INSERT ON payment", "UPDATE ON account_day"):
        for n in range(3):
            for app in apps:
                world.pay(app, an_invoice(world, 10 * n + apps.index(app)))
        await world.tasks.idle()

    assert len(world.backend.sent) == 5
    assert await used_msat(world) == [5 * HELD_MSAT]
    assert await world.problems() == ()


async def test_what_was_not_spent_may_be_spent_again_on_the_same_day(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await limited(world, max_daily_msat=HELD_MSAT)
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))

    failed = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})
    paid = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 2)})
    refused = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 3)})
    world.clock.advance(DAY_S)
    await world.flow.solvency.check()
    next_day = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 4)})

    assert failed["error"]["code"] == ErrorCode.PAYMENT_FAILED
    assert paid.get("error") is None
    assert refused["error"]["code"] == ErrorCode.QUOTA_EXCEEDED
    assert next_day.get("error") is None
    assert await world.problems() == ()


async def test_a_limit_that_changes_during_a_payment_counts_nothing_wrong(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Neither one that was set after it began, nor one that was taken away."""
    backend.pay_script.extend([InFlight()] * 3)
    before = an_invoice(world, 1)
    world.pay(alice, before)
    await world.tasks.idle()
    await limited(world, max_daily_msat=2 * HELD_MSAT)
    world.pay(alice, an_invoice(world, 2))
    await world.tasks.idle()
    counted = await used_msat(world)
    await limited(world, max_daily_msat=None)
    world.pay(alice, an_invoice(world, 3))
    await world.tasks.idle()

    backend.lookup_script.extend([Failed(FailReason.NO_ROUTE)] * 3)
    await world.look_up(after_s=60)

    assert counted == [HELD_MSAT]
    assert await used_msat(world) == [0]
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


async def test_one_payment_is_limited_inside_and_outside(
    world: World, alice: Client, bob: Client
) -> None:
    await limited(world, max_payment_msat=AMOUNT_MSAT - 1)
    inside = await world.invoice(bob, AMOUNT_MSAT)

    for invoice in (inside["invoice"], an_invoice(world, 1)):
        refused = await world.call(alice, "pay_invoice", {"invoice": invoice})
        assert refused["error"]["code"] == ErrorCode.QUOTA_EXCEEDED
    assert await world.money("alice") == (CREDIT_MSAT, 0)


async def test_payments_inside_count_for_the_day(
    world: World, alice: Client, bob: Client
) -> None:
    await limited(world, max_daily_msat=AMOUNT_MSAT)
    invoices = [(await world.invoice(bob, AMOUNT_MSAT))["invoice"] for _ in range(2)]

    answers = [
        await world.call(alice, "pay_invoice", {"invoice": invoice}) for invoice in invoices
    ]

    assert [bool(answer.get("error")) for answer in answers] == [False, True]
    assert await used_msat(world) == [AMOUNT_MSAT]
    assert await world.problems() == ()


async def test_no_invoice_is_made_for_more_than_the_account_may_hold(
    world: World, alice: Client
) -> None:
    await limited(world, max_balance_msat=CREDIT_MSAT + 1_000)

    fits = await world.call(alice, "make_invoice", {"amount": 1_000})
    refused = await world.call(alice, "make_invoice", {"amount": 1_001})
    await limited(world, max_balance_msat=CREDIT_MSAT)
    any_amount = await world.call(alice, "make_invoice", {"amount": 0})

    assert fits.get("error") is None
    assert refused["error"]["code"] == ErrorCode.QUOTA_EXCEEDED
    assert any_amount["error"]["code"] in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.OTHER)


async def test_what_comes_in_beyond_the_limit_is_credited(world: World, alice: Client) -> None:
    """It has arrived: to refuse it would only take it from its owner."""
    await limited(world, max_balance_msat=CREDIT_MSAT + 1_000)
    invoices = [await world.invoice(alice, 1_000) for _ in range(2)]

    for invoice in invoices:
        world.backend.receive(invoice["payment_hash"])
    await world.follow_the_stream()

    assert await world.money("alice") == (CREDIT_MSAT + 2_000, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A26")
async def test_the_apps_of_a_frozen_account_may_only_read(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    mine = await world.invoice(alice, 1_000)
    await world.accounts.set_frozen("alice", frozen=True, reason="a court order")

    balance = await world.call(alice, "get_balance", {})
    paid = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})
    asked = await world.call(alice, "make_invoice", {"amount": 1_000})
    received = await world.call(bob, "pay_invoice", {"invoice": mine["invoice"]})
    await world.accounts.set_frozen("alice", frozen=False, reason="it was lifted")
    again = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 2)})

    assert balance["result"] == {"balance": CREDIT_MSAT}
    assert [each["error"]["code"] for each in (paid, asked)] == [ErrorCode.RESTRICTED] * 2
    assert received.get("error") is None
    assert again.get("error") is None
    assert len(backend.sent) == 1
    assert await world.problems() == ()


async def test_limits_are_set_one_by_one(world: World, alice: Client) -> None:
    await limited(world, max_balance_msat=7, max_daily_msat=8)
    await limited(world, max_daily_msat=None, max_payment_msat=9)

    account = await world.accounts.named("alice")
    assert account.limits == AccountLimits(
        max_balance_msat=Msat(7), max_payment_msat=Msat(9), max_daily_msat=None
    )
    stored = await world.db.read(lambda tx: ledger.limits_of(tx, account.account_id))
    assert stored == account.limits
    assert replace(stored, max_balance_msat=None) != stored


@pytest.mark.attack("A28")
async def test_many_connections_of_one_account_share_a_rate(
    world: World, alice: Client, bob: Client
) -> None:
    """Each is within its own; another account is not slowed by them."""
    world.flow.dispatcher._accounts = Buckets(Rate(per_s=0.001, burst=5))
    apps = [await world.connect("alice") for _ in range(4)]

    answers = [await world.call(app, "get_balance", {}) for app in apps * 2]
    of_others = await world.call(bob, "get_balance", {})

    codes = [answer.get("error") and answer["error"]["code"] for answer in answers]
    assert codes == [None] * 5 + [ErrorCode.RATE_LIMITED] * 3
    assert of_others.get("error") is None
