"""A hold invoice: who may change what about it, and when."""

import pytest

from nwc_service.wallet import hold
from nwc_service.wallet.errors import RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.ledger import EntryKind, available, held
from nwc_service.wallet.payment import PaymentKind, PaymentState, ProofKind
from nwc_service.wallet.units import Msat, PaymentId
from tests.core.samples import ALICE, BOB, NOW, PREIMAGE, a_payment, an_invoice

HEIGHT = 800_000
LONGEST_S = 3600
PAYER = PaymentId("payment")

DECIDED = pytest.mark.parametrize("resolution", list(Resolution))
NOT_PENDING = pytest.mark.parametrize(
    "state", [state for state in InvoiceState if state is not InvoiceState.PENDING]
)
OVER = pytest.mark.parametrize("state", [InvoiceState.EXPIRED, InvoiceState.CANCELED])


def a_hold(**changes: object) -> Invoice:
    return an_invoice(**{"is_hold": True} | changes)


def a_held(**changes: object) -> Invoice:
    accepted = {
        "state": InvoiceState.ACCEPTED,
        "accepted_at": NOW,
        "settle_deadline": HEIGHT + 144,
    }
    return a_hold(**accepted | changes)


def overdue(invoice: Invoice, *, height: int = HEIGHT, now: int = NOW) -> bool:
    return hold.is_overdue(invoice, height=height, now=now, longest_s=LONGEST_S)


# --- accepted by the node


def test_the_nodes_deadline_is_kept() -> None:
    accepted = hold.accept(a_hold(), settle_deadline=HEIGHT + 40, height=HEIGHT, now=NOW + 5)

    assert accepted is not None
    assert accepted.state is InvoiceState.ACCEPTED
    assert (accepted.accepted_at, accepted.settle_deadline) == (NOW + 5, HEIGHT + 40)
    assert accepted.preimage is None


@pytest.mark.parametrize(
    ("asked", "blocks"), [(None, hold.DEFAULT_CLTV_EXPIRY_BLOCKS), (100, 100)]
)
def test_where_the_node_tells_no_deadline_it_is_what_a_payer_leaves_at_least(
    asked: int | None, blocks: int
) -> None:
    invoice = a_hold(min_cltv_expiry_delta=asked)

    accepted = hold.accept(invoice, settle_deadline=None, height=HEIGHT, now=NOW)

    assert accepted is not None
    assert accepted.settle_deadline == HEIGHT + blocks


@NOT_PENDING
def test_only_one_that_waits_is_accepted(state: InvoiceState) -> None:
    invoice = a_hold(state=state)

    assert hold.accept(invoice, settle_deadline=None, height=HEIGHT, now=NOW) is None


@DECIDED
def test_one_that_was_decided_about_is_not_accepted(resolution: Resolution) -> None:
    invoice = a_hold(resolution=resolution)

    assert hold.accept(invoice, settle_deadline=None, height=HEIGHT, now=NOW) is None


def test_a_plain_invoice_is_never_held() -> None:
    assert hold.accept(an_invoice(), settle_deadline=None, height=HEIGHT, now=NOW) is None


# --- accepted inside the ledger


def test_inside_the_payers_money_is_held_without_a_fee_and_no_backend_is_named() -> None:
    terms = hold.accept_inside(a_payment(), a_hold(), height=0, now=NOW + 5)

    assert terms is not None
    reserved, accepted, [entry] = terms
    assert (reserved.kind, reserved.state) == (
        PaymentKind.INTERNAL_HOLD,
        PaymentState.RESERVED,
    )
    assert (reserved.fee_reserve_msat, reserved.backend) == (0, None)
    assert (accepted.state, accepted.accepted_at) == (InvoiceState.ACCEPTED, NOW + 5)
    assert accepted.settle_deadline == hold.DEFAULT_CLTV_EXPIRY_BLOCKS
    assert accepted.payer_payment_id == reserved.payment_id
    assert (entry.kind, entry.source, entry.destination, entry.amount_msat) == (
        EntryKind.RESERVE,
        available(ALICE),
        held(ALICE),
        100_000,
    )


@pytest.mark.attack("A2")
def test_inside_the_stored_amount_counts() -> None:
    terms = hold.accept_inside(a_payment(amount_msat=Msat(1)), a_hold(), height=0, now=NOW)

    assert terms is not None
    reserved, _, [entry] = terms
    assert reserved.held_msat == entry.amount_msat == 100_000


@NOT_PENDING
def test_inside_nothing_is_held_of_one_that_does_not_wait(state: InvoiceState) -> None:
    assert hold.accept_inside(a_payment(), a_hold(state=state), height=0, now=NOW) is None


@DECIDED
def test_inside_nothing_is_held_of_one_that_was_decided_about(resolution: Resolution) -> None:
    invoice = a_hold(resolution=resolution)

    assert hold.accept_inside(a_payment(), invoice, height=0, now=NOW) is None


@pytest.mark.attack("A10")
def test_inside_nothing_is_held_of_one_that_has_expired() -> None:
    invoice = a_hold()

    assert hold.accept_inside(a_payment(), invoice, height=0, now=invoice.expires_at) is None


# --- the owner decides


def test_a_held_one_is_settled_with_its_preimage() -> None:
    decided = hold.settle(a_held(), PREIMAGE)

    assert (decided.resolution, decided.preimage) == (Resolution.SETTLE, PREIMAGE)
    assert decided.state is InvoiceState.ACCEPTED  # the node has the last word (I17)


@pytest.mark.parametrize(
    "state", [state for state in InvoiceState if state not in ("ACCEPTED", "SETTLED")]
)
def test_what_is_not_held_cannot_be_settled(state: InvoiceState) -> None:
    with pytest.raises(RequestError, match="no payment of this hold invoice is held"):
        hold.settle(a_hold(state=state), PREIMAGE)


def test_what_is_being_cancelled_cannot_be_settled_any_more() -> None:
    with pytest.raises(RequestError):
        hold.settle(a_held(resolution=Resolution.CANCEL), PREIMAGE)


def test_what_is_being_settled_cannot_be_cancelled_any_more() -> None:
    with pytest.raises(RequestError, match="is being settled"):
        hold.cancel(a_held(resolution=Resolution.SETTLE))


@pytest.mark.parametrize("resolution", [None, *Resolution])
def test_what_is_settled_cannot_be_cancelled(resolution: Resolution | None) -> None:
    with pytest.raises(RequestError, match="was settled"):
        hold.cancel(a_held(state=InvoiceState.SETTLED, resolution=resolution))


@pytest.mark.parametrize("state", list(hold.OPEN))
def test_what_is_open_can_be_cancelled(state: InvoiceState) -> None:
    decided = hold.cancel(a_held(state=state))

    assert (decided.resolution, decided.preimage) == (Resolution.CANCEL, None)


def test_deciding_the_same_again_changes_nothing() -> None:
    settling = hold.settle(a_held(), PREIMAGE)
    canceling = hold.cancel(a_held())

    assert hold.settle(settling, PREIMAGE) is settling
    assert hold.cancel(canceling) is canceling


@OVER
@pytest.mark.parametrize("resolution", [None, *Resolution])
def test_cancelling_what_is_over_changes_nothing(
    state: InvoiceState, resolution: Resolution | None
) -> None:
    over = a_hold(state=state, resolution=resolution)

    assert hold.cancel(over) is over


# --- deadlines


@pytest.mark.parametrize(
    ("height", "due"),
    [
        (0, False),
        (HEIGHT + 144 - hold.MARGIN_BLOCKS - 1, False),
        (HEIGHT + 144 - hold.MARGIN_BLOCKS, True),
        (HEIGHT + 1000, True),
    ],
)
def test_it_is_overdue_some_blocks_before_its_deadline(height: int, due: bool) -> None:
    """NWC-03: `settle_deadline`, "invoice can only be safely settled or canceled before this
    block number"."""
    assert overdue(a_held(), height=height) is due


@pytest.mark.parametrize(("after_s", "due"), [(LONGEST_S - 1, False), (LONGEST_S, True)])
def test_it_is_overdue_when_it_was_held_for_long(after_s: int, due: bool) -> None:
    """NWC-03: "the hold invoice SHOULD be settled or canceled within a few minutes of
    receiving this event"."""
    assert overdue(a_held(), now=NOW + after_s) is due


def test_inside_the_ledger_only_the_time_counts() -> None:
    inside = a_held(payer_payment_id=PAYER)

    assert not overdue(inside, height=HEIGHT + 1000)
    assert overdue(inside, now=NOW + LONGEST_S)


@DECIDED
def test_what_was_decided_is_not_overdue(resolution: Resolution) -> None:
    assert not overdue(a_held(resolution=resolution), now=NOW + 10 * LONGEST_S)


@pytest.mark.parametrize(
    "state", [state for state in InvoiceState if state is not InvoiceState.ACCEPTED]
)
def test_what_is_not_held_is_not_overdue(state: InvoiceState) -> None:
    assert not overdue(a_held(state=state), height=HEIGHT + 1000, now=NOW + 10 * LONGEST_S)


# --- what is held inside ends


def test_settled_inside_the_held_money_goes_to_the_payee() -> None:
    payment = a_payment(kind=PaymentKind.INTERNAL_HOLD, fee_reserve_msat=Msat(0))
    decided = hold.settle(a_held(payer_payment_id=PAYER), PREIMAGE)

    paid, received, [entry] = hold.settle_inside(payment, decided, now=NOW + 9)

    assert (paid.state, paid.fee_msat, paid.preimage) == (PaymentState.SETTLED, 0, PREIMAGE)
    assert (received.state, received.received_msat) == (InvoiceState.SETTLED, 100_000)
    assert paid.settled_at == received.settled_at == NOW + 9
    assert (entry.kind, entry.source, entry.destination, entry.amount_msat) == (
        EntryKind.INTERNAL,
        held(ALICE),
        available(BOB),
        100_000,
    )


def test_given_back_inside_it_is_the_payers_again_with_the_proof() -> None:
    payment = a_payment(kind=PaymentKind.INTERNAL_HOLD, fee_reserve_msat=Msat(0))

    released, [entry] = hold.give_back(payment, why="its payee cancelled", now=NOW + 9)

    assert released.state is PaymentState.RELEASED
    assert released.proof is not None
    assert released.proof.kind is ProofKind.NOT_SENT
    assert (entry.source, entry.destination) == (held(ALICE), available(ALICE))
    assert entry.amount_msat == 100_000


@pytest.mark.parametrize(
    ("state", "final"),
    [(state, state in ("SETTLED", "EXPIRED", "CANCELED")) for state in InvoiceState],
)
def test_it_is_final_when_nothing_is_held_any_more(state: InvoiceState, final: bool) -> None:
    assert hold.is_final(a_hold(state=state)) is final
