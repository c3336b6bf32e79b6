"""What a state of the payment protocol is made of.

A payment in it is a real `Payment`, and only the functions of `wallet/payment.py` change it:
a bug in them is a bug of the model. Each distinct row exists once, so that rows are compared
and hashed by identity.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from hashlib import sha256
from math import ceil
from typing import NamedTuple

from nwc_service.wallet import payment as machine
from nwc_service.wallet.ledger import Entry, changes
from nwc_service.wallet.outcome import Outcome, Settled
from nwc_service.wallet.payment import (
    CLOCK_SKEW_S,
    Payment,
    PaymentKind,
    PaymentState,
    Proof,
)
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    Msat,
    PaymentHash,
    PaymentId,
    Preimage,
)

NODES = (BackendName("node 1"), BackendName("node 2"))
ALICE = AccountId("alice")
PREIMAGE = Preimage("11" * 32)
WRONG_PREIMAGE = Preimage("22" * 32)
START_MSAT = 150_000  # enough for one payment at a time

NOW = 1_700_000_000
EXPIRY = NOW + 3600
TIMEOUT_S = 60.0
LAST_ADMITTED = EXPIRY + CLOCK_SKEW_S - 1  # by the service's clock, where the node's is slow
LAST_REGISTERED = LAST_ADMITTED + ceil(TIMEOUT_S)
LONG_AFTER = EXPIRY + 24 * 3600

NOBODY = -1

_NEW = Payment(
    payment_id=PaymentId(""),
    account_id=ALICE,
    connection_id=None,
    kind=PaymentKind.BOLT11,
    state=PaymentState.RESERVED,
    backend=None,
    payment_hash=PaymentHash(sha256(bytes.fromhex(PREIMAGE)).hexdigest()),
    invoice="lnbcrt1payment",
    description="",
    description_hash=None,
    amount_msat=Msat(100_000),
    amount_is_override=False,
    fee_reserve_msat=Msat(10_000),
    created_at=NOW,
    expires_at=EXPIRY,
)
FEES_MSAT = (1_000, 10_300)  # the second node charges more than it was allowed to
SETTLED = tuple(Settled(PREIMAGE, Msat(fee_msat)) for fee_msat in FEES_MSAT)
UNPROVEN = Settled(WRONG_PREIMAGE, Msat(0))


class Moved(NamedTuple):
    """What a payment did to the books until now."""

    available_msat: int = 0
    held_msat: int = 0
    operator_msat: int = 0  # the nodes' books and the loss account


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    payment: Payment
    moved: Moved

    @property
    def node(self) -> int:
        return NODES.index(self.payment.backend or BackendName(""))


class Stored(NamedTuple):
    """A row of the database, with what rule J wants to be stored beside it."""

    row: Row
    epoch: int = 0  # of the last send
    sends: int = 0  # in this epoch, where each has its own


class Doing(IntEnum):
    """What a process is in the middle of; it may pause there for as long as it likes."""

    NOTHING = 0
    SENDING = 1  # TX-B is committed, no byte has left
    WAITING = 2  # the bytes have left
    ANSWERED = 3  # the outcome of the send is known here, TX-C is not committed
    LOOKED_UP = 4  # likewise, of a lookup; None is NOT_FOUND


class Phase(IntEnum):
    """Of a takeover."""

    RAISED = 0  # the epoch, in the database
    REVOKED = 1  # the credentials of the older epochs, at the nodes
    READY = 2  # nothing that was authorised before can still be registering


class Replica(NamedTuple):
    doing: Doing = Doing.NOTHING
    payment: int = 0
    outcome: Outcome | None = None
    was_unpayable: bool = False  # rule H, when the lookup was asked
    epoch: int = 0
    phase: Phase = Phase.READY


class Call(NamedTuple):
    """A send on its way. One that never arrives is a lost one."""

    payment: int
    node: int
    epoch: int
    caller: int  # the replica that waits for its reply, or NOBODY
    is_admitted: bool = False  # expiry and credential are checked, no lookup shows it yet


class Status(IntEnum):
    IN_FLIGHT = 0
    SETTLED = 1
    FAILED = 2


class Known(NamedTuple):
    """What a node knows of the payment hash; the payment is the one whose send it took."""

    payment: int
    status: Status
    caller: int


class State(NamedTuple):
    clock: int
    payments: tuple[Stored, ...]  # of one invoice, each but the last one final
    calls: tuple[Call, ...]
    nodes: tuple[Known | None, ...]
    revoked_below: int  # the epoch from which on a credential is good
    epoch: int  # in the database
    replicas: tuple[Replica, ...]


class Rows:
    """The functions of the service, as they are when this is made, each call remembered."""

    def __init__(
        self, kind: PaymentKind = PaymentKind.BOLT11, *, dates_all: bool = False
    ) -> None:
        invoice = "" if kind is PaymentKind.KEYSEND else _NEW.invoice
        self._new = replace(_NEW, kind=kind, invoice=invoice)
        self._dates_all = dates_all
        self._rows: dict[tuple[Payment, Moved], Row] = {}
        self.reserved = cache(self._reserved)
        self.dispatched = cache(self._dispatched)
        self.applied = cache(self._applied)
        self.released = cache(self._released)
        self.repinned = cache(self._repinned)
        self.is_unpayable: Callable[[Row, int], bool] = cache(
            lambda row, now: row.payment.is_unpayable(now)
        )

    def _reserved(self, number: int, node: int) -> Row:
        name = PaymentId(f"payment {number + 1}")
        payment = replace(self._new, payment_id=name, backend=NODES[node])
        return self._booked(payment, Moved(), entries=machine.reserve_entries(payment))

    def _dispatched(self, row: Row) -> Row:
        payment = replace(row.payment, invoice=_NEW.invoice) if self._dates_all else row.payment
        sent = payment.dispatched(now=NOW, timeout_s=TIMEOUT_S)
        return self._booked(replace(sent, invoice=row.payment.invoice), row.moved)

    def _applied(self, row: Row, outcome: Outcome) -> Row:
        payment, entries = machine.apply_outcome(row.payment, outcome, now=NOW)
        return self._booked(payment, row.moved, entries=entries)

    def _released(self, row: Row, proof: Proof) -> Row:
        payment, entries = machine.release(row.payment, proof=proof, now=NOW)
        return self._booked(payment, row.moved, entries=entries)

    def _repinned(self, row: Row, node: int) -> Row:
        return self._booked(replace(row.payment, backend=NODES[node]), row.moved)

    def _booked(
        self, payment: Payment, moved: Moved, *, entries: tuple[Entry, ...] = ()
    ) -> Row:
        # What the operator is told decides nothing.
        payment = replace(payment, heard=None, heard_at=None)
        users, books = changes(entries)
        for change in users.values():
            moved = moved._replace(
                available_msat=moved.available_msat + change.available_msat,
                held_msat=moved.held_msat + change.held_msat,
            )
        moved = moved._replace(operator_msat=moved.operator_msat + sum(books.values()))
        return self._rows.setdefault((payment, moved), Row(payment, moved))
