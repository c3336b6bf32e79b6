"""What phoenixd says about itself and about what comes in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

import structlog
from pydantic import ValidationError

from backends.phoenixd.api import PAY, PhoenixdApi, Reply
from backends.phoenixd.options import Options
from backends.phoenixd.wire import (
    MS_PER_S,
    BalanceRow,
    Created,
    IncomingRow,
    Info,
    Reading,
    Wire,
    rows_of,
)
from nwc_service.backend import (
    BadRequest,
    Balance,
    Decoded,
    InvoiceSpec,
    NodeInfo,
    Unsupported,
)
from nwc_service.wallet.units import MSAT_PER_SAT, Msat, PaymentHash

RowT = TypeVar("RowT", bound=Wire)

PAGE_SIZE = 100
MAX_DESCRIPTION_LENGTH = 128
INCOMING = "/payments/incoming"

TESTNETS = ("testnet3", "testnet4")
NO_FEE_CREDIT = (
    "run phoenixd with --max-fee-credit=off, cover that sum yourself and set accept_fee_credit"
)

log = structlog.get_logger("backends.phoenixd")


class PhoenixdNode:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: PhoenixdApi, options: Options) -> None:
        self._api = api
        self._options = options
        self._fee_credit_sat = 0
        self.network = ""  # once it is started
        self.may_pay = True

    async def start(self) -> NodeInfo:
        info = node_info(await self.told("start"))
        if not self.network:
            await self._check_rights()
            await self._check_fee_credit()
        self.network = info.network or ""
        return info

    async def balance(self) -> Balance:
        row = await self._balance_row("balance")
        if row.fee_credit_sat > self._fee_credit_sat:
            # it came in, and was told as received, but can buy liquidity only
            log.warning("phoenixd.fee_credit_grew", fee_credit_sat=row.fee_credit_sat)
        self._fee_credit_sat = row.fee_credit_sat
        info = await self.told("balance")
        inbound_sat = sum(channel.inbound_liquidity_sat for channel in info.channels)
        return Balance(
            spendable_msat=Msat(row.balance_sat * MSAT_PER_SAT),
            receivable_msat=Msat(inbound_sat * MSAT_PER_SAT),
        )

    async def decode(self, invoice: str) -> Decoded:
        """Raises also BadRequest."""
        reply = await self._api.post("/decodeinvoice", {"invoice": invoice}, operation="decode")
        if reply.status == 400:
            raise BadRequest("phoenixd cannot read the invoice")
        reading = reply.read(Reading) if reply.status == 200 else None
        if reading is None:
            raise self._api.unusable(reply, operation="decode")
        return Decoded(
            payment_hash=PaymentHash(reading.payment_hash),
            amount_msat=Msat(reading.amount_msat) if reading.amount_msat else None,
            expires_at=reading.created_at + reading.expiry_s,
            payee=None,
        )

    async def create(self, spec: InvoiceSpec) -> IncomingRow:
        """The one that was made for this id before, if its reply was lost. Raises also
        Unsupported and BadRequest."""
        form = _creation_form(spec)
        made = await self._made_for(spec.our_id)
        if made is not None:
            return made
        reply = await self._api.post("/createinvoice", form, operation="create_invoice")
        if reply.status == 400:
            raise BadRequest(f"phoenixd says: {reply.words}")
        created = reply.read(Created) if reply.status == 200 else None
        if created is None:
            raise self._api.unusable(reply, operation="create_invoice")
        row = await self.incoming(PaymentHash(created.payment_hash), "create_invoice")
        if row is None or row.external_id != spec.our_id:
            # the invoice would not be recognised when it is paid
            raise self._api.problem(
                "create_invoice",
                "phoenixd keeps no externalId",
                remedy="run phoenixd 0.8 or newer",
            )
        return row

    async def incoming(self, payment_hash: PaymentHash, operation: str) -> IncomingRow | None:
        """None: not known."""
        reply = await self._api.get(f"{INCOMING}/{payment_hash}", operation=operation)
        if reply.status == 404:
            return None
        row = reply.read(IncomingRow) if reply.status == 200 else None
        if row is None or row.hash != payment_hash:
            raise self._api.unusable(reply, operation=operation)
        return row

    async def incoming_page(
        self, query: Mapping[str, str | int], operation: str
    ) -> "Page[IncomingRow]":
        reply = await self._api.get(INCOMING, operation=operation, query=query)
        return read_page(reply, IncomingRow, api=self._api, operation=operation)

    async def settled_since(self, since: int) -> Sequence[IncomingRow]:
        """Oldest first. The newest pages are read first, so that what is settled meanwhile
        moves rows to pages still to come, and hides none."""
        found: dict[str, IncomingRow] = {}
        for number in count():
            query: Mapping[str, str | int] = {
                "from": max(0, since) * MS_PER_S,
                "limit": PAGE_SIZE,
                "offset": number * PAGE_SIZE,
            }
            page = await self.incoming_page(query, "watch_invoices")
            if page.is_last:
                break
            found |= {row.payment_hash: row for row in page.rows if row.is_paid}
        return sorted(found.values(), key=lambda row: row.completed_at_ms or 0)

    async def _made_for(self, our_id: str) -> IncomingRow | None:
        query: Mapping[str, str | int] = {
            "externalId": our_id,
            "all": "true",
            "limit": PAGE_SIZE,
        }
        page = await self.incoming_page(query, "create_invoice")
        rows = [row for row in page.rows if row.external_id == our_id]
        return min(rows, key=lambda row: row.created_at_ms, default=None)

    async def is_limited(self, operation: str) -> bool:
        """Whether the password may not pay. Without an invoice there is nothing to pay:
        phoenixd says only whether it may be asked to."""
        reply = await self._api.post(PAY, {}, operation=operation)
        if reply.status not in (400, 401):
            raise self._api.unusable(reply, operation=operation)
        return reply.status == 401

    async def fee_credit_sat(self, operation: str) -> int:
        return (await self._balance_row(operation)).fee_credit_sat

    async def told(self, operation: str) -> Info:
        reply = await self._api.get("/getinfo", operation=operation)
        info = reply.read(Info) if reply.status == 200 else None
        if info is None:
            raise self._api.unusable(reply, operation=operation)
        return info

    async def _check_rights(self) -> None:
        self.may_pay = not await self.is_limited("start")
        if not self.may_pay:
            log.warning("phoenixd.receives_only", problem="the password has limited access")

    async def _check_fee_credit(self) -> None:
        self._fee_credit_sat = await self.fee_credit_sat("start")
        if self._fee_credit_sat and not self._options.accept_fee_credit:
            what = fee_credit_told(self._fee_credit_sat)
            raise self._api.problem("start", what, remedy=NO_FEE_CREDIT)

    async def _balance_row(self, operation: str) -> BalanceRow:
        reply = await self._api.get("/getbalance", operation=operation)
        row = reply.read(BalanceRow) if reply.status == 200 else None
        if row is None:
            raise self._api.unusable(reply, operation=operation)
        return row


def node_info(info: Info) -> NodeInfo:
    chain = info.chain.lower()
    return NodeInfo(
        pubkey=info.node_id,
        network="testnet" if chain in TESTNETS else chain,
        block_height=info.block_height,
        synced=info.block_height is not None,
    )


def fee_credit_told(fee_credit_sat: int) -> str:
    return (
        f"phoenixd keeps {fee_credit_sat} sat of what came in for fees to come, and tells them"
        " as received: nobody could spend them"
    )


@dataclass(frozen=True, slots=True)
class Page(Generic[RowT]):
    """Without the rows that this backend cannot read: they are none of its own (of the chain,
    say), and must not hide the others. The last page is empty: a shorter one may not be the
    last, as phoenixd counts rows that it leaves out."""

    rows: Sequence[RowT]
    is_last: bool


def read_page(
    reply: Reply, model: type[RowT], *, api: PhoenixdApi, operation: str
) -> Page[RowT]:
    """Raises BackendUnavailable."""
    rows = rows_of(reply.body) if reply.status == 200 else None
    if rows is None:
        raise api.unusable(reply, operation=operation)
    read = (_row_or_none(row, model) for row in rows)
    return Page([row for row in read if row is not None], is_last=not rows)


def _row_or_none(value: object, model: type[RowT]) -> RowT | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _creation_form(spec: InvoiceSpec) -> Mapping[str, str | int]:
    if spec.preimage is not None or spec.hold_hash is not None:
        raise Unsupported("phoenixd chooses the preimage itself")
    if spec.expiry_s < 1:
        raise BadRequest("the expiry must be at least a second")
    return {
        "expirySeconds": spec.expiry_s,
        "externalId": spec.our_id,
        **_amount(spec.amount_msat),
        **_description(spec),
    }


def _amount(amount_msat: Msat | None) -> Mapping[str, int]:
    if amount_msat is None:
        return {}
    amount_sat, rest_msat = divmod(amount_msat, MSAT_PER_SAT)
    if rest_msat or amount_sat < 1:
        raise BadRequest("phoenixd invoices whole sats only: the amount must be N * 1000 msat")
    return {"amountSat": amount_sat}


def _description(spec: InvoiceSpec) -> Mapping[str, str]:
    if spec.description_hash is not None:
        return {"descriptionHash": spec.description_hash}
    # phoenixd counts as Java does: two for what lies beyond the basic plane
    if len(spec.description.encode("utf-16-le", "surrogatepass")) // 2 > MAX_DESCRIPTION_LENGTH:
        limit = MAX_DESCRIPTION_LENGTH
        raise BadRequest(f"the description is longer than {limit} characters")
    return {"description": spec.description}
