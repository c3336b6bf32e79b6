"""Keysend: a payment without an invoice, whose payer chooses the preimage.

Its TLV records are written by strangers: one of them may select whose money it is, and nothing
else that they say decides anything.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256

from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.ledger import Entry, EntryKind, available
from nwc_service.wallet.payment import Payment, PaymentState
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    InvoiceId,
    Msat,
    PaymentHash,
    Preimage,
)

PREIMAGE_TLV = 5_482_373_484  # bLIP-3; every node adds it itself
ACCOUNT_TLV = 696_969
"""Carries an account's keysend id."""
FIRST_CUSTOM_TLV = 65_536
MAX_TLV = 2**64 - 1
MAX_TLV_BYTES = 1000
"""All records together: an onion has 1300 bytes for the whole route."""

MAX_METADATA_CHARACTERS = 4096


def payment_hash(preimage: Preimage) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def to_text(tlvs: Mapping[int, bytes]) -> str:
    """NWC-04's `tlv_records`, as JSON."""
    return json.dumps([{"type": type_, "value": tlvs[type_].hex()} for type_ in sorted(tlvs)])


def from_text(text: str | None) -> dict[int, bytes]:
    records = json.loads(text or "[]")
    return {record["type"]: bytes.fromhex(record["value"]) for record in records}


def metadata(tlvs: Mapping[int, bytes]) -> str | None:
    """NWC-06 records the TLVs under `tlv_records`; None where there are none or too many."""
    shown = {type_: value for type_, value in tlvs.items() if type_ != PREIMAGE_TLV}
    if not shown:
        return None
    text = f'{{"tlv_records": {to_text(shown)}}}'
    return text if len(text) <= MAX_METADATA_CHARACTERS else None


def keysend_id(tlvs: Mapping[int, bytes]) -> str | None:
    """Whom the payer names; it need not be anybody's."""
    try:
        return tlvs.get(ACCOUNT_TLV, b"").decode("ascii") or None
    except UnicodeDecodeError:
        return None


def unasked(
    *,
    invoice_id: InvoiceId,
    account_id: AccountId,
    backend: BackendName,
    payment_hash: PaymentHash,
    amount_msat: Msat,
    metadata: str | None,
    now: int,
) -> Invoice:
    """The row of a receipt that had no invoice here, about to be settled."""
    return Invoice(
        invoice_id=invoice_id,
        account_id=account_id,
        connection_id=None,
        request_id=None,
        backend=backend,
        state=InvoiceState.PENDING,
        payment_hash=payment_hash,
        invoice="",
        description="",
        description_hash=None,
        amount_msat=amount_msat,
        received_msat=None,
        preimage=None,
        metadata=metadata,
        created_at=now,
        expires_at=now,
        settled_at=None,
    )


def settle_inside(
    payment: Payment, received: Invoice, *, preimage: Preimage, now: int
) -> tuple[Payment, Invoice, tuple[Entry, ...]]:
    """A keysend to an account of this service, booked on both sides at once, without a fee."""
    paid = replace(
        payment,
        state=PaymentState.SETTLED,
        backend=None,
        fee_reserve_msat=Msat(0),
        fee_msat=Msat(0),
        preimage=preimage,
        settled_at=now,
    )
    settled = replace(
        received,
        state=InvoiceState.SETTLED,
        received_msat=payment.amount_msat,
        preimage=preimage,
        settled_at=now,
    )
    entry = Entry(
        EntryKind.INTERNAL,
        available(payment.account_id),
        available(received.account_id),
        payment.amount_msat,
    )
    return paid, settled, (entry,)
