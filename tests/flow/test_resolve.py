"""An operator ends a payment that hangs: what that does to money, answers and the node."""

import asyncio

import pytest

from nwc_service.admin import payments as admin
from nwc_service.backend import BackendUnavailable
from nwc_service.resolve import Resolver
from nwc_service.store import decisions, nodes
from nwc_service.store.nodes import Stops
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.units import Msat, PaymentId
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import FEE_RESERVE_MSAT, World, until

AMOUNT_MSAT = 100_000
UNTOUCHED = (CREDIT_MSAT, 0)
HELD = (CREDIT_MSAT - AMOUNT_MSAT - FEE_RESERVE_MSAT, AMOUNT_MSAT + FEE_RESERVE_MSAT)
REASON = "seen at the node"
UNPAID = Failed(FailReason.OTHER)


@pytest.fixture
def invoice(world: World, backend: ScriptedBackend) -> str:
    backend.expect(1)
    return outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())


async def hang(world: World, client: Client, invoice: str) -> Payment:
    """A payment whose reply is lost, and of which the node knows nothing."""
    world.backend.pay_script.append(Unknown())
    world.pay(client, invoice)
    await world.tasks.idle()
    return await world.payment(hash_of(preimage_of(1)))


async def resolve(world: World, payment: Payment, outcome: Settled | Failed) -> None:
    await world.spender.recorder.resolve(payment.payment_id, outcome, reason=REASON)
    await world.tasks.idle()


def paid(fee_msat: int | None = FEE_MSAT) -> Settled:
    return Settled(preimage_of(1), None if fee_msat is None else Msat(fee_msat))


@pytest.mark.parametrize(
    ("outcome", "answered", "left_msat"),
    [
        pytest.param(paid(), "result", CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, id="paid"),
        pytest.param(UNPAID, "error", CREDIT_MSAT, id="unpaid"),
    ],
)
async def test_everyone_who_waits_is_answered_and_the_decision_is_kept(
    world: World,
    alice: Client,
    invoice: str,
    outcome: Settled | Failed,
    answered: str,
    left_msat: int,
) -> None:
    payment = await hang(world, alice, invoice)
    joined = world.pay(alice, invoice)
    await world.tasks.idle()

    await resolve(world, payment, outcome)

    assert answered in world.answer(alice, joined)
    assert await world.money("alice") == (left_msat, 0)
    [decision] = await world.db.read(decisions.decisions)
    assert (decision["kind"], decision["subject"]) == ("payment_resolved", payment.payment_id)
    assert decision["reason"] == REASON
    assert await world.problems() == ()


async def test_a_fee_above_the_reserve_is_the_operators_and_pauses_the_node(
    world: World, alice: Client, invoice: str
) -> None:
    payment = await hang(world, alice, invoice)

    await resolve(world, payment, paid(FEE_RESERVE_MSAT + 500))

    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_RESERVE_MSAT, 0)
    assert await world.book("loss") == -500
    pause = await world.db.read(lambda tx: nodes.paused(tx, world.backend.name))
    assert pause is not None
    assert (pause.stops, pause.reason) == (Stops.OUTGOING, "fee_above_cap")


async def test_what_is_called_unpaid_and_is_paid_after_all_costs_the_operator(
    world: World, alice: Client, invoice: str, backend: ScriptedBackend
) -> None:
    payment = await hang(world, alice, invoice)
    await resolve(world, payment, UNPAID)
    backend.known[payment.payment_hash] = paid()

    await world.reconciler.sweep_released(backend.name)

    assert await world.money("alice") == UNTOUCHED
    assert await world.book("loss") == -(AMOUNT_MSAT + FEE_MSAT)
    assert await world.alarms() == ["late_success", "backend_paused"]
    assert await world.problems() == ()


@pytest.mark.parametrize(
    ("outcome", "reason", "said"),
    [
        pytest.param(Settled(preimage_of(2), None), REASON, "hash", id="another-preimage"),
        pytest.param(paid(), "  ", "reason", id="no-reason"),
        pytest.param(UNPAID, "", "reason", id="unpaid-no-reason"),
    ],
)
async def test_what_is_refused_leaves_no_trace(
    world: World,
    alice: Client,
    invoice: str,
    outcome: Settled | Failed,
    reason: str,
    said: str,
) -> None:
    payment = await hang(world, alice, invoice)

    with pytest.raises(Refused, match=said):
        await world.spender.recorder.resolve(payment.payment_id, outcome, reason=reason)

    assert await world.payment(payment.payment_hash) == payment
    assert await world.money("alice") == HELD
    assert await world.db.read(decisions.decisions) == []


async def test_only_a_payment_that_was_sent_and_is_open_can_be_resolved(
    world: World, alice: Client, invoice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.spender, "_start", lambda payment: None)  # it crashed just here
    world.pay(alice, invoice)
    await world.tasks.idle()
    reserved = await world.payment(hash_of(preimage_of(1)))

    with pytest.raises(Refused):
        await resolve(world, reserved, UNPAID)
    with pytest.raises(NotFound):
        await world.spender.recorder.resolve(PaymentId("none"), UNPAID, reason=REASON)

    assert (await world.payment(reserved.payment_hash)).state is PaymentState.RESERVED
    assert await world.db.read(decisions.decisions) == []


# --- what the node says


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (None, "not found"),
        (paid(), "Settled"),
        (Settled(preimage_of(2), None), "Settled, without a preimage that proves it"),
        (Failed(FailReason.NO_ROUTE), "Failed: no_route"),
        (NotSent(FailReason.UNAVAILABLE), "NotSent: unavailable"),
        (InFlight(), "InFlight"),
        (Unknown("a detail"), "Unknown"),
        (BackendUnavailable("away"), "no answer"),
        (ValueError("broken"), "no answer"),
    ],
    ids=repr,
)
async def test_what_the_backend_says_is_told_in_a_word_and_changes_nothing(
    world: World,
    alice: Client,
    invoice: str,
    backend: ScriptedBackend,
    outcome: Outcome | Exception | None,
    word: str,
) -> None:
    payment = await hang(world, alice, invoice)
    backend.lookup_script.append(outcome)

    assert await admin._says(backend, payment) == word

    assert backend.lookups[-1].our_id == payment.payment_id
    assert await world.payment(payment.payment_hash) == payment
    assert await admin._says(None, payment) == "not configured"


async def test_a_backend_that_hangs_is_not_waited_for(
    world: World,
    alice: Client,
    invoice: str,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payment = await hang(world, alice, invoice)
    monkeypatch.setattr(admin, "ASK_TIMEOUT_S", 0.01)
    monkeypatch.setattr(backend, "lookup_payment", lambda ref: asyncio.Event().wait())

    assert await admin._says(backend, payment) == "no answer"


@pytest.mark.parametrize(
    ("says", "refused"),
    [
        pytest.param(InFlight(), True, id="in-flight"),
        pytest.param(Settled(preimage_of(1), FEE_MSAT), True, id="settled"),
        pytest.param(Failed(FailReason.NO_ROUTE), False, id="failed"),
        pytest.param(Unknown(), False, id="unknown"),
        pytest.param(None, False, id="not-known"),
        pytest.param(BackendUnavailable(), False, id="no-answer"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
async def test_what_the_node_has_under_way_is_given_back_only_by_force(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    invoice: str,
    says: Outcome | Exception | None,
    refused: bool,
    force: bool,
) -> None:
    payment = await hang(world, alice, invoice)
    backend.lookup_script.append(says)
    resolver = Resolver(world.db, backends=world.edges.backends, spender=world.spender)

    if refused and not force:
        with pytest.raises(Refused, match="--force"):
            await resolver.resolve(payment.payment_id, UNPAID, reason=REASON)
        assert await world.money("alice") == HELD
    else:
        await resolver.resolve(payment.payment_id, UNPAID, reason=REASON, force=force)
        assert await world.money("alice") == UNTOUCHED


async def test_what_is_being_sent_just_now_is_not_resolved(
    world: World, alice: Client, backend: ScriptedBackend, invoice: str
) -> None:
    backend.pay_gate.clear()
    world.pay(alice, invoice)
    await until(lambda: len(backend.sent) == 1)
    payment = await world.payment(hash_of(preimage_of(1)))
    resolver = Resolver(world.db, backends=world.edges.backends, spender=world.spender)

    with pytest.raises(Refused, match="just now"):
        await resolver.resolve(payment.payment_id, UNPAID, reason=REASON, force=True)
    backend.pay_gate.set()
