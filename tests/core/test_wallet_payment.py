"""An outgoing payment: what each outcome does to it and to the money, in each of its states."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.wallet.ledger import LOSS, Entry, EntryKind, available, changes, held, node
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.payment import (
    LIVE_STATES,
    Payment,
    PaymentState,
    Proof,
    ProofKind,
    apply_outcome,
    proves,
    release,
    reserve_entries,
)
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash, Preimage
from tests.core.samples import (
    ALICE,
    NODE,
    NOW,
    OTHER_PREIMAGE,
    PREIMAGE,
    SAID_SO,
    a_payment,
    a_settled_payment,
    hash_of,
)

HELD, AVAILABLE, NODE_BOOK = held(ALICE), available(ALICE), node(NODE)

CHEAP = Settled(PREIMAGE, Msat(1_000), NOW + 5)
FREE = Settled(PREIMAGE, Msat(0))
WHOLE_RESERVE = Settled(PREIMAGE, Msat(10_000))
FEE_UNTOLD = Settled(PREIMAGE, None)
DEAR = Settled(PREIMAGE, Msat(10_300))
UNPROVEN = Settled(OTHER_PREIMAGE, Msat(1_000))
NO_PREIMAGE = Settled(Preimage(""), Msat(1_000))
NOT_HEX = Settled(Preimage("zz" * 32), Msat(1_000))
RULE_H = Proof(ProofKind.EXPIRY, "it expired")
FAILED = Failed(FailReason.NO_ROUTE, "tried 3 ways")
NOT_SENT = NotSent(FailReason.UNAVAILABLE)
IN_FLIGHT = InFlight("held by the payee")
UNKNOWN = Unknown("timeout")

Moves = list[tuple[EntryKind, str, str, int]]

TO_NODE = (EntryKind.SETTLE, HELD, NODE_BOOK)
BACK = (EntryKind.SETTLE, HELD, AVAILABLE)
OPERATOR_PAYS = (EntryKind.OVERAGE, LOSS, NODE_BOOK)
RELEASE: Moves = [(EntryKind.RELEASE, HELD, AVAILABLE, 110_000)]

# What becomes of every live payment; the state None means that it stays what it was.
OF_A_LIVE_ONE: list[tuple[str, Outcome, PaymentState | None, Moves]] = [
    ("cheap", CHEAP, PaymentState.SETTLED, [(*TO_NODE, 101_000), (*BACK, 9_000)]),
    ("free", FREE, PaymentState.SETTLED, [(*TO_NODE, 100_000), (*BACK, 10_000)]),
    ("whole-reserve", WHOLE_RESERVE, PaymentState.SETTLED, [(*TO_NODE, 110_000)]),
    ("fee-untold", FEE_UNTOLD, PaymentState.SETTLED, [(*TO_NODE, 110_000)]),
    (
        "fee-above-reserve",
        DEAR,
        PaymentState.SETTLED,
        [(*TO_NODE, 110_000), (*OPERATOR_PAYS, 300)],
    ),
    ("wrong-preimage", UNPROVEN, PaymentState.UNKNOWN, []),
    ("no-preimage", NO_PREIMAGE, PaymentState.UNKNOWN, []),
    ("preimage-is-not-hex", NOT_HEX, PaymentState.UNKNOWN, []),
    ("failed", FAILED, PaymentState.RELEASED, RELEASE),
    ("not-sent", NOT_SENT, PaymentState.RELEASED, RELEASE),
    ("in-flight", IN_FLIGHT, None, []),
    ("unknown", UNKNOWN, PaymentState.UNKNOWN, []),
]
OUTCOMES = [pytest.param(outcome, id=name) for name, outcome, _, _ in OF_A_LIVE_ONE]


def moves(entries: tuple[Entry, ...]) -> Moves:
    return [(e.kind, e.source, e.destination, e.amount_msat) for e in entries]


@pytest.mark.parametrize("state", LIVE_STATES)
@pytest.mark.parametrize(
    ("outcome", "after", "expected"),
    [
        pytest.param(outcome, after, expected, id=name)
        for name, outcome, after, expected in OF_A_LIVE_ONE
    ],
)
def test_a_live_payment_follows_the_outcome(
    state: PaymentState, outcome: Outcome, after: PaymentState | None, expected: Moves
) -> None:
    payment, entries = apply_outcome(a_payment(state=state), outcome, now=NOW + 9)

    assert payment.state is (after or state)
    assert moves(entries) == expected


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_settled_payment_never_changes(outcome: Outcome) -> None:
    settled = a_settled_payment()

    payment, entries = apply_outcome(settled, outcome, now=NOW + 9)

    assert payment is settled
    assert entries == ()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_released_payment_never_changes(outcome: Outcome) -> None:
    released = a_payment(state=PaymentState.RELEASED, proof=SAID_SO)

    payment, _ = apply_outcome(released, outcome, now=NOW + 9)

    assert payment is released


@pytest.mark.parametrize(
    ("outcome", "cost_msat"),
    [
        pytest.param(CHEAP, 101_000, id="with-its-fee"),
        pytest.param(FREE, 100_000, id="without-a-fee"),
        pytest.param(FEE_UNTOLD, 110_000, id="fee-untold"),
        pytest.param(DEAR, 110_300, id="fee-above-the-reserve"),
    ],
)
def test_a_success_after_the_release_is_paid_by_the_operator(
    outcome: Outcome, cost_msat: int
) -> None:
    released = a_payment(state=PaymentState.RELEASED, proof=SAID_SO)

    _, entries = apply_outcome(released, outcome, now=NOW + 9)

    assert moves(entries) == [(*OPERATOR_PAYS, cost_msat)]


@pytest.mark.parametrize(
    "outcome", [UNPROVEN, NO_PREIMAGE, NOT_HEX, FAILED, NOT_SENT, IN_FLIGHT, UNKNOWN], ids=repr
)
def test_nothing_but_a_proven_success_is_booked_after_the_release(outcome: Outcome) -> None:
    released = a_payment(state=PaymentState.RELEASED, proof=SAID_SO)

    _, entries = apply_outcome(released, outcome, now=NOW + 9)

    assert entries == ()


@pytest.mark.parametrize(
    ("outcome", "fee_msat"),
    [
        pytest.param(CHEAP, 1_000, id="told"),
        pytest.param(FREE, 0, id="free"),
        pytest.param(FEE_UNTOLD, 10_000, id="untold-charges-the-reserve"),
        pytest.param(DEAR, 10_000, id="above-charges-the-reserve"),
    ],
)
def test_a_settled_payment_keeps_its_proof_and_its_fee(outcome: Settled, fee_msat: int) -> None:
    payment, _ = apply_outcome(a_payment(), outcome, now=NOW + 9)

    assert (payment.preimage, payment.fee_msat) == (PREIMAGE, fee_msat)


@pytest.mark.parametrize(
    ("outcome", "settled_at"),
    [
        pytest.param(CHEAP, NOW + 5, id="the-nodes-time"),
        pytest.param(FREE, NOW + 9, id="else-ours"),
    ],
)
def test_the_time_of_settlement(outcome: Settled, settled_at: int) -> None:
    payment, _ = apply_outcome(a_payment(), outcome, now=NOW + 9)

    assert payment.settled_at == settled_at


@pytest.mark.parametrize(
    ("outcome", "proof"),
    [
        pytest.param(
            FAILED, Proof(ProofKind.FINAL_STATUS, "no_route tried 3 ways"), id="failed"
        ),
        pytest.param(NOT_SENT, Proof(ProofKind.NOT_SENT, "unavailable"), id="not-sent"),
    ],
)
def test_a_released_payment_keeps_what_allowed_it(outcome: Outcome, proof: Proof) -> None:
    payment, _ = apply_outcome(a_payment(), outcome, now=NOW + 9)

    assert payment.proof == proof
    assert payment.settled_at == NOW + 9
    assert payment.preimage is None
    assert payment.fee_msat is None


def test_a_payment_that_was_never_pinned_cannot_settle() -> None:
    unpinned = a_payment(state=PaymentState.RESERVED, backend=None)

    with pytest.raises(ValueError, match="never pinned"):
        apply_outcome(unpinned, CHEAP, now=NOW)


def test_amount_and_fee_reserve_are_reserved() -> None:
    entries = reserve_entries(a_payment(state=PaymentState.RESERVED))

    assert moves(entries) == [(EntryKind.RESERVE, AVAILABLE, HELD, 110_000)]


def test_a_release_gives_back_what_was_reserved() -> None:
    payment = a_payment(state=PaymentState.UNKNOWN)

    released, entries = release(payment, proof=RULE_H, now=NOW + 9)

    assert moves(entries) == RELEASE
    assert released == replace(
        payment, state=PaymentState.RELEASED, settled_at=NOW + 9, proof=RULE_H
    )


@pytest.mark.attack("A4")
@pytest.mark.parametrize(
    ("preimage", "payment_hash", "expected"),
    [
        pytest.param(PREIMAGE, hash_of(PREIMAGE), True, id="its-own"),
        pytest.param(OTHER_PREIMAGE, hash_of(PREIMAGE), False, id="another"),
        pytest.param("", hash_of(PREIMAGE), False, id="none"),
        pytest.param("1", hash_of(PREIMAGE), False, id="half-a-byte"),
        pytest.param("zz" * 32, hash_of(PREIMAGE), False, id="not-hex"),
        pytest.param("00", hash_of("00"), False, id="one-byte"),
        pytest.param("00" * 33, hash_of("00" * 33), False, id="too-long"),
        pytest.param(f" {PREIMAGE}", hash_of(PREIMAGE), False, id="with-a-space"),
        pytest.param("AA" * 32, hash_of("AA" * 32), False, id="in-upper-case"),
        pytest.param(PREIMAGE, hash_of(PREIMAGE).upper(), False, id="hash-in-upper-case"),
    ],
)
def test_a_preimage_proves_its_own_hash_only(
    preimage: str, payment_hash: str, expected: bool
) -> None:
    assert proves(Preimage(preimage), PaymentHash(payment_hash)) is expected


amounts = st.integers(1, MAX_MSAT // 4).map(Msat)
fees = st.integers(0, MAX_MSAT // 4).map(Msat)
payments = st.builds(
    a_payment,
    state=st.sampled_from(PaymentState),
    amount_msat=amounts,
    fee_reserve_msat=fees,
    proof=st.just(SAID_SO),
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(
        Settled, st.sampled_from([PREIMAGE, OTHER_PREIMAGE]), st.none() | fees, st.none()
    ),
    st.builds(Failed, st.sampled_from(FailReason)),
    st.builds(NotSent, st.sampled_from(FailReason)),
    st.just(IN_FLIGHT),
    st.just(UNKNOWN),
)


@pytest.mark.attack("A4")
@given(payments, outcomes)
def test_held_money_goes_all_at_once_or_not_at_all(payment: Payment, outcome: Outcome) -> None:
    after, entries = apply_outcome(payment, outcome, now=NOW)

    users, _ = changes(entries)
    ends = payment.state in LIVE_STATES and after.state not in LIVE_STATES
    held_msat = users[ALICE].held_msat if ALICE in users else 0
    assert held_msat == (-payment.held_msat if ends else 0)


@pytest.mark.attack("A3")
@given(payments, outcomes)
def test_a_user_never_pays_more_than_was_reserved(payment: Payment, outcome: Outcome) -> None:
    _, entries = apply_outcome(payment, outcome, now=NOW)

    users, books = changes(entries)
    change = users.get(ALICE)
    taken_msat = 0 if change is None else -(change.available_msat + change.held_msat)
    assert 0 <= taken_msat <= payment.held_msat
    assert taken_msat == sum(books.values())


@given(payments, outcomes)
def test_every_entry_moves_a_positive_amount(payment: Payment, outcome: Outcome) -> None:
    _, entries = apply_outcome(payment, outcome, now=NOW)

    assert all(entry.amount_msat > 0 for entry in entries)


@pytest.mark.attack("A4")
@given(payments, st.lists(outcomes, max_size=6))
def test_a_payment_leaves_its_live_states_once(payment: Payment, later: list[Outcome]) -> None:
    seen = [payment.state]
    for outcome in later:
        payment, _ = apply_outcome(payment, outcome, now=NOW)
        seen.append(payment.state)

    finals = [state for state in seen if state not in LIVE_STATES]
    assert seen[len(seen) - len(finals) :] == finals
    assert len(set(finals)) <= 1
