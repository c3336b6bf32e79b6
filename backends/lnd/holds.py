"""How a hold invoice ends, and an invoice that must not be paid any more."""

from backends.lnd.api import LndApi, Reply
from backends.lnd.invoices import LndInvoices
from backends.lnd.wire import Invoice, b64
from nwc_service.backend import BadRequest, InvoiceReport
from nwc_service.wallet import keysend
from nwc_service.wallet.units import PaymentHash, Preimage

SETTLE, CANCEL = "/v2/invoices/settle", "/v2/invoices/cancel"

# What LND says where it is too late, or too early.
NOT_SO = ("invoice still open", "invoice already canceled", "invoice already settled")
NOT_THERE = ("unable to locate invoice", "there are no existing invoices")


class LndHolds:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: LndApi, invoices: LndInvoices) -> None:
        self._api = api
        self._invoices = invoices

    async def resolve(
        self, payment_hash: PaymentHash, preimage: Preimage | None, *, now: int
    ) -> InvoiceReport:
        """Raises also BadRequest."""
        if preimage is not None:
            _check_preimage(preimage, payment_hash)
        before = await self._held(payment_hash)
        wanted = "CANCELED" if preimage is None else "SETTLED"
        if before.state == wanted:
            return self._report(before, now=now)
        if preimage is not None:
            _check_settleable(before)
            reply = await self._post(SETTLE, {"preimage": b64(preimage)})
        else:
            if before.state == "SETTLED":
                raise BadRequest("the hold invoice is settled")
            reply = await self._post(CANCEL, {"payment_hash": b64(payment_hash)})
        if reply.words.startswith(NOT_SO):
            raise BadRequest(f"LND says: {reply.words}")
        if reply.problem is not None:
            raise self._api.unusable(reply, operation="resolve_hold")
        after = await self._held(payment_hash)
        if after.state != wanted:
            what = f"the invoice is {after.state} after LND said yes"
            raise self._api.problem("resolve_hold", what, remedy="see LND's log")
        return self._report(after, now=now)

    async def cancel(self, payment_hash: PaymentHash) -> None:
        """Raises also BadRequest."""
        body = {"payment_hash": b64(payment_hash)}
        reply = await self._api.post(CANCEL, body, operation="cancel_invoice")
        if reply.problem is None or reply.words.startswith("invoice already settled"):
            return
        if reply.words.startswith(NOT_THERE):
            raise BadRequest("LND has no invoice with this payment hash")
        raise self._api.unusable(reply, operation="cancel_invoice")

    async def _held(self, payment_hash: PaymentHash) -> Invoice:
        """Raises BadRequest where no hold invoice has this hash. Of what is settled, LND does
        not tell whether it was one."""
        invoice = await self._invoices.find(payment_hash, operation="resolve_hold")
        if invoice is None or not (invoice.is_hold or invoice.state == "SETTLED"):
            raise BadRequest("no hold invoice of this node has this payment hash")
        return invoice

    async def _post(self, path: str, body: dict[str, object]) -> Reply:
        return await self._api.post(path, body, operation="resolve_hold")

    def _report(self, invoice: Invoice, *, now: int) -> InvoiceReport:
        report = self._invoices.report(invoice, now=now)
        if report is None:
            raise BadRequest("no hold invoice of this node has this payment hash")
        return report


def _check_settleable(invoice: Invoice) -> None:
    if invoice.state == "OPEN":
        raise BadRequest("nobody has paid the hold invoice yet")
    if invoice.state == "CANCELED":
        raise BadRequest("the hold invoice was canceled")


def _check_preimage(preimage: Preimage, payment_hash: PaymentHash) -> None:
    try:
        if keysend.payment_hash(preimage) == payment_hash:
            return
    except ValueError:
        pass
    raise BadRequest("the preimage is not that of the payment hash")
