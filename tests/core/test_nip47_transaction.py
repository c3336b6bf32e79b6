"""The Transaction object of NIP-47, in the shape that every known client accepts."""

import json

import pytest

from nwc_service.nip47 import transaction
from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.payment import PaymentState
from tests.core.samples import (
    NOW,
    PREIMAGE,
    a_payment,
    a_settled_invoice,
    a_settled_payment,
    an_invoice,
    hash_of,
)

FIELDS = {
    "transaction_id": str,
    "type": str,
    "state": str,
    "invoice": str,
    "description": str,
    "description_hash": str,
    "preimage": str,
    "payment_hash": str,
    "amount": int,
    "fees_paid": int,
    "created_at": int,
    "expires_at": int,
}

ROWS = [
    *(
        pytest.param(
            transaction.from_invoice(an_invoice(state=state), now=NOW), id=f"invoice-{state}"
        )
        for state in InvoiceState
        if state is not InvoiceState.SETTLED
    ),
    *(
        pytest.param(
            transaction.from_payment(a_payment(state=state, settled_at=NOW)),
            id=f"payment-{state}",
        )
        for state in PaymentState
        if state is not PaymentState.SETTLED
    ),
    pytest.param(transaction.from_invoice(a_settled_invoice(), now=NOW), id="invoice-SETTLED"),
    pytest.param(transaction.from_payment(a_settled_payment()), id="payment-SETTLED"),
    pytest.param(
        transaction.from_invoice(
            an_invoice(
                payment_hash=None, invoice="", description="", state=InvoiceState.CANCELED
            ),
            now=NOW,
        ),
        id="an-invoice-that-was-never-made",
    ),
]


@pytest.mark.parametrize("row", ROWS)
def test_every_field_is_there_with_its_type_and_none_is_null(row: dict[str, object]) -> None:
    always = {name: type(value) for name, value in row.items() if name != "settled_at"}
    fields = FIELDS if row["invoice"] else FIELDS.keys() - {"expires_at"}

    assert always == {name: FIELDS[name] for name in fields}


@pytest.mark.attack("A19")
@pytest.mark.parametrize("row", ROWS)
def test_settled_at_and_preimage_are_told_only_once_settled(row: dict[str, object]) -> None:
    settled = row["state"] == "settled"

    assert ("settled_at" in row) is settled
    assert row["preimage"] == (PREIMAGE if settled else "")


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (InvoiceState.REQUESTED, "pending"),
        (InvoiceState.PENDING, "pending"),
        (InvoiceState.ACCEPTED, "accepted"),
        (InvoiceState.SETTLED, "settled"),
        (InvoiceState.EXPIRED, "expired"),
        (InvoiceState.CANCELED, "failed"),
    ],
)
def test_the_states_of_an_invoice(state: InvoiceState, word: str) -> None:
    row = transaction.from_invoice(a_settled_invoice(state=state), now=NOW)

    assert (row["type"], row["state"]) == ("incoming", word)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (PaymentState.RESERVED, "pending"),
        (PaymentState.DISPATCHED, "pending"),
        (PaymentState.UNKNOWN, "pending"),
        (PaymentState.SETTLED, "settled"),
        (PaymentState.RELEASED, "failed"),
    ],
)
def test_the_states_of_a_payment(state: PaymentState, word: str) -> None:
    row = transaction.from_payment(a_settled_payment(state=state))

    assert (row["type"], row["state"]) == ("outgoing", word)


@pytest.mark.parametrize(
    ("now", "word"),
    [
        pytest.param(NOW + 3599, "pending", id="its-last-second"),
        pytest.param(NOW + 3600, "expired", id="at-its-expiry"),
    ],
)
def test_a_pending_invoice_past_its_expiry_reads_as_expired(now: int, word: str) -> None:
    assert transaction.from_invoice(an_invoice(), now=now)["state"] == word


def test_an_expired_invoice_that_settled_is_settled() -> None:
    row = transaction.from_invoice(a_settled_invoice(), now=NOW + 10**6)

    assert row["state"] == "settled"


@pytest.mark.attack("A19")
def test_a_preimage_that_the_node_told_early_is_not_passed_on() -> None:
    row = transaction.from_invoice(an_invoice(preimage=PREIMAGE), now=NOW)

    assert row["preimage"] == ""


@pytest.mark.attack("A18")
def test_what_arrived_counts_once_settled() -> None:
    row = transaction.from_invoice(a_settled_invoice(received_msat=150_000), now=NOW)

    assert row["amount"] == 150_000


def test_what_was_asked_counts_until_then() -> None:
    row = transaction.from_invoice(
        an_invoice(state=InvoiceState.ACCEPTED, received_msat=150_000), now=NOW
    )

    assert row["amount"] == 100_000


def test_a_settled_payment_in_full() -> None:
    row = transaction.from_payment(a_settled_payment(metadata='{"comment":"tea"}'))

    assert row == {
        "transaction_id": "payment",
        "type": "outgoing",
        "state": "settled",
        "invoice": "lnbcrt1payment",
        "description": "tea",
        "description_hash": "",
        "preimage": PREIMAGE,
        "payment_hash": hash_of(PREIMAGE),
        "amount": 100_000,
        "fees_paid": 1_000,
        "created_at": NOW,
        "expires_at": NOW + 3600,
        "settled_at": NOW + 5,
        "metadata": {"comment": "tea"},
    }


@pytest.mark.parametrize("metadata", [{"comment": "tea"}, {"nostr": {"tags": [["p", "aa"]]}}])
def test_metadata_is_an_object_or_absent(metadata: dict[str, object]) -> None:
    stored = transaction.from_invoice(an_invoice(metadata=json.dumps(metadata)), now=NOW)
    without = transaction.from_invoice(an_invoice(), now=NOW)

    assert stored["metadata"] == metadata
    assert "metadata" not in without
