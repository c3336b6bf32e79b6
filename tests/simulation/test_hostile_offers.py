"""The hostile node's offers, and the payee outside who makes it invoices."""

from dataclasses import replace
from random import Random

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    FetchedInvoice,
    OfferSpec,
    PaymentRef,
    PayRequest,
    Settled,
)
from nwc_service.wallet import bolt12
from nwc_service.wallet.units import Msat
from tests.doubles.hostile_node import Faults, HostileNode
from tests.doubles.hostile_offers import outside_offer
from tests.simulation.test_hostile_node import CAP_MSAT, START, Clock, a_node

OFFER = outside_offer(None, random=Random(1))
SPEC = OfferSpec(
    our_id="tea",
    amount_msat=Msat(3_000),
    description="tea",
    issuer="somebody",
    single_use=False,
    expires_at=None,
)


def fetched_of(node: HostileNode, amount_msat: int = 5_000) -> FetchedInvoice:
    fetched = node.fetch_invoice(OFFER, amount_msat=amount_msat)
    assert fetched is not None
    return fetched


def a_request(fetched: FetchedInvoice) -> PayRequest:
    return PayRequest(
        our_id="a",
        invoice=fetched.invoice,
        payment_hash=fetched.payment_hash,
        amount_msat=Msat(5_000),
        amount_is_override=False,
        max_fee_msat=Msat(CAP_MSAT),
        timeout_s=20,
    )


def a_ref(request: PayRequest) -> PaymentRef:
    return PaymentRef(request.our_id, request.payment_hash, dispatched_at=int(START))


# --- its own


def test_the_same_order_gives_the_same_offer_though_its_first_reply_was_lost() -> None:
    node, _ = a_node(Faults(created_unheard=1.0))
    with pytest.raises(BackendUnavailable):
        node.create_offer(SPEC)
    node.heal()

    report = node.create_offer(SPEC)
    other = node.create_offer(replace(SPEC, our_id="coffee"))

    read = bolt12.decode(report.offer)
    assert (read.amount_msat, read.description, read.issuer) == (3_000, "tea", "somebody")
    assert node.create_offer(SPEC) == report
    assert {report.offer, report.node_offer_id}.isdisjoint({other.offer, other.node_offer_id})
    assert node.truth.offers == {"tea": 1, "coffee": 1}


def test_what_comes_in_through_an_offer_is_told_with_its_name_and_the_note() -> None:
    node, _ = a_node()
    made = node.create_offer(SPEC)

    assert [node.receive_offer(made.offer, 4_000, payer_note="hi") for _ in range(2)] == [
        4_000,
        4_000,
    ]

    reports = [report for report, _ in node.events_after(None)]
    assert {report.node_offer_id for report in reports} == {made.node_offer_id}
    assert {report.payer_note for report in reports} == {"hi"}
    hashes = [report.payment_hash for report in reports]
    assert node.truth.through_offers == dict.fromkeys(hashes, (made.offer, "hi"))
    assert node.truth.received_msat == {(hash_, ""): 4_000 for hash_ in hashes}


def test_nobody_pays_an_offer_that_is_used_up_expired_or_another_nodes() -> None:
    node, clock = a_node()
    once = node.create_offer(replace(SPEC, single_use=True))
    short = node.create_offer(replace(SPEC, our_id="b", expires_at=int(clock.now) + 10))
    paid = [node.receive_offer(o.offer, 3_000) for o in (once, short)]
    clock.now += 10

    again = [node.receive_offer(o, 3_000) for o in (once.offer, short.offer, OFFER)]

    assert paid == [3_000, 3_000]
    assert again == [0, 0, 0]


def test_a_rollback_hides_an_offer_and_mending_brings_it_back() -> None:
    node, _ = a_node()
    backup = node.snapshot()
    made = node.create_offer(SPEC)

    node.restore(backup)
    hidden = node.receive_offer(made.offer, 3_000)
    node.recover()

    assert hidden == 0
    assert node.receive_offer(made.offer, 3_000) == 3_000


# --- of a payee outside


def test_a_fetched_invoice_is_paid_as_it_stands_and_however_old_it_is() -> None:
    node, clock = a_node()
    fetched = fetched_of(node, 7_000)
    request = a_request(fetched)
    clock.now += 10_000

    node.submit(request)
    clock.now += 1

    assert isinstance(node.answer("a"), Settled)
    assert node.truth.paid["a"].amount_msat == fetched.amount_msat == 7_000


def test_each_time_it_fetches_another_unless_its_payee_repeats_himself() -> None:
    node, _ = a_node()
    first, second = fetched_of(node), fetched_of(node, 6_000)
    node.faults = Faults(fetch_again=1.0)

    again = fetched_of(node, 9_000)

    assert first.payment_hash != second.payment_hash
    assert again in (first, second)


def test_a_payee_may_bait_refuse_or_keep_silent() -> None:
    bait, refuser, silent = (
        a_node(faults)[0]
        for faults in (
            Faults(fetch_bait=1.0),
            Faults(fetch_refused=1.0),
            Faults(fetch_silent=1.0),
        )
    )

    assert fetched_of(bait, 5_000).amount_msat != 5_000
    with pytest.raises(BadRequest):
        refuser.fetch_invoice(OFFER, amount_msat=5_000)
    assert silent.fetch_invoice(OFFER, amount_msat=5_000) is None


def test_nobody_makes_an_invoice_for_its_own_offer_or_for_no_amount() -> None:
    node, _ = a_node()
    own = node.create_offer(SPEC).offer

    for offer in (own, OFFER):
        with pytest.raises(BadRequest):
            node.fetch_invoice(offer, amount_msat=None)


def test_of_what_it_swallows_nobody_hears_and_nothing_comes() -> None:
    node, clock = a_node(Faults(swallows=1.0))
    request = a_request(fetched_of(node))

    node.submit(request)
    clock.now += 1000

    assert node.answer("a") is None
    assert node.lookup_payment(a_ref(request)) is None
    assert node.truth.paid == {}


def test_its_offers_and_invoices_survive_its_own_death() -> None:
    node, _ = a_node()
    made, fetched = node.create_offer(SPEC), fetched_of(node)
    heir = HostileNode(Random(2), clock=Clock())

    heir.load(node.dump())

    assert heir.create_offer(SPEC) == made
    assert heir.fetched(fetched.invoice) is not None
    assert fetched_of(heir) == fetched_of(node)
