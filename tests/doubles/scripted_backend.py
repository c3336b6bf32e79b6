"""A Lightning backend that says whatever a test has written down, true or not."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Literal

from nwc_service.backend import (
    BackendUnavailable,
    Balance,
    Cap,
    Cursor,
    Decoded,
    HistoryPage,
    InFlight,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    KeysendRequest,
    NodeInfo,
    Outcome,
    PaymentKind,
    PaymentRef,
    PayRequest,
    ReleaseRule,
    Settled,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

SERVICE_KEY = b"\x11" * 32
OUTSIDE_KEY = b"\x22" * 32
FEE_MSAT = Msat(1_000)

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


def reading_of(invoice: str) -> Decoded:
    """As a node reads it that is right."""
    read = bolt11.decode(invoice)
    return Decoded(read.payment_hash, read.amount_msat, read.expires_at, read.payee)


class ScriptedBackend:
    """`pay` and `lookup_payment` answer from their scripts: an outcome, or an exception to
    raise. A script that has run out means, for `pay`, that the payee takes the money, and for
    `lookup_payment` what `known` holds of that hash.
    """

    caps = CAPS
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
        report = self.invoices[payment_hash] = InvoiceReport(
            payment_hash=payment_hash,
            invoice=made.invoice,
            status=InvoiceStatus.SETTLED,
            amount_msat=made.amount_msat,
            received_msat=received,
            preimage=made.preimage,
            created_at=made.created_at,
            expires_at=made.expires_at,
            settled_at=self.clock(),
        )
        self.stream.append(report)
        return report

    # --- the port

    async def start(self) -> NodeInfo:
        return NodeInfo(alias="scripted", network="regtest")

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
        preimage = spec.preimage or preimage_of(len(self.specs))
        payment_hash = hash_of(preimage)
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

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        if isinstance(request, KeysendRequest):
            raise Unsupported("no keysend")
        await asyncio.sleep(0)  # the request is on its way
        self.sent.append(request)
        if isinstance(self.known.get(request.payment_hash), Settled | InFlight):
            self.sent_again.append(request)
        if request.payment_hash in self.replies:
            return await self._reply(request.payment_hash)
        if not self.pay_script:
            self.known[request.payment_hash] = self.settled(request.payment_hash)
        await self.pay_gate.wait()
        await asyncio.sleep(0)  # the reply is on its way
        if self.pay_script:
            return _said(self.pay_script.popleft())
        return self.known[request.payment_hash]

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
        raise Unsupported("no hold invoices")

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        self.canceled.append(payment_hash)

    async def sign_message(self, message: str) -> str:
        raise Unsupported("no signing")

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported("no commands")


def _said(scripted: Outcome | Exception) -> Outcome:
    if isinstance(scripted, Exception):
        raise scripted
    return scripted
