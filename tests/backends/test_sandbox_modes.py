"""The faults that an operator can switch on, and payments that the outside node holds."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    Failed,
    FailReason,
    InFlight,
    LightningBackend,
    NotSent,
    PaymentRef,
    Settled,
    Unknown,
)
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    a_request,
    a_spec,
    eventually,
    ref,
    watch_until,
)
from tests.backends.rig_sandbox import START_MSAT, SandboxRig, states


async def test_an_unreachable_node_is_sent_nothing(sandbox: SandboxRig) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT))
    await sandbox.mode("unreachable")

    outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, NotSent)
    assert outcome.reason is FailReason.UNAVAILABLE
    assert states(await sandbox.show()) == []


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda b: b.start(), id="start"),
        pytest.param(lambda b: b.balance(), id="balance"),
        pytest.param(lambda b: b.create_invoice(a_spec()), id="create-invoice"),
        pytest.param(lambda b: b.lookup_invoice(NOBODYS_HASH), id="lookup-invoice"),
        pytest.param(
            lambda b: b.lookup_payment(PaymentRef("x", NOBODYS_HASH, 0)), id="lookup-payment"
        ),
        pytest.param(lambda b: b.cancel_invoice(NOBODYS_HASH), id="cancel-invoice"),
        pytest.param(lambda b: b.list_history("in", None, 1), id="list-history"),
        pytest.param(lambda b: watch_until(b, None, payment_hash=NOBODYS_HASH), id="watch"),
    ],
)
async def test_an_unreachable_node_answers_nothing(
    sandbox: SandboxRig, call: Callable[[LightningBackend], Awaitable[object]]
) -> None:
    await sandbox.mode("unreachable")

    with pytest.raises(BackendUnavailable):
        await call(sandbox.backend)


async def test_whoever_watches_learns_that_the_node_went_away(sandbox: SandboxRig) -> None:
    watching = asyncio.create_task(
        watch_until(sandbox.backend, None, payment_hash=NOBODYS_HASH)
    )
    await asyncio.sleep(0.05)

    await sandbox.mode("unreachable")

    with pytest.raises(BackendUnavailable):
        await watching


async def test_a_service_that_starts_while_the_node_is_away_can_bring_it_back(
    sandbox: SandboxRig,
) -> None:
    await sandbox.mode("unreachable")
    with pytest.raises(BackendUnavailable):
        await sandbox.reopen()

    await sandbox.mode("normal")

    assert (await sandbox.backend.start()).network == "regtest"


async def test_a_lost_reply_of_a_payment_is_unknown_and_found_later(
    sandbox: SandboxRig,
) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT))
    await sandbox.mode("lose-reply")

    outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, Unknown)
    assert isinstance(await sandbox.backend.lookup_payment(ref(request)), Settled)
    assert (await sandbox.show())["received_msat"] == AMOUNT_MSAT


async def test_a_lost_reply_of_a_held_payment_comes_at_once(sandbox: SandboxRig) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT, hold=True))
    await sandbox.mode("lose-reply")

    async with asyncio.timeout(1):
        outcome = await sandbox.backend.pay(request)

    assert isinstance(outcome, Unknown)
    assert isinstance(await sandbox.backend.lookup_payment(ref(request)), InFlight)


async def test_an_invoice_whose_reply_was_lost_is_given_again(sandbox: SandboxRig) -> None:
    spec = a_spec(our_id="one", preimage="12" * 32)
    await sandbox.mode("lose-reply")
    with pytest.raises(BackendUnavailable):
        await sandbox.backend.create_invoice(spec)
    await sandbox.mode("normal")

    again = await sandbox.backend.create_invoice(spec)

    assert await sandbox.backend.lookup_invoice(again.payment_hash) == again


async def test_a_slow_node_takes_three_seconds_more(sandbox: SandboxRig) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT))
    await sandbox.mode("slow")
    start = time.monotonic()

    _, outcome = await asyncio.gather(sandbox.backend.balance(), sandbox.backend.pay(request))

    assert 3.0 <= time.monotonic() - start < 5.0
    assert isinstance(outcome, Settled)


async def test_a_held_payment_stays_in_flight_and_costs_liquidity(sandbox: SandboxRig) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT, hold=True)
    request = a_request(invoice, timeout_s=0.1)

    outcome = await sandbox.backend.pay(request)

    shown = await sandbox.show()
    assert isinstance(outcome, InFlight)
    assert isinstance(await sandbox.backend.lookup_payment(ref(request)), InFlight)
    assert states(shown) == ["pending"]
    assert shown["received_msat"] == 0
    assert shown["node_available_msat"] == START_MSAT - AMOUNT_MSAT - 5_000


@pytest.mark.parametrize(
    ("command", "outcome", "state", "available_msat"),
    [
        pytest.param("settle", Settled, "settled", START_MSAT - 5_005_000, id="settle"),
        pytest.param("cancel", Failed, "failed", START_MSAT, id="cancel"),
    ],
)
async def test_whoever_waits_for_a_held_payment_is_told_at_once(
    sandbox: SandboxRig, command: str, outcome: type, state: str, available_msat: int
) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT, hold=True)
    request = a_request(invoice, timeout_s=60)
    paying = asyncio.create_task(sandbox.backend.pay(request))
    await eventually(sandbox.show, lambda shown: states(shown) == ["pending"])

    answer = await sandbox.backend.command(command, {"payment_hash": request.payment_hash})

    async with asyncio.timeout(1):
        assert isinstance(await paying, outcome)
    shown = await sandbox.show()
    assert answer == {"payment_hash": request.payment_hash, "state": state}
    assert states(shown) == [state]
    assert shown["node_available_msat"] == available_msat
    assert isinstance(await sandbox.backend.lookup_payment(ref(request)), outcome)
