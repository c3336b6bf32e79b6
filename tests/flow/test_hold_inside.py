"""Hold invoices that another account of this service pays: held by the ledger, in two steps."""

from collections.abc import Callable

import pytest

from nwc_service.backend import InvoiceStatus
from nwc_service.config import InvoiceSettings
from nwc_service.restore import Margins, use_with_care
from nwc_service.wallet import hold
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.payment import PaymentKind, PaymentState, ProofKind
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import (
    BLOCK_HEIGHT,
    ScriptedBackend,
    outside_invoice,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.holding import (
    AMOUNT_MSAT,
    HASH,
    PREIMAGE,
    accepted,
    cancel,
    held_inside,
    lookup,
    made,
    reconcile,
    row,
    settle,
    told,
)
from tests.flow.parties import Client, Clock
from tests.flow.world import MAX_OPEN_PER_ACCOUNT, World

LONGEST_HOLD_S = InvoiceSettings().longest_hold_s
IN_USE = {"code": "OTHER", "message": "this invoice is being paid or was paid before"}
AT_START = (CREDIT_MSAT, 0)
HOLDING = (CREDIT_MSAT - AMOUNT_MSAT, AMOUNT_MSAT)
PAID = (CREDIT_MSAT - AMOUNT_MSAT, 0)
RECEIVED = (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_the_payers_money_is_held_and_nobody_is_answered_yet(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    invoice, request = await held_inside(world, alice, bob)

    assert await world.money("bob") == HOLDING
    assert await world.money("alice") == AT_START
    assert world.answers_to(bob, request) == []
    payment = await world.payment(HASH)
    assert (payment.kind, payment.state) == (PaymentKind.INTERNAL_HOLD, PaymentState.RESERVED)
    assert (payment.fee_reserve_msat, payment.backend) == (0, None)
    assert (await lookup(world, bob))["state"] == "pending"
    [notification] = world.notifications(alice)
    assert notification["notification_type"] == "hold_invoice_accepted"
    body = notification["notification"]
    assert (body["state"], body["invoice"]) == ("accepted", invoice)
    assert body["settle_deadline"] == BLOCK_HEIGHT + hold.DEFAULT_CLTV_EXPIRY_BLOCKS
    assert told(world, bob) == []
    assert (backend.sent, backend.decoded) == ([], [])
    assert await world.owed_msat() == 2 * CREDIT_MSAT
    assert await world.problems() == ()


async def test_a_node_that_tells_no_height_still_gives_a_deadline(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    backend.block_height = None
    await world.reconciler.ask_node(backend.name)

    await held_inside(world, alice, bob)

    [notification] = world.notifications(alice)
    deadline = notification["notification"]["settle_deadline"]
    assert deadline == hold.DEFAULT_CLTV_EXPIRY_BLOCKS


async def test_settled_both_sides_are_booked_and_all_are_told(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    _, request = await held_inside(world, alice, bob)

    answer = await settle(world, alice)

    assert answer["result"] == {}
    assert world.answer(bob, request)["result"] == {"preimage": PREIMAGE, "fees_paid": 0}
    assert (await world.money("alice"), await world.money("bob")) == (RECEIVED, PAID)
    assert told(world, alice) == ["hold_invoice_accepted", "payment_received"]
    assert told(world, bob) == ["payment_sent"]
    assert backend.resolved == []
    assert (await lookup(world, alice))["preimage"] == PREIMAGE
    again = await settle(world, alice)
    assert again["result"] == {}
    assert (await cancel(world, alice))["error"]["code"] == "OTHER"
    assert (await world.money("alice"), await world.money("bob")) == (RECEIVED, PAID)
    assert await world.problems() == ()


async def test_cancelled_the_payer_has_it_back(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    invoice, request = await held_inside(world, alice, bob)

    answer = await cancel(world, alice)

    assert answer["result"] == {}
    assert world.answer(bob, request)["error"]["code"] == "PAYMENT_FAILED"
    assert (await world.money("alice"), await world.money("bob")) == (AT_START, AT_START)
    payment = await world.payment(HASH)
    assert payment.state is PaymentState.RELEASED
    assert payment.proof is not None
    assert payment.proof.kind is ProofKind.NOT_SENT
    assert told(world, bob) == []
    assert (await settle(world, alice))["error"]["code"] == "OTHER"
    assert (await cancel(world, alice))["result"] == {}
    paid = await world.call(bob, "pay_invoice", {"invoice": invoice})
    assert paid["error"] == IN_USE
    assert await world.problems() == ()


@pytest.mark.attack("A8")
async def test_what_nobody_decides_about_is_given_back_in_time(
    world: World, alice: Client, bob: Client, clock: Clock
) -> None:
    """NWC-03: "the hold invoice SHOULD be settled or canceled within a few minutes of
    receiving this event"."""
    _, request = await held_inside(world, alice, bob)
    clock.advance(LONGEST_HOLD_S - 1)
    await reconcile(world)
    before = await world.money("bob")

    clock.advance(1)
    await reconcile(world)

    assert before == HOLDING
    assert await world.money("bob") == AT_START
    assert world.answer(bob, request)["error"]["code"] == "PAYMENT_FAILED"
    assert (await row(world)).state is InvoiceState.CANCELED
    assert (await settle(world, alice))["error"]["code"] == "OTHER"
    assert await world.problems() == ()


async def test_blocks_end_nothing_that_no_node_holds(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """After an outage the height jumps from unknown to what it is."""
    backend.block_height = None
    await world.reconciler.ask_node(backend.name)
    await held_inside(world, alice, bob)
    backend.block_height = BLOCK_HEIGHT

    await reconcile(world)

    assert await world.money("bob") == HOLDING


async def test_ones_own_hold_invoice_can_be_paid(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    _, request = await held_inside(world, alice, alice)
    holding = await world.money("alice")

    answer = await settle(world, alice)

    assert holding == HOLDING
    assert answer["result"] == {}
    assert world.answer(alice, request)["result"]["preimage"] == PREIMAGE
    assert await world.money("alice") == AT_START
    assert await world.problems() == ()


async def test_ones_own_hold_invoice_can_be_cancelled(world: World, alice: Client) -> None:
    _, request = await held_inside(world, alice, alice)

    await cancel(world, alice)

    assert world.answer(alice, request)["error"]["code"] == "PAYMENT_FAILED"
    assert await world.money("alice") == AT_START
    assert await world.problems() == ()


# --- who may pay it


async def test_the_payer_may_ask_again_and_gets_the_same_result(
    world: World, alice: Client, bob: Client
) -> None:
    invoice, request = await held_inside(world, alice, bob)
    again = world.pay(bob, invoice)
    await world.tasks.idle()

    await settle(world, alice)
    afterwards = world.pay(bob, invoice)
    await world.tasks.idle()

    results = [world.answer(bob, asked)["result"] for asked in (request, again, afterwards)]
    assert results == [{"preimage": PREIMAGE, "fees_paid": 0}] * 3
    assert await world.money("bob") == PAID
    assert await world.problems() == ()


@pytest.mark.attack("A12")
async def test_nobody_else_can_pay_what_is_held(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    invoice, _ = await held_inside(world, alice, bob)

    refused = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert refused["error"] == IN_USE
    assert await world.money("alice") == AT_START


@pytest.mark.attack("A11")
async def test_what_the_node_holds_cannot_be_paid_inside(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    invoice = await accepted(world, alice, backend)

    refused = await world.call(bob, "pay_invoice", {"invoice": invoice})

    assert refused["error"] == IN_USE
    assert await world.money("bob") == AT_START
    assert backend.sent == []


@pytest.mark.attack("A10")
async def test_one_that_has_expired_cannot_be_paid(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    invoice = await made(world, alice, expiry=60)
    clock.advance(60)

    refused = await world.call(bob, "pay_invoice", {"invoice": invoice})

    assert refused["error"] == IN_USE
    assert backend.sent == []


@pytest.mark.attack("A2")
async def test_anothers_invoice_of_the_same_hash_is_not_taken_for_it(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """A2: internal only "if the canonical invoice string equals one this service issued"."""
    await made(world, alice)
    backend.expect(1)
    twin = outside_invoice(1, 2 * AMOUNT_MSAT, created_at=world.clock())

    paid = await world.call(bob, "pay_invoice", {"invoice": twin})

    assert paid["result"]["preimage"] == PREIMAGE
    assert [request.invoice for request in backend.sent] == [twin]
    assert (await row(world)).state is InvoiceState.PENDING
    assert await world.money("alice") == AT_START
    assert await world.problems() == ()


async def test_who_has_too_little_holds_nothing(world: World, alice: Client) -> None:
    await world.account("carol", credit_msat=AMOUNT_MSAT - 1)
    carol = await world.connect("carol")

    _, request = await held_inside(world, alice, carol)

    assert world.answer(carol, request)["error"]["code"] == "INSUFFICIENT_BALANCE"
    assert (await row(world)).state is InvoiceState.PENDING
    assert told(world, alice) == []
    assert await world.count("cancellation") == 0
    assert await world.problems() == ()


@pytest.mark.attack("A7")
async def test_what_is_held_counts_among_the_open_payments(
    world: World, alice: Client, bob: Client
) -> None:
    for number in range(1, MAX_OPEN_PER_ACCOUNT + 1):
        await held_inside(world, alice, bob, number=number)

    _, request = await held_inside(world, alice, bob, number=MAX_OPEN_PER_ACCOUNT + 1)

    assert world.answer(bob, request)["error"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize("ending", ["settled", "cancelled"])
async def test_the_payers_budget_counts_it_while_it_is_held(
    world: World, alice: Client, bob: Client, ending: str
) -> None:
    budget = Budget(Msat(AMOUNT_MSAT), Renewal.NEVER)
    spender = await world.connect("bob", budget=budget)
    await held_inside(world, alice, spender)
    _, second = await held_inside(world, alice, spender, number=2)
    while_held = world.answer(spender, second)["error"]["code"]

    await (settle(world, alice) if ending == "settled" else cancel(world, alice))
    _, third = await held_inside(world, alice, spender, number=3)

    assert while_held == "QUOTA_EXCEEDED"
    refused = [answer["error"]["code"] for answer in world.answers_to(spender, third)]
    assert refused == (["QUOTA_EXCEEDED"] if ending == "settled" else [])
    assert await world.problems() == ()


# --- the node meanwhile


@pytest.mark.attack("A11")
async def test_what_arrives_from_outside_meanwhile_is_given_back(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await held_inside(world, alice, bob)
    backend.accept(HASH)
    await world.follow_the_stream()

    await reconcile(world)

    assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
    assert told(world, alice) == ["hold_invoice_accepted"]
    assert await world.money("bob") == HOLDING
    assert (await row(world)).state is InvoiceState.ACCEPTED
    await settle(world, alice)
    assert (await world.money("alice"), await world.money("bob")) == (RECEIVED, PAID)
    assert await world.problems() == ()


@pytest.mark.attack("A11")
@pytest.mark.parametrize("ended", [False, True])
async def test_what_the_node_holds_after_its_cancel_is_given_back_too(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, ended: bool
) -> None:
    await held_inside(world, alice, bob)
    await reconcile(world)
    if ended:
        await settle(world, alice)
    backend.accept(HASH)
    await world.follow_the_stream()

    await reconcile(world)

    assert backend.canceled == [HASH, HASH]
    assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
    assert await world.problems() == ()


@pytest.mark.attack("A11")
async def test_a_node_that_settles_it_from_outside_all_the_same_pays_for_the_payer(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """One payment for one invoice: what came from outside is credited, and what was held
    inside goes back."""
    _, request = await held_inside(world, alice, bob)
    backend.settle_outside(PREIMAGE)

    await world.follow_the_stream()

    assert (await world.money("alice"), await world.money("bob")) == (RECEIVED, AT_START)
    assert world.answer(bob, request)["error"]["code"] == "PAYMENT_FAILED"
    assert (await settle(world, alice))["result"] == {}
    assert await world.money("alice") == RECEIVED
    assert await world.problems() == ()


@pytest.mark.attack("A11")
async def test_one_settled_inside_and_then_from_outside_is_credited_twice(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await held_inside(world, alice, bob)
    await settle(world, alice)
    backend.settle_outside(PREIMAGE)

    await world.follow_the_stream()

    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)
    assert await world.money("bob") == PAID
    assert await world.problems() == ()


async def test_a_node_that_gave_it_up_ends_nothing_that_is_held_inside(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    _, request = await held_inside(world, alice, bob)

    for _ in range(3):
        clock.advance(60)
        await reconcile(world)

    assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
    assert world.answers_to(bob, request) == []
    assert (await row(world)).state is InvoiceState.ACCEPTED
    assert await world.money("bob") == HOLDING


async def test_it_is_never_sent_nor_asked_about(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await held_inside(world, alice, bob)

    for _ in range(3):
        await world.look_up(after_s=60)

    assert (backend.sent, backend.lookups) == ([], [])
    assert (await world.payment(HASH)).state is PaymentState.RESERVED
    assert await world.alarms() == []


@pytest.mark.attack("A21")
async def test_a_restored_database_doubts_nothing_that_never_left(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    _, request = await held_inside(world, alice, bob)
    margins = Margins(future_s=60, unpayable_s=120)
    await use_with_care(
        world.db, backends=[backend.name], margins=margins, detail="a test", now=world.clock()
    )
    state = (await world.payment(HASH)).state
    world.clock.advance(120)

    answer = await settle(world, alice)

    assert state is PaymentState.RESERVED
    assert answer["result"] == {}
    assert world.answer(bob, request)["result"]["preimage"] == PREIMAGE
    assert await world.problems() == ()


# --- races


@pytest.mark.attack("A1")
@pytest.mark.parametrize("turn", range(4))
async def test_settle_cancel_and_deadline_at_once_end_it_once(
    world: World, alice: Client, bob: Client, clock: Clock, turn: int
) -> None:
    _, request = await held_inside(world, alice, bob)
    clock.advance(LONGEST_HOLD_S)
    racers: list[Callable[[], object]] = [
        lambda: world.ask(alice, "settle_hold_invoice", {"preimage": PREIMAGE}),
        lambda: world.ask(alice, "cancel_hold_invoice", {"payment_hash": HASH}),
        lambda: world.tasks.spawn(world.flow.holds.end_overdue()),
        lambda: world.ask(alice, "settle_hold_invoice", {"preimage": PREIMAGE}),
    ]

    for start in racers[turn:] + racers[:turn]:
        start()
    await world.tasks.idle()

    payment, invoice = await world.payment(HASH), await row(world)
    settled = payment.state is PaymentState.SETTLED
    assert (invoice.state is InvoiceState.SETTLED) is settled
    assert len(world.answers_to(bob, request)) == 1
    money = (await world.money("alice"), await world.money("bob"))
    assert money == ((RECEIVED, PAID) if settled else (AT_START, AT_START))
    assert world.tasks.failures == []
    assert await world.problems() == ()


@pytest.mark.attack("A1")
@pytest.mark.parametrize("turn", range(3))
async def test_settle_cancel_and_deadline_at_once_end_what_the_node_holds_once(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock, turn: int
) -> None:
    await accepted(world, alice, backend)
    clock.advance(LONGEST_HOLD_S)
    racers: list[Callable[[], object]] = [
        lambda: world.ask(alice, "settle_hold_invoice", {"preimage": PREIMAGE}),
        lambda: world.ask(alice, "cancel_hold_invoice", {"payment_hash": HASH}),
        lambda: world.tasks.spawn(world.flow.holds.end_overdue()),
    ]

    for start in racers[turn:] + racers[:turn]:
        start()
    await world.tasks.idle()
    await reconcile(world)

    assert len({preimage for _, preimage in backend.resolved}) == 1
    settled = backend.invoices[HASH].status is InvoiceStatus.SETTLED
    assert await world.money("alice") == (RECEIVED if settled else AT_START)
    assert await world.problems() == ()


@pytest.mark.attack("A1", "A11")
@pytest.mark.parametrize("first", ["inside", "outside"])
async def test_a_payer_inside_and_one_outside_at_once_one_of_them_is_held(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, first: str
) -> None:
    invoice = await made(world, alice)
    backend.accept(HASH)
    racers: list[Callable[[], object]] = [
        lambda: world.pay(bob, invoice),
        lambda: world.tasks.spawn(world.reconciler.sweep_invoices(backend.name)),
    ]

    for start in racers if first == "inside" else racers[::-1]:
        start()
    await world.tasks.idle()
    inside = (await row(world)).payer_payment_id is not None
    await reconcile(world)
    await settle(world, alice)

    assert told(world, alice) == ["hold_invoice_accepted", "payment_received"]
    expected = (RECEIVED, PAID) if inside else (RECEIVED, AT_START)
    assert (await world.money("alice"), await world.money("bob")) == expected
    status = InvoiceStatus.CANCELED if inside else InvoiceStatus.SETTLED
    assert backend.invoices[HASH].status is status
    assert await world.problems() == ()


@pytest.mark.attack("A1")
async def test_many_payers_at_once_one_of_them_is_held(
    world: World, alice: Client, bob: Client
) -> None:
    invoice = await made(world, alice)
    payers = []
    for name in ("carol", "dave", "erin"):
        await world.account(name, credit_msat=CREDIT_MSAT)
        payers.append(await world.connect(name))

    requests = [(payer, world.pay(payer, invoice)) for payer in (*payers, bob)]
    await world.tasks.idle()

    waiting = [payer for payer, asked in requests if not world.answers_to(payer, asked)]
    assert len(waiting) == 1
    await settle(world, alice)
    assert await world.money("alice") == RECEIVED
    assert await world.problems() == ()


@pytest.mark.attack("A1")
async def test_two_hold_invoices_of_one_hash_at_once_one_of_them_is_made(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    params = {"amount": AMOUNT_MSAT, "payment_hash": HASH}
    asked = [
        (client, world.ask(client, "make_hold_invoice", params)) for client in (alice, bob)
    ]

    await world.tasks.idle()

    answers = [world.answer(client, request) for client, request in asked]
    assert sorted(answer["error"] is None for answer in answers) == [False, True]
    assert len(backend.specs) == 1
