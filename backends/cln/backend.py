"""The port's methods, for one Core Lightning node."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from backends.cln import options as configured
from backends.cln import rights
from backends.cln.api import ClnApi
from backends.cln.checkup import checkup
from backends.cln.history import receipts
from backends.cln.holds import UNSAFE_BLOCKS, ClnHolds
from backends.cln.invoices import ClnInvoices
from backends.cln.node import ClnNode
from backends.cln.offers import ClnOffers
from backends.cln.payments import MAX_PAGE_SIZE, ClnPayments
from backends.cln.sender import Sender
from backends.cln.watch import Place, Watch
from nwc_service.backend import (
    BadRequest,
    Balance,
    Cap,
    Cursor,
    Decoded,
    FetchedInvoice,
    Finding,
    HistoryPage,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    NodeInfo,
    OfferReport,
    OfferSpec,
    Outcome,
    PaymentKind,
    PaymentRef,
    PayRequest,
    ReleaseRule,
    Unsupported,
)
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

CAPS = (
    Cap.NODE_INFO
    | Cap.INBOUND
    | Cap.MSAT_INVOICE
    | Cap.AMOUNTLESS_CREATE
    | Cap.HASHED_DESCRIPTION
    | Cap.OWN_PREIMAGE
    | Cap.OWN_EXPIRY
    | Cap.DECODE
    | Cap.PAY_AMOUNTLESS
    | Cap.FEE_LIMIT
    | Cap.PAY_TIMEOUT
    | Cap.MPP
    | Cap.DEDUP_BY_HASH
    | Cap.LOOKUP_BY_HASH
    | Cap.SETTLE_CURSOR
    | Cap.PUSH
    | Cap.LIST_IN
    | Cap.LIST_OUT
    | Cap.CANCEL_INVOICE
    | Cap.KEYSEND
    | Cap.KEYSEND_TLV
    | Cap.KEYSEND_OWN_PREIMAGE
    | Cap.SIGN
    | Cap.BOLT12_SEND
    | Cap.BOLT12_RECEIVE
)


NO_PLUGIN = "this CLN node does not have the plugin hold, 0.3.2 or newer"


class ClnBackend:
    """Core Lightning 25.12 or newer, in slow mode; with HOLD where it has the plugin `hold`."""

    caps = CAPS
    # `xpay` refuses expired invoices before it makes a part; a BOLT12 one may be asked anew.
    release_rules: Mapping[PaymentKind, ReleaseRule] = {
        PaymentKind.BOLT11: ReleaseRule.EXPIRY,
        PaymentKind.KEYSEND: ReleaseRule.MANUAL,
        PaymentKind.BOLT12: ReleaseRule.MANUAL,
    }

    bake_command = staticmethod(rights.bake_command)

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        self.name = name
        self._options = configured.parse(name, options)
        self._api = ClnApi(name, self._options)
        self._node = ClnNode(self._api, self._options)
        self._invoices = ClnInvoices(self._api, private_hints=self._options.private_hints)
        self._all_holds = ClnHolds(self._api, self._node, plain=self._invoices)
        self._offers = ClnOffers(self._api, self._node, options=self._options)
        self._payments = ClnPayments(self._api)
        self._sender = Sender(
            self._api, self._payments, node=self._node, invoices=self._invoices
        )

    @property
    def _holds(self) -> ClnHolds | None:
        return self._all_holds if Cap.HOLD in self.caps else None

    async def start(self) -> NodeInfo:
        self._api.open()
        await self._node.check_rune()
        info = await self._node.info()
        await self._node.check_slow_mode()
        deadline = await self._hold_deadline()
        if deadline is None:
            self.caps = CAPS
        else:
            self.caps = CAPS | Cap.HOLD
            self._all_holds.deadline_delta = deadline or UNSAFE_BLOCKS
        return info

    async def _hold_deadline(self) -> int | None:
        """None where there is no plugin, or one so old that it tells each part as paid, even
        one that it gave back."""
        if not self._node.may_hold or not await self._node.commands() >= set(rights.HOLD):
            return None
        return await self._node.hold_deadline(operation="start")

    async def close(self) -> None:
        await self._sender.close()
        await self._api.close()

    async def check(self) -> Sequence[Finding]:
        return await checkup(self.name, self._options)

    async def balance(self) -> Balance:
        return await self._node.balance()

    async def counters(self) -> Mapping[str, int]:
        return await self._node.counters()

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        return None  # it obeys the limit

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        if spec.hold_hash is None:
            return await self._invoices.create(spec, now=_now())
        if self._holds is None:
            raise Unsupported(NO_PLUGIN)
        return await self._holds.create(spec, now=_now())

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        found = await self._invoices.look_up(payment_hash, now=_now())
        if found is not None or self._holds is None:
            return found
        hold = await self._holds.find(payment_hash, operation="lookup_invoice")
        return None if hold is None else self._holds.report(hold, now=_now())

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        if self._holds is not None and await self._holds.cancel(payment_hash, now=_now()):
            return
        await self._invoices.cancel(payment_hash)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        if self._holds is None:
            raise Unsupported(NO_PLUGIN)
        return await self._holds.resolve(payment_hash, preimage, now=_now())

    async def decode(self, invoice: str) -> Decoded:
        return await self._node.decode(invoice)

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        return await self._offers.fetch(offer, amount_msat=amount_msat, payer_note=payer_note)

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        return await self._offers.create(spec)

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        return await self._sender.pay(request)

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        return await self._payments.look_up(ref)

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """The cursor is CLN's pay_index, with a time for hold invoices; without one, the last
        day."""
        return Watch(
            self._api,
            self._invoices,
            node=self._node,
            holds=self._holds,
            options=self._options,
            place=None if since is None else Place.parse(since),
        ).reports()

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage:
        """What was sent, oldest first, or what was paid, in the order of making. The cursor
        is CLN's created_index."""
        at_most = max(1, min(limit, MAX_PAGE_SIZE))
        if side == "in":
            return await receipts(
                self._invoices, self._holds, cursor=cursor, limit=at_most, now=_now()
            )
        after = cursor or "0"
        if not (after.isascii() and after.isdecimal() and len(after) < 20):
            raise BadRequest("cursor: not one of CLN")
        return await self._payments.page(after=int(after), limit=at_most)

    async def sign_message(self, message: str) -> str:
        return await self._node.sign(message)

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        raise Unsupported(f"the cln backend has no command {name!r}")


def _now() -> int:
    return int(time.time())
