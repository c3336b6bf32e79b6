"""The hostile node keeps the truth apart from what it says, and does the same again."""

from dataclasses import replace
from random import Random

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Failed,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    KeysendRequest,
    PaymentRef,
    PayRequest,
    Settled,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash, Preimage
from tests.doubles.hostile_node import (
    BLOCK_S,
    HELD_BLOCKS,
    NODE_PUBKEY,
    PAYEE_PUBKEY,
    Faults,
    HostileNode,
    hash_of,
)

START = 1_800_000_000.0
CAP_MSAT = 1_000

EVERYTHING = Faults(
    fails=0.5,
    refuses=0.2,
    accepts_late=0.5,
    stays_in_flight=0.5,
    reply_lost=0.3,
    reply_reset=0.3,
    settles_after_failed=0.3,
    fee_above_cap=0.5,
    fee_untold=0.3,
    wrong_preimage=0.3,
)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def a_node(faults: Faults | None = None, *, seed: int = 1) -> tuple[HostileNode, Clock]:
    clock = Clock()
    return HostileNode(Random(seed), clock=clock, faults=faults or Faults()), clock


def a_request(node: HostileNode, our_id: str, *, expiry_s: int = 600) -> PayRequest:
    invoice = node.offer(5_000, expiry_s=expiry_s)
    return PayRequest(
        our_id=our_id,
        invoice=invoice,
        payment_hash=PaymentHash(bolt11.decode(invoice).payment_hash),
        amount_msat=Msat(5_000),
        amount_is_override=False,
        max_fee_msat=Msat(CAP_MSAT),
        timeout_s=20,
    )


def a_ref(request: PayRequest) -> PaymentRef:
    return PaymentRef(request.our_id, request.payment_hash, dispatched_at=int(START))


def an_order(our_id: str) -> InvoiceSpec:
    return InvoiceSpec(
        our_id=our_id,
        amount_msat=Msat(3_000),
        description="",
        description_hash=None,
        expiry_s=600,
        preimage=None,
    )


PREIMAGE = Preimage("66" * 32)
HASH = hash_of(PREIMAGE)


def a_held_payment(faults: Faults | None = None) -> tuple[HostileNode, Clock, InvoiceReport]:
    node, clock = a_node(faults)
    node.create_invoice(replace(an_order("held"), hold_hash=HASH))
    node.receive(HASH)
    report = node.lookup_invoice(HASH)
    assert report is not None
    return node, clock, report


def test_without_faults_it_pays_at_once_and_says_what_it_did() -> None:
    node, clock = a_node()
    request = a_request(node, "a")

    node.submit(request)
    clock.now += 1
    answer = node.answer("a")

    assert isinstance(answer, Settled)
    assert node.truth.spent_msat(request.payment_hash) == 5_000 + (answer.fee_msat or 0)
    assert node.lookup_payment(a_ref(request)) == answer


def test_it_refuses_an_invoice_that_has_expired_by_its_own_clock() -> None:
    node, clock = a_node(Faults(skew_s=60))
    request = a_request(node, "a", expiry_s=100)
    clock.now += 50

    node.submit(request)
    clock.now += 1

    assert isinstance(node.answer("a"), Failed)
    assert node.lookup_payment(a_ref(request)) is None
    assert node.truth.paid == {}


def test_what_it_called_failed_and_pays_later_is_noted() -> None:
    node, clock = a_node(Faults(settles_after_failed=1.0))
    request = a_request(node, "a")

    node.submit(request)
    clock.now += 0.9
    said = node.answer("a")
    clock.now += 1000

    assert isinstance(said, Failed)
    assert isinstance(node.lookup_payment(a_ref(request)), Settled)
    assert node.truth.denied == {"a": True}


def test_a_rollback_hides_what_happened_and_lets_the_counters_fall() -> None:
    node, clock = a_node()
    backup, request = node.snapshot(), a_request(node, "a")
    node.submit(request)
    clock.now += 1
    before = node.counters()

    node.restore(backup)

    assert node.lookup_payment(a_ref(request)) is None
    assert node.counters()["payments"] < before["payments"]
    assert node.truth.spent_msat(request.payment_hash) > 0

    node.recover()

    assert isinstance(node.lookup_payment(a_ref(request)), Settled)
    assert node.counters()["payments"] > before["payments"]


def test_every_settlement_is_told_however_they_are_reordered_and_repeated() -> None:
    node, _ = a_node(Faults(events_reordered=1.0, event_repeats=0.5, index_gap=0.5))
    hashes = {node.create_invoice(an_order(str(n))).payment_hash for n in range(5)}
    for payment_hash in sorted(hashes):
        node.receive(payment_hash)

    events = node.events_after(None)
    last = [cursor for _, cursor in events if cursor is not None][-1]

    assert {report.payment_hash for report, _ in events} == hashes
    assert {report.status for report, _ in events} == {InvoiceStatus.SETTLED}
    assert node.events_after(last) == []


# --- hold invoices and keysends


def test_it_keeps_the_payment_of_a_hold_invoice_until_it_hears_the_preimage() -> None:
    node, _, held = a_held_payment()

    assert (held.status, held.received_msat) == (InvoiceStatus.ACCEPTED, 3_000)
    assert node.truth.received_msat == {}
    with pytest.raises(BadRequest):
        node.resolve_hold(HASH, Preimage("67" * 32))

    settled = node.resolve_hold(HASH, PREIMAGE)

    assert (settled.status, settled.preimage) == (InvoiceStatus.SETTLED, PREIMAGE)
    assert node.resolve_hold(HASH, PREIMAGE) == settled
    assert node.truth.received_msat == {(HASH, ""): 3_000}
    assert [report.status for report, _ in node.events_after(None)] == [InvoiceStatus.SETTLED]


def test_it_gives_back_what_it_holds_when_asked_to_and_at_the_deadline() -> None:
    asked, _, _ = a_held_payment()
    asked.resolve_hold(HASH, None)
    late, clock, held = a_held_payment()
    assert held.settle_deadline == late.height() + HELD_BLOCKS
    clock.now += HELD_BLOCKS * BLOCK_S

    for node in (asked, late):
        report = node.lookup_invoice(HASH)
        assert report is not None
        assert report.status is InvoiceStatus.CANCELED
        assert node.truth.held_msat == node.truth.received_msat == {}
        with pytest.raises(BadRequest):
            node.resolve_hold(HASH, PREIMAGE)


def test_it_may_settle_without_a_word() -> None:
    node, _, _ = a_held_payment(Faults(resolved_unheard=1.0))

    with pytest.raises(BackendUnavailable):
        node.resolve_hold(HASH, PREIMAGE)

    assert node.truth.received_msat == {(HASH, ""): 3_000}


def test_a_rollback_gives_back_what_is_held_and_what_was_settled_is_not_held_again() -> None:
    node, _ = a_node()
    node.create_invoice(replace(an_order("held"), hold_hash=HASH))
    unpaid = node.snapshot()
    node.receive(HASH)
    held = node.snapshot()
    node.resolve_hold(HASH, PREIMAGE)

    node.restore(held)
    forgotten = node.lookup_invoice(HASH)
    node.recover()
    known = node.lookup_invoice(HASH)
    other, _, _ = a_held_payment()
    other.restore(unpaid)

    assert forgotten is not None
    assert forgotten.status is InvoiceStatus.CANCELED
    assert known is not None
    assert known.status is InvoiceStatus.SETTLED
    assert other.truth.held_msat == {}


def test_a_keysend_reaches_whoever_is_outside_and_never_itself() -> None:
    node, clock = a_node()
    sent = KeysendRequest(
        our_id="a",
        destination=PAYEE_PUBKEY,
        amount_msat=Msat(5_000),
        preimage=PREIMAGE,
        tlvs={},
        max_fee_msat=Msat(CAP_MSAT),
        timeout_s=20,
    )
    node.submit(sent)
    node.submit(
        replace(sent, our_id="b", destination=NODE_PUBKEY, preimage=Preimage("68" * 32))
    )
    clock.now += 1

    answer = node.answer("a")
    assert isinstance(answer, Settled)
    assert answer.preimage == PREIMAGE
    assert isinstance(node.answer("b"), Failed)
    assert list(node.truth.paid) == ["a"]


def test_a_keysend_that_comes_in_is_told_with_its_records() -> None:
    node, _ = a_node()
    payment_hash = node.receive_keysend(5_000, {696_969: b"somebody"})

    [(report, _)] = node.events_after(None)

    assert (report.payment_hash, report.tlvs) == (payment_hash, {696_969: b"somebody"})
    assert node.truth.received_msat == {(payment_hash, ""): 5_000}


@pytest.mark.parametrize("resumed", [False, True], ids=["runs-on", "dumped-and-loaded"])
def test_the_same_seed_and_calls_give_the_same_even_across_its_own_death(
    resumed: bool,
) -> None:
    told = [_played(seed, resumed=False) for seed in range(5)]

    assert [_played(seed, resumed=resumed) for seed in range(5)] == told


def _played(seed: int, *, resumed: bool) -> list[object]:
    node, clock = a_node(EVERYTHING, seed=seed)
    told: list[object] = []
    for number in range(10):
        request = a_request(node, str(number))
        node.submit(request)
        if resumed:
            dumped = node.dump()
            node, _ = a_node(seed=99)
            node.load(dumped)
            node._clock = clock
        clock.now += 30
        told += [node.answer(str(number)), sorted(node.truth.paid)]
    return told
