"""What LNbits says about the wallet, read with the least key and checked."""

from collections.abc import Mapping, Sequence
from itertools import count

from backends.lnbits.api import PAYMENTS, KeyKind, LnbitsApi, Reply
from backends.lnbits.invoices import invoice_report
from backends.lnbits.wire import Lookup, PaymentRow, Reading, Refusal, RowsPage, WalletInfo
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Decoded,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    Unsupported,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MSAT_PER_SAT, Msat, PaymentHash

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_DETAIL_LENGTH = 120

# What LNbits says of an amount that its operator does not allow.
AMOUNT_REFUSED = "Invoice amount"


class LnbitsWallet:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: LnbitsApi) -> None:
        self._api = api
        self._id: str | None = None

    async def check_keys(self) -> WalletInfo:
        """Both keys are of one wallet, and each is of its own kind."""
        admin = await self._info("start", key="admin")
        if admin.id is None:
            raise self._api.problem(
                "start", "admin_key is no admin key", remedy="take the wallet's admin key"
            )
        reader = await self._info("start", key="invoice")
        if reader.id is not None:
            # it stands in the websocket's address, which proxies log
            raise self._api.problem(
                "start", "invoice_key is an admin key", remedy="take the wallet's invoice key"
            )
        self._id = admin.id
        if reader.name != admin.name:
            raise self._of_two_wallets("start")
        for row in (await self.page("start", {"limit": 1})).rows:
            self._check_owner("start", row)
        return admin

    async def date(self) -> str:
        """By LNbits' clock; it says so to whoever asks."""
        return (await self._api.get("/api/v1/health", operation="check")).date

    async def balance_msat(self) -> int:
        return (await self._info("balance", key="invoice")).balance

    async def row(self, operation: str, payment_hash: PaymentHash) -> PaymentRow | None:
        """The outgoing one, where the wallet paid itself. None: not known, which proves
        nothing. LNbits asks its funding source about a pending one."""
        reply = await self._api.get(f"{PAYMENTS}/{payment_hash}", operation=operation)
        if reply.status == 404:
            return None
        lookup = reply.read(Lookup) if reply.status == 200 else None
        if lookup is None:
            raise self._api.unusable(reply, operation=operation)
        row = lookup.details
        if row is None or row.hash != payment_hash:
            # so it answers whoever has no valid key, about any wallet
            raise self._api.problem(
                operation, "the key is not valid", remedy="check invoice_key"
            )
        return row

    async def incoming_row(
        self, operation: str, payment_hash: PaymentHash
    ) -> PaymentRow | None:
        row = await self.row(operation, payment_hash)
        if row is None or row.amount > 0:
            return row
        page = await self.page(operation, {"payment_hash": payment_hash, "amount[gt]": 0})
        found = (r for r in page.rows if r.hash == payment_hash and r.amount > 0)
        return next(found, None)

    async def page(self, operation: str, query: Mapping[str, str | int]) -> RowsPage:
        """LNbits passes over a filter that it does not know: check what must hold."""
        path = f"{PAYMENTS}/paginated"
        reply = await self._api.get(path, operation=operation, query=query)
        page = reply.read(RowsPage) if reply.status == 200 else None
        if page is None:
            raise self._api.unusable(reply, operation=operation)
        return page

    async def settled_since(self, since: int, *, now: int) -> Sequence[InvoiceReport]:
        """Oldest first. The newest pages are read first, so that what is settled meanwhile
        moves rows to pages still to come, and hides none."""
        rows: list[PaymentRow] = []
        for number in count():
            page = await self.page("watch_invoices", _settled_query(number))
            rows.extend(row for row in page.rows if row.updated_at.timestamp() >= since)
            older = any(row.updated_at.timestamp() < since for row in page.rows)
            if older or len(page.data) < PAGE_SIZE:
                break
        rows.sort(key=lambda row: row.updated_at)
        reports = (invoice_report(row, now=now) for row in rows)
        return [r for r in reports if r is not None and r.status is InvoiceStatus.SETTLED]

    async def decode(self, invoice: str) -> Decoded:
        """LNbits reads with its own decoder. Raises also BadRequest."""
        body = {"data": invoice}
        reply = await self._api.post(f"{PAYMENTS}/decode", body, operation="decode")
        if reply.status not in (200, 400):
            raise self._api.unusable(reply, operation="decode")
        reading = reply.read(Reading)
        if reading is None:
            raise BadRequest("LNbits cannot decode the invoice")
        return Decoded(
            payment_hash=PaymentHash(reading.payment_hash),
            amount_msat=Msat(reading.amount_msat) if reading.amount_msat else None,
            expires_at=reading.date + reading.expiry,
            payee=reading.payee,
        )

    async def create(self, spec: InvoiceSpec) -> PaymentRow:
        """The one that was made for this id before, if its reply was lost. Raises also
        Unsupported and BadRequest."""
        body = _creation_body(spec)
        page = await self.page("create_invoice", {"external_id": spec.our_id})
        for row in page.rows:
            if row.external_id == spec.our_id and row.amount > 0:
                return row
        reply = await self._api.post(PAYMENTS, body, operation="create_invoice")
        created = reply.read(PaymentRow) if reply.status == 201 else None
        if created is None:
            raise self._not_created(reply)
        self._check_owner("create_invoice", created)
        if created.external_id != spec.our_id:
            # the invoice would not be recognised when it is paid
            raise self._api.problem(
                "create_invoice",
                "LNbits keeps no external_id",
                remedy="run LNbits 1.6 or newer",
            )
        return created

    def _not_created(self, reply: Reply) -> BadRequest | BackendUnavailable:
        refused = reply.read(Refusal) or Refusal()
        if isinstance(refused.detail, list):
            return BadRequest("LNbits refuses these parameters for an invoice")
        detail = refused.detail[:MAX_DETAIL_LENGTH]
        if refused.status == "failed" and detail.startswith(AMOUNT_REFUSED):
            return BadRequest(f"LNbits says: {detail}")
        if not detail or reply.status != 520:
            return self._api.unusable(reply, operation="create_invoice")
        return self._api.problem(
            "create_invoice", f"LNbits says: {detail}", remedy="see its log"
        )

    async def _info(self, operation: str, *, key: KeyKind) -> WalletInfo:
        reply = await self._api.get("/api/v1/wallet", operation=operation, key=key)
        info = reply.read(WalletInfo) if reply.status == 200 else None
        if info is None:
            raise self._api.unusable(reply, operation=operation)
        return info

    def _check_owner(self, operation: str, row: PaymentRow) -> None:
        if self._id is not None and row.wallet_id != self._id:
            raise self._of_two_wallets(operation)

    def _of_two_wallets(self, operation: str) -> BackendUnavailable:
        return self._api.problem(
            operation,
            "invoice_key and admin_key are of different wallets",
            remedy="take both from one wallet",
        )


def _settled_query(number: int) -> Mapping[str, str | int]:
    return {
        "status": "success",
        "amount[gt]": 0,
        "sortby": "updated_at",
        "direction": "desc",
        "limit": PAGE_SIZE,
        "offset": number * PAGE_SIZE,
    }


def _creation_body(spec: InvoiceSpec) -> Mapping[str, object]:
    if spec.amount_msat is None:
        raise Unsupported("LNbits makes no invoice without an amount")
    if spec.preimage is not None or spec.hold_hash is not None:
        raise Unsupported("LNbits chooses the preimage itself")
    amount_sat, rest_msat = divmod(spec.amount_msat, MSAT_PER_SAT)
    if rest_msat or amount_sat < 1:
        # LNbits would cut the rest off without a word
        raise BadRequest("LNbits invoices whole sats only: the amount must be N * 1000 msat")
    if spec.expiry_s < 1:
        raise BadRequest("the expiry must be at least a second")
    return {
        "out": False,
        "unit": "sat",
        "amount": amount_sat,
        "expiry": spec.expiry_s,
        "external_id": spec.our_id,
        **_description(spec),
    }


def _description(spec: InvoiceSpec) -> Mapping[str, str]:
    if spec.description_hash is not None:
        return {"description_hash": spec.description_hash}
    size_bytes = len(spec.description.encode(errors="surrogatepass"))
    if size_bytes > bolt11.MAX_DESCRIPTION_BYTES:
        limit = bolt11.MAX_DESCRIPTION_BYTES
        raise BadRequest(f"the description is longer than {limit} bytes")
    return {"memo": spec.description}
