"""A payment of an invoice that this service issued itself."""

import pytest

from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.ledger import EntryKind, available
from nwc_service.wallet.payment import PaymentKind, PaymentState, settle_internally
from nwc_service.wallet.units import Preimage
from tests.core.samples import (
    ALICE,
    BOB,
    NOW,
    OTHER_PREIMAGE,
    PREIMAGE,
    a_payment,
    an_invoice,
)


def test_both_sides_settle_with_the_preimage_and_without_a_fee() -> None:
    payment = a_payment(state=PaymentState.RESERVED)

    booked = settle_internally(payment, an_invoice(), preimage=PREIMAGE, now=NOW + 5)

    assert booked is not None
    paid, received, [entry] = booked
    assert (paid.state, paid.kind) == (PaymentState.SETTLED, PaymentKind.INTERNAL)
    assert (paid.fee_msat, paid.fee_reserve_msat, paid.backend) == (0, 0, None)
    assert received.state is InvoiceState.SETTLED
    assert received.received_msat == 100_000
    assert paid.preimage == received.preimage == PREIMAGE
    assert paid.settled_at == received.settled_at == NOW + 5
    assert (entry.kind, entry.source, entry.destination, entry.amount_msat) == (
        EntryKind.INTERNAL,
        available(ALICE),
        available(BOB),
        100_000,
    )


@pytest.mark.attack("A2")
def test_the_stored_amount_counts_and_not_the_presented_one() -> None:
    payment = a_payment(state=PaymentState.RESERVED, amount_msat=1)

    booked = settle_internally(payment, an_invoice(), preimage=PREIMAGE, now=NOW)

    assert booked is not None
    paid, received, [entry] = booked
    assert paid.amount_msat == received.received_msat == entry.amount_msat == 100_000


@pytest.mark.parametrize("state", [s for s in InvoiceState if s is not InvoiceState.PENDING])
def test_only_a_pending_invoice_is_settled_in_the_ledger(state: InvoiceState) -> None:
    invoice = an_invoice(state=state)

    assert settle_internally(a_payment(), invoice, preimage=PREIMAGE, now=NOW) is None


@pytest.mark.attack("A10")
@pytest.mark.parametrize(
    ("now", "settles"),
    [
        pytest.param(NOW + 3599, True, id="its-last-second"),
        pytest.param(NOW + 3600, False, id="at-its-expiry"),
        pytest.param(NOW + 3601, False, id="after-it"),
    ],
)
def test_an_expired_invoice_is_not_settled_in_the_ledger(now: int, settles: bool) -> None:
    booked = settle_internally(a_payment(), an_invoice(), preimage=PREIMAGE, now=now)

    assert (booked is not None) is settles


@pytest.mark.parametrize("preimage", [OTHER_PREIMAGE, Preimage("")], ids=["another", "none"])
def test_without_its_preimage_an_invoice_is_not_settled_in_the_ledger(
    preimage: Preimage,
) -> None:
    assert settle_internally(a_payment(), an_invoice(), preimage=preimage, now=NOW) is None
