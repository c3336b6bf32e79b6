"""Hold invoices, of a node that has the plugin `hold`.

The plugin's own command makes invoices without a description or an expiry. So they are written
here, signed by the node, and given to the plugin. They are in none of CLN's own lists.
"""

import secrets
from collections import OrderedDict
from contextlib import suppress

from backends.cln.api import ClnApi
from backends.cln.invoices import MAX_REMEMBERED, ClnInvoices, check
from backends.cln.node import ClnNode
from backends.cln.wire import Empty, Hold, Holds, Signed, proven
from nwc_service.backend import (
    BadRequest,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.units import Msat, PaymentHash, Preimage

MIN_CLTV_DELTA = 80  # as the plugin has it
UNSAFE_BLOCKS = 3  # where the plugin gives nothing back by itself, its own default
NOT_FOUND = "no hold invoice of this node has this payment hash"

STATUSES = {
    "paid": InvoiceStatus.SETTLED,
    "accepted": InvoiceStatus.ACCEPTED,
    "cancelled": InvoiceStatus.CANCELED,
}


class ClnHolds:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: ClnApi, node: ClnNode, *, plain: ClnInvoices) -> None:
        self._api = api
        self._node = node
        self._plain = plain
        self._made: OrderedDict[PaymentHash, str] = OrderedDict()  # for which `our_id`
        self.deadline_delta = UNSAFE_BLOCKS
        self.open: set[PaymentHash] = set()  # to be looked at, as nothing tells of them

    async def find(self, payment_hash: PaymentHash, *, operation: str) -> Hold | None:
        query = {"payment_hash": payment_hash}
        found = await self._api.ask(
            Holds, "listholdinvoices", params=query, operation=operation
        )
        return next((row for row in found.holdinvoices if row.hash == payment_hash), None)

    async def all(self, *, operation: str) -> list[Hold]:
        """In the order of making."""
        found = await self._api.ask(Holds, "listholdinvoices", operation=operation)
        return sorted(found.holdinvoices, key=lambda hold: hold.created_at)

    async def create(self, spec: InvoiceSpec, *, now: int) -> InvoiceReport:
        """Raises also Unsupported and BadRequest."""
        if spec.hold_hash is None or spec.amount_msat is None:
            raise Unsupported("the plugin hold takes no payment of an amount that is not named")
        check(spec)
        before = await self.find(spec.hold_hash, operation="create_invoice")
        if before is None:
            if await self._plain.find(spec.hold_hash, operation="create_invoice"):
                raise BadRequest("CLN has another invoice with this payment hash")
            await self._inject(spec, now=now)
        hold = before or await self.find(spec.hold_hash, operation="create_invoice")
        report = self.report(hold, now=now) if hold else None
        if hold is None or report is None:
            what = "CLN does not know the hold invoice that it has made"
            raise self._api.problem("create_invoice", what, remedy="see its log")
        if not self._is_as_asked(hold, spec):
            raise BadRequest("CLN has another hold invoice with this payment hash")
        self._remember(spec.hold_hash, spec.our_id)
        return report

    async def resolve(
        self, payment_hash: PaymentHash, preimage: Preimage | None, *, now: int
    ) -> InvoiceReport:
        """Raises also BadRequest."""
        if preimage is not None:
            _check_preimage(preimage, payment_hash)
        wanted = "cancelled" if preimage is None else "paid"
        before = await self.find(payment_hash, operation="resolve_hold")
        if before is None:
            raise BadRequest(NOT_FOUND)
        if before.state == wanted:
            return self._reported(before, now=now)
        _check_resolvable(before, wanted)
        if preimage is None:
            reply = await self._call("cancelholdinvoice", {"payment_hash": payment_hash})
        else:
            reply = await self._call("settleholdinvoice", {"preimage": preimage})
        after = await self.find(payment_hash, operation="resolve_hold")
        if after is None or after.state != wanted:
            _check_resolvable(after or before, wanted)
            raise self._api.problem(
                "resolve_hold",
                f"the plugin did not do it: {reply}",
                remedy="try again; see CLN's log",
            )
        return self._reported(after, now=now)

    async def cancel(self, payment_hash: PaymentHash, *, now: int) -> bool:
        """Whether it was one. What is settled stays so."""
        hold = await self.find(payment_hash, operation="cancel_invoice")
        if hold is None:
            return False
        if hold.state in ("unpaid", "accepted"):
            with suppress(BadRequest):  # it was settled in between
                await self.resolve(payment_hash, None, now=now)
        return True

    def report(self, hold: Hold, *, now: int) -> InvoiceReport | None:
        """None for one that cannot be read, which is none of ours."""
        try:
            invoice = bolt11.decode(hold.invoice)
        except bolt11.InvalidInvoice:
            return None
        status = STATUSES.get(hold.state, InvoiceStatus.OPEN)
        if status is InvoiceStatus.OPEN and now >= invoice.expires_at:
            status = InvoiceStatus.EXPIRED
        held = [part for part in hold.htlcs if part.state == hold.state]
        is_paid = hold.state in ("paid", "accepted")
        heights = [part.cltv_expiry for part in held if part.cltv_expiry]
        has_deadline = status is InvoiceStatus.ACCEPTED and heights
        return InvoiceReport(
            payment_hash=hold.hash,
            invoice=invoice.invoice,
            status=status,
            amount_msat=invoice.amount_msat,
            received_msat=Msat(sum(part.msat for part in held)) if is_paid else None,
            preimage=proven(hold.preimage, hold.payment_hash),
            created_at=invoice.created_at,
            expires_at=invoice.expires_at,
            settled_at=_settled_at(hold),
            settle_deadline=min(heights) - self.deadline_delta if has_deadline else None,
        )

    def _reported(self, hold: Hold, *, now: int) -> InvoiceReport:
        report = self.report(hold, now=now)
        if report is None:
            raise BadRequest(NOT_FOUND)
        return report

    async def _inject(self, spec: InvoiceSpec, *, now: int) -> None:
        unsigned = self._unsigned(spec, now=now)
        signed = await self._api.ask(
            Signed, "signinvoice", params={"invstring": unsigned}, operation="create_invoice"
        )
        reply = await self._api.call(
            "injectholdinvoice", {"invoice": signed.bolt11}, operation="create_invoice"
        )
        if reply.read(Empty) is None:
            raise self._api.unusable(reply, operation="create_invoice")

    def _unsigned(self, spec: InvoiceSpec, *, now: int) -> str:
        """CLN puts its own signature in the place of this one."""
        if self._node.network is None:
            raise Unsupported("hold invoices are made on known networks only")
        about = spec.description_hash
        try:
            return bolt11.encode(
                network=self._node.network,
                amount_msat=spec.amount_msat,
                payment_hash=spec.hold_hash or PaymentHash(""),
                payment_secret=secrets.token_hex(32),
                description=spec.description if about is None else None,
                description_hash=about,
                created_at=now,
                expiry_s=spec.expiry_s,
                min_final_cltv_delta=spec.min_cltv_expiry_delta or MIN_CLTV_DELTA,
                secret_key=b"\x01" * 32,
            )
        except bolt11.InvalidInvoice as wrong:
            raise BadRequest(str(wrong)) from None

    def _is_as_asked(self, hold: Hold, spec: InvoiceSpec) -> bool:
        invoice = bolt11.decode(hold.invoice)
        return (
            self._made.get(hold.hash) in (None, spec.our_id)
            and (invoice.amount_msat, invoice.expiry_s) == (spec.amount_msat, spec.expiry_s)
            and (invoice.description_hash or invoice.description)
            == (spec.description_hash or spec.description)
        )

    def _remember(self, payment_hash: PaymentHash, our_id: str) -> None:
        self.open.add(payment_hash)
        self._made[payment_hash] = our_id
        while len(self._made) > MAX_REMEMBERED:
            self._made.popitem(last=False)

    async def _call(self, method: str, params: dict[str, object]) -> str:
        """What it said, if it did not do it: what the invoice is afterwards decides."""
        reply = await self._api.call(method, params, operation="resolve_hold")
        return reply.words


def _settled_at(hold: Hold) -> int | None:
    if hold.state != "paid" or hold.settled_at is None:
        return None
    return int(hold.settled_at.timestamp())


def _check_resolvable(hold: Hold, wanted: str) -> None:
    if hold.state == "paid" and wanted != "paid":
        raise BadRequest("the hold invoice is settled")
    if hold.state == "cancelled" and wanted != "cancelled":
        raise BadRequest("the hold invoice was canceled")
    if hold.state == "unpaid" and wanted == "paid":
        raise BadRequest("nobody has paid the hold invoice yet")


def _check_preimage(preimage: Preimage, payment_hash: PaymentHash) -> None:
    try:
        if keysend.payment_hash(preimage) == payment_hash:
            return
    except ValueError:
        pass
    raise BadRequest("the preimage is not that of the payment hash")
