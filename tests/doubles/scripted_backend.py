"""A Lightning backend that says whatever a test has written down, true or not."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from coincurve import PrivateKey

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Balance,
    Cap,
    Cursor,
    Decoded,
    FetchedInvoice,
    Finding,
    HistoryPage,
    InFlight,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    KeysendRequest,
    NodeInfo,
    OfferReport,
    OfferSpec,
    Outcome,
    PaymentKind,
    PaymentRef,
    PayRequest,
    ReleaseRule,
    Settled,
    Unsupported,
    findings,
)
from nwc_service.wallet import bolt11, bolt12
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

SERVICE_KEY = b"\x11" * 32
OUTSIDE_KEY = b"\x22" * 32
SERVICE_PUBKEY = PrivateKey(SERVICE_KEY).public_key.format().hex()
OUTSIDE_PUBKEY = PrivateKey(OUTSIDE_KEY).public_key.format().hex()
FEE_MSAT = Msat(1_000)
EXPIRY_S = 3600
BLOCK_HEIGHT = 800_000
HELD_BLOCKS = 144  # what a payer leaves a hold invoice that demands no more

CAPS = (
    Cap.MSAT_INVOICE
    | Cap.DESCRIPTION_HASH
    | Cap.OWN_PREIMAGE
    | Cap.DECODE
    | Cap.PAY_AMOUNTLESS
    | Cap.FEE_LIMIT
    | Cap.LOOKUP_BY_HASH
    | Cap.SETTLE_CURSOR
    | Cap.CANCEL_INVOICE
)
"""What money by invoices needs, and no more."""

ALL_CAPS = (
    CAPS
    | Cap.NODE_INFO
    | Cap.HOLD
    | Cap.KEYSEND
    | Cap.KEYSEND_TLV
    | Cap.KEYSEND_OWN_PREIMAGE
    | Cap.KEYSEND_IN
    | Cap.SIGN
    | Cap.BOLT12_SEND
    | Cap.BOLT12_RECEIVE
)


def preimage_of(number: int) -> Preimage:
    """What an outside payee knows: the same again for the same number."""
    return Preimage(sha256(b"outside %d" % number).hexdigest())


def hash_of(preimage: str) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def outside_invoice(
    number: int, amount_msat: int | None, *, created_at: int, expiry_s: int = 3600
) -> str:
    """An invoice of somebody whose preimage is `preimage_of(number)`."""
    return bolt11.encode(
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=hash_of(preimage_of(number)),
        payment_secret="33" * 32,
        description="outside",
        created_at=created_at,
        expiry_s=expiry_s,
        secret_key=OUTSIDE_KEY,
    )


def outside_offer(
    amount_msat: int | None = None,
    *,
    description: str | None = "outside",
    expires_at: int | None = None,
) -> str:
    """Of somebody who makes an invoice for it each time that he is asked."""
    return bolt12.encode(
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        description=description,
        expires_at=expires_at,
        issuer_id=OUTSIDE_PUBKEY,
    )


def reading_of(invoice: str) -> Decoded:
    """As a node reads it that is right."""
    read = bolt11.decode(invoice)
    return Decoded(read.payment_hash, read.amount_msat, read.expires_at, read.payee)


class ScriptedBackend:
    """`pay` and `lookup_payment` answer from their scripts: an outcome, or an exception to
    raise. A script that has run out means, for `pay`, that the payee takes the money, and for
    `lookup_payment` what `known` holds of that hash. Whatever else has a script obeys once it
    has run out.
    """

    caps = ALL_CAPS
    release_rules: Mapping[PaymentKind, ReleaseRule] = {PaymentKind.BOLT11: ReleaseRule.EXPIRY}

    def __init__(
        self,
        name: BackendName = BackendName("node"),  # noqa: B008 (a name is a string)
        options: Mapping[str, object] | None = None,
        *,
        data_dir: Path = Path(),
    ) -> None:
        self.name = name
        self.pay_script: deque[Outcome | Exception] = deque()
        self.replies: dict[PaymentHash, tuple[Outcome | Exception, Outcome | None]] = {}
        """Instead of the script: what `pay` says to this hash, and what is known of it then."""
        self.lookup_script: deque[Outcome | Exception | None] = deque()
        self.invoice_script: deque[Exception] = deque()
        self.decode_script: deque[Decoded | Exception] = deque()  # then it reads rightly
        self.decoded: list[str] = []
        self.preimages: dict[PaymentHash, Preimage] = {}  # of the payees outside
        self.known: dict[PaymentHash, Outcome] = {}
        self.sent: list[PayRequest] = []
        self.sent_again: list[PayRequest] = []  # while the node had it, or had paid it
        self.keysent: list[KeysendRequest] = []
        self.keysent_again: list[KeysendRequest] = []
        self.fetch_script: deque[FetchedInvoice | Exception] = deque()
        self.fetched: list[tuple[str, Msat | None, str | None]] = []
        """Offer, amount and payer's note of each invoice that was asked for."""
        self.offer_script: deque[Exception] = deque()
        self.offers: dict[str, OfferReport] = {}  # by `our_id`
        self.offer_specs: list[OfferSpec] = []
        self.hold_script: deque[Exception | InvoiceReport] = deque()  # of `resolve_hold`
        self.resolved: list[tuple[PaymentHash, Preimage | None]] = []
        self.signature_script: deque[str | Exception] = deque()
        self.block_height: int | None = BLOCK_HEIGHT
        self.lookups: list[PaymentRef] = []
        self.canceled: list[PaymentHash] = []
        self.invoices: dict[PaymentHash, InvoiceReport] = {}
        self.choke_on: dict[PaymentHash, Exception] = {}  # of `lookup_invoice`
        self.specs: list[InvoiceSpec] = []
        self.stream: list[InvoiceReport] = []  # in the order of its cursor
        self.streams_ended = 0
        self.counted: dict[str, int] = {}
        self.spendable_msat = 10**15
        self.pay_gate = asyncio.Event()  # `pay` has taken the money, and waits here
        self.pay_gate.set()
        self.clock: Callable[[], int] = lambda: 0

    def expect(self, *numbers: int) -> None:
        """Let the payees with these numbers be there to be paid."""
        for number in numbers:
            preimage = preimage_of(number)
            self.preimages[hash_of(preimage)] = preimage

    def settled(self, payment_hash: PaymentHash, *, fee_msat: int | None = FEE_MSAT) -> Settled:
        fee = None if fee_msat is None else Msat(fee_msat)
        return Settled(self.preimages[payment_hash], fee)

    def receive(
        self, payment_hash: PaymentHash, received_msat: int | None = None
    ) -> InvoiceReport:
        """Somebody outside pays an invoice of this node; the stream will tell."""
        made = self.invoices[payment_hash]
        received = made.amount_msat if received_msat is None else Msat(received_msat)
        return self._tell(
            replace(
                made,
                status=InvoiceStatus.SETTLED,
                received_msat=received,
                settled_at=self.clock(),
            )
        )

    def accept(
        self,
        payment_hash: PaymentHash,
        received_msat: int | None = None,
        *,
        settle_deadline: int | None = None,
    ) -> InvoiceReport:
        """Somebody outside pays a hold invoice, and the node keeps it."""
        made = self.invoices[payment_hash]
        received = made.amount_msat if received_msat is None else Msat(received_msat)
        in_blocks = self._min_cltv(payment_hash) or HELD_BLOCKS
        return self._tell(
            replace(
                made,
                status=InvoiceStatus.ACCEPTED,
                received_msat=received,
                settle_deadline=settle_deadline or (self.block_height or 0) + in_blocks,
            )
        )

    def settle_outside(self, preimage: Preimage) -> InvoiceReport:
        """A held payment is taken by somebody else who may use the node."""
        return self._tell(self._settled_hold(hash_of(preimage), preimage))

    def cancel_outside(self, payment_hash: PaymentHash) -> InvoiceReport:
        """A held payment is given back, as a node does at the deadline; the stream, which tells
        of what is settled and accepted, is silent."""
        report = _canceled(self.invoices[payment_hash])
        self.invoices[payment_hash] = report
        return report

    def mine(self, blocks: int) -> None:
        """What is due is given back."""
        self.block_height = (self.block_height or 0) + blocks
        for payment_hash, report in list(self.invoices.items()):
            if report.settle_deadline and report.settle_deadline <= self.block_height:
                self.cancel_outside(payment_hash)

    def receive_keysend(
        self, number: int, amount_msat: int, tlvs: Mapping[int, bytes]
    ) -> InvoiceReport:
        return self._tell(self._unasked(number, amount_msat, tlvs=tlvs))

    def receive_offer(
        self, node_offer_id: str, amount_msat: int, *, number: int = 1
    ) -> InvoiceReport:
        """Somebody outside pays an offer of this node, for the so many-th time."""
        paid = self._unasked(10_000 + number, amount_msat, node_offer_id=node_offer_id)
        return self._tell(paid)

    def _unasked(
        self,
        number: int,
        amount_msat: int,
        *,
        tlvs: Mapping[int, bytes] | None = None,
        node_offer_id: str | None = None,
    ) -> InvoiceReport:
        """What came in without an invoice of the service's; its preimage is `preimage_of`."""
        return InvoiceReport(
            payment_hash=hash_of(preimage_of(number)),
            invoice="",
            status=InvoiceStatus.SETTLED,
            amount_msat=Msat(amount_msat),
            received_msat=Msat(amount_msat),
            preimage=preimage_of(number),
            created_at=self.clock(),
            expires_at=self.clock(),
            settled_at=self.clock(),
            tlvs=tlvs,
            node_offer_id=node_offer_id,
        )

    def _tell(self, report: InvoiceReport) -> InvoiceReport:
        self.invoices[report.payment_hash] = report
        self.stream.append(report)
        return report

    def _min_cltv(self, payment_hash: PaymentHash) -> int | None:
        return next(
            (s.min_cltv_expiry_delta for s in self.specs if s.hold_hash == payment_hash), None
        )

    def _settled_hold(self, payment_hash: PaymentHash, preimage: Preimage) -> InvoiceReport:
        held = self.invoices[payment_hash]
        return replace(
            held,
            status=InvoiceStatus.SETTLED,
            received_msat=held.received_msat or held.amount_msat,
            preimage=preimage,
            settled_at=self.clock(),
            settle_deadline=None,
        )

    # --- the port

    async def start(self) -> NodeInfo:
        return NodeInfo(alias="scripted", network="regtest", block_height=self.block_height)

    async def check(self) -> Sequence[Finding]:
        return await findings.of_node(info=self.start, balance=self.balance)

    async def close(self) -> None:
        pass

    async def balance(self) -> Balance:
        return Balance(Msat(self.spendable_msat))

    async def counters(self) -> Mapping[str, int]:
        return dict(self.counted)

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        self.specs.append(spec)
        if self.invoice_script:
            raise self.invoice_script.popleft()
        preimage = None if spec.hold_hash else spec.preimage or preimage_of(len(self.specs))
        payment_hash = spec.hold_hash or hash_of(preimage or "")
        if payment_hash not in self.invoices:
            invoice = bolt11.encode(
                network="regtest",
                amount_msat=spec.amount_msat,
                payment_hash=payment_hash,
                payment_secret="44" * 32,
                description=None if spec.description_hash else spec.description,
                description_hash=spec.description_hash,
                created_at=self.clock(),
                expiry_s=spec.expiry_s,
                secret_key=SERVICE_KEY,
            )
            self.invoices[payment_hash] = InvoiceReport(
                payment_hash=payment_hash,
                invoice=invoice,
                status=InvoiceStatus.OPEN,
                amount_msat=spec.amount_msat,
                received_msat=None,
                preimage=preimage,
                created_at=self.clock(),
                expires_at=self.clock() + spec.expiry_s,
            )
        return self.invoices[payment_hash]

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        if payment_hash in self.choke_on:
            raise self.choke_on[payment_hash]
        return self.invoices.get(payment_hash)

    async def decode(self, invoice: str) -> Decoded:
        self.decoded.append(invoice)
        await asyncio.sleep(0)
        if not self.decode_script:
            return reading_of(invoice)
        scripted = self.decode_script.popleft()
        if isinstance(scripted, Exception):
            raise scripted
        return scripted

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        """What is not scripted is made by a payee who is there to be paid."""
        self.fetched.append((offer, amount_msat, payer_note))
        await asyncio.sleep(0)
        if self.fetch_script:
            scripted = self.fetch_script.popleft()
            if isinstance(scripted, Exception):
                raise scripted
            return scripted
        asked_msat = amount_msat or bolt12.decode(offer).amount_msat
        if asked_msat is None:
            raise BadRequest("the offer names no amount")
        preimage = preimage_of(20_000 + len(self.fetched))
        self.preimages[hash_of(preimage)] = preimage
        return FetchedInvoice(
            invoice=f"lni1{len(self.fetched)}",
            payment_hash=hash_of(preimage),
            amount_msat=Msat(asked_msat),
            expires_at=self.clock() + EXPIRY_S,
            payee=OUTSIDE_PUBKEY,
        )

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        self.offer_specs.append(spec)
        if self.offer_script:
            raise self.offer_script.popleft()
        if spec.our_id not in self.offers:
            offer = bolt12.encode(
                network="regtest",
                amount_msat=spec.amount_msat,
                description=spec.description,
                expires_at=spec.expires_at,
                issuer=spec.issuer,
                issuer_id=PrivateKey(SERVICE_KEY).public_key.format().hex(),
                metadata=spec.our_id.encode(),
            )
            self.offers[spec.our_id] = OfferReport(f"offer-{len(self.offers) + 1}", offer)
        return self.offers[spec.our_id]

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        await asyncio.sleep(0)  # the request is on its way
        payment_hash = self._take(request)
        if payment_hash in self.replies:
            return await self._reply(payment_hash)
        if not self.pay_script:
            self.known[payment_hash] = self.settled(payment_hash)
        await self.pay_gate.wait()
        await asyncio.sleep(0)  # the reply is on its way
        if self.pay_script:
            return _said(self.pay_script.popleft())
        return self.known[payment_hash]

    def _take(self, request: PayRequest | KeysendRequest) -> PaymentHash:
        """Who takes a keysend needs to know nothing before."""
        if isinstance(request, PayRequest):
            self.sent.append(request)
            if isinstance(self.known.get(request.payment_hash), Settled | InFlight):
                self.sent_again.append(request)
            return request.payment_hash
        payment_hash = hash_of(request.preimage)
        self.preimages[payment_hash] = request.preimage
        self.keysent.append(request)
        if isinstance(self.known.get(payment_hash), Settled | InFlight):
            self.keysent_again.append(request)
        return payment_hash

    async def _reply(self, payment_hash: PaymentHash) -> Outcome:
        reply, known = self.replies[payment_hash]
        if known is not None:
            self.known[payment_hash] = known
        await asyncio.sleep(0)
        return _said(reply)

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        self.lookups.append(ref)
        if self.lookup_script:
            scripted = self.lookup_script.popleft()
            return None if scripted is None else _said(scripted)
        return self.known.get(ref.payment_hash)

    async def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """What is in `stream` after the cursor; then it breaks off."""
        start = int(since or 0)
        try:
            for number, report in enumerate(self.stream[start:], start=start + 1):
                yield report, Cursor(str(number))
            raise BackendUnavailable("the stream broke off")
        finally:
            self.streams_ended += 1

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        return HistoryPage([], None)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        self.resolved.append((payment_hash, preimage))
        await asyncio.sleep(0)
        if self.hold_script:
            scripted = self.hold_script.popleft()
            if isinstance(scripted, Exception):
                raise scripted
            return scripted
        held = self.invoices.get(payment_hash)
        if held is None:
            raise BadRequest("no such invoice")
        if preimage is None:
            return self._cancel_hold(held)
        if hash_of(preimage) != payment_hash:
            raise BadRequest("the preimage is of another hash")
        if held.status is InvoiceStatus.SETTLED:
            return held
        if held.status is not InvoiceStatus.ACCEPTED:
            raise BadRequest(f"the invoice is {held.status}")
        return self._tell(self._settled_hold(payment_hash, preimage))

    def _cancel_hold(self, held: InvoiceReport) -> InvoiceReport:
        if held.status is InvoiceStatus.SETTLED:
            raise BadRequest("the invoice is settled")
        self.invoices[held.payment_hash] = _canceled(held)
        return self.invoices[held.payment_hash]

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        """Of those that are not on hold it only takes note."""
        self.canceled.append(payment_hash)
        is_hold = payment_hash in {spec.hold_hash for spec in self.specs}
        if is_hold and self.invoices[payment_hash].status is not InvoiceStatus.SETTLED:
            self._cancel_hold(self.invoices[payment_hash])

    async def sign_message(self, message: str) -> str:
        if self.signature_script:
            scripted = self.signature_script.popleft()
            if isinstance(scripted, Exception):
                raise scripted
            return scripted
        return f"signature of {message}"

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported("no commands")


def _said(scripted: Outcome | Exception) -> Outcome:
    if isinstance(scripted, Exception):
        raise scripted
    return scripted


def _canceled(report: InvoiceReport) -> InvoiceReport:
    return replace(
        report, status=InvoiceStatus.CANCELED, received_msat=None, settle_deadline=None
    )
