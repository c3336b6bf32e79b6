"""make_offer (NWC-12): made once, whatever is lost on the way, and what comes in through an
offer is its account's."""

from dataclasses import replace
from typing import Any

import pytest

from nwc_service import offers as maker
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Cursor,
    InvoiceReport,
    OfferReport,
)
from nwc_service.guard import stop
from nwc_service.store import offers
from nwc_service.store.database import Tx
from nwc_service.store.nodes import Stops
from nwc_service.wallet import bip321, bolt12
from nwc_service.wallet.offer import MAX_NOTE_CHARACTERS, MadeOffer
from nwc_service.wallet.units import MAX_MSAT, AccountId, BackendName
from tests.doubles.scripted_backend import (
    OUTSIDE_PUBKEY,
    ScriptedBackend,
    outside_offer,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, Clock, JsonObject
from tests.flow.world import FEE_RESERVE_MSAT, World, broken, reconciling, until

AMOUNT_MSAT = 100_000
NODE_OFFER = "offer-1"
"""What the double calls the first offer that it makes."""


async def make(world: World, client: Client, **params: object) -> JsonObject:
    answer = await world.call(client, "make_offer", params)
    assert answer["error"] is None, answer
    result: JsonObject = answer["result"]
    return result


async def received(world: World, client: Client) -> list[JsonObject]:
    answer = await world.call(client, "list_transactions", {"type": "incoming"})
    rows: list[JsonObject] = answer["result"]["transactions"]
    return rows


async def stored(world: World) -> list[MadeOffer]:
    async def read(tx: Tx) -> list[MadeOffer]:
        rows = await tx.all("SELECT offer_id FROM offer ORDER BY created_at, offer_id")
        found = [await offers.offer(tx, row["offer_id"]) for row in rows]
        return [offer for offer in found if offer is not None]

    return await world.db.read(read)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "CREATE_RETRY_S", 0)


# --- made


async def test_an_offer_is_made_stored_and_answered(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-12: "All response fields not explicitly marked optional are REQUIRED. The `bip321`
    value MUST contain exactly one `lno` parameter for the returned offer."; "If `offer` is also
    present, it MUST encode the same offer"."""
    result = await make(
        world,
        alice,
        amount=AMOUNT_MSAT,
        description="tea ☕",
        issuer="example.com",
        single_use=True,
        expires_at=world.clock() + 60,
    )

    [report] = backend.offers.values()
    assert result == {
        "offer_id": bolt12.offer_id(bolt12.decode(report.offer)),
        "bip321": f"bitcoin:?lno={report.offer}",
        "offer": report.offer,
        "amount": AMOUNT_MSAT,
        "description": "tea ☕",
        "issuer": "example.com",
        "single_use": True,
        "created_at": world.clock(),
        "expires_at": world.clock() + 60,
    }
    [spec] = backend.offer_specs
    assert (spec.single_use, spec.expires_at) == (True, world.clock() + 60)


@pytest.mark.parametrize("params", [{}, {"amount": None, "single_use": False}])
async def test_reusable_offers_of_any_amount_can_be_had(
    world: World, alice: Client, params: JsonObject
) -> None:
    """NWC-12: "The wallet MUST support reusable variable-amount offers, requested by omitting
    `amount` or setting it to null while leaving `single_use` false.\""""
    result = await make(world, alice, **params)

    assert (result["amount"], result["single_use"]) == (None, False)
    [uri] = bip321.parse(result["bip321"]).instructions
    assert isinstance(uri, bolt12.Offer)
    assert uri.amount is None


async def test_making_an_offer_makes_no_payment_record(world: World, alice: Client) -> None:
    """NWC-12: "calling `make_offer` does not itself create a record that can be returned by
    `lookup_payment`.\""""
    await make(world, alice)

    answer = await world.call(alice, "list_transactions", {"unpaid": True})

    assert answer["result"] == {"transactions": [], "total_count": 0}


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"amount": 1_000}, id="an-amount-without-a-description"),
        pytest.param({"amount": 1_000, "description": ""}, id="with-an-empty-one"),
        pytest.param({"amount": 0, "description": "tea"}, id="zero"),
        pytest.param({"amount": MAX_MSAT + 1, "description": "tea"}, id="too-much"),
        pytest.param({"description": "x" * 640}, id="a-long-description"),
        pytest.param({"issuer": "x" * 257}, id="a-long-issuer"),
        pytest.param({"expires_at": 0}, id="expired-for-ever"),
        pytest.param({"single_use": "yes"}, id="no-flag"),
        pytest.param({"metadata": []}, id="no-object"),
    ],
)
async def test_what_cannot_be_an_offer_is_refused(
    world: World, alice: Client, backend: ScriptedBackend, params: JsonObject
) -> None:
    """NWC-12: "`BAD_REQUEST`: A parameter is invalid or cannot be represented by a valid BOLT12
    offer."; "`amount` MUST be a positive integer when present and non-null"; "If `amount` is
    present and non-null, `description` is REQUIRED". Section 4, "invalid params": "BAD_REQUEST
    for 09, 12, 321"."""
    answer = await world.call(alice, "make_offer", params)

    assert answer["error"]["code"] == "BAD_REQUEST"
    assert backend.offer_specs == []


async def test_an_offer_must_expire_in_the_future(world: World, alice: Client) -> None:
    """NWC-12: "`expires_at` MUST be a future Unix timestamp when present.\""""
    now = {"expires_at": world.clock()}

    answer = await world.call(alice, "make_offer", now)

    assert answer["error"]["code"] == "BAD_REQUEST"


async def test_without_the_capability_there_are_no_offers(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.caps &= ~Cap.BOLT12_RECEIVE

    answer = await world.call(alice, "make_offer")

    assert answer["error"]["code"] == "NOT_IMPLEMENTED"


async def test_an_account_has_so_many_open_offers_and_no_more(
    world: World, alice: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.flow.offers, "_max_open_offers", 2)
    await make(world, alice)
    await make(world, alice, expires_at=clock() + 60)

    refused = await world.call(alice, "make_offer")
    clock.advance(60)
    await make(world, alice)

    assert refused["error"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"amount_msat": 5}, id="another-amount"),
        pytest.param({"description": "coffee"}, id="another-description"),
        pytest.param({"issuer": "elsewhere"}, id="another-issuer"),
        pytest.param({"expires_at": 2_000_000_000}, id="another-expiry"),
    ],
)
async def test_an_offer_that_is_not_what_was_asked_is_not_passed_on(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    changes: JsonObject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """NWC-12: "The wallet MUST NOT silently replace a non-empty `description` or `issuer`
    supplied by the client.\""""
    asked: dict[str, Any] = {
        "amount_msat": AMOUNT_MSAT,
        "description": "tea",
        "issuer": "example.com",
        "expires_at": None,
    }

    async def another(_spec: object) -> OfferReport:
        made = bolt12.encode(network="regtest", issuer_id=OUTSIDE_PUBKEY, **asked | changes)
        return OfferReport(NODE_OFFER, made)

    monkeypatch.setattr(backend, "create_offer", another)

    answer = await world.call(
        alice,
        "make_offer",
        {"amount": AMOUNT_MSAT, "description": "tea", "issuer": "example.com"},
    )

    assert answer["error"]["code"] == "TEMPORARILY_UNAVAILABLE"


@pytest.mark.attack("A20")
@pytest.mark.parametrize("same", ["offer", "name"])
async def test_an_offer_that_the_node_gave_out_before_is_nobody_elses(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    same: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make(world, alice)
    [first] = backend.offers.values()
    again = first if same == "offer" else replace(first, offer=outside_offer())

    async def repeat(_spec: object) -> OfferReport:
        name = "another" if same == "offer" else first.node_offer_id
        return replace(again, node_offer_id=name)

    monkeypatch.setattr(backend, "create_offer", repeat)

    answer = await world.call(bob, "make_offer")

    assert answer["error"]["code"] == "INTERNAL"
    await world.crediter.credit(backend.name, backend.receive_offer(NODE_OFFER, AMOUNT_MSAT))
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


@pytest.mark.parametrize(
    ("error", "code", "attempts"),
    [
        (BackendUnavailable("gone"), "TEMPORARILY_UNAVAILABLE", maker.CREATE_ATTEMPTS),
        (BadRequest("issuer: no"), "BAD_REQUEST", 1),
        (ValueError("a bug"), "INTERNAL", 1),
    ],
    ids=["node-away", "refused", "a-bug"],
)
async def test_an_offer_that_cannot_be_made_is_answered_with_the_reason(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    error: Exception,
    code: str,
    attempts: int,
) -> None:
    """NWC-12: "`TEMPORARILY_UNAVAILABLE`: The wallet cannot create or keep the offer payable at
    this time.\""""
    backend.offer_script += [error] * attempts

    answer = await world.call(alice, "make_offer")

    assert answer["error"]["code"] == code
    assert len(backend.offer_specs) == attempts
    assert [offer.state for offer in await stored(world)] == ["FAILED"]


async def test_a_lost_reply_is_repaired_by_asking_again_for_the_same_offer(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.offer_script.append(BackendUnavailable("the reply was lost"))

    await make(world, alice)

    assert len({spec.our_id for spec in backend.offer_specs}) == 1
    assert len(backend.offer_specs) == 2


async def test_a_node_that_went_back_in_time_makes_no_offers(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    async def pause(tx: Tx) -> None:
        await stop(
            tx,
            backend.name,
            stops=Stops.ALL,
            reason="rolled_back",
            detail="",
            now=world.clock(),
        )

    await world.db.write(pause)

    answer = await world.call(alice, "make_offer")

    assert answer["error"]["code"] == "TEMPORARILY_UNAVAILABLE"
    assert backend.offer_specs == []


@pytest.mark.attack("A26")
async def test_a_copy_of_the_request_makes_no_second_offer(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    request = world.ask(alice, "make_offer")
    world.deliver(request)
    await world.tasks.idle()
    world.deliver(request, repeated=True)
    await world.tasks.idle()

    assert len(backend.offer_specs) == 1
    assert world.answer(alice, request)["error"] is None


# --- a crash at any point of it


class Killed(BaseException):
    """As a power cut: nothing after it happens. Inside a transaction it would be none."""


@pytest.mark.parametrize(
    "point", ["after_offer_claim", "after_offer_created", "after_offer_store"]
)
async def test_after_a_crash_the_offer_is_made_once_and_answered_once(
    start: Open, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(name: str) -> None:
        if name == point:
            raise Killed

    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        request = alice.request("make_offer", {}, created_at=world.clock())
        with monkeypatch.context() as patched:
            patched.setattr(maker, "failpoint", die)
            try:
                world.deliver(request)
                await world.tasks.idle()
            except Killed:
                pass
        assert world.answers_to(alice, request) == []

    async with start() as world:
        async with reconciling(world):
            await until(lambda: bool(world.answers_to(alice, request)))
        await world.tasks.idle()

        assert world.answer(alice, request)["result"]["offer_id"]
        assert len(backend.offers) == 1
        assert [offer.state for offer in await stored(world)] == ["ACTIVE"]
        assert await world.problems() == ()


@pytest.mark.parametrize("late_s", [120, 121])
async def test_an_offer_that_nobody_waits_for_any_more_is_not_made(
    start: Open,
    backend: ScriptedBackend,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    late_s: int,
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")

        async def never(_offer: MadeOffer) -> None:
            return

        monkeypatch.setattr(world.flow.offers, "_make", never)
        request = world.ask(alice, "make_offer")
        await world.tasks.idle()
    clock.advance(late_s)

    async with start() as world:
        await world.flow.offers.resume()
        await world.tasks.idle()

        answer = world.answer(alice, request)
    in_time = late_s <= 120
    assert (answer["error"] is None) is in_time
    assert len(backend.offer_specs) == int(in_time)


# --- what comes in


@pytest.mark.attack("A15")
async def test_what_comes_in_through_an_offer_is_its_accounts_each_time_once(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await make(world, alice)
    reports = [backend.receive_offer(NODE_OFFER, AMOUNT_MSAT, number=n) for n in (1, 2)]

    for _ in range(2):
        for number, report in enumerate(reports):
            await world.crediter.credit(backend.name, report, cursor=Cursor(str(number)))
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)
    assert await world.book("node:node") == -2 * AMOUNT_MSAT
    told = [each["notification"]["amount"] for each in world.notifications(alice)]
    assert told == [AMOUNT_MSAT, AMOUNT_MSAT]
    assert await world.problems() == ()


async def test_an_offer_is_payable_while_its_app_and_the_service_are_away(
    start: Open, backend: ScriptedBackend
) -> None:
    """NWC-12: "The wallet MUST keep every unexpired offer returned by `make_offer` payable
    while the user-facing wallet application is offline.\""""
    async with start() as world:
        await world.account("alice")
        alice = await world.connect("alice")
        await make(world, alice)
    backend.receive_offer(NODE_OFFER, AMOUNT_MSAT)

    async with start() as world:
        await world.follow_the_stream()

        assert await world.money("alice") == (AMOUNT_MSAT, 0)
        [row] = await received(world, alice)
        assert (row["state"], row["amount"]) == ("settled", AMOUNT_MSAT)


@pytest.mark.attack("A20")
async def test_an_offer_that_nobody_here_made_credits_nobody(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await make(world, alice)

    await world.crediter.credit(backend.name, backend.receive_offer("another", AMOUNT_MSAT))

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.book("suspense") == AMOUNT_MSAT
    assert await world.problems() == ()


@pytest.mark.attack("A20")
async def test_an_invoice_of_one_account_is_never_anothers_because_of_an_offer(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await make(world, alice)
    made = await world.invoice(bob, AMOUNT_MSAT)
    report = replace(backend.receive(made["payment_hash"]), node_offer_id=NODE_OFFER)

    await world.crediter.credit(backend.name, report)

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


@pytest.mark.attack("A17")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"expires_at": 2**70, "created_at": -5}, id="times-beyond-all"),
        pytest.param({"preimage": "not hex"}, id="no-preimage"),
        pytest.param({"invoice": "\ud800", "payer_note": "\ud800"}, id="no-text"),
        pytest.param({"invoice": "a\0b", "payer_note": "a\0b"}, id="with-a-NUL"),
        pytest.param({"payer_note": "x" * 100_000}, id="a-long-note"),
        pytest.param({"amount_msat": None}, id="no-amount"),
    ],
)
async def test_whatever_is_written_beside_it_the_money_is_booked(
    world: World, alice: Client, backend: ScriptedBackend, changes: JsonObject
) -> None:
    await make(world, alice)
    report = replace(backend.receive_offer(NODE_OFFER, AMOUNT_MSAT), **changes)

    await world.crediter.credit(backend.name, report)
    await world.tasks.idle()

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert len(await received(world, alice)) == 1
    assert await world.problems() == ()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("  Tee ☕\n", "  Tee ☕\n"),
        ("x" * MAX_NOTE_CHARACTERS, "x" * MAX_NOTE_CHARACTERS),
        ("x" * (MAX_NOTE_CHARACTERS + 1), None),
        ("a\0b", None),
        (None, None),
    ],
    ids=["kept", "longest", "too-long", "with-a-NUL", "none"],
)
async def test_a_note_is_shown_as_it_was_written_or_not_at_all(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    written: str | None,
    shown: str | None,
) -> None:
    """NWC-12: "`payer_note` MUST NOT be synthesized or modified by the wallet"."""
    await make(world, alice)
    report = replace(backend.receive_offer(NODE_OFFER, AMOUNT_MSAT), payer_note=written)

    await world.crediter.credit(backend.name, report)

    [row] = await received(world, alice)
    assert row["details"].get("payer_note") == shown


@pytest.mark.attack("A17")
async def test_a_node_that_names_its_offer_in_no_text_keeps_no_money_back(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await make(world, alice)
    report = replace(
        backend.receive_offer(NODE_OFFER, AMOUNT_MSAT), node_offer_id="offer-1\ud800"
    )

    await world.crediter.credit(backend.name, report)

    assert await world.book("suspense") == AMOUNT_MSAT


@pytest.mark.attack("A17")
async def test_two_receipts_that_name_one_invoice_are_both_booked(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await make(world, alice)
    reports: list[InvoiceReport] = [
        replace(backend.receive_offer(NODE_OFFER, AMOUNT_MSAT, number=n), invoice="lni1tea")
        for n in (1, 2)
    ]

    for report in reports:
        await world.crediter.credit(backend.name, report)

    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)


@pytest.mark.attack("A17")
async def test_a_hash_that_is_another_nodes_invoice_keeps_no_money_back(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    await make(world, alice)
    [offer] = await stored(world)
    elsewhere = replace(
        offer, offer_id="another", request_id=None, offer="lno1x", backend=BackendName("other")
    )
    await world.db.write(lambda tx: offers.insert(tx, elsewhere))
    made = await world.invoice(bob, AMOUNT_MSAT)
    report = replace(backend.receive(made["payment_hash"]), node_offer_id=NODE_OFFER)

    await world.crediter.credit(BackendName("other"), report)

    assert await world.book("suspense") == AMOUNT_MSAT
    assert await world.money("alice") == await world.money("bob") == (CREDIT_MSAT, 0)


async def test_the_offers_metadata_goes_with_what_is_paid_through_it(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-12: "The wallet SHOULD associate request `metadata` with payments received through
    the returned offer.\""""
    await make(world, alice, metadata={"comment": "tea", "mine": [1]})
    await make(world, alice, metadata={"comment": "x" * 4_096})  # dropped, and made (NWC-06)

    for number in (1, 2):
        report = backend.receive_offer(f"offer-{number}", AMOUNT_MSAT, number=number)
        await world.crediter.credit(backend.name, report)

    found = [row.get("metadata") for row in await received(world, alice)]
    assert {str(each) for each in found} == {"None", "{'comment': 'tea', 'mine': [1]}"}


async def test_the_list_has_the_record_of_nwc_12(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-12: "every BOLT12 payment returned by `list_transactions` MUST use the same common
    record envelope and BOLT12 `details` object defined above for `lookup_payment`", and
    "looking up the list item's `transaction_id` MUST return a record consistent with that
    item."; "MUST represent the objects and values used for this payment"; "Optional common
    fields and optional BOLT12 detail fields MUST have the same meaning and disclosure rules in
    both methods"."""
    made = await make(world, alice, description="tips", issuer="example.com")
    report = backend.receive_offer(NODE_OFFER, AMOUNT_MSAT)
    await world.crediter.credit(
        backend.name, replace(report, invoice="lni1tea", payer_note="hi ☕")
    )
    await world.call(
        alice, "pay", {"payment": bip321.build(lno=[outside_offer(5_000)]), "payer_note": "yo"}
    )

    listed = (await world.call(alice, "list_transactions"))["result"]["transactions"]

    assert len(listed) == 2
    for row in listed:
        one = {"transaction_id": row["transaction_id"]}
        record = (await world.call(alice, "lookup_payment", one))["result"]
        assert row["payment_type"] == "bolt12"
        assert record.items() <= row.items()
    [incoming] = [row for row in listed if row["type"] == "incoming"]
    assert incoming["details"] == {
        "payment_hash": report.payment_hash,
        "invoice": "lni1tea",
        "preimage": report.preimage,
        "description": "tips",
        "offer_id": made["offer_id"],
        "offer": made["offer"],
        "issuer": "example.com",
        "payer_note": "hi ☕",
    }


# --- inside


async def test_an_offer_of_this_service_is_paid_inside_the_ledger(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    made = await make(world, bob, description="tips", metadata={"comment": "tea"})

    answer = await world.call(
        alice,
        "pay",
        {"payment": made["bip321"], "amount": AMOUNT_MSAT, "max_fee": 0, "payer_note": "hi"},
    )

    result = answer["result"]
    assert (result["instruction_type"], result["fees_paid"]) == ("bolt12", 0)
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert (backend.fetched, backend.sent) == ([], [])
    [row] = await received(world, bob)
    assert row["details"]["payer_note"] == "hi"
    assert row["metadata"] == {"comment": "tea"}
    assert row["payment_hash"] == result["payment_hash"]
    assert await world.problems() == ()


@pytest.mark.attack("A9")
async def test_an_account_pays_its_own_offer_only_what_it_has(
    world: World, alice: Client
) -> None:
    made = await make(world, alice)

    refused = await world.call(
        alice, "pay", {"payment": made["bip321"], "amount": CREDIT_MSAT + 1}
    )
    paid = await world.call(alice, "pay", {"payment": made["bip321"], "amount": CREDIT_MSAT})

    assert refused["error"]["code"] == "INSUFFICIENT_BALANCE"
    assert paid["error"] is None
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


async def test_an_offer_for_a_single_use_goes_to_its_node_which_alone_counts_them(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """NWC-12: "If `single_use` is true, the wallet MUST enforce that at most one payment
    created from the returned offer settles.\""""
    made = await make(world, bob, single_use=True)
    backend.fetch_script.append(BadRequest("the node does not pay itself"))

    answer = await world.call(alice, "pay", {"payment": made["bip321"], "amount": AMOUNT_MSAT})

    assert answer["error"]["code"] == "PAYMENT_FAILED"
    assert len(backend.fetched) == 1
    assert await world.money("bob") == (CREDIT_MSAT, 0)


async def test_both_sides_of_a_payment_inside_are_booked_or_none(
    world: World, alice: Client, bob: Client
) -> None:
    made = await make(world, bob)

    async with broken(world, "NEW.offer_id IS NOT NULL", table="invoice", event="INSERT"):
        request = world.ask(alice, "pay", {"payment": made["bip321"], "amount": AMOUNT_MSAT})
        await world.tasks.idle()

    assert world.answer(alice, request)["error"]["code"] == "INTERNAL"
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.count("payment") == 0


# --- money out through an offer, after a crash


async def test_a_payment_of_an_offer_is_sent_after_a_crash_without_another_invoice(
    start: Open, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        monkeypatch.setattr(world.spender, "_start", lambda payment: None)
        uri = bip321.build(lno=[outside_offer(AMOUNT_MSAT)])
        request = world.ask(alice, "pay", {"payment": uri})
        await world.tasks.idle()
        held_msat = AMOUNT_MSAT + FEE_RESERVE_MSAT
        assert await world.money("alice") == (CREDIT_MSAT - held_msat, held_msat)

    async with start() as world:
        await world.look_up()

        assert world.answer(alice, request)["result"]["instruction_type"] == "bolt12"
        assert len(backend.sent) == len(backend.fetched) == 1
        assert await world.problems() == ()


async def test_accounts_are_counted_apart(world: World, alice: Client, bob: Client) -> None:
    await make(world, alice)

    async def count(account_id: AccountId) -> int:
        return await world.db.read(
            lambda tx: offers.open_count(tx, account_id, now=world.clock())
        )

    assert await count(alice.connection.account_id) == 1
    assert await count(bob.connection.account_id) == 0
