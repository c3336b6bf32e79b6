"""Invoices at CLN: made, found, listed, and what its rows say.

Each has our id as its label, so that one whose reply was lost is found again. CLN forgets an
invoice that is canceled: what was canceled since the start is remembered here.
"""

import time
from collections import OrderedDict
from dataclasses import replace
from hashlib import sha256

from backends.cln.api import BAD_PARAMS, ClnApi
from backends.cln.wire import Empty, Invoice, Invoices, Made, proven
from nwc_service.backend import (
    BadRequest,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash

LABEL_EXISTS, PREIMAGE_EXISTS = 900, 901
NO_SUCH_LABEL, OTHER_STATUS = 905, 906
MAX_REMEMBERED = 10_000
CANCEL_ATTEMPTS = 3


class ClnInvoices:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: ClnApi, *, private_hints: bool | None) -> None:
        self._api = api
        self._private_hints = private_hints
        self._canceled: OrderedDict[PaymentHash, InvoiceReport] = OrderedDict()

    async def find(self, payment_hash: PaymentHash, *, operation: str) -> Invoice | None:
        query = {"payment_hash": payment_hash}
        found = await self._api.ask(Invoices, "listinvoices", params=query, operation=operation)
        own = (row for row in found.invoices if row.payment_hash == payment_hash)
        return next(own, None)

    async def look_up(self, payment_hash: PaymentHash, *, now: int) -> InvoiceReport | None:
        invoice = await self.find(payment_hash, operation="lookup_invoice")
        if invoice is None:
            return self._canceled.get(payment_hash)
        return invoice_report(invoice, now=now)

    async def create(self, spec: InvoiceSpec, *, now: int) -> InvoiceReport:
        """Raises also Unsupported and BadRequest."""
        check(spec)
        reply = await self._api.call("invoice", self._params(spec), operation="create_invoice")
        if reply.code in (PREIMAGE_EXISTS, BAD_PARAMS):
            raise BadRequest(f"CLN says: {reply.words}")
        is_new = reply.read(Made) is not None
        if not is_new and reply.code != LABEL_EXISTS:
            raise self._api.unusable(reply, operation="create_invoice")
        invoice = await self._labelled(spec.our_id, operation="create_invoice")
        report = invoice_report(invoice, now=now) if invoice else None
        if invoice is None or report is None:
            what = "CLN does not know the invoice that it has made"
            raise self._api.problem("create_invoice", what, remedy="see its log")
        if not _is_as_asked(invoice, spec):
            raise BadRequest("CLN has another invoice with this label")
        return report

    async def cancel(self, payment_hash: PaymentHash) -> None:
        """One that CLN does not know can be paid by nobody."""
        for _ in range(CANCEL_ATTEMPTS):
            invoice = await self.find(payment_hash, operation="cancel_invoice")
            if invoice is None or invoice.status == "paid":
                return
            params = {"label": invoice.label, "status": invoice.status}
            reply = await self._api.call("delinvoice", params, operation="cancel_invoice")
            if reply.code == OTHER_STATUS:
                continue  # it has changed in between
            if reply.read(Empty) is None and reply.code != NO_SUCH_LABEL:
                raise self._api.unusable(reply, operation="cancel_invoice")
            self._remember_canceled(invoice)
            return
        what = "the invoice changes all the time"
        raise self._api.problem("cancel_invoice", what, remedy="try again")

    async def page(self, *, index: str, start: int, limit: int, operation: str) -> Invoices:
        params = {"index": index, "start": start, "limit": limit}
        return await self._api.ask(Invoices, "listinvoices", params=params, operation=operation)

    async def _labelled(self, label: str, *, operation: str) -> Invoice | None:
        query = {"label": label}
        found = await self._api.ask(Invoices, "listinvoices", params=query, operation=operation)
        return next((row for row in found.invoices if row.label == label), None)

    def _params(self, spec: InvoiceSpec) -> dict[str, object]:
        params: dict[str, object] = {
            "amount_msat": "any" if spec.amount_msat is None else spec.amount_msat,
            "label": spec.our_id,
            "description": spec.description,
            "expiry": spec.expiry_s,
        }
        if spec.description_hash is not None:
            params["deschashonly"] = True
        if spec.preimage is not None:
            params["preimage"] = spec.preimage
        if spec.min_cltv_expiry_delta is not None:
            params["cltv"] = spec.min_cltv_expiry_delta
        if self._private_hints is not None:
            params["exposeprivatechannels"] = self._private_hints
        return params

    def _remember_canceled(self, invoice: Invoice) -> None:
        report = invoice_report(invoice, now=int(time.time()))
        if report is not None:
            canceled = replace(report, status=InvoiceStatus.CANCELED)
            self._canceled[report.payment_hash] = canceled
        while len(self._canceled) > MAX_REMEMBERED:
            self._canceled.popitem(last=False)


def invoice_report(invoice: Invoice, *, now: int) -> InvoiceReport | None:
    """None for a row without an invoice in it, which is none of ours."""
    if not invoice.bolt11 and not invoice.bolt12:
        return None
    is_paid = invoice.status == "paid"
    status = InvoiceStatus.SETTLED if is_paid else InvoiceStatus.OPEN
    if invoice.status == "expired" or (not is_paid and now >= invoice.expires_at):
        status = InvoiceStatus.EXPIRED
    received_msat = invoice.amount_received_msat if is_paid else None
    return InvoiceReport(
        payment_hash=PaymentHash(invoice.payment_hash),
        invoice=(invoice.bolt11 or invoice.bolt12 or "").lower(),
        status=status,
        amount_msat=None if invoice.amount_msat is None else Msat(invoice.amount_msat),
        received_msat=None if received_msat is None else Msat(received_msat),
        preimage=proven(invoice.payment_preimage, invoice.payment_hash),
        created_at=_created_at(invoice),
        expires_at=invoice.expires_at,
        settled_at=invoice.paid_at if is_paid else None,
        node_offer_id=invoice.local_offer_id,
        payer_note=invoice.invreq_payer_note,
    )


def check(spec: InvoiceSpec) -> None:
    """Raises Unsupported, and BadRequest for what CLN would refuse, or take for something
    else."""
    if spec.amount_msat is not None and not 0 < spec.amount_msat <= MAX_MSAT:
        raise BadRequest("the amount is out of range")
    if not 1 <= spec.expiry_s <= bolt11.MAX_EXPIRY_S:
        raise BadRequest("the expiry must be at least a second and at most a year")
    try:
        described = spec.description.encode()
    except UnicodeEncodeError:
        raise BadRequest("the description has a character that cannot be written") from None
    if spec.description_hash is not None:
        if sha256(described).hexdigest() != spec.description_hash:
            raise Unsupported("CLN takes no description_hash without the text that it is of")
    elif len(described) > bolt11.MAX_DESCRIPTION_BYTES:
        limit = bolt11.MAX_DESCRIPTION_BYTES
        raise BadRequest(f"the description is longer than {limit} bytes")


def _is_as_asked(invoice: Invoice, spec: InvoiceSpec) -> bool:
    try:
        made = bolt11.decode(invoice.bolt11 or "")
    except bolt11.InvalidInvoice:
        return False
    is_own_hash = spec.preimage is None or (
        invoice.payment_hash == keysend.payment_hash(spec.preimage)
    )
    is_same = (made.amount_msat, made.expiry_s) == (spec.amount_msat, spec.expiry_s)
    about = made.description_hash or made.description
    return is_own_hash and is_same and about == (spec.description_hash or spec.description)


def _created_at(invoice: Invoice) -> int:
    """CLN tells it in the invoice only; one for an offer is made when it is about to be
    paid."""
    try:
        return bolt11.decode(invoice.bolt11 or "").created_at
    except bolt11.InvalidInvoice:
        return invoice.paid_at or 0
