"""The hostile node keeps the truth apart from what it says, and does the same again."""

from random import Random

import pytest

from nwc_service.backend import (
    Failed,
    InvoiceSpec,
    InvoiceStatus,
    PaymentRef,
    PayRequest,
    Settled,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash
from tests.doubles.hostile_node import Faults, HostileNode

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
