"""A Lightning node that does its worst, and keeps account of what really happened.

What it did is in `truth`; what it says about that is another matter, as its `Faults` tell. It
does no I/O and knows no event loop: whoever owns it moves it on with `step` and asks. The same
seed and the same calls give the same behaviour. With no faults it is an obedient node.

    node = HostileNode(Random(7), clock=time.time, faults=Faults(reply_lost=0.1))
    invoice = node.offer(5_000, expiry_s=600)       # of a payee outside
    node.submit(pay_request)                        # takes the send
    node.answer(pay_request.our_id)                 # what the sender hears by now, or None
    node.lookup_payment(ref)                        # raises BackendUnavailable, like the port
    node.create_invoice(spec); node.receive(payment_hash); node.events_after(cursor)
    node.resolve_hold(payment_hash, preimage)       # or None: give back what is held
    node.receive_keysend(5_000, {696969: b"id"})
    node.create_offer(spec); node.receive_offer(offer, 5_000)
    node.fetch_invoice(offer_outside, amount_msat=5_000)
    node.due_at()                                   # when `step` has something to do again
    node.heal()                                     # from now on it tells the truth
    node.truth.paid, node.truth.received_msat       # what really happened
    saved = node.dump(); node.load(saved)           # all of it, to survive the own kill
    old = node.snapshot(); node.restore(old)        # a rollback: its memory, not the truth
"""

import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any, Literal, NamedTuple

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    Decoded,
    FetchedInvoice,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    KeysendRequest,
    OfferReport,
    OfferSpec,
    PaymentRef,
    PaymentReport,
    PayRequest,
)
from nwc_service.wallet import bolt11, bolt12
from nwc_service.wallet.outcome import (
    Failed,
    FailReason,
    InFlight,
    NotSent,
    Outcome,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, PaymentHash, Preimage
from tests.doubles.hostile_offers import (
    NODE_KEY,
    NODE_PUBKEY,
    PAYEE_KEY,
    PAYEE_PUBKEY,
    Fetched,
    Made,
    OutsidePayee,
    hash_of,
    made,
)

__all__ = ["NODE_PUBKEY", "PAYEE_KEY", "PAYEE_PUBKEY", "hash_of"]

OPENING_MSAT = 10**12
LATENCY_S = 0.4
BLOCK_S = 30
HELD_BLOCKS = 40
"""How long a payer lets a hold invoice that demands no more keep his money."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities, each of one occasion; and limits in seconds."""

    # sends
    fails: float = 0.0  # truly, as payments do
    refuses: float = 0.0  # nothing is taken, and it says so
    swallows: float = 0.0  # nothing is taken, and nobody hears of that
    accepts_late: float = 0.0  # the send is on its way for up to `late_s`
    accepts_at_expiry: float = 0.0  # it arrives within 150 s of the invoice's expiry
    accepts_expired: float = 0.0  # of what was fetched for an offer: within 600 s after it
    stays_in_flight: float = 0.0  # for up to `in_flight_s`
    reply_lost: float = 0.0  # the sender hears nothing, ever
    reply_reset: float = 0.0  # the sender hears that the connection broke
    settles_after_failed: float = 0.0  # says that it failed, and pays later
    pays_expired: bool = False  # takes expired invoices: such a node has no rule H
    fee_above_cap: float = 0.0
    fee_untold: float = 0.0
    fee_negative: float = 0.0  # in words only
    wrong_preimage: float = 0.0  # this time
    # questions
    unavailable: float = 0.0  # of any call but a send
    forgets: float = 0.0  # this time, what it has
    # invoices
    created_unheard: float = 0.0  # it makes the invoice, the reply is lost
    overpaid: float = 0.0
    underpaid: float = 0.0
    settles_dead: float = 0.0  # what is canceled or expired
    event_late: float = 0.0  # told only after up to `event_late_s`
    event_repeats: float = 0.0
    events_reordered: float = 0.0
    index_gap: float = 0.0
    # hold invoices
    resolved_unheard: float = 0.0  # it settles or cancels, the reply is lost
    held_shortly: float = 0.0  # of a payer who leaves hardly any blocks
    # invoices for an offer of somebody outside
    fetch_silent: float = 0.0  # the payee does not answer
    fetch_refused: float = 0.0
    fetch_bait: float = 0.0  # it asks for another amount
    fetch_again: float = 0.0  # it is one that was fetched before

    late_s: float = 120.0
    in_flight_s: float = 7200.0
    event_late_s: float = 600.0
    skew_s: int = 0  # of its own clock, which decides what has expired


class SendState(StrEnum):
    ON_THE_WAY = "on the way"
    IN_FLIGHT = "in flight"
    SETTLED = "settled"
    FAILED = "failed"
    REFUSED = "refused"  # by the node, at arrival: it keeps no record
    JOINED = "joined"  # another send of the hash is in flight, or has paid
    DROPPED = "dropped"  # never taken
    SWALLOWED = "swallowed"  # likewise, and nobody hears of it


@dataclass(slots=True)
class Send:
    """One call of `submit`; what will become of it is drawn when it is made."""

    our_id: str
    payment_hash: PaymentHash
    amount_msat: int
    expires_at: float
    sent_at: float
    arrives_at: float
    takes_s: float
    pays: bool
    fee_msat: int
    said_fee_msat: int | None
    says_failed: bool
    reply: Literal["told", "lost", "reset"]
    state: SendState = SendState.ON_THE_WAY
    ends_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Paid:
    payment_hash: PaymentHash
    amount_msat: int
    fee_msat: int
    said_fee_msat: int | None
    paid_at: float

    @property
    def spent_msat(self) -> int:
        return self.amount_msat + self.fee_msat


@dataclass(slots=True)
class Truth:
    """What really happened; nothing undoes it."""

    denied: dict[str, bool] = field(default_factory=dict)
    """By `our_id`: sends that it had or paid, and yet called failed or not found."""
    sends: dict[str, int] = field(default_factory=dict)  # by `our_id`: how often it was sent
    paid: dict[str, Paid] = field(default_factory=dict)  # by `our_id`
    received_msat: dict[tuple[PaymentHash, str], int] = field(default_factory=dict)
    """By payment hash and htlc set."""
    held_msat: dict[tuple[PaymentHash, str], int] = field(default_factory=dict)
    """Of hold invoices, now: by payment hash and htlc set, too."""
    decided: set[PaymentHash] = field(default_factory=set)
    """Hold invoices of which it was told what to do, whatever it said to that."""
    accepted: dict[PaymentHash, int] = field(default_factory=dict)  # how often it was held
    keysends: dict[PaymentHash, Mapping[int, bytes]] = field(default_factory=dict)
    """That came in, with their records."""
    through_offers: dict[PaymentHash, tuple[str, str | None]] = field(default_factory=dict)
    """That came in: the offer that was paid, and the payer's note."""
    offers: dict[str, int] = field(default_factory=dict)
    """By `our_id`: how many it made."""

    def spent_msat(self, payment_hash: PaymentHash) -> int:
        paid = self.paid.values()
        return sum(p.spent_msat for p in paid if p.payment_hash == payment_hash)

    def received_of(self, payment_hash: PaymentHash) -> int:
        return sum(
            msat for (hash_, _), msat in self.received_msat.items() if hash_ == payment_hash
        )


@dataclass(slots=True)
class _Memory:
    """What the node knows; a rollback takes it back to an older state."""

    sends: dict[int, SendState] = field(default_factory=dict)  # by number: as it knows them
    invoices: dict[PaymentHash, InvoiceReport] = field(default_factory=dict)
    by_our_id: dict[str, PaymentHash] = field(default_factory=dict)
    hold_blocks: dict[PaymentHash, int] = field(default_factory=dict)  # of hold invoices
    offers: dict[str, Made] = field(default_factory=dict)  # by themselves
    log: list[tuple[int, InvoiceReport]] = field(default_factory=list)
    counters: dict[str, int] = field(
        default_factory=lambda: {"payments": 0, "invoices": 0, "settled": 0}
    )

    def copy(self) -> "_Memory":
        return _Memory(
            dict(self.sends),
            dict(self.invoices),
            dict(self.by_our_id),
            dict(self.hold_blocks),
            dict(self.offers),
            list(self.log),
            dict(self.counters),
        )


class _Aim(NamedTuple):
    """What a send pays: `expires_at` is what its payee says, `refused_from` what the node
    does."""

    payment_hash: PaymentHash
    amount_msat: int
    expires_at: float
    refused_from: float
    is_fetched: bool = False


class HostileNode:
    def __init__(
        self,
        random: Random,
        *,
        clock: Callable[[], float],
        faults: Faults = Faults(),
        opening_msat: int = OPENING_MSAT,
    ) -> None:
        self.faults = faults
        self.truth = Truth()
        self._opening_msat = opening_msat
        self._random = random
        self._clock = clock
        self._memory = _Memory()
        self._forgotten: list[_Memory] = []  # what rollbacks have hidden, until it heals
        self._payees: dict[PaymentHash, Preimage] = {}
        self._outside = OutsidePayee(random)
        self._sends: list[Send] = []
        self._open: list[int] = []  # numbers of sends on the way or in flight
        self._untold: list[tuple[float, InvoiceReport]] = []

    # --- time

    def step(self) -> None:
        """Bring all that is due to pass, in its order of time."""
        now = self._clock()
        while (due := self._next_of_sends()) is not None and due[0] <= now:
            at, number = due
            self._advance(number, at=at)
        self._give_back_due()
        told = [report for at, report in self._untold if at <= now]
        self._untold = [(at, report) for at, report in self._untold if at > now]
        for report in told:
            self._tell(report)

    def due_at(self) -> float | None:
        """When something happens next by itself."""
        due = self._next_of_sends()
        times = [at for at, _ in self._untold] + ([due[0]] if due else [])
        return min(times, default=None)

    def heal(self) -> None:
        """From now on it obeys and tells the truth, of what it had forgotten too; what is on
        the way arrives, and what is in flight ends, when they were to."""
        self.faults = Faults(pays_expired=self.faults.pays_expired, skew_s=self.faults.skew_s)
        self.recover()
        self._untold = [(min(at, self._clock()), report) for at, report in self._untold]
        self.step()

    def recover(self) -> None:
        """It gets back what rollbacks have taken."""
        for older in reversed(self._forgotten):
            self._remember(older)
        self._forgotten.clear()

    @property
    def is_rolled_back(self) -> bool:
        return bool(self._forgotten)

    def now(self) -> float:
        """By the clock that it was given."""
        return self._clock()

    def height(self) -> int:
        """The number of the newest block."""
        return int(self._clock() // BLOCK_S)

    # --- sends

    def offer(
        self, amount_msat: int | None, *, expiry_s: int = 3600, preimage: str | None = None
    ) -> str:
        """An invoice of somebody outside, who can be paid from now on."""
        preimage = preimage or self._random.randbytes(32).hex()
        self.expect(preimage)
        return bolt11.encode(
            network="regtest",
            amount_msat=None if amount_msat is None else Msat(amount_msat),
            payment_hash=hash_of(preimage),
            payment_secret=self._random.randbytes(32).hex(),
            description="outside",
            created_at=int(self._clock()),
            expiry_s=expiry_s,
            secret_key=PAYEE_KEY,
        )

    def expect(self, preimage: str) -> None:
        """Let the payee who knows this preimage be there to be paid."""
        self._payees[hash_of(preimage)] = Preimage(preimage)

    def decode(self, invoice: str) -> Decoded:
        self._take_call()
        read = bolt11.decode(invoice)
        return Decoded(read.payment_hash, read.amount_msat, read.expires_at, read.payee)

    def fetch_invoice(
        self, offer: str, *, amount_msat: int | None, payer_note: str | None = None
    ) -> FetchedInvoice | None:
        """What the payee of an offer outside sends; None where he keeps silent. Raises
        BackendUnavailable and BadRequest."""
        self._take_call()
        read = bolt12.decode(offer)
        asked_msat = amount_msat or read.amount_msat
        if read.issuer_id != PAYEE_PUBKEY or asked_msat is None:
            raise BadRequest("nobody makes an invoice for that")
        if self._happens(self.faults.fetch_refused):
            raise BadRequest("the payee makes no invoice")
        if self._happens(self.faults.fetch_silent):
            return None
        fetched = self._fetched_again(offer)
        if fetched is None:
            if self._happens(self.faults.fetch_bait):
                asked_msat = self._outside.other_amount(asked_msat)
            fetched = self._outside.new_invoice(offer, asked_msat, now=self._clock())
            self.expect(fetched.preimage)
        fetched.notes.append(payer_note)
        return fetched.told

    def _fetched_again(self, offer: str) -> Fetched | None:
        happens = self._happens(self.faults.fetch_again)
        return self._outside.invoice_again(offer) if happens else None

    def fetched(self, invoice: str) -> Fetched | None:
        """What was fetched as this invoice."""
        return self._outside.fetched.get(invoice)

    def submit(self, request: PayRequest | KeysendRequest) -> None:
        """Somebody has sent this; `answer` tells what he hears."""
        self.step()
        if isinstance(request, KeysendRequest) and request.destination != NODE_PUBKEY:
            self.expect(request.preimage)  # whoever gets a keysend knows what he needs
        self.truth.sends[request.our_id] = self.truth.sends.get(request.our_id, 0) + 1
        send = self._planned(request)
        self._sends.append(send)
        if send.state is SendState.ON_THE_WAY:
            self._open.append(len(self._sends) - 1)
        self.step()

    def answer(self, our_id: str) -> Outcome | None:
        """What the sender has heard by now; None: nothing yet, and perhaps never."""
        self.step()
        numbers = [n for n, send in enumerate(self._sends) if send.our_id == our_id]
        if not numbers:
            return None
        send = self._sends[numbers[-1]]
        if send.state is SendState.DROPPED:
            return NotSent(FailReason.UNAVAILABLE, "refused the connection")
        if send.reply == "lost" or send.state is SendState.SWALLOWED:
            return None
        if send.reply == "reset":
            return Unknown("the connection broke")
        if send.state is SendState.REFUSED:
            return Failed(FailReason.EXPIRED)
        return self._heard(numbers[-1])

    def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        """Of this send, or of another that has the hash in flight or paid it."""
        self._take_call()
        if self._happens(self.faults.forgets):
            self._deny(ref.payment_hash)
            return None
        numbers = [n for n, send in enumerate(self._sends) if send.our_id == ref.our_id]
        known = self._memory.sends.get(numbers[-1]) if numbers else None
        if known not in (None, SendState.JOINED):
            return self._said(numbers[-1])
        standing = self._standing(ref.payment_hash)
        if standing is not None:
            said = self._said(standing)
            if isinstance(said, Failed):  # and this one may still be on its way
                self.truth.denied[ref.our_id] = True
            return said
        return None if known is None else Failed(FailReason.NO_ROUTE, "as what it had joined")

    def _planned(self, request: PayRequest | KeysendRequest) -> Send:
        faults, random, now = self.faults, self._random, self._clock()
        aim = self._aim(request)
        travels_s = random.uniform(0, LATENCY_S)
        if self._happens(faults.accepts_late):
            travels_s = random.uniform(0, faults.late_s)
        if aim.expires_at < math.inf and self._happens(faults.accepts_at_expiry):
            travels_s = max(0, aim.expires_at + random.uniform(-150, 150) - now)
        if aim.is_fetched and self._happens(faults.accepts_expired):
            travels_s = max(0, aim.expires_at + random.uniform(0, 600) - now)
        takes_s = random.uniform(0, LATENCY_S)
        if self._happens(faults.stays_in_flight):
            takes_s = random.uniform(0, faults.in_flight_s)
        fee_msat, said_fee_msat = self._fee(request.max_fee_msat)
        says_failed = self._happens(faults.settles_after_failed)
        if says_failed:
            takes_s += random.uniform(1, faults.late_s)
            self.truth.denied[request.our_id] = True
        pays = not self._happens(faults.fails)
        heard = random.random()
        is_lost = heard < faults.reply_lost
        is_reset = not is_lost and heard < faults.reply_lost + faults.reply_reset
        refused = self._happens(faults.refuses)
        swallowed = not refused and self._happens(faults.swallows)
        return Send(
            our_id=request.our_id,
            payment_hash=aim.payment_hash,
            amount_msat=aim.amount_msat,
            expires_at=aim.refused_from,
            sent_at=now,
            arrives_at=now + travels_s,
            takes_s=takes_s,
            pays=pays or says_failed,
            fee_msat=fee_msat,
            said_fee_msat=said_fee_msat,
            says_failed=says_failed,
            reply="lost" if is_lost else "reset" if is_reset else "told",
            state=_first_state(refused=refused, swallowed=swallowed),
        )

    def _aim(self, request: PayRequest | KeysendRequest) -> _Aim:
        """A keysend expires nowhere, and what was fetched is paid however old it is, for as
        much as it asks for."""
        if isinstance(request, KeysendRequest):
            hash_ = hash_of(request.preimage)
            return _Aim(hash_, request.amount_msat, math.inf, math.inf)
        if fetched := self.fetched(request.invoice):
            told = fetched.told
            until = told.expires_at
            return _Aim(told.payment_hash, told.amount_msat, until, math.inf, is_fetched=True)
        expires_at = bolt11.decode(request.invoice).expires_at
        return _Aim(request.payment_hash, request.amount_msat, expires_at, expires_at)

    def _fee(self, cap_msat: int) -> tuple[int, int | None]:
        """What it takes, and what it says that it took."""
        fee_msat = self._random.randint(0, cap_msat)
        if self._happens(self.faults.fee_above_cap):
            fee_msat = cap_msat + self._random.randint(1, 1 + cap_msat)
        if self._happens(self.faults.fee_untold):
            return fee_msat, None
        if self._happens(self.faults.fee_negative):
            return fee_msat, -1 - self._random.randint(0, cap_msat)
        return fee_msat, fee_msat

    def _next_of_sends(self) -> tuple[float, int] | None:
        return min(((self._due(number), number) for number in self._open), default=None)

    def _due(self, number: int) -> float:
        send = self._sends[number]
        return send.arrives_at if send.state is SendState.ON_THE_WAY else send.ends_at

    def _advance(self, number: int, *, at: float) -> None:
        send = self._sends[number]
        if send.state is SendState.ON_THE_WAY:
            self._arrive(number, at=at)
        else:
            self._end(number, at=at)
        if send.state is not SendState.IN_FLIGHT:
            self._open.remove(number)

    def _arrive(self, number: int, *, at: float) -> None:
        send = self._sends[number]
        is_expired = at + self.faults.skew_s >= send.expires_at
        if is_expired and not self.faults.pays_expired:
            send.state = SendState.REFUSED
            return
        if self._standing(send.payment_hash) is not None:
            send.state = SendState.JOINED
        elif send.payment_hash not in self._payees:
            send.state = SendState.FAILED
        else:
            send.state = SendState.IN_FLIGHT
            send.ends_at = at + send.takes_s
        self._memory.sends[number] = send.state
        self._count("payments")

    def _end(self, number: int, *, at: float) -> None:
        send = self._sends[number]
        send.state = SendState.SETTLED if send.pays else SendState.FAILED
        if send.pays:
            self.truth.paid[send.our_id] = Paid(
                send.payment_hash, send.amount_msat, send.fee_msat, send.said_fee_msat, at
            )
        if number in self._memory.sends:
            self._memory.sends[number] = send.state
            self._count("payments")

    def _deny(self, payment_hash: PaymentHash) -> None:
        standing = self._standing(payment_hash)
        if standing is not None:
            self.truth.denied[self._sends[standing].our_id] = True

    def _standing(self, payment_hash: PaymentHash) -> int | None:
        """The send that has this hash in flight, or paid it, as far as the node knows."""
        for number, state in self._memory.sends.items():
            of_hash = self._sends[number].payment_hash == payment_hash
            if of_hash and state in (SendState.IN_FLIGHT, SendState.SETTLED):
                return number
        return None

    def _heard(self, number: int) -> Outcome | None:
        """What comes back on the call of the send itself: nothing before it is final."""
        known = self._memory.sends.get(number)
        if known is SendState.JOINED:
            return InFlight("another send of this hash")
        said = None if known is None else self._said(number)
        return None if isinstance(said, InFlight) else said

    def _said(self, number: int) -> Outcome:
        send = self._sends[number]
        match self._memory.sends[number]:
            case SendState.IN_FLIGHT if send.says_failed:
                return Failed(FailReason.NO_ROUTE, "says the node")
            case SendState.SETTLED:
                preimage = self._payees[send.payment_hash]
                if self._happens(self.faults.wrong_preimage):
                    preimage = Preimage(self._random.randbytes(32).hex())
                fee_msat = send.said_fee_msat
                return Settled(
                    preimage, None if fee_msat is None else Msat(fee_msat), int(send.ends_at)
                )
            case SendState.FAILED:
                return Failed(FailReason.NO_ROUTE)
            case _:
                return InFlight()

    # --- invoices

    def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        """The same again for the same `our_id`. Raises BackendUnavailable, also when it has
        made it, and BadRequest for a hash that another invoice has."""
        self._take_call()
        if spec.our_id not in self._memory.by_our_id:
            if spec.hold_hash in self._memory.invoices:
                raise BadRequest("another invoice has this payment hash")
            self._make(spec)
        if self._happens(self.faults.created_unheard):
            raise BackendUnavailable("the connection broke")
        return self._memory.invoices[self._memory.by_our_id[spec.our_id]]

    def _make(self, spec: InvoiceSpec) -> None:
        preimage, payment_hash = self._secret(spec)
        now = int(self._clock() + self.faults.skew_s)
        invoice = bolt11.encode(
            network="regtest",
            amount_msat=spec.amount_msat,
            payment_hash=payment_hash,
            payment_secret=self._random.randbytes(32).hex(),
            description=None if spec.description_hash else spec.description,
            description_hash=spec.description_hash,
            created_at=now,
            expiry_s=spec.expiry_s,
            secret_key=NODE_KEY,
        )
        self._memory.by_our_id[spec.our_id] = payment_hash
        self._memory.invoices[payment_hash] = InvoiceReport(
            payment_hash=payment_hash,
            invoice=invoice,
            status=InvoiceStatus.OPEN,
            amount_msat=spec.amount_msat,
            received_msat=None,
            preimage=preimage,
            created_at=now,
            expires_at=now + spec.expiry_s,
        )
        if spec.hold_hash is not None:
            blocks = spec.min_cltv_expiry_delta or HELD_BLOCKS
            self._memory.hold_blocks[payment_hash] = blocks
        self._count("invoices")

    def _secret(self, spec: InvoiceSpec) -> tuple[Preimage | None, PaymentHash]:
        if spec.hold_hash is not None:
            return None, spec.hold_hash
        preimage = spec.preimage or Preimage(self._random.randbytes(32).hex())
        return preimage, hash_of(preimage)

    def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        self._take_call()
        report = self._memory.invoices.get(payment_hash)
        if report is None or self._happens(self.faults.forgets):
            return None
        is_expired = self._clock() + self.faults.skew_s >= report.expires_at
        if report.status is InvoiceStatus.OPEN and is_expired:
            return replace(report, status=InvoiceStatus.EXPIRED)
        return report

    def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        self._take_call()
        report = self._memory.invoices.get(payment_hash)
        if report is not None and report.status is not InvoiceStatus.SETTLED:
            self._cancel(report)

    def open_hashes(self) -> list[PaymentHash]:
        """Of the invoices that nobody has paid; a payer knows only those that he was shown."""
        settled = InvoiceStatus.SETTLED
        return [
            h for h, report in self._memory.invoices.items() if report.status is not settled
        ]

    def receive(self, payment_hash: PaymentHash, amount_msat: int | None = None) -> int:
        """Somebody outside pays an invoice of this node; what really arrived, or is held of a
        hold invoice, 0 where it was refused."""
        self.step()
        report = self._memory.invoices.get(payment_hash)
        taken = (InvoiceStatus.SETTLED, InvoiceStatus.ACCEPTED)
        if report is None or report.status in taken:
            return 0
        is_expired = self._clock() + self.faults.skew_s >= report.expires_at
        is_dead = is_expired or report.status is not InvoiceStatus.OPEN
        if is_dead and not self._happens(self.faults.settles_dead):
            return 0
        received_msat = amount_msat or self._paid_in(report.amount_msat or 1_000)
        if payment_hash in self._memory.hold_blocks:
            self._hold(report, received_msat)
        else:
            self._settle_invoice(report, received_msat)
        return received_msat

    def receive_keysend(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> PaymentHash:
        """Somebody outside pays this node without an invoice."""
        self.step()
        preimage = Preimage(self._random.randbytes(32).hex())
        now = int(self._clock() + self.faults.skew_s)
        report = InvoiceReport(
            payment_hash=hash_of(preimage),
            invoice="",
            status=InvoiceStatus.OPEN,
            amount_msat=Msat(amount_msat),
            received_msat=None,
            preimage=preimage,
            created_at=now,
            expires_at=now,
            tlvs=tlvs,
        )
        self.truth.keysends[report.payment_hash] = tlvs
        self._settle_invoice(report, amount_msat)
        return report.payment_hash

    def create_offer(self, spec: OfferSpec) -> OfferReport:
        """The same again for the same `our_id`. Raises BackendUnavailable, also when it has
        made it."""
        self._take_call()
        offer = self._offer_for(spec.our_id)
        if offer is None:
            offer = made(spec, random=self._random)
            self._memory.offers[offer.report.offer] = offer
            self.truth.offers[spec.our_id] = self.truth.offers.get(spec.our_id, 0) + 1
        if self._happens(self.faults.created_unheard):
            raise BackendUnavailable("the connection broke")
        return offer.report

    def made_offer(self, offer: str) -> Made | None:
        """One of its own that it has not forgotten."""
        return self._memory.offers.get(offer)

    def _offer_for(self, our_id: str) -> Made | None:
        offers = self._memory.offers.values()
        return next((offer for offer in offers if offer.spec.our_id == our_id), None)

    def receive_offer(
        self, offer: str, amount_msat: int, *, payer_note: str | None = None
    ) -> int:
        """Somebody outside pays an offer of this node: what arrived, 0 where it made him no
        invoice."""
        self.step()
        known = self.made_offer(offer)
        if known is None or not self._is_payable(known):
            return 0
        preimage = Preimage(self._random.randbytes(32).hex())
        now = int(self._clock() + self.faults.skew_s)
        report = InvoiceReport(
            payment_hash=hash_of(preimage),
            invoice=f"lni1{self._random.randbytes(16).hex()}",
            status=InvoiceStatus.OPEN,
            amount_msat=Msat(amount_msat),
            received_msat=None,
            preimage=preimage,
            created_at=now,
            expires_at=now + 600,
            node_offer_id=known.report.node_offer_id,
            payer_note=payer_note,
        )
        self.truth.through_offers[report.payment_hash] = offer, payer_note
        received_msat = self._paid_in(amount_msat)
        self._settle_invoice(report, received_msat)
        return received_msat

    def _is_payable(self, offer: Made) -> bool:
        name, expires_at = offer.report.node_offer_id, offer.spec.expires_at
        is_used = any(i.node_offer_id == name for i in self._memory.invoices.values())
        is_over = expires_at is not None and self._clock() + self.faults.skew_s >= expires_at
        return not is_over and not (offer.spec.single_use and is_used)

    def receive_stray(self, amount_msat: int) -> PaymentHash:
        """Settle an invoice that the service never asked for."""
        spec = InvoiceSpec(
            our_id=f"stray {self._random.randbytes(8).hex()}",
            amount_msat=Msat(amount_msat),
            description="of another program",
            description_hash=None,
            expiry_s=600,
            preimage=None,
        )
        self._make(spec)
        payment_hash = self._memory.by_our_id[spec.our_id]
        self._settle_invoice(self._memory.invoices[payment_hash], amount_msat)
        return payment_hash

    def events_after(self, cursor: Cursor | None) -> list[tuple[InvoiceReport, Cursor | None]]:
        """What has settled since, and what is held still, each with the cursor up to which all
        has been told."""
        self._take_call()
        reached = int(cursor or 0)
        ahead = [index for index, _ in self._memory.log if index > reached]
        order = [entry for entry in self._memory.log if entry[0] > reached]
        if self._happens(self.faults.events_reordered):
            self._random.shuffle(order)
        told: dict[int, bool] = {}
        events: list[tuple[InvoiceReport, Cursor | None]] = []
        for index, report in order:
            told[index] = True
            while ahead and ahead[0] in told:
                reached = ahead.pop(0)
            at = Cursor(str(reached)) if reached else None
            events.append((report, at))
            if self._happens(self.faults.event_repeats):
                events.append((self._random.choice(self._memory.log)[1], at))
        return [(report, at) for report, at in events if self._is_true(report)]

    def _is_true(self, report: InvoiceReport) -> bool:
        """What was held and is not any more is not told as held."""
        is_held = (report.payment_hash, report.htlc_set) in self.truth.held_msat
        return report.status is not InvoiceStatus.ACCEPTED or is_held

    def _paid_in(self, amount_msat: int) -> int:
        if self._happens(self.faults.overpaid):
            return amount_msat + self._random.randint(1, amount_msat)
        if self._happens(self.faults.underpaid):
            return self._random.randint(1, amount_msat)
        return amount_msat

    def _settle_invoice(self, report: InvoiceReport, received_msat: int) -> None:
        # One that it has forgotten was settled can be settled once more.
        before = [
            set_ for hash_, set_ in self.truth.received_msat if hash_ == report.payment_hash
        ]
        settled = replace(
            report,
            htlc_set=str(len(before)) if before else "",
            status=InvoiceStatus.SETTLED,
            received_msat=Msat(received_msat),
            settled_at=int(self._clock() + self.faults.skew_s),
        )
        self.truth.received_msat[report.payment_hash, settled.htlc_set] = received_msat
        self._keep(settled)

    def _keep(self, report: InvoiceReport) -> None:
        """What it knows from now on, and tells at once or later."""
        self._memory.invoices[report.payment_hash] = report
        if self._happens(self.faults.event_late):
            late_s = self._random.uniform(0, self.faults.event_late_s)
            self._untold.append((self._clock() + late_s, report))
        else:
            self._tell(report)

    def _tell(self, report: InvoiceReport) -> None:
        if self._happens(self.faults.index_gap):
            self._count("settled", self._random.randint(1, 50))
        self._count("settled")
        self._memory.log.append((self._memory.counters["settled"], report))

    # --- hold invoices

    def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        """Raises BackendUnavailable, also when it has done it, and BadRequest as the port has
        it."""
        self._take_call()
        self.truth.decided.add(payment_hash)
        report = self._memory.invoices.get(payment_hash)
        if report is None or payment_hash not in self._memory.hold_blocks:
            raise BadRequest("no hold invoice has this payment hash")
        if preimage is not None:
            self._settle_hold(report, preimage)
        elif report.status is InvoiceStatus.SETTLED:
            raise BadRequest("the hold invoice is settled")
        else:
            self._cancel(report)
        if self._happens(self.faults.resolved_unheard):
            raise BackendUnavailable("the connection broke")
        return self._memory.invoices[payment_hash]

    def _settle_hold(self, report: InvoiceReport, preimage: Preimage) -> None:
        if hash_of(preimage) != report.payment_hash:
            raise BadRequest("the preimage is of another hash")
        if report.status is InvoiceStatus.SETTLED:
            return
        if report.status is not InvoiceStatus.ACCEPTED:
            raise BadRequest(f"the hold invoice is {report.status}")
        key = report.payment_hash, report.htlc_set
        self.truth.received_msat[key] = self.truth.held_msat.pop(key)
        self._keep(
            replace(
                report,
                status=InvoiceStatus.SETTLED,
                preimage=preimage,
                settled_at=int(self._clock() + self.faults.skew_s),
                settle_deadline=None,
            )
        )

    def _hold(self, report: InvoiceReport, received_msat: int) -> None:
        before = self.truth.accepted.get(report.payment_hash, 0)
        blocks = self._memory.hold_blocks[report.payment_hash]
        if self._happens(self.faults.held_shortly):
            blocks = self._random.randint(1, 8)
        accepted = replace(
            report,
            htlc_set=str(before) if before else "",
            status=InvoiceStatus.ACCEPTED,
            received_msat=Msat(received_msat),
            settle_deadline=self.height() + blocks,
        )
        self.truth.accepted[report.payment_hash] = before + 1
        self.truth.held_msat[report.payment_hash, accepted.htlc_set] = received_msat
        self._keep(accepted)

    def _cancel(self, report: InvoiceReport) -> None:
        """Nobody can pay it any more, and what is held goes back."""
        self.truth.held_msat.pop((report.payment_hash, report.htlc_set), None)
        self._memory.invoices[report.payment_hash] = replace(
            report, status=InvoiceStatus.CANCELED, received_msat=None, settle_deadline=None
        )

    def _give_back_due(self) -> None:
        """As a node does at the settle deadline, lest the payer's closes the channel."""
        for payment_hash, _ in list(self.truth.held_msat):
            report = self._memory.invoices[payment_hash]
            if report.settle_deadline is not None and report.settle_deadline <= self.height():
                self._cancel(report)

    def _give_back_forgotten(self) -> None:
        """After a rollback its peers take back what it does not hold any more, and it cannot
        hold again what has gone back or was settled."""
        known = self._memory.invoices
        for payment_hash, htlc_set in list(self.truth.held_msat):
            report = known.get(payment_hash)
            is_held = report is not None and report.status is InvoiceStatus.ACCEPTED
            if report is None or not is_held or report.htlc_set != htlc_set:
                del self.truth.held_msat[payment_hash, htlc_set]
        for report in list(known.values()):
            if not self._is_true(report):
                self._cancel(report)

    # --- the node as a whole

    def balance_msat(self) -> int:
        """What it really has to spend, and what is in flight is not."""
        self._take_call()
        in_flight = SendState.IN_FLIGHT
        out_msat = sum(
            send.amount_msat + send.fee_msat
            for number in self._open
            if (send := self._sends[number]).state is in_flight
        )
        spent_msat = sum(paid.spent_msat for paid in self.truth.paid.values())
        return (
            self._opening_msat + sum(self.truth.received_msat.values()) - spent_msat - out_msat
        )

    def counters(self) -> dict[str, int]:
        """What never counts down, unless the node was rolled back."""
        self._take_call()
        return dict(self._memory.counters)

    def history(self, side: Literal["in", "out"]) -> list[PaymentReport | InvoiceReport]:
        """As far as it knows."""
        self._take_call()
        if side == "in":
            return list(self._memory.invoices.values())
        return [
            PaymentReport(
                payment_hash=self._sends[number].payment_hash,
                amount_msat=Msat(self._sends[number].amount_msat),
                outcome=self._said(number),
                created_at=int(self._sends[number].sent_at),
            )
            for number, state in self._memory.sends.items()
            if state is not SendState.JOINED
        ]

    def snapshot(self) -> bytes:
        """What it knows now, for `restore`."""
        return pickle.dumps(self._memory)

    def restore(self, snapshot: bytes) -> None:
        """Start again from an old backup: it forgets, the truth stays, counters go down."""
        self._forgotten.append(self._memory)
        self._memory = pickle.loads(snapshot)
        for number in self._forgotten[-1].sends:
            if number not in self._memory.sends:
                self.truth.denied[self._sends[number].our_id] = True
        self._give_back_forgotten()

    def _remember(self, newer: _Memory) -> None:
        """Take back what a rollback hid. All is told again: its numbers were used twice."""
        since = self._memory
        self._memory = newer.copy()
        self._memory.sends.update(since.sends)
        for number in self._memory.sends:
            self._memory.sends[number] = self._sends[number].state
        self._memory.by_our_id.update(since.by_our_id)
        self._memory.hold_blocks.update(since.hold_blocks)
        self._memory.offers.update(since.offers)
        for payment_hash, report in since.invoices.items():
            known = self._memory.invoices.get(payment_hash)
            if known is None or known.status is not InvoiceStatus.SETTLED:
                self._memory.invoices[payment_hash] = report
        for name, value in since.counters.items():
            self._memory.counters[name] = max(value, newer.counters[name]) + 1
        self._give_back_forgotten()
        for _, report in [*newer.log, *since.log]:
            self._tell(report)

    def dump(self) -> bytes:
        """All of it but the clock, faults and drawn luck included."""
        kept = {name: value for name, value in vars(self).items() if name != "_clock"}
        return pickle.dumps(kept)

    def load(self, dumped: bytes) -> None:
        kept: dict[str, Any] = pickle.loads(dumped)
        vars(self).update(kept)

    def _take_call(self) -> None:
        self.step()
        if self._happens(self.faults.unavailable):
            raise BackendUnavailable("the connection broke")

    def _happens(self, probability: float) -> bool:
        # Nothing is drawn for what is switched off, so that faults can be told apart.
        return probability > 0 and self._random.random() < probability

    def _count(self, name: str, by: int = 1) -> None:
        self._memory.counters[name] += by


def _first_state(*, refused: bool, swallowed: bool) -> SendState:
    if swallowed:
        return SendState.SWALLOWED
    return SendState.DROPPED if refused else SendState.ON_THE_WAY
