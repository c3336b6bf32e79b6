"""Payments, invoices and connections; a test names what it needs otherwise."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import DEFAULT_ENCRYPTION, NotificationType
from nwc_service.wallet import bolt11
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState, Proof, ProofKind
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    InvoiceId,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)

NOW = 1_700_000_000
SAID_SO = Proof(ProofKind.FINAL_STATUS, "the node said so")
PREIMAGE = Preimage("11" * 32)
OTHER_PREIMAGE = Preimage("22" * 32)
NODE = BackendName("node")
ALICE = AccountId("alice")
BOB = AccountId("bob")


def hash_of(preimage: str) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def same_hash_as(invoice: str, *, amount_msat: int) -> str:
    """What anybody can make who has seen an invoice: its payment hash, over another amount."""
    seen = bolt11.decode(invoice)
    return bolt11.encode(
        network=seen.network,
        amount_msat=Msat(amount_msat),
        payment_hash=seen.payment_hash,
        payment_secret="44" * 32,
        description="forged",
        created_at=seen.created_at,
        expiry_s=seen.expiry_s,
        secret_key=b"\x66" * 32,
    )


_PAYMENT = Payment(
    payment_id=PaymentId("payment"),
    account_id=ALICE,
    connection_id=None,
    kind=PaymentKind.BOLT11,
    state=PaymentState.DISPATCHED,
    backend=NODE,
    payment_hash=hash_of(PREIMAGE),
    invoice="lnbcrt1payment",
    description="tea",
    description_hash=None,
    amount_msat=Msat(100_000),
    amount_is_override=False,
    fee_reserve_msat=Msat(10_000),
    created_at=NOW,
    expires_at=NOW + 3600,
)

_INVOICE = Invoice(
    invoice_id=InvoiceId("invoice"),
    account_id=BOB,
    connection_id=None,
    request_id=None,
    backend=NODE,
    state=InvoiceState.PENDING,
    payment_hash=hash_of(PREIMAGE),
    invoice="lnbcrt1invoice",
    description="tea",
    description_hash=None,
    amount_msat=Msat(100_000),
    received_msat=None,
    preimage=None,
    metadata=None,
    created_at=NOW,
    expires_at=NOW + 3600,
    settled_at=None,
)

_CONNECTION = Connection(
    connection_id=ConnectionId("connection"),
    account_id=ALICE,
    backend=NODE,
    app="a test",
    wallet_pubkey="aa" * 32,
    client_pubkey="bb" * 32,
    scopes=frozenset({"pay_invoice", "list_transactions"}),
    notifications=frozenset(NotificationType),
    encryption=DEFAULT_ENCRYPTION,
    relays=(),
    budget=None,
    max_payment_msat=None,
    created_at=NOW,
    expires_at=None,
)


def a_payment(**changes: Any) -> Payment:
    return replace(_PAYMENT, **changes)


def an_invoice(**changes: Any) -> Invoice:
    return replace(_INVOICE, **changes)


def a_connection(**changes: Any) -> Connection:
    return replace(_CONNECTION, **changes)


def a_settled_payment(**changes: Any) -> Payment:
    settled = {
        "state": PaymentState.SETTLED,
        "preimage": PREIMAGE,
        "fee_msat": Msat(1_000),
        "settled_at": NOW + 5,
    }
    return a_payment(**settled | changes)


def a_settled_invoice(**changes: Any) -> Invoice:
    settled = {
        "state": InvoiceState.SETTLED,
        "preimage": PREIMAGE,
        "received_msat": Msat(100_000),
        "settled_at": NOW + 5,
    }
    return an_invoice(**settled | changes)
