"""Nothing leaves while the backends can spend less than what is owed; what comes in goes on."""

import pytest

from nwc_service.backend import BackendUnavailable, Balance
from nwc_service.solvency import Solvency
from nwc_service.store.nodes import READING_LASTS_S
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.outcome import Failed, FailReason, Unknown
from tests.doubles.scripted_backend import ScriptedBackend, outside_invoice
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000
UNTOUCHED = (CREDIT_MSAT, 0)


def an_invoice(world: World, number: int = 1) -> str:
    world.backend.expect(number)
    return outside_invoice(number, AMOUNT_MSAT, created_at=world.clock())


@pytest.mark.parametrize(
    ("owed_msat", "backed_msat", "required_percent", "covered"),
    [
        pytest.param(0, 0, 100, True, id="nothing-owed"),
        pytest.param(1_000, 1_000, 100, True, id="exactly"),
        pytest.param(1_000, 999, 100, False, id="one-msat-short"),
        pytest.param(1_000, 980, 98, True, id="within-the-margin"),
        pytest.param(1_000, 979, 98, False, id="below-the-margin"),
        pytest.param(1_000, 1_099, 110, False, id="more-is-required"),
        pytest.param(1_000, 999, 0, False, id="all-of-it-where-the-gate-is-off"),
    ],
)
async def test_what_is_covered(
    world: World, owed_msat: int, backed_msat: int, required_percent: int, covered: bool
) -> None:
    gate = Solvency(world.db, backends={}, required_percent=required_percent, clock=world.clock)

    assert gate.covers(owed_msat, backed_msat) is covered


@pytest.mark.parametrize(
    ("spendable_msat", "paid"), [(CREDIT_MSAT, True), (CREDIT_MSAT - 1, False)]
)
async def test_a_shortfall_stops_what_leaves_with_a_clear_error_and_an_alarm(
    world: World, alice: Client, backend: ScriptedBackend, spendable_msat: int, paid: bool
) -> None:
    backend.spendable_msat = spendable_msat
    await world.flow.solvency.check()

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert ("result" in answer) is paid
    assert len(backend.sent) == paid
    assert await world.alarms() == ([] if paid else ["insolvent"])
    if not paid:
        assert answer["error"]["code"] == "INTERNAL"
        assert "not known to cover" in answer["error"]["message"]
        assert await world.money("alice") == UNTOUCHED


async def test_it_goes_on_by_itself_when_there_is_cover_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.spendable_msat = 0
    await world.flow.solvency.check()
    backend.spendable_msat = CREDIT_MSAT
    await world.flow.solvency.check()

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert "result" in answer
    assert await world.alarms() == []


async def test_what_comes_in_and_what_stays_inside_goes_on(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    backend.spendable_msat = 0
    await world.flow.solvency.check()

    made = await world.invoice(bob, AMOUNT_MSAT)
    answer = await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    assert "result" in answer
    assert (await world.money("bob"))[0] == CREDIT_MSAT + AMOUNT_MSAT


async def test_money_that_may_have_left_is_neither_owed_nor_backed(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """A payment in flight has left the node's balance and is still held in the books."""
    backend.pay_script.append(Unknown())
    world.pay(alice, an_invoice(world))
    await world.tasks.idle()
    available_msat, _ = await world.money("alice")

    backend.spendable_msat = available_msat
    await world.flow.solvency.check()
    assert world.flow.solvency.is_covered

    backend.spendable_msat = available_msat - 1
    await world.flow.solvency.check()
    assert not world.flow.solvency.is_covered


async def test_a_backend_that_tells_no_balance_is_believed_for_a_while(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.flow.solvency.check()

    async def silent() -> Balance:
        raise BackendUnavailable("not there")

    monkeypatch.setattr(backend, "balance", silent)
    world.clock.advance(READING_LASTS_S)
    await world.flow.solvency.check()
    assert world.flow.solvency.is_covered

    world.clock.advance(1)
    await world.flow.solvency.check()
    assert not world.flow.solvency.is_covered


async def test_a_balance_that_is_not_known_is_told_as_such_until_it_is(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no shortfall, but outgoing payments are stopped all the same."""

    async def silent() -> Balance:
        raise BackendUnavailable("not there")

    with monkeypatch.context() as frozen:
        frozen.setattr(backend, "balance", silent)
        world.clock.advance(READING_LASTS_S + 1)
        await world.flow.solvency.check()
    assert await world.alarms() == ["cover_unknown"]
    assert not world.flow.solvency.is_covered

    backend.spendable_msat = CREDIT_MSAT - 1
    await world.flow.solvency.check()
    assert await world.alarms() == ["insolvent"]

    backend.spendable_msat = CREDIT_MSAT
    await world.flow.solvency.check()
    assert await world.alarms() == []


async def test_a_shortfall_stands_while_a_silent_backend_cannot_end_it(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> Balance:
        raise BackendUnavailable("not there")

    backend.spendable_msat = CREDIT_MSAT - 1
    await world.flow.solvency.check()
    monkeypatch.setattr(backend, "balance", silent)
    await world.flow.solvency.check()

    assert "insolvent" in await world.alarms()


async def test_an_old_balance_is_no_reason_to_call_a_shortfall(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """It was read while a payment was in flight, which has failed since."""
    backend.pay_script.append(Unknown())
    invoice = an_invoice(world)
    world.pay(alice, invoice)
    await world.tasks.idle()
    backend.spendable_msat, _ = await world.money("alice")
    await world.flow.solvency.check()
    payment = await world.payment(bolt11.decode(invoice).payment_hash)
    await world.spender.recorder.record(payment.payment_id, Failed(FailReason.NO_ROUTE))
    backend.spendable_msat = CREDIT_MSAT

    await world.flow.solvency.judge()
    assert not world.flow.solvency.is_covered
    assert await world.alarms() == []

    await world.flow.solvency.check()
    assert world.flow.solvency.is_covered


async def test_a_forced_credit_without_cover_stops_what_leaves_at_once(
    world: World, alice: Client
) -> None:
    world.backend.spendable_msat = CREDIT_MSAT
    await world.flow.solvency.check()
    await world.accounts.credit("alice", 1, reason="a gift", force=True)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world)})

    assert world.backend.sent == []
    assert answer["error"]["code"] == "INTERNAL"
    assert await world.count("decision WHERE kind = 'credit_forced'") == 1


async def test_what_was_short_is_short_after_a_restart(
    start: Open, backend: ScriptedBackend
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
    backend.spendable_msat = CREDIT_MSAT - 1

    async with start() as world:
        client = await world.connect("alice")
        answer = await world.call(client, "pay_invoice", {"invoice": an_invoice(world)})

    assert answer["error"]["code"] == "INTERNAL"


async def test_a_backend_that_breaks_its_word_backs_nothing_for_long(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def odd() -> Balance:
        return Balance(None)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "balance", odd)
    world.clock.advance(READING_LASTS_S + 1)
    await world.flow.solvency.check()

    assert not world.flow.solvency.is_covered


async def test_a_judgement_that_is_too_old_covers_nothing(world: World, alice: Client) -> None:
    assert world.flow.solvency.is_covered

    world.clock.advance(READING_LASTS_S + 1)

    assert not world.flow.solvency.is_covered


async def test_a_credit_is_covered_as_the_gate_demands_it(start: Open) -> None:
    async with start() as world:
        world.backend.spendable_msat = 149
        gate = Solvency(
            world.db,
            backends=world.edges.backends,
            required_percent=150,
            clock=world.clock,
        )
        world.spender.solvency = gate
        await world.accounts.create("alice")

        with pytest.raises(Refused, match="--force"):
            await world.accounts.credit("alice", 100, reason="too much")
        await world.accounts.credit("alice", 99, reason="just enough")


async def test_a_credit_that_is_booked_is_told_although_nothing_can_be_judged(
    world: World, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise OSError("the disk is on fire")

    monkeypatch.setattr(world.flow.solvency, "judge", broken)

    account = await world.accounts.credit("alice", 5, reason="a gift")

    assert account.available_msat == CREDIT_MSAT + 5
