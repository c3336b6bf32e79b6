"""pay (NWC-321): one instruction of a BIP-321 URI is paid, within the client's own limits."""

from dataclasses import replace
from typing import Any

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Failed,
    FailReason,
    FetchedInvoice,
    Unknown,
    Unsupported,
)
from nwc_service.methods import offer_payment
from nwc_service.wallet import bip321, bolt11, bolt12
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.payment import PaymentKind
from nwc_service.wallet.units import Msat
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    OUTSIDE_KEY,
    OUTSIDE_PUBKEY,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    outside_offer,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client, JsonObject
from tests.flow.world import FEE_RESERVE_MSAT, World

AMOUNT_MSAT = 100_000
FETCHED = hash_of(preimage_of(20_001))
"""Of the first invoice that the double's payee makes for an offer."""


def an_invoice(world: World, amount_msat: int | None = AMOUNT_MSAT, **how: Any) -> str:
    world.backend.expect(1)
    return outside_invoice(1, amount_msat, **{"created_at": world.clock()} | how)


def foreign_invoice(world: World) -> str:
    return bolt11.encode(
        network="mainnet",
        amount_msat=Msat(AMOUNT_MSAT),
        payment_hash=hash_of(preimage_of(1)),
        payment_secret="33" * 32,
        description="elsewhere",
        created_at=world.clock(),
        expiry_s=3600,
        secret_key=OUTSIDE_KEY,
    )


async def pay(world: World, client: Client, uri: str, **others: object) -> JsonObject:
    return await world.call(client, "pay", {"payment": uri, **others})


async def refusal(world: World, client: Client, uri: str, **others: object) -> str:
    """The code, once it is sure that nothing moved and nothing was asked of a payee."""
    before = await world.money("alice")
    answer = await pay(world, client, uri, **others)
    assert answer["result_type"] == "pay"
    assert await world.money("alice") == before
    assert world.backend.sent == []
    assert await world.count("payment") == 0
    return str(answer["error"]["code"])


@pytest.fixture(autouse=True)
async def books_stay_in_order(world: World) -> Any:
    yield
    assert await world.problems() == ()


# --- one instruction, and which


async def test_an_invoice_is_paid_and_reported_with_its_transaction(
    world: World, alice: Client
) -> None:
    """NWC-321: "The wallet service MUST report the selected instruction in
    `instruction_type`."; "An implementation of `pay` MUST support `lightning` or `lno`
    instructions"."""
    uri = bip321.build(lightning=[an_invoice(world)])

    answer = await pay(world, alice, uri)

    payment = await world.payment(hash_of(preimage_of(1)))
    assert answer == {
        "result_type": "pay",
        "error": None,
        "result": {
            "transaction_id": payment.payment_id,
            "state": "settled",
            "instruction_type": "bolt11",
            "amount": AMOUNT_MSAT,
            "fees_paid": FEE_MSAT,
            "payment_hash": hash_of(preimage_of(1)),
            "preimage": preimage_of(1),
            "created_at": world.clock(),
            "settled_at": world.clock(),
        },
    }
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)


async def test_an_offer_is_paid_through_an_invoice_that_its_payee_makes(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-321: "For a BOLT12 offer, the wallet service performs the invoice request and invoice
    retrieval."; "An implementation of `pay` MUST support `lightning` or `lno` instructions"."""
    offer = outside_offer()

    answer = await pay(
        world, alice, bip321.build(lno=[offer]), amount=AMOUNT_MSAT, payer_note="hi ☕"
    )

    result = answer["result"]
    assert (result["instruction_type"], result["state"]) == ("bolt12", "settled")
    assert hash_of(result["preimage"]) == result["payment_hash"] == FETCHED
    assert (result["amount"], result["fees_paid"]) == (AMOUNT_MSAT, FEE_MSAT)
    assert backend.fetched == [(offer, AMOUNT_MSAT, "hi ☕")]
    payment = await world.payment(FETCHED)
    assert payment.kind is PaymentKind.BOLT12
    assert (payment.offer, payment.payer_note) == (offer, "hi ☕")
    assert payment.bolt12_id == bolt12.offer_id(bolt12.decode(offer))
    assert payment.payee == OUTSIDE_PUBKEY
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)


async def test_one_instruction_of_many_is_paid_an_invoice_first(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-321: "If the URI contains multiple supported instructions, the wallet service MUST
    select and pay only one instruction.\""""
    invoices = [an_invoice(world), outside_invoice(2, AMOUNT_MSAT, created_at=world.clock())]
    uri = bip321.build(lightning=invoices, lno=[outside_offer()])

    answer = await pay(world, alice, uri)

    assert answer["result"]["instruction_type"] == "bolt11"
    assert [request.invoice for request in backend.sent] == invoices[:1]
    assert backend.fetched == []


async def test_an_offer_stands_in_for_an_invoice_that_has_expired(
    world: World, alice: Client
) -> None:
    old = an_invoice(world, created_at=world.clock() - 7200)

    answer = await pay(
        world, alice, bip321.build(lightning=[old], lno=[outside_offer(AMOUNT_MSAT)])
    )

    assert answer["result"]["instruction_type"] == "bolt12"


async def test_a_note_is_delivered_by_the_offer_or_nothing_is_paid(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-321: "The wallet service MUST deliver the note or reject the request before
    payment."; "If `payer_note` is not empty, the selected instruction MUST support
    payer-provided messages"."""
    alone = bip321.build(lightning=[an_invoice(world)])
    both = bip321.build(lightning=[an_invoice(world)], lno=[outside_offer(AMOUNT_MSAT)])

    refused = await refusal(world, alice, alone, payer_note="hi")
    answer = await pay(world, alice, both, payer_note="hi")

    assert refused == "UNSUPPORTED_PAYMENT_INSTRUCTION"
    assert answer["result"]["instruction_type"] == "bolt12"
    assert [note for _, _, note in backend.fetched] == ["hi"]


async def test_an_empty_note_is_none(world: World, alice: Client) -> None:
    answer = await pay(world, alice, bip321.build(lightning=[an_invoice(world)]), payer_note="")

    assert answer["error"] is None


# --- refused before payment


@pytest.mark.parametrize(
    "payment",
    [
        pytest.param("", id="empty"),
        pytest.param("lnbcrt1", id="no-uri"),
        pytest.param("lightning:lnbcrt1", id="another-scheme"),
        pytest.param("bitcoin:", id="nothing-in-it"),
        pytest.param("bitcoin:?lightning=lnbcrt1x", id="no-invoice"),
        pytest.param("bitcoin:?lno=lno1x", id="no-offer"),
        pytest.param("bitcoin:?lightning=" + "x" * 9_000, id="too-long"),
    ],
)
async def test_what_is_no_uri_of_bip_321_is_refused(
    world: World, alice: Client, payment: str
) -> None:
    """NWC-321: "`BAD_REQUEST`: The URI or another parameter is invalid." Section 4, "invalid
    params": "BAD_REQUEST for 09, 12, 321"."""
    assert await refusal(world, alice, payment) == "BAD_REQUEST"


@pytest.mark.parametrize("key", ["req-pop", "req-tea"])
async def test_a_required_parameter_that_is_not_known_is_refused(
    world: World, alice: Client, key: str
) -> None:
    """NWC-321: "It MUST also reject unknown required parameters as BIP-321 specifies.", and "If
    the wallet service cannot safely open a `req-pop` URI, it MUST reject the request before
    payment.\""""
    uri = bip321.build(lightning=[an_invoice(world)])

    assert await refusal(world, alice, f"{uri}&{key}=callback%3a") == "BAD_REQUEST"


async def test_an_optional_parameter_that_is_not_known_is_passed_over(
    world: World, alice: Client
) -> None:
    """NWC-321: "The wallet service MUST apply the BIP-321 rules for `pop` and `req-pop`"."""
    uri = bip321.build(lightning=[an_invoice(world)])

    answer = await pay(world, alice, f"{uri}&pop=callback%3a&tea=1")

    assert answer["error"] is None


async def test_an_instruction_of_another_network_is_refused(
    world: World, alice: Client
) -> None:
    """NWC-321: "It MUST reject a payment instruction for a different network.\""""
    foreign = bip321.build(lightning=[foreign_invoice(world)])
    offer = bolt12.encode(network="mainnet", issuer_id=OUTSIDE_PUBKEY)

    assert await refusal(world, alice, foreign) == "UNSUPPORTED_NETWORK"
    assert (
        await refusal(world, alice, bip321.build(lno=[offer]), amount=AMOUNT_MSAT)
        == "UNSUPPORTED_NETWORK"
    )


async def test_of_two_networks_the_own_one_is_paid(world: World, alice: Client) -> None:
    """NWC-321: "The wallet service MUST make sure that the Bitcoin network matches before
    payment"."""
    uri = bip321.build(lightning=[foreign_invoice(world), an_invoice(world)])

    assert (await pay(world, alice, uri))["error"] is None


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("bitcoin:bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", id="on-chain"),
        pytest.param("bitcoin:?sp=sp1qqtea", id="silent-payment"),
        pytest.param("bitcoin:?tea=1", id="nothing-that-is-known"),
    ],
)
async def test_what_no_lightning_wallet_pays_is_refused(
    world: World, alice: Client, uri: str
) -> None:
    """NWC-321: "The wallet service MUST reject a URI if it cannot select a supported payment
    instruction.\""""
    assert await refusal(world, alice, uri) == "UNSUPPORTED_PAYMENT_INSTRUCTION"


@pytest.mark.parametrize(
    ("caps", "amount_msat", "offer"),
    [
        pytest.param(Cap.BOLT12_SEND, None, True, id="a-backend-without-offers"),
        pytest.param(Cap.PAY_AMOUNTLESS, None, False, id="without-amountless-invoices"),
    ],
)
async def test_what_this_backend_cannot_pay_is_refused(
    world: World, alice: Client, caps: Cap, amount_msat: int | None, offer: bool
) -> None:
    """NWC-321: "The wallet service MUST reject a URI if it cannot select a supported payment
    instruction"."""
    world.backend.caps &= ~caps
    uri = (
        bip321.build(lno=[outside_offer(amount_msat)])
        if offer
        else bip321.build(lightning=[an_invoice(world, amount_msat)])
    )

    code = await refusal(world, alice, uri, amount=AMOUNT_MSAT)

    assert code == "UNSUPPORTED_PAYMENT_INSTRUCTION"


async def test_an_offer_in_another_currency_or_of_several_items_is_not_paid(
    world: World, alice: Client
) -> None:
    several = bolt12.encode(
        network="regtest", quantity_max=3, description="tea", issuer_id=OUTSIDE_PUBKEY
    )

    code = await refusal(world, alice, bip321.build(lno=[several]), amount=AMOUNT_MSAT)

    assert code == "UNSUPPORTED_PAYMENT_INSTRUCTION"


async def test_an_offer_that_has_expired_is_refused(world: World, alice: Client) -> None:
    offer = outside_offer(AMOUNT_MSAT, expires_at=world.clock())

    assert await refusal(world, alice, bip321.build(lno=[offer])) == "BAD_REQUEST"


# --- amounts


@pytest.mark.attack("A6")
@pytest.mark.parametrize("amount_msat", [1, AMOUNT_MSAT - 1, AMOUNT_MSAT + 1])
@pytest.mark.parametrize("kind", ["invoice", "offer", "uri"])
async def test_conflicting_amounts_are_refused(
    world: World, alice: Client, kind: str, amount_msat: int
) -> None:
    """NWC-321: "The wallet service MUST reject conflicting or invalid amounts before
    payment.\""""
    uri = {
        "invoice": bip321.build(lightning=[an_invoice(world)]),
        "offer": bip321.build(lno=[outside_offer(AMOUNT_MSAT)]),
        "uri": bip321.build(lno=[outside_offer()], amount_msat=Msat(AMOUNT_MSAT)),
    }[kind]

    assert await refusal(world, alice, uri, amount=amount_msat) == "BAD_REQUEST"
    assert world.backend.fetched == []


@pytest.mark.attack("A6")
async def test_a_uri_that_contradicts_its_own_invoice_is_refused(
    world: World, alice: Client
) -> None:
    uri = f"bitcoin:?lightning={an_invoice(world)}&amount=0.001"

    assert await refusal(world, alice, uri) == "BAD_REQUEST"


@pytest.mark.parametrize("kind", ["invoice", "offer"])
async def test_an_instruction_without_an_amount_needs_one(
    world: World, alice: Client, kind: str
) -> None:
    """NWC-321: `amount` is "required if the selected instruction has no amount"."""
    uri = (
        bip321.build(lightning=[an_invoice(world, None)])
        if kind == "invoice"
        else bip321.build(lno=[outside_offer()])
    )

    refused = await refusal(world, alice, uri)
    paid = await pay(world, alice, uri, amount=AMOUNT_MSAT)

    assert refused == "BAD_REQUEST"
    assert paid["result"]["amount"] == AMOUNT_MSAT


@pytest.mark.parametrize("kind", ["invoice", "offer"])
async def test_the_amount_of_the_uri_counts_where_the_instruction_has_none(
    world: World, alice: Client, kind: str
) -> None:
    uri = bip321.build(
        lightning=[an_invoice(world, None)] if kind == "invoice" else [],
        lno=[outside_offer()] if kind == "offer" else [],
        amount_msat=Msat(AMOUNT_MSAT),
    )

    assert (await pay(world, alice, uri))["result"]["amount"] == AMOUNT_MSAT


@pytest.mark.attack("A14")
@pytest.mark.parametrize("told_msat", [1, AMOUNT_MSAT - 1, AMOUNT_MSAT + 1])
async def test_a_payee_who_asks_for_another_amount_is_not_paid(
    world: World, alice: Client, backend: ScriptedBackend, told_msat: int
) -> None:
    backend.fetch_script.append(
        FetchedInvoice("lni1x", FETCHED, Msat(told_msat), world.clock() + 3600, None)
    )

    code = await refusal(world, alice, bip321.build(lno=[outside_offer()]), amount=AMOUNT_MSAT)

    assert code == "PAYMENT_FAILED"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("nobody answers for this offer"), "PAYMENT_FAILED"),
        (BackendUnavailable("gone"), "INTERNAL"),
        (Unsupported("no offers"), "UNSUPPORTED_PAYMENT_INSTRUCTION"),
        (ValueError("a bug"), "INTERNAL"),
    ],
    ids=["no-invoice", "node-away", "unsupported", "a-bug"],
)
async def test_without_an_invoice_from_the_payee_nothing_is_paid(
    world: World, alice: Client, backend: ScriptedBackend, error: Exception, code: str
) -> None:
    backend.fetch_script.append(error)

    assert await refusal(world, alice, bip321.build(lno=[outside_offer(5)])) == code


async def test_a_payee_who_never_answers_is_not_waited_for(
    world: World, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_arguments: object, **_named: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(world.backend, "fetch_invoice", never)
    monkeypatch.setattr(offer_payment, "FETCH_TIMEOUT_S", 0.01)

    code = await refusal(world, alice, bip321.build(lno=[outside_offer(5)]))

    assert code == "PAYMENT_FAILED"


# --- the client's own limit of fees


@pytest.mark.attack("A3")
@pytest.mark.parametrize(
    ("max_fee_msat", "cap_msat"),
    [(0, 0), (1, 1), (FEE_RESERVE_MSAT - 1, FEE_RESERVE_MSAT - 1), (10**9, FEE_RESERVE_MSAT)],
)
@pytest.mark.parametrize("kind", ["invoice", "offer"])
async def test_no_more_than_max_fee_is_reserved_or_allowed_to_the_node(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    kind: str,
    max_fee_msat: int,
    cap_msat: int,
) -> None:
    """NWC-321: "The `max_fee` parameter caps the total routing fees a wallet service may pay on
    top of the payment amount."."""
    backend.pay_script.append(Unknown())
    uri = (
        bip321.build(lightning=[an_invoice(world)])
        if kind == "invoice"
        else bip321.build(lno=[outside_offer(AMOUNT_MSAT)])
    )

    world.ask(alice, "pay", {"payment": uri, "max_fee": max_fee_msat})
    await world.tasks.idle()

    assert [request.max_fee_msat for request in backend.sent] == [cap_msat]
    held_msat = AMOUNT_MSAT + cap_msat
    assert await world.money("alice") == (CREDIT_MSAT - held_msat, held_msat)


async def test_a_node_that_finds_no_route_within_max_fee_is_told_as_such(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-321: "If a route cannot be found whose total cost does not exceed the amount plus
    `max_fee`, the wallet service MUST NOT send the payment and MUST return a
    `FEE_LIMIT_EXCEEDED` error."; the core method has no such code."""
    first, second = an_invoice(world), outside_invoice(2, 5, created_at=world.clock())
    backend.pay_script += [Failed(FailReason.FEE_TOO_HIGH)] * 2

    by_pay = await pay(world, alice, bip321.build(lightning=[first]), max_fee=1)
    by_pay_invoice = await world.call(alice, "pay_invoice", {"invoice": second})

    assert by_pay["error"]["code"] == "FEE_LIMIT_EXCEEDED"
    assert by_pay_invoice["error"]["code"] == "PAYMENT_FAILED"
    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.parametrize("kind", ["invoice", "offer"])
async def test_who_sets_max_fee_is_told_what_the_fee_was(
    world: World, alice: Client, kind: str
) -> None:
    """NWC-321: "A wallet that honors `max_fee` MUST include `fees_paid` in the response"."""
    uri = (
        bip321.build(lightning=[an_invoice(world)])
        if kind == "invoice"
        else bip321.build(lno=[outside_offer(AMOUNT_MSAT)])
    )

    answer = await pay(world, alice, uri, max_fee=FEE_MSAT)

    assert answer["result"]["fees_paid"] == FEE_MSAT


@pytest.mark.attack("A3")
@pytest.mark.parametrize("kind", ["invoice", "offer"])
async def test_a_backend_whose_fee_cannot_be_capped_pays_nothing_below_its_own_cap(
    world: World,
    alice: Client,
    backend: ScriptedBackend,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend.caps &= ~Cap.FEE_LIMIT
    monkeypatch.setattr(backend, "fee_cap_msat", lambda amount_msat: Msat(2_000))
    uri = (
        bip321.build(lightning=[an_invoice(world)])
        if kind == "invoice"
        else bip321.build(lno=[outside_offer(AMOUNT_MSAT)])
    )

    refused = await refusal(world, alice, uri, max_fee=1_999)
    nobody_asked = backend.fetched == []
    paid = await pay(world, alice, uri, max_fee=2_000)

    assert (refused, nobody_asked) == ("FEE_LIMIT_EXCEEDED", True)
    assert paid["result"]["fees_paid"] == FEE_MSAT
    assert [request.max_fee_msat for request in backend.sent] == [2_000]


async def test_what_stays_inside_costs_no_fee_whatever_the_backend_may_charge(
    world: World,
    alice: Client,
    bob: Client,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend.caps &= ~Cap.FEE_LIMIT
    monkeypatch.setattr(backend, "fee_cap_msat", lambda amount_msat: Msat(2_000))
    made = await world.invoice(bob, AMOUNT_MSAT)

    answer = await pay(world, alice, bip321.build(lightning=[made["invoice"]]), max_fee=0)

    assert answer["result"]["fees_paid"] == 0
    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


# --- as every payment


async def test_a_payment_that_failed_is_told_as_failed(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-321: "`PAYMENT_FAILED`: The wallet attempted the payment, but the payment failed"."""
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))

    answer = await pay(world, alice, bip321.build(lightning=[an_invoice(world)]))

    assert answer["error"]["code"] == "PAYMENT_FAILED"
    assert len(backend.sent) == 1
    assert await world.money("alice") == (CREDIT_MSAT, 0)


async def test_no_answer_until_the_end_is_known_however_late(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "outcome not known yet": "no answer until final, however late"."""
    backend.pay_script.append(Unknown())
    request = world.ask(alice, "pay", {"payment": bip321.build(lno=[outside_offer(5_000)])})
    await world.tasks.idle()
    early = world.answers_to(alice, request)

    backend.known[FETCHED] = backend.settled(FETCHED)
    await world.look_up(after_s=10)

    assert early == []
    assert world.answer(alice, request)["result"]["state"] == "settled"
    assert len(backend.sent) == 1


@pytest.mark.attack("A26")
async def test_a_copy_of_the_request_asks_no_payee_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    request = world.ask(alice, "pay", {"payment": bip321.build(lno=[outside_offer(5_000)])})
    await world.tasks.idle()

    for _ in range(3):
        world.deliver(request, repeated=True)
        await world.tasks.idle()

    assert len(backend.fetched) == len(backend.sent) == 1
    assert world.answer(alice, request)["error"] is None


async def test_pay_and_pay_invoice_share_one_payment_of_an_invoice(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "invoice paid before": "the stored success for the same account"."""
    invoice = an_invoice(world)

    first = await world.call(alice, "pay_invoice", {"invoice": invoice})
    second = await pay(world, alice, bip321.build(lightning=[invoice]))

    assert second["result"]["preimage"] == first["result"]["preimage"]
    assert len(backend.sent) == 1


async def test_an_offer_may_be_paid_again_and_again(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    uri = bip321.build(lno=[outside_offer(5_000)])

    answers = [await pay(world, alice, uri) for _ in range(2)]

    assert len({answer["result"]["transaction_id"] for answer in answers}) == 2
    assert len(backend.sent) == 2


@pytest.mark.attack("A13")
async def test_the_budget_bounds_offers_too(world: World, backend: ScriptedBackend) -> None:
    await world.account("alice", credit_msat=CREDIT_MSAT)
    client = await world.connect("alice", budget=Budget(Msat(20_000), Renewal.NEVER))
    uri = bip321.build(lno=[outside_offer(10_000)])

    first = await pay(world, client, uri, max_fee=1_000)
    second = await pay(world, client, uri, max_fee=1_000)

    assert first["error"] is None
    assert second["error"]["code"] == "QUOTA_EXCEEDED"
    assert len(backend.sent) == 1


@pytest.mark.attack("A20")
async def test_a_connection_for_some_nodes_only_pays_no_offer_of_an_unknown_payee(
    world: World, backend: ScriptedBackend
) -> None:
    await world.account("alice", credit_msat=CREDIT_MSAT)
    client = await world.connect("alice")
    narrow = replace(client.connection, destinations=(OUTSIDE_PUBKEY,))
    world.edges.directory.put(narrow)
    client = replace(client, connection=narrow)
    backend.fetch_script.append(
        FetchedInvoice("lni1x", FETCHED, Msat(5_000), world.clock() + 3600, None)
    )
    uri = bip321.build(lno=[outside_offer(5_000)])

    blinded = await refusal(world, client, uri)
    told = await pay(world, client, uri)

    assert blinded == "RESTRICTED"
    assert told["error"] is None


async def test_metadata_that_is_too_long_is_dropped_and_the_payment_made(
    world: World, alice: Client
) -> None:
    """NWC-06: "The metadata MUST be no more than 4096 characters, otherwise MUST be
    dropped"."""
    long, short = {"comment": "x" * 4_096}, {"comment": "tea", "recipient_data": {}}
    invoices = [an_invoice(world), outside_invoice(2, 5_000, created_at=world.clock())]
    world.backend.expect(2)

    for invoice, metadata in zip(invoices, (long, short), strict=True):
        uri = bip321.build(lightning=[invoice])
        assert (await pay(world, alice, uri, metadata=metadata))["error"] is None

    listed = (await world.call(alice, "list_transactions"))["result"]["transactions"]
    assert sorted(str(row.get("metadata")) for row in listed) == ["None", str(short)]
