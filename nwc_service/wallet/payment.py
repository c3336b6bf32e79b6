"""An outgoing payment: its states, and the only two functions that move it between them.

`plan_payment` decides what is reserved before anything is sent, `apply_outcome` what becomes
of it afterwards. Nothing but an outcome that the backend states as final, or a recorded
proof, gives held money back (`docs/money.md`).
"""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from math import ceil
from typing import assert_never

from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.ledger import (
    LOSS,
    Entry,
    EntryKind,
    available,
    held,
    node,
)
from nwc_service.wallet.outcome import Failed, InFlight, NotSent, Outcome, Settled, Unknown
from nwc_service.wallet.units import (
    MAX_MSAT,
    AccountId,
    BackendName,
    ConnectionId,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)

_PREIMAGE = re.compile("[0-9a-f]{64}")

MAX_WORD = 200

MAX_TIME = 1 << 40
"""Later than any time that a node can mean."""

CLOCK_SKEW_S = 120
"""How far the clocks of the service and of a node may be apart."""


class PaymentState(StrEnum):
    """RESERVED -> DISPATCHED -> (UNKNOWN ->) SETTLED | RELEASED; the last two never change."""

    RESERVED = "RESERVED"  # held, and proof that nothing was sent
    DISPATCHED = "DISPATCHED"  # may have been sent, once
    UNKNOWN = "UNKNOWN"  # was dispatched, and the backend's answer proves nothing
    SETTLED = "SETTLED"
    RELEASED = "RELEASED"


LIVE_STATES = (PaymentState.RESERVED, PaymentState.DISPATCHED, PaymentState.UNKNOWN)


class PaymentKind(StrEnum):
    BOLT11 = "bolt11"
    INTERNAL = "internal"  # between two accounts of this service
    INTERNAL_HOLD = "internal_hold"  # of a hold invoice: until its receiver decides
    KEYSEND = "keysend"
    BOLT12 = "bolt12"


INSIDE = (PaymentKind.INTERNAL, PaymentKind.INTERNAL_HOLD)
"""What never leaves the ledger."""


class ProofKind(StrEnum):
    """What allowed money to be given back, or who vouched that it was paid."""

    FINAL_STATUS = "final_status"  # the backend states that it can never settle
    NOT_SENT = "not_sent"  # nothing ever left for it
    EXPIRY = "expiry"  # rule H
    OPERATOR = "operator"  # looked at by a human


@dataclass(frozen=True, slots=True)
class Proof:
    """`detail` says it in words; the row's backend and time belong to it."""

    kind: ProofKind
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """`fee_reserve_msat` is what is held beside the amount, and the cap that the node gets."""

    payment_id: PaymentId
    account_id: AccountId
    connection_id: ConnectionId | None
    kind: PaymentKind
    state: PaymentState
    backend: BackendName | None
    payment_hash: PaymentHash
    invoice: str
    description: str
    description_hash: str | None
    amount_msat: Msat
    amount_is_override: bool  # the invoice names no amount
    fee_reserve_msat: Msat
    fee_msat: Msat | None = None
    preimage: Preimage | None = field(default=None, repr=False)
    metadata: str | None = None
    created_at: int
    expires_at: int  # of the invoice, as the node agrees to it; else when to send no more
    dispatched_at: int | None = None
    unpayable_at: int | None = None  # from then on no send can pay any more (rule H)
    accepted_at: int | None = None  # when the backend first said that it has it
    settled_at: int | None = None
    proof: Proof | None = None
    heard: str | None = None  # the backend's last word, while it is not final
    heard_at: int | None = None
    budget_period: int | None = None
    parent_budget_period: int | None = None  # of the connection that made this one
    payee: str | None = None  # the payee's node key as hex
    own_preimage: Preimage | None = field(default=None, repr=False)  # of a keysend
    tlv_records: str | None = None  # of a keysend: NWC-04's list as JSON
    offer: str | None = None  # that the invoice was fetched with
    bolt12_id: str | None = None  # what BOLT12 calls this offer
    payer_note: str | None = None
    account_day: int | None = None  # in which it counts for its account's daily limit

    @property
    def held_msat(self) -> Msat:
        return Msat(self.amount_msat + self.fee_reserve_msat)

    def dispatched(self, *, now: int, timeout_s: float) -> "Payment":
        """About to be sent, once ever.

        Rule H: a node refuses an expired invoice, so past the expiry, the longest timeout of
        this send and the clock skew, one that never arrived can never pay. What is sent
        without an invoice expires nowhere.
        """
        unpayable_at = self.expires_at + ceil(timeout_s) + CLOCK_SKEW_S
        return replace(
            self,
            state=PaymentState.DISPATCHED,
            dispatched_at=now,
            unpayable_at=unpayable_at if self.invoice else None,
        )

    def is_unpayable(self, now: int) -> bool:
        """Rule H holds. Never for one that the backend had: what it holds settles later."""
        return (
            self.accepted_at is None
            and self.unpayable_at is not None
            and now > self.unpayable_at
        )

    def repeats(self, other: "Payment") -> bool:
        """Whether both are one account's wish to pay one invoice, or key, one amount, and of a
        keysend to tell the same: it may name whom it is for."""
        return _wish(self) == _wish(other)


def _wish(payment: Payment) -> tuple[object, ...]:
    payee = payment.invoice or payment.payee
    return payment.account_id, payee, payment.amount_msat, payment.tlv_records


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """The fee reserve: max(floor, share of the amount rounded up)."""

    floor_msat: Msat
    share_ppm: int

    def reserve_msat(self, amount_msat: Msat, *, cap_msat: Msat | None) -> Msat:
        """`cap_msat` is what a backend without a fee limit may charge at most."""
        share_msat = -(-amount_msat * self.share_ppm // 1_000_000)
        return Msat(max(self.floor_msat, share_msat, cap_msat or 0))


def proves(preimage: Preimage, payment_hash: PaymentHash) -> bool:
    """A preimage, 32 bytes in hex, that hashes to the payment hash is the only proof."""
    if not _PREIMAGE.fullmatch(preimage):
        return False
    return sha256(bytes.fromhex(preimage)).hexdigest() == payment_hash


def reserve_entries(payment: Payment) -> tuple[Entry, ...]:
    account = payment.account_id
    return (Entry(EntryKind.RESERVE, available(account), held(account), payment.held_msat),)


def apply_outcome(
    payment: Payment, outcome: Outcome, *, now: int
) -> tuple[Payment, tuple[Entry, ...]]:
    """The payment after `outcome`, and the entries that book it.

    A final payment never changes; what a late success of a RELEASED one costs is booked to the
    operator, never to the user.
    """
    if payment.state is PaymentState.SETTLED:
        return payment, ()
    if payment.state is PaymentState.RELEASED:
        return payment, _late_success(payment, outcome)
    match outcome:
        case Settled(preimage=preimage) if proves(preimage, payment.payment_hash):
            return _settle(payment, outcome, now=now)
        case Settled():
            # A success without its proof proves nothing.
            return _unknown(payment, "a success without its proof", now=now), ()
        case Failed() | NotSent():
            return release(payment, proof=_proof(outcome), now=now)
        case InFlight():
            accepted_at = payment.accepted_at or now
            heard = _heard(payment, f"in flight {outcome.detail}", now=now)
            return replace(heard, accepted_at=accepted_at), ()
        case Unknown():
            return _unknown(payment, outcome.detail, now=now), ()
        case _:
            assert_never(outcome)


def _unknown(payment: Payment, detail: str, *, now: int) -> Payment:
    heard = _heard(payment, f"unknown {detail}", now=now)
    return replace(heard, state=PaymentState.UNKNOWN)


def _heard(payment: Payment, word: str, *, now: int) -> Payment:
    """The same word again changes nothing: it is kept with the time when it was new."""
    word = word.strip()[:MAX_WORD]
    return payment if word == payment.heard else replace(payment, heard=word, heard_at=now)


def _proof(outcome: Failed | NotSent) -> Proof:
    kind = ProofKind.FINAL_STATUS if isinstance(outcome, Failed) else ProofKind.NOT_SENT
    return Proof(kind, f"{outcome.reason} {outcome.detail}".strip())


def release(payment: Payment, *, proof: Proof, now: int) -> tuple[Payment, tuple[Entry, ...]]:
    """Give back all that is held; `proof` says why that is safe and is stored."""
    account = payment.account_id
    released = replace(payment, state=PaymentState.RELEASED, settled_at=now, proof=proof)
    entry = Entry(EntryKind.RELEASE, held(account), available(account), payment.held_msat)
    return released, (entry,)


def _settle(
    payment: Payment, outcome: Settled, *, now: int
) -> tuple[Payment, tuple[Entry, ...]]:
    told_fee_msat = _told_fee_msat(payment, outcome)
    fee_msat = Msat(min(told_fee_msat, payment.fee_reserve_msat))
    account, backend = payment.account_id, node(_backend(payment))
    moves = (
        (EntryKind.SETTLE, held(account), backend, payment.amount_msat + fee_msat),
        (
            EntryKind.SETTLE,
            held(account),
            available(account),
            payment.fee_reserve_msat - fee_msat,
        ),
        (EntryKind.OVERAGE, LOSS, backend, told_fee_msat - fee_msat),
    )
    entries = tuple(
        Entry(kind, source, destination, Msat(amount_msat))
        for kind, source, destination, amount_msat in moves
        if amount_msat > 0
    )
    settled = replace(
        payment,
        state=PaymentState.SETTLED,
        fee_msat=fee_msat,
        preimage=outcome.preimage,
        settled_at=told_time(outcome.settled_at) or now,
    )
    return settled, entries


def told_time(told_at: int | None) -> int | None:
    """What a backend says, where that can be a time at all."""
    return told_at if told_at is not None and 0 < told_at < MAX_TIME else None


def _told_fee_msat(payment: Payment, outcome: Settled) -> Msat:
    """Where the backend tells no fee, or one below nothing, it costs the reserve."""
    if outcome.fee_msat is None or outcome.fee_msat < 0:
        return payment.fee_reserve_msat
    return Msat(min(outcome.fee_msat, MAX_MSAT))


def _late_success(payment: Payment, outcome: Outcome) -> tuple[Entry, ...]:
    if not isinstance(outcome, Settled) or not proves(outcome.preimage, payment.payment_hash):
        return ()
    fee_msat = _told_fee_msat(payment, outcome)
    cost_msat = Msat(min(payment.amount_msat + fee_msat, MAX_MSAT))
    return (Entry(EntryKind.OVERAGE, LOSS, node(_backend(payment)), cost_msat),)


def _backend(payment: Payment) -> BackendName:
    if payment.backend is None:
        raise ValueError(f"payment {payment.payment_id} was never pinned to a backend")
    return payment.backend


def settle_internally(
    payment: Payment, invoice: Invoice, *, preimage: Preimage, now: int
) -> tuple[Payment, Invoice, tuple[Entry, ...]] | None:
    """A payment of an invoice that this service issued, booked on both sides at once.

    None where the ledger alone cannot settle it: the invoice is not open and unexpired here,
    or its preimage is not known. The stored amount counts, never the presented one (A2), where
    there is one, and there is no fee.
    """
    payable = invoice.state is InvoiceState.PENDING and now < invoice.expires_at
    if not payable or not proves(preimage, payment.payment_hash):
        return None
    amount_msat = invoice.amount_msat or payment.amount_msat
    paid = replace(
        payment,
        kind=PaymentKind.INTERNAL,
        state=PaymentState.SETTLED,
        backend=None,
        amount_msat=amount_msat,
        fee_reserve_msat=Msat(0),
        fee_msat=Msat(0),
        preimage=preimage,
        settled_at=now,
    )
    received = replace(
        invoice,
        state=InvoiceState.SETTLED,
        received_msat=amount_msat,
        preimage=preimage,
        settled_at=now,
    )
    entry = Entry(
        EntryKind.INTERNAL,
        available(payment.account_id),
        available(invoice.account_id),
        amount_msat,
    )
    return paid, received, (entry,)
