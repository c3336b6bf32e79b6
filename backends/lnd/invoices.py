"""Invoices at LND: made, found, listed, and what its rows say.

LND keeps no name of ours with an invoice. But one that is made with our preimage, or for a
given hash, is found by its hash when the reply was lost.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from backends.lnd.api import LndApi, Reply
from backends.lnd.node import is_no_invoice
from backends.lnd.wire import Created, Htlc, Invoice, Invoices, b64, proven
from nwc_service.backend import (
    BadRequest,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
)
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash

PLAIN, HOLD = "/v1/invoices", "/v2/invoices/hodl"

EXISTS = "invoice with payment hash already exists"
# What LND says of a wish that it does not grant.
REFUSED = (
    "memo too large",
    "data length too big",
    "description hash is",
    "amount cannot be negative",
    "payments of negative value",
    "invoice amount",
    "expiry of",
    "CLTV delta of",
)
MAX_REMEMBERED = 10_000

# LND nodes put it into every HTLC and tell it with the payer's records, which it is not.
ACCOUNTABLE_TLV = 106_823


@dataclass(frozen=True, slots=True)
class InvoiceWishes:
    private_hints: bool
    hold_expiry_delta: int  # blocks before an HTLC's expiry at which LND gives it back


class LndInvoices:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: LndApi, wishes: InvoiceWishes) -> None:
        self._api = api
        self._wishes = wishes
        self._made: OrderedDict[PaymentHash, str] = OrderedDict()  # for which `our_id`

    async def find(self, payment_hash: PaymentHash, *, operation: str) -> Invoice | None:
        reply = await self._api.get(f"/v1/invoice/{payment_hash}", operation=operation)
        if is_no_invoice(reply):
            return None
        invoice = reply.read(Invoice)
        # of a canceled AMP or keysend invoice LND tells no hash
        if invoice is None or invoice.hash not in (payment_hash, ""):
            raise self._api.unusable(reply, operation=operation)
        return invoice

    async def look_up(
        self, payment_hash: PaymentHash, *, operation: str, now: int
    ) -> InvoiceReport | None:
        invoice = await self.find(payment_hash, operation=operation)
        return None if invoice is None else self.report(invoice, now=now)

    async def create(self, spec: InvoiceSpec, *, now: int) -> InvoiceReport:
        """Raises also BadRequest."""
        _check(spec)
        path = PLAIN if spec.hold_hash is None else HOLD
        reply = await self._api.post(path, self._body(spec), operation="create_invoice")
        created = reply.read(Created)
        if created is None:
            payment_hash = self._hash_of_existing(reply, spec)
        else:
            payment_hash = spec.hold_hash or PaymentHash(created.r_hash.hex())
        invoice = await self.find(payment_hash, operation="create_invoice")
        report = self.report(invoice, now=now) if invoice else None
        if invoice is None or report is None:
            raise self._api.problem(
                "create_invoice",
                "LND does not know the invoice that it has made",
                remedy="see its log; invoices must not be deleted when they are canceled",
            )
        if created is None:
            self._check_same(invoice, spec)
        self._remember(payment_hash, spec.our_id)
        return report

    async def page(
        self, *, operation: str, after: int, limit: int, query: Mapping[str, str | int]
    ) -> Invoices:
        """In the order in which they were made."""
        wanted: Mapping[str, str | int] = {
            "index_offset": after,
            "num_max_invoices": limit,
            **query,
        }
        reply = await self._api.get(PLAIN, operation=operation, query=wanted)
        page = reply.read(Invoices)
        if page is None:
            raise self._api.unusable(reply, operation=operation)
        return page

    async def last_index(self) -> int:
        query: Mapping[str, str | int] = {"reversed": "true"}
        page = await self.page(operation="counters", after=0, limit=1, query=query)
        return page.last_index_offset

    def report(self, invoice: Invoice, *, now: int) -> InvoiceReport | None:
        return invoice_report(
            invoice, now=now, hold_expiry_delta=self._wishes.hold_expiry_delta
        )

    def _body(self, spec: InvoiceSpec) -> dict[str, object]:
        body: dict[str, object] = {
            "value_msat": str(spec.amount_msat or 0),
            "expiry": str(spec.expiry_s),
            "private": self._wishes.private_hints,
        }
        if spec.description_hash is not None:
            body["description_hash"] = b64(spec.description_hash)
        else:
            body["memo"] = spec.description
        if spec.min_cltv_expiry_delta is not None:
            body["cltv_expiry"] = str(spec.min_cltv_expiry_delta)
        if spec.hold_hash is not None:
            body["hash"] = b64(spec.hold_hash)
        elif spec.preimage is not None:
            body["r_preimage"] = b64(spec.preimage)
        return body

    def _hash_of_existing(self, reply: Reply, spec: InvoiceSpec) -> PaymentHash:
        """Raises BadRequest and BackendUnavailable where it is not that it exists."""
        if reply.words.startswith(REFUSED):
            raise BadRequest(f"LND says: {reply.words}")
        if not reply.words.startswith(EXISTS):
            raise self._api.unusable(reply, operation="create_invoice")
        if spec.hold_hash is not None:
            return spec.hold_hash
        if spec.preimage is None:
            raise self._api.unusable(reply, operation="create_invoice")
        return keysend.payment_hash(spec.preimage)

    def _check_same(self, invoice: Invoice, spec: InvoiceSpec) -> None:
        """Whether it is the one that this was asked to make before. Raises BadRequest."""
        known = self._made.get(invoice.hash)
        about = b64(invoice.description_hash.hex()), invoice.memo
        wanted = (
            (b64(spec.description_hash), invoice.memo)
            if spec.description_hash is not None
            else ("", spec.description)
        )
        is_kind = invoice.state == "SETTLED" or invoice.is_hold == (spec.hold_hash is not None)
        is_same = (
            known in (None, spec.our_id)
            and about == wanted
            and (invoice.value_msat, invoice.expiry) == (spec.amount_msat or 0, spec.expiry_s)
            and is_kind
        )
        if not is_same:
            raise BadRequest("LND has another invoice with this payment hash")

    def _remember(self, payment_hash: PaymentHash, our_id: str) -> None:
        self._made[payment_hash] = our_id
        while len(self._made) > MAX_REMEMBERED:
            self._made.popitem(last=False)


def invoice_report(
    invoice: Invoice, *, now: int, hold_expiry_delta: int
) -> InvoiceReport | None:
    """None for what AMP is: the service makes none, and each of its parts has another hash."""
    if invoice.is_amp or len(invoice.r_hash) != 32:
        return None
    held = [htlc for htlc in invoice.htlcs if htlc.state == "ACCEPTED"]
    status = _status(invoice, now=now)
    deadline = None
    if status is InvoiceStatus.ACCEPTED and held:
        deadline = min(htlc.expiry_height for htlc in held) - hold_expiry_delta
    return InvoiceReport(
        payment_hash=invoice.hash,
        invoice=invoice.payment_request.lower(),
        status=status,
        amount_msat=Msat(invoice.value_msat) if invoice.value_msat else None,
        received_msat=_received_msat(invoice, held=held, status=status),
        preimage=proven(invoice.r_preimage, invoice.hash),
        created_at=invoice.creation_date,
        expires_at=invoice.creation_date + invoice.expiry,
        settled_at=invoice.settle_date or None,
        settle_deadline=deadline,
        tlvs=_tlvs(invoice) if invoice.is_keysend else None,
    )


def _status(invoice: Invoice, *, now: int) -> InvoiceStatus:
    """LND cancels what has expired, and what was held for too long."""
    is_expired = now >= invoice.creation_date + invoice.expiry
    if invoice.state == "SETTLED":
        return InvoiceStatus.SETTLED
    if invoice.state == "ACCEPTED":
        return InvoiceStatus.ACCEPTED
    was_paid = bool(invoice.htlcs)
    if is_expired and not was_paid:
        return InvoiceStatus.EXPIRED
    return InvoiceStatus.CANCELED if invoice.state == "CANCELED" else InvoiceStatus.OPEN


def _received_msat(invoice: Invoice, *, held: list[Htlc], status: InvoiceStatus) -> Msat | None:
    if status is InvoiceStatus.SETTLED:
        return Msat(invoice.amt_paid_msat)
    if status is InvoiceStatus.ACCEPTED:
        return Msat(sum(htlc.amt_msat for htlc in held))
    return None


def _tlvs(invoice: Invoice) -> Mapping[int, bytes]:
    return {
        type_: value
        for htlc in invoice.htlcs
        if htlc.state != "CANCELED"
        for type_, value in htlc.custom_records.items()
        if type_ not in (keysend.PREIMAGE_TLV, ACCOUNTABLE_TLV)
    }


def _check(spec: InvoiceSpec) -> None:
    """Raises BadRequest for what LND would refuse, or take for something else."""
    if spec.amount_msat is not None and not 0 < spec.amount_msat <= MAX_MSAT:
        raise BadRequest("the amount is out of range")
    if not 1 <= spec.expiry_s <= bolt11.MAX_EXPIRY_S:  # LND takes 0 for its default
        raise BadRequest("the expiry must be at least a second and at most a year")
    size_bytes = len(spec.description.encode(errors="surrogatepass"))
    if spec.description_hash is None and size_bytes > bolt11.MAX_DESCRIPTION_BYTES:
        limit = bolt11.MAX_DESCRIPTION_BYTES
        raise BadRequest(f"the description is longer than {limit} bytes")
