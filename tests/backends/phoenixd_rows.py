"""phoenixd's rows about payments, and the invoices that they are of."""

import secrets
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash

OWN_KEY, OUTSIDE_KEY = b"\x07" * 32, b"\x08" * 32

Json = dict[str, Any]


@dataclass(slots=True)
class Incoming:
    external_id: str | None
    invoice: bolt11.Bolt11 | None  # one of an offer has none
    preimage: str
    created_at_ms: int
    received_msat: int = 0
    fee_msat: int = 0
    completed_at_ms: int | None = None

    def row(self) -> Json:
        invoice = self.invoice
        return without_nulls(
            type="incoming_payment",
            subType="lightning",
            paymentHash=hash_of(self.preimage),
            preimage=self.preimage,
            externalId=self.external_id,
            description=invoice and invoice.description,
            invoice=invoice and invoice.invoice,
            isPaid=self.completed_at_ms is not None,
            isExpired=invoice is not None and time.time() > invoice.expires_at,
            requestedSat=invoice and invoice.amount_msat and invoice.amount_msat // 1000,
            receivedSat=self.received_msat // 1000,
            fees=self.fee_msat,
            expiresAt=invoice and invoice.expires_at * 1000,
            completedAt=self.completed_at_ms,
            createdAt=self.created_at_ms,
        )


@dataclass(slots=True)
class Outgoing:
    """One attempt. It has no field that says what became of it."""

    invoice: bolt11.Bolt11
    amount_msat: int
    created_at_ms: int
    fee_msat: int = 0
    preimage: str | None = None
    completed_at_ms: int | None = None
    payment_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def rank(self) -> int:
        if self.completed_at_ms is None:
            return 2
        return 1 if self.preimage is None else 3

    def row(self) -> Json:
        fee_msat = 0 if self.preimage is None else self.fee_msat
        return without_nulls(
            type="outgoing_payment",
            subType="lightning",
            paymentId=self.payment_id,
            paymentHash=self.invoice.payment_hash,
            preimage=self.preimage,
            isPaid=self.preimage is not None,
            sent=(self.amount_msat + fee_msat) // 1000,
            fees=fee_msat,
            invoice=self.invoice.invoice,
            completedAt=self.completed_at_ms,
            createdAt=self.created_at_ms,
        )


def fee_msat(amount_msat: int) -> int:
    """ACINQ's price: 4 sat and 0.4%."""
    return 4_000 + amount_msat * 4_000 // 1_000_000


def hash_of(preimage: str) -> str:
    return sha256(bytes.fromhex(preimage)).hexdigest()


def without_nulls(**fields: object) -> Json:
    return {key: value for key, value in fields.items() if value is not None}


def an_invoice(
    amount_msat: int | None,
    payment_hash: str,
    *,
    expiry_s: int = 3600,
    age_s: int = 0,
    description: str | None = None,
    description_hash: str | None = None,
    network: bolt11.Network = "regtest",
    key: bytes = OWN_KEY,
) -> str:
    if description is None and description_hash is None:
        description = "tea"
    return bolt11.encode(
        network=network,
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        payment_secret="11" * 32,
        description=description,
        description_hash=description_hash,
        created_at=int(time.time()) - age_s,
        expiry_s=expiry_s,
        secret_key=key,
    )
