"""A node that went back in time, or costs money, is stopped before anybody acts on its word."""

import pytest

from nwc_service import guard
from nwc_service.backend import BackendUnavailable, NodeInfo
from nwc_service.store import alarms, nodes
from nwc_service.store.nodes import Pause, Stops
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.outcome import Failed, FailReason, InFlight, Settled, Unknown
from nwc_service.wallet.payment import CLOCK_SKEW_S, PaymentState
from nwc_service.wallet.units import Msat, PaymentHash
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client
from tests.flow.world import FEE_RESERVE_MSAT, PAYMENT_TIMEOUT_S, World

AMOUNT_MSAT = 100_000
EXPIRY_S = 900
SAFE_AFTER_S = EXPIRY_S + PAYMENT_TIMEOUT_S + CLOCK_SKEW_S + 1
UNTOUCHED = (CREDIT_MSAT, 0)
HELD = (CREDIT_MSAT - AMOUNT_MSAT - FEE_RESERVE_MSAT, AMOUNT_MSAT + FEE_RESERVE_MSAT)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CANARY_RETRY_S", 0)


def an_invoice(world: World, number: int) -> str:
    world.backend.expect(number)
    return outside_invoice(number, AMOUNT_MSAT, created_at=world.clock(), expiry_s=EXPIRY_S)


def hash_number(number: int) -> PaymentHash:
    return hash_of(preimage_of(number))


async def pay(world: World, client: Client, number: int) -> None:
    world.pay(client, an_invoice(world, number))
    await world.tasks.idle()


async def lose(world: World, client: Client, number: int) -> None:
    """Send a payment whose reply is lost; the node knows nothing of it."""
    world.backend.pay_script.append(Unknown())
    await pay(world, client, number)


async def ask(world: World) -> None:
    world.clock.advance(guard.CANARY_EVERY_S)
    await world.reconciler.ask_node(world.backend.name)


async def pause(world: World) -> Pause | None:
    return await world.db.read(lambda tx: nodes.paused(tx, world.backend.name))


# --- counters and identity (I20, A21)


@pytest.mark.attack("A21")
@pytest.mark.parametrize(
    ("then", "paused"),
    [
        pytest.param({"payments": 7, "height": 100}, False, id="as-before"),
        pytest.param({"payments": 8, "height": 101}, False, id="higher"),
        pytest.param({"payments": 7}, False, id="untold"),
        pytest.param({"payments": 6, "height": 101}, True, id="one-fell"),
    ],
)
async def test_a_counter_that_fell_stops_the_node(
    world: World, backend: ScriptedBackend, then: dict[str, int], paused: bool
) -> None:
    backend.counted = {"payments": 7, "height": 100}
    await ask(world)

    backend.counted = then
    await ask(world)

    found = await pause(world)
    assert (found is not None) is paused
    if found is not None:
        assert (found.stops, found.reason) == (Stops.ALL, guard.ROLLED_BACK)
        assert found.detail == "payments was 7, it is 6"
        assert await world.alarms() == ["backend_paused"]


async def test_the_highest_count_is_kept_over_a_restart(
    start: Open, backend: ScriptedBackend
) -> None:
    backend.counted = {"payments": 7}
    async with start():
        pass
    backend.counted = {"payments": 6}

    async with start() as world:
        assert await pause(world) is not None


@pytest.mark.attack("A21")
async def test_another_node_behind_the_same_name_is_stopped(
    world: World, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def one() -> NodeInfo:
        return NodeInfo(pubkey="02" * 33, network="regtest")

    async def another() -> NodeInfo:
        return NodeInfo(pubkey="03" * 33, network="regtest")

    monkeypatch.setattr(backend, "start", one)
    await ask(world)
    monkeypatch.setattr(backend, "start", another)
    await ask(world)

    found = await pause(world)
    assert found is not None
    assert found.reason == guard.OTHER_NODE


# --- canaries


@pytest.mark.attack("A21")
@pytest.mark.parametrize(
    ("says", "paused"),
    [
        pytest.param(None, True, id="unknown-to-it"),
        pytest.param(Failed(FailReason.NO_ROUTE), True, id="failed"),
        pytest.param(InFlight(), False, id="in-flight"),
        pytest.param(Settled(preimage_of(1), FEE_MSAT), False, id="settled"),
    ],
)
async def test_a_node_that_forgot_what_it_paid_is_stopped(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    says: Settled | Failed | InFlight | None,
    paused: bool,
) -> None:
    await pay(world, alice, 1)
    backend.known.clear()
    if says is not None:
        backend.known[hash_number(1)] = says

    await ask(world)

    assert (await pause(world) is not None) is paused


async def test_a_node_that_forgets_for_a_moment_is_asked_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await pay(world, alice, 1)
    backend.lookup_script.extend([None, None])

    await ask(world)

    assert await pause(world) is None
    assert len(backend.lookups) == guard.CANARY_ATTEMPTS


@pytest.mark.attack("A21")
async def test_a_node_that_forgot_what_it_received_is_stopped(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    await world.crediter.credit(
        backend.name, backend.receive(PaymentHash(made["payment_hash"]))
    )
    await ask(world)
    assert await pause(world) is None

    backend.invoices.clear()
    await ask(world)

    assert await pause(world) is not None


@pytest.mark.attack("A21")
async def test_a_rolled_back_node_gives_no_money_back_by_knowing_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await pay(world, alice, 1)
    await lose(world, alice, 2)
    before = await world.money("alice")
    backend.known.clear()  # it was restored from before both

    await world.look_up()
    await world.look_up(after_s=SAFE_AFTER_S)

    payment = await world.payment(hash_number(2))
    assert payment.state is PaymentState.UNKNOWN
    assert await world.money("alice") == before
    assert await pause(world) is not None


@pytest.mark.attack("A21")
async def test_a_rolled_back_node_gives_no_money_back_by_calling_it_failed(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await lose(world, alice, 1)
    backend.counted = {"payments": 7}
    await ask(world)
    backend.counted = {"payments": 1}
    await ask(world)
    backend.known[hash_number(1)] = Failed(FailReason.NO_ROUTE)

    await world.look_up()
    assert await world.money("alice") == HELD

    await world.flow.guard.resume("node", reason="it was a test")
    await world.look_up(after_s=60)
    assert await world.money("alice") == UNTOUCHED


# --- what a pause stops


async def stop(world: World, stops: Stops, *, reason: str = "a_test") -> None:
    await world.db.write(
        lambda tx: guard.stop(
            tx,
            world.backend.name,
            stops=stops,
            reason=reason,
            detail="why",
            now=world.clock(),
        )
    )


@pytest.mark.parametrize("stops", list(Stops))
async def test_nothing_is_sent_through_a_paused_node(
    world: World, alice: Client, backend: ScriptedBackend, stops: Stops
) -> None:
    await stop(world, stops)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})

    assert backend.sent == []
    assert await world.money("alice") == UNTOUCHED
    assert answer["error"]["code"] == "INTERNAL"
    assert "paused" in answer["error"]["message"]


async def test_a_payment_that_is_reserved_when_the_node_is_paused_is_not_sent(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.spender, "_start", lambda payment: None)  # it crashed just here
        request = world.pay(alice, an_invoice(world, 1))
        await world.tasks.idle()
    await stop(world, Stops.OUTGOING)

    await world.look_up()

    assert backend.sent == []
    assert await world.money("alice") == UNTOUCHED
    assert world.answer(alice, request)["error"]["code"] == "INTERNAL"
    payment = await world.payment(hash_number(1))
    assert payment.proof is not None
    assert payment.proof.detail == "never sent: paused"


@pytest.mark.parametrize(
    ("stops", "made"), [(Stops.OUTGOING, True), (Stops.ALL, False)], ids=str
)
async def test_invoices_are_made_unless_all_is_stopped(
    world: World, alice: Client, stops: Stops, made: bool
) -> None:
    await stop(world, stops)

    answer = await world.call(alice, "make_invoice", {"amount": 1_000})

    assert ("result" in answer) is made


async def test_users_still_pay_each_other_while_the_node_is_paused(
    world: World, alice: Client, bob: Client
) -> None:
    made = await world.invoice(bob, AMOUNT_MSAT)
    await stop(world, Stops.ALL)

    answer = await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    assert "result" in answer
    assert (await world.money("bob"))[0] == CREDIT_MSAT + AMOUNT_MSAT


@pytest.mark.parametrize(
    ("first", "then", "stands"),
    [
        (Stops.OUTGOING, Stops.ALL, Stops.ALL),
        (Stops.ALL, Stops.OUTGOING, Stops.ALL),
        (Stops.OUTGOING, Stops.OUTGOING, Stops.OUTGOING),
    ],
)
async def test_the_further_reaching_pause_stands(
    world: World, first: Stops, then: Stops, stands: Stops
) -> None:
    await stop(world, first)
    await stop(world, then)

    found = await pause(world)
    assert found is not None
    assert found.stops is stands


# --- what costs money pauses (A3)


@pytest.mark.attack("A3")
async def test_a_fee_above_the_cap_is_the_operators_and_pauses_the_node(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)
    backend.pay_script.append(Settled(preimage_of(1), Msat(FEE_RESERVE_MSAT + 500)))
    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})

    assert answer["result"]["fees_paid"] == FEE_RESERVE_MSAT
    assert await world.book("loss") == -500
    assert await world.alarms() == ["fee_above_cap", "backend_paused"]
    found = await pause(world)
    assert found is not None
    assert (found.stops, found.reason) == (Stops.OUTGOING, "fee_above_cap")
    assert await world.problems() == ()


async def test_a_late_success_found_by_the_sweep_is_the_operators_loss_and_pauses_the_node(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    await pay(world, alice, 1)
    assert await world.money("alice") == UNTOUCHED
    backend.known[hash_number(1)] = backend.settled(hash_number(1))

    for _ in range(2):
        await world.reconciler.sweep_released(backend.name)

    assert await world.money("alice") == UNTOUCHED
    assert await world.book("loss") == -(AMOUNT_MSAT + FEE_MSAT)
    assert await world.alarms() == ["late_success", "backend_paused"]
    assert (await world.payment(hash_number(1))).state is PaymentState.RELEASED
    assert await world.problems() == ()


@pytest.mark.attack("A12")
async def test_what_a_second_payment_of_the_hash_paid_is_no_late_success_of_the_first(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    invoice = an_invoice(world, 1)
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    await world.call(alice, "pay_invoice", {"invoice": invoice})
    await world.call(alice, "pay_invoice", {"invoice": invoice})

    await world.reconciler.sweep_released(backend.name)

    assert await world.book("loss") == 0
    assert await world.alarms() == []


# --- the operator decides


async def test_a_resumed_node_starts_from_what_it_counts_now(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await pay(world, alice, 1)
    backend.counted = {"payments": 7}
    await ask(world)
    backend.known.clear()
    backend.counted = {"payments": 1}
    await ask(world)
    world.clock.advance(1)

    await world.flow.guard.resume("node", reason="restored on purpose")

    await ask(world)
    assert await pause(world) is None
    assert await world.alarms() == []
    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 2)})
    assert "result" in answer
    backend.counted = {"payments": 0}
    await ask(world)
    assert await pause(world) is not None


@pytest.mark.parametrize(
    ("name", "reason", "error"),
    [
        pytest.param("nobody", "why", NotFound, id="unknown"),
        pytest.param("node", "why", Refused, id="not-paused"),
        pytest.param("node", "  ", Refused, id="no-reason"),
    ],
)
async def test_what_cannot_be_resumed_is_refused(
    world: World, name: str, reason: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await world.flow.guard.resume(name, reason=reason)


# --- nothing that a node says right after it was out of reach is acted upon unseen


async def go_back(world: World, *, counted: int) -> None:
    """It was restored from before what it had counted."""
    world.backend.counted = {"payments": counted}
    world.backend.known.clear()


async def test_a_failure_looked_up_at_a_node_that_went_back_is_not_believed(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.counted = {"payments": 7}
    await ask(world)
    await lose(world, alice, 1)
    await go_back(world, counted=6)
    backend.known[hash_number(1)] = Failed(FailReason.NO_ROUTE)

    await world.look_up()

    assert (await world.payment(hash_number(1))).state is PaymentState.UNKNOWN
    assert await world.money("alice") == HELD
    assert await pause(world) is not None


async def test_a_node_that_was_out_of_reach_is_looked_at_before_anything_is_sent(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.counted = {"payments": 7}
    await ask(world)
    await lose(world, alice, 1)  # its reply was lost: who knows what happened to it
    await go_back(world, counted=6)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 2)})

    assert [sent.payment_hash for sent in backend.sent] == [hash_number(1)]
    assert answer["error"]["code"] == "INTERNAL"
    assert await pause(world) is not None


async def test_nothing_is_sent_to_a_node_that_cannot_be_looked_at(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> NodeInfo:
        raise BackendUnavailable("not there")

    world.flow.guard.lost(backend.name)
    monkeypatch.setattr(backend, "start", away)

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})

    assert backend.sent == []
    assert await world.money("alice") == UNTOUCHED
    assert answer["error"]["code"] == "INTERNAL"


async def test_resuming_what_cost_money_forgets_nothing_of_what_the_node_must_know(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.counted = {"payments": 7}
    await pay(world, alice, 1)
    await ask(world)
    await stop(world, Stops.OUTGOING)
    await go_back(world, counted=1)

    await world.flow.guard.resume("node", reason="the fee is fine")
    await ask(world)

    found = await pause(world)
    assert found is not None
    assert found.reason == guard.ROLLED_BACK


async def test_a_node_that_went_back_is_resumed_only_when_it_tells_what_it_is(
    world: World, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> dict[str, int]:
        raise BackendUnavailable("not there")

    await stop(world, Stops.ALL)
    monkeypatch.setattr(backend, "counters", away)

    with pytest.raises(Refused, match="does not answer"):
        await world.flow.guard.resume("node", reason="restored")
    assert await pause(world) is not None


async def test_what_the_operator_stated_is_no_canary(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await lose(world, alice, 1)
    payment = await world.payment(hash_number(1))
    await world.spender.recorder.resolve(
        payment.payment_id, Settled(preimage_of(1), FEE_MSAT), reason="the payee has it"
    )

    await ask(world)

    assert await pause(world) is None


async def test_a_node_whose_clock_is_ahead_is_no_trap_for_its_canaries(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)
    ahead = world.clock() + 10**6
    backend.pay_script.append(Settled(preimage_of(1), FEE_MSAT, settled_at=ahead))
    await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})
    backend.known.clear()
    await ask(world)
    world.clock.advance(1)
    await world.flow.guard.resume("node", reason="accepted")

    await ask(world)

    assert await pause(world) is None


async def test_a_time_beyond_all_columns_does_not_keep_a_payment_open(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_script.append(Settled(preimage_of(1), FEE_MSAT, settled_at=2**70))

    answer = await world.call(alice, "pay_invoice", {"invoice": an_invoice(world, 1)})

    assert "result" in answer


async def test_a_graver_reason_takes_the_place_of_another_and_tells_of_it(
    world: World, backend: ScriptedBackend
) -> None:
    for reason in ("fee_above_cap", guard.RESTORED, "late_success"):
        await stop(world, Stops.OUTGOING, reason=reason)

    found = await pause(world)
    assert found is not None
    assert (found.reason, found.detail) == (guard.RESTORED, "why; before: fee_above_cap: why")
    [row] = await world.db.read(alarms.alarms)
    assert row["detail"] == "restored: why"


async def test_a_payment_that_is_reserved_when_the_cover_is_gone_is_not_sent(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.spender, "_start", lambda payment: None)  # it crashed just here
        request = world.pay(alice, an_invoice(world, 1))
        await world.tasks.idle()
    backend.spendable_msat = 0

    await world.look_up()

    assert backend.sent == []
    assert await world.money("alice") == UNTOUCHED
    assert world.answer(alice, request)["error"]["code"] == "INTERNAL"


async def test_the_backends_last_word_is_kept_for_the_operator(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_script.append(Unknown("HTTP 502"))
    await pay(world, alice, 1)
    heard_at = world.clock()
    backend.lookup_script.extend([Unknown("HTTP 502"), InFlight("2 parts")])

    await world.look_up(after_s=5)
    payment = await world.payment(hash_number(1))
    assert (payment.heard, payment.heard_at) == ("unknown HTTP 502", heard_at)

    await world.look_up(after_s=60)
    payment = await world.payment(hash_number(1))
    assert (payment.heard, payment.heard_at) == ("in flight 2 parts", world.clock())
