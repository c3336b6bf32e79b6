"""Hold invoices that are paid from outside: held by the node until their owner decides."""

from typing import Any

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Failed,
    FailReason,
    InvoiceStatus,
)
from nwc_service.config import InvoiceSettings
from nwc_service.wallet import hold
from nwc_service.wallet.invoice import InvoiceState, Resolution
from tests.doubles.scripted_backend import (
    BLOCK_HEIGHT,
    HELD_BLOCKS,
    ScriptedBackend,
    hash_of,
    outside_invoice,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.holding import (
    AMOUNT_MSAT,
    HASH,
    PREIMAGE,
    accepted,
    cancel,
    lookup,
    made,
    make,
    reconcile,
    row,
    settle,
    told,
)
from tests.flow.parties import Client, Clock
from tests.flow.world import World

MAX_OPEN_HOLDS = InvoiceSettings().max_open_holds_per_account
LONGEST_HOLD_S = InvoiceSettings().longest_hold_s
NOT_THERE = {"code": "NOT_FOUND", "message": "there is no such hold invoice"}


# --- make_hold_invoice


async def test_it_is_made_of_the_clients_own_hash(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-03: "Creates a hold invoice using a pre-generated preimage." """
    answer = await make(world, alice, description="tea", expiry=213, min_cltv_expiry_delta=144)

    result = answer["result"]
    assert answer["result_type"] == "make_hold_invoice"
    assert (result["type"], result["payment_hash"]) == ("incoming", HASH)
    assert (result["amount"], result["description"]) == (AMOUNT_MSAT, "tea")
    assert result["expires_at"] - result["created_at"] == 213
    assert (result["preimage"], result["description_hash"]) == ("", "")
    [spec] = backend.specs
    assert (spec.hold_hash, spec.preimage, spec.min_cltv_expiry_delta) == (HASH, None, 144)
    assert await world.problems() == ()


async def test_a_lost_reply_of_the_node_gives_the_same_invoice(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.invoice_script.append(BackendUnavailable("the reply was lost"))

    answer = await make(world, alice)

    assert answer["result"]["payment_hash"] == HASH
    assert [spec.hold_hash for spec in backend.specs] == [HASH, HASH]


async def test_what_the_node_did_not_make_can_be_asked_for_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.invoice_script.append(BadRequest("not now"))

    refused = await make(world, alice)
    again = await make(world, alice)

    assert refused["error"]["code"] == "OTHER"
    assert again["result"]["payment_hash"] == HASH
    assert await world.problems() == ()


@pytest.mark.attack("A2", "A32")
@pytest.mark.parametrize(
    "role", ["hold-invoice", "of-another", "paid", "given-back", "receipt", "plain-invoice"]
)
async def test_a_hash_that_is_known_in_any_role_is_refused_in_the_same_words(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, role: str
) -> None:
    """All that `role` says has happened to the hash already."""
    number = 1
    if role == "hold-invoice":
        await make(world, alice)
    elif role == "of-another":
        await make(world, bob)
    elif role == "plain-invoice":
        number = 3  # the node chooses `preimage_of` of the third invoice that it makes
        backend.caps = backend.caps & ~Cap.OWN_PREIMAGE
        for _ in range(3):
            await world.invoice(bob, AMOUNT_MSAT)
    elif role == "receipt":
        backend.receive_keysend(1, AMOUNT_MSAT, {})
        await world.follow_the_stream()
    else:
        backend.expect(1)
        if role == "given-back":
            backend.replies[HASH] = (Failed(FailReason.NO_ROUTE), None)
        world.pay(bob, outside_invoice(1, AMOUNT_MSAT, created_at=world.clock()))
        await world.tasks.idle()

    answer = await make(world, alice, number=number)

    assert answer["error"] == {
        "code": "OTHER",
        "message": "payment_hash: it is in use, or was used before",
    }


@pytest.mark.attack("A8")
async def test_open_hold_invoices_are_capped_for_one_account(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    for number in range(1, MAX_OPEN_HOLDS + 1):
        await accepted(world, alice, backend, number=number)

    refused = await make(world, alice, number=MAX_OPEN_HOLDS + 1)
    of_another = await make(world, bob, number=MAX_OPEN_HOLDS + 2)
    await settle(world, alice, number=1)
    afterwards = await make(world, alice, number=MAX_OPEN_HOLDS + 3)

    assert refused["error"]["code"] == "RATE_LIMITED"
    assert of_another["error"] is None
    assert afterwards["error"] is None


async def test_one_that_is_held_past_its_expiry_still_counts(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    for number in range(1, MAX_OPEN_HOLDS + 1):
        await accepted(world, alice, backend, number=number, expiry=60)
    clock.advance(61)

    refused = await make(world, alice, number=MAX_OPEN_HOLDS + 1)

    assert refused["error"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"payment_hash": "xy" * 32}, id="not-hex"),
        pytest.param({"payment_hash": "ab"}, id="short"),
        pytest.param({"payment_hash": None}, id="no-hash"),
        pytest.param({"amount": 0}, id="nothing"),
        pytest.param({"min_cltv_expiry_delta": 17}, id="too-few-blocks"),
        pytest.param({"min_cltv_expiry_delta": 2017}, id="too-many-blocks"),
        pytest.param({"min_cltv_expiry_delta": 144.0}, id="a-float"),
    ],
)
async def test_bad_parameters_are_refused(
    world: World, alice: Client, backend: ScriptedBackend, params: dict[str, Any]
) -> None:
    answer = await make(world, alice, **params)

    assert answer["error"]["code"] == "OTHER"
    assert next(iter(params)) in answer["error"]["message"]
    assert backend.specs == []


# --- accepted


async def test_when_the_node_holds_a_payment_its_owner_is_told_once(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """NWC-03: `hold_invoice_accepted` is "Sent when a payer accepts (locks in) a hold invoice",
    with a `settle_deadline`, a block number; "need to notify clients when a hold invoice has
    been accepted SHOULD use the notification mechanism defined in 02.md"."""
    invoice = await accepted(world, alice, backend, description="tea", metadata={"a": 1})
    for _ in range(3):
        await world.follow_the_stream()
        await reconcile(world)

    [notification] = world.notifications(alice)
    assert notification["notification_type"] == "hold_invoice_accepted"
    body = notification["notification"]
    assert (body["type"], body["state"]) == ("incoming", "accepted")
    assert (body["invoice"], body["payment_hash"]) == (invoice, HASH)
    assert (body["amount"], body["description"]) == (AMOUNT_MSAT, "tea")
    assert body["settle_deadline"] == BLOCK_HEIGHT + HELD_BLOCKS
    assert (body["preimage"], body["metadata"]) == ("", {"a": 1})
    assert "settled_at" not in body
    assert body["expires_at"] > body["created_at"]
    assert world.notifications(bob) == []
    assert await world.problems() == ()


async def test_what_is_accepted_is_not_spendable_and_its_preimage_is_not_shown(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)

    found = await lookup(world, alice)

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert (found["state"], found["preimage"]) == ("accepted", "")
    assert found["settle_deadline"] == BLOCK_HEIGHT + HELD_BLOCKS


async def test_the_sweep_finds_what_the_stream_did_not_tell(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)
    backend.accept(HASH)

    await reconcile(world)

    assert told(world, alice) == ["hold_invoice_accepted"]


async def test_a_plain_invoice_that_a_node_calls_accepted_is_left_alone(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    plain = await world.invoice(alice, AMOUNT_MSAT)
    backend.accept(plain["payment_hash"])

    await world.follow_the_stream()

    assert (await lookup(world, alice, plain["payment_hash"]))["state"] == "pending"
    assert told(world, alice) == []


async def test_a_connection_that_does_not_want_to_know_is_not_told(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    quiet = await world.connect("alice", scopes=frozenset({"make_hold_invoice"}))
    await accepted(world, quiet, backend)

    assert told(world, alice) == ["hold_invoice_accepted"]  # sees the whole account
    assert told(world, quiet) == ["hold_invoice_accepted"]  # made it
    stranger = await world.connect("alice", scopes=frozenset({"make_hold_invoice"}))
    await accepted(world, alice, backend, number=2)
    assert told(world, stranger) == []


# --- settle_hold_invoice


async def test_settled_with_the_preimage_it_is_credited_by_the_nodes_word(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-03: "Calls `settle_hold_invoice` with the original preimage to release funds"."""
    await accepted(world, alice, backend)

    answer = await settle(world, alice)

    assert answer == {"result_type": "settle_hold_invoice", "error": None, "result": {}}
    assert backend.resolved == [(HASH, PREIMAGE)]
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    found = await lookup(world, alice)
    assert (found["state"], found["preimage"]) == ("settled", PREIMAGE)
    assert "settle_deadline" not in found
    assert told(world, alice) == ["hold_invoice_accepted", "payment_received"]
    await world.follow_the_stream()
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


async def test_settling_again_with_the_same_preimage_succeeds_and_moves_nothing(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    await settle(world, alice)

    again = await settle(world, alice)

    assert again["result"] == {}
    assert len(backend.resolved) == 1
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


async def test_what_is_not_held_cannot_be_settled(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)

    answer = await settle(world, alice)

    assert answer["error"]["code"] == "OTHER"
    assert backend.resolved == []
    assert (await row(world)).resolution is None
    assert (await row(world)).preimage is None


@pytest.mark.attack("A19")
async def test_while_the_node_is_out_of_reach_it_is_told_again_until_it_is_settled(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    backend.hold_script.extend([BackendUnavailable("down"), BackendUnavailable("down")])

    request = world.ask(alice, "settle_hold_invoice", {"preimage": PREIMAGE})
    await world.tasks.idle()
    waiting, found = world.answers_to(alice, request), await lookup(world, alice)
    listed = await world.call(alice, "list_transactions", {"unpaid": True})
    await reconcile(world)
    still_waiting = world.answers_to(alice, request)
    await reconcile(world)

    assert (waiting, still_waiting) == ([], [])
    assert (found["state"], found["preimage"]) == ("accepted", "")
    assert [item["preimage"] for item in listed["result"]["transactions"]] == [""]
    assert world.answer(alice, request)["result"] == {}
    assert backend.resolved == [(HASH, PREIMAGE)] * 3
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A8")
async def test_a_node_that_gave_it_back_first_makes_settling_fail(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    backend.cancel_outside(HASH)

    answer = await settle(world, alice)

    assert answer["error"]["code"] == "OTHER"
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert (await lookup(world, alice))["state"] == "failed"
    again = await settle(world, alice)
    assert again["error"] is not None
    assert await world.problems() == ()


@pytest.mark.attack("A10")
async def test_one_that_the_node_settles_without_us_is_credited_all_the_same(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    backend.settle_outside(PREIMAGE)

    await world.follow_the_stream()
    refused, settled = await cancel(world, alice), await settle(world, alice)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert refused["error"]["code"] == "OTHER"
    assert settled["result"] == {}
    assert await world.problems() == ()


@pytest.mark.attack("A10")
async def test_one_that_settles_although_it_was_cancelled_is_credited(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    backend.hold_script.append(BackendUnavailable("down"))
    request = world.ask(alice, "cancel_hold_invoice", {"payment_hash": HASH})
    await world.tasks.idle()
    backend.settle_outside(PREIMAGE)

    await reconcile(world)

    assert world.answer(alice, request)["error"]["code"] == "OTHER"
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.problems() == ()


async def test_what_the_node_says_it_received_is_credited(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await made(world, alice)
    backend.accept(HASH, 2 * AMOUNT_MSAT)
    await world.follow_the_stream()

    await settle(world, alice)

    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)
    assert await world.problems() == ()


# --- cancel_hold_invoice


async def test_cancelled_it_goes_back_to_the_payer(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-03: "Calls `cancel_hold_invoice` with payment hash to abort"."""
    await accepted(world, alice, backend)

    answer = await cancel(world, alice)

    assert answer == {"result_type": "cancel_hold_invoice", "error": None, "result": {}}
    assert backend.resolved == [(HASH, None)]
    assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
    assert (await lookup(world, alice))["state"] == "failed"
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    again = await cancel(world, alice)
    assert again["result"] == {}
    refused = await settle(world, alice)
    assert refused["error"]["code"] == "OTHER"
    assert await world.problems() == ()


async def test_one_that_nobody_has_paid_can_be_cancelled_and_then_not_be_paid(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    invoice = await made(world, alice)

    answer = await cancel(world, alice)
    paid = await world.call(bob, "pay_invoice", {"invoice": invoice})

    assert answer["result"] == {}
    assert paid["error"]["code"] == "OTHER"
    assert backend.sent == []
    assert await world.problems() == ()


async def test_cancelling_waits_for_the_node(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)
    backend.hold_script.append(BackendUnavailable("down"))

    request = world.ask(alice, "cancel_hold_invoice", {"payment_hash": HASH})
    await world.tasks.idle()
    waiting = world.answers_to(alice, request)
    joined = world.ask(alice, "cancel_hold_invoice", {"payment_hash": HASH})
    await world.tasks.idle()

    assert waiting == []
    assert world.answer(alice, request)["result"] == {}
    assert world.answer(alice, joined)["result"] == {}
    assert await world.problems() == ()


async def test_one_that_has_expired_counts_as_cancelled(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    await made(world, alice, expiry=60)
    clock.advance(2 * 3600)
    await reconcile(world)

    answer = await cancel(world, alice)

    assert (await row(world)).state is InvoiceState.EXPIRED
    assert answer["result"] == {}


@pytest.mark.attack("A10")
@pytest.mark.parametrize("over", ["cancelled", "expired"])
async def test_what_the_node_holds_of_one_that_is_over_goes_back(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock, over: str
) -> None:
    await made(world, alice, expiry=60)
    if over == "cancelled":
        await cancel(world, alice)
    else:
        clock.advance(2 * 3600)
        await reconcile(world)
    backend.accept(HASH)

    await world.follow_the_stream()
    await reconcile(world)

    assert backend.canceled == [HASH]
    assert backend.invoices[HASH].status is InvoiceStatus.CANCELED
    assert told(world, alice) == []
    assert await world.problems() == ()


# --- deadlines


@pytest.mark.attack("A8")
async def test_before_the_deadline_of_the_node_it_is_given_back(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-03: `settle_deadline`, "invoice can only be safely settled or canceled before this
    block number". The service cancels some blocks before it."""
    await accepted(world, alice, backend)
    backend.block_height = BLOCK_HEIGHT + HELD_BLOCKS - hold.MARGIN_BLOCKS - 1
    await reconcile(world)
    before = list(backend.resolved)

    backend.block_height += 1
    await reconcile(world)

    assert before == []
    assert backend.resolved == [(HASH, None)]
    assert (await row(world)).state is InvoiceState.CANCELED
    assert await world.problems() == ()


@pytest.mark.attack("A8")
async def test_one_that_nobody_decides_about_is_given_back_in_time(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    """NWC-03: "To avoid locking up funds in channels the hold invoice SHOULD be settled or
    canceled within a few minutes of receiving this event." """
    await accepted(world, alice, backend)
    clock.advance(LONGEST_HOLD_S - 1)
    await reconcile(world)
    before = list(backend.resolved)

    clock.advance(1)
    await reconcile(world)
    refused = await settle(world, alice)

    assert before == []
    assert backend.resolved == [(HASH, None)]
    assert refused["error"]["code"] == "OTHER"
    assert await world.problems() == ()


async def test_a_node_that_does_not_answer_is_told_of_the_deadline_again(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    await accepted(world, alice, backend)
    clock.advance(LONGEST_HOLD_S)
    backend.hold_script.append(BackendUnavailable("down"))

    await reconcile(world)
    undone = (await row(world)).state
    await reconcile(world)

    assert undone is InvoiceState.ACCEPTED
    assert (await row(world)).state is InvoiceState.CANCELED


@pytest.mark.attack("A8")
async def test_one_that_the_node_will_not_end_raises_an_alarm_until_it_has(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    await accepted(world, alice, backend)
    backend.hold_script.extend([BackendUnavailable("down")] * 3)
    await settle_unanswered(world, alice)
    clock.advance(LONGEST_HOLD_S + 3600)
    await reconcile(world)
    before = await world.alarms()

    clock.advance(1)
    await reconcile(world)
    raised = await world.alarms()
    await reconcile(world)

    assert before == []
    assert raised == ["hold_stuck"]
    assert await world.alarms() == []
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def settle_unanswered(world: World, client: Client) -> None:
    world.ask(client, "settle_hold_invoice", {"preimage": PREIMAGE})
    await world.tasks.idle()


async def test_what_was_decided_is_not_undone_by_a_deadline(
    world: World, alice: Client, backend: ScriptedBackend, clock: Clock
) -> None:
    await accepted(world, alice, backend)
    backend.hold_script.append(BackendUnavailable("down"))
    await settle_unanswered(world, alice)
    clock.advance(10 * LONGEST_HOLD_S)

    await reconcile(world)

    assert (await row(world)).resolution is Resolution.SETTLE
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


# --- tenants


@pytest.mark.attack("A8", "A20", "A32")
async def test_another_accounts_hold_invoice_is_not_there(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await accepted(world, alice, backend)

    refused = await settle(world, bob), await cancel(world, bob)
    unknown = await settle(world, bob, number=9), await cancel(world, bob, number=9)

    assert [answer["error"] for answer in (*refused, *unknown)] == [NOT_THERE] * 4
    assert backend.resolved == []
    assert (await row(world)).resolution is None
    assert await world.problems() == ()


@pytest.mark.attack("A8", "A20")
async def test_another_connection_of_the_account_needs_to_see_it(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "several connections on one account": "a connection without
    `list_transactions` sees only its own rows"."""
    scopes = frozenset({"settle_hold_invoice", "cancel_hold_invoice"})
    blind = await world.connect("alice", scopes=scopes)
    seeing = await world.connect("alice", scopes=scopes | {"list_transactions"})
    await accepted(world, alice, backend)

    refused = await settle(world, blind), await cancel(world, blind)
    settled = await settle(world, seeing)

    assert [answer["error"] for answer in refused] == [NOT_THERE] * 2
    assert settled["result"] == {}


@pytest.mark.attack("A8", "A20")
async def test_a_plain_invoice_is_no_hold_invoice(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    plain = await world.invoice(alice, AMOUNT_MSAT)
    preimage = world.edges.keyring.invoice_preimage(
        (await row(world, plain["payment_hash"])).invoice_id
    )

    settled = await world.call(alice, "settle_hold_invoice", {"preimage": preimage})
    canceled = await world.call(
        alice, "cancel_hold_invoice", {"payment_hash": plain["payment_hash"]}
    )

    assert hash_of(preimage) == plain["payment_hash"]
    assert settled["error"] == canceled["error"] == NOT_THERE
    assert backend.resolved == []


async def test_without_the_scope_nothing_is_done(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    reader = await world.connect("alice", scopes=frozenset({"list_transactions"}))
    await accepted(world, alice, backend)

    answers = await make(world, reader, number=2), await settle(world, reader)

    assert [answer["error"]["code"] for answer in answers] == ["RESTRICTED"] * 2
    assert backend.resolved == []


@pytest.mark.attack("A31")
async def test_the_preimage_stays_out_of_the_log(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await accepted(world, alice, backend)
    backend.hold_script.append(RuntimeError("the adapter broke its word"))
    await settle_unanswered(world, alice)
    backend.hold_script.append(BackendUnavailable("down"))
    await reconcile(world)
    await reconcile(world)

    logged = capsys.readouterr()

    assert "hold.unresolved" in logged.out + logged.err
    assert PREIMAGE not in logged.out + logged.err
    assert PREIMAGE not in repr(await row(world))
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
