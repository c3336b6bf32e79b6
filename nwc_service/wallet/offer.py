"""A BOLT12 offer that this service had made for one of its accounts."""

from dataclasses import dataclass
from enum import StrEnum

from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    InvoiceId,
    Msat,
    PaymentHash,
)

MAX_NOTE_CHARACTERS = 640
"""Of what a payer writes; whoever pays may write no more, and what is longer is not kept."""


class OfferState(StrEnum):
    """REQUESTED -> ACTIVE | FAILED. What a node has made it answers for until it expires."""

    REQUESTED = "REQUESTED"  # claimed, the node not yet heard
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOffer:
    """`offer_id` is ours, `node_offer_id` is what the node calls it, and `bolt12_id` what
    BOLT12 calls it; the last two, and `offer` itself, are there once it is ACTIVE.

    `description` and `issuer` are what the offer has, `metadata` is a JSON object as text.
    """

    offer_id: str
    account_id: AccountId
    connection_id: ConnectionId | None
    request_id: str | None
    backend: BackendName
    state: OfferState
    offer: str
    node_offer_id: str | None
    bolt12_id: str | None
    description: str
    issuer: str | None
    amount_msat: Msat | None  # None: any
    single_use: bool
    metadata: str | None
    created_at: int
    expires_at: int | None


def received_through(
    offer: MadeOffer,
    *,
    invoice_id: InvoiceId,
    payment_hash: PaymentHash,
    amount_msat: Msat,
    now: int,
    invoice: str,
    expires_at: int,
    payer_note: str | None,
) -> Invoice:
    """The row of a receipt that came in through an offer, about to be settled."""
    return Invoice(
        invoice_id=invoice_id,
        account_id=offer.account_id,
        connection_id=offer.connection_id,
        request_id=None,
        backend=offer.backend,
        state=InvoiceState.PENDING,
        payment_hash=payment_hash,
        invoice=invoice,
        description=offer.description,
        description_hash=None,
        amount_msat=amount_msat,
        received_msat=None,
        preimage=None,
        metadata=offer.metadata,
        created_at=now,
        expires_at=expires_at,
        settled_at=None,
        offer_id=offer.offer_id,
        payer_note=payer_note,
    )
