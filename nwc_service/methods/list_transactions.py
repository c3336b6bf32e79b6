"""list_transactions (NWC-05): this account's invoices and payments, newest first."""

from typing import Annotated, Literal

import orjson
from pydantic import Field

from nwc_service.methods.method import Context, Method, Params, Preset, Result
from nwc_service.nip47 import payment_record, transaction
from nwc_service.store import history, offers
from nwc_service.store.database import Tx
from nwc_service.store.history import Query
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.payment import Payment

DEFAULT_LIMIT = 20
MAX_LIMIT = 50
# The largest plaintext whose NIP-44 padding still fits an event of 64 KiB is 40,960 bytes;
# the rest is for the frame around the transactions.
MAX_REPLY_BYTES = 40_960 - 512

When = Annotated[int, Field(ge=0, le=2**53)]


class ListTransactions(Params):
    since: When | None = Field(default=None, alias="from")
    until: When | None = None
    limit: Annotated[int, Field(ge=0)] | None = None
    offset: Annotated[int, Field(ge=0, le=2**53)] | None = None
    unpaid: bool | None = None
    unpaid_incoming: bool | None = None
    unpaid_outgoing: bool | None = None
    type: Literal["incoming", "outgoing"] | None = None


async def handle(context: Context, params: ListTransactions) -> Result:
    query = _query(context, params)

    now = context.wallet.clock()

    async def find(tx: Tx) -> tuple[list[dict[str, object]], int]:
        found = await history.search(tx, query)
        shown = [await _shown(tx, item, now=now) for item in found]
        return shown, await history.count(tx, query)

    transactions, total_count = await context.wallet.db.read(find)
    return {"transactions": _fitting(transactions), "total_count": total_count}


async def _shown(tx: Tx, item: Invoice | Payment, *, now: int) -> dict[str, object]:
    """NWC-12: BOLT12 payments "MUST use the same common record envelope and BOLT12 `details`
    object" as in lookup_payment; what clients know of the others is there beside it."""
    if isinstance(item, Payment):
        flat = transaction.from_payment(item)
        return flat if item.bolt12_id is None else flat | _slim(payment_record.of_payment(item))
    flat = transaction.from_invoice(item, now=now)
    offer = await offers.of_invoice(tx, item)
    if offer is None:
        return flat
    return flat | _slim(payment_record.of_invoice(item, offer, now=now))


def _slim(record: payment_record.Record) -> payment_record.Record:
    """Without its optional details where it is so fat that the whole might fit no event."""
    if len(orjson.dumps(record)) <= MAX_REPLY_BYTES // 2:
        return record
    return payment_record.without_optional_details(record)


def _query(context: Context, params: ListTransactions) -> Query:
    connection = context.caller.connection
    unpaid = params.unpaid or False
    # js-sdk sends 0 for "no limit".
    limit = min(params.limit or DEFAULT_LIMIT, MAX_LIMIT)
    return Query(
        account_id=connection.account_id,
        connection_id=None if connection.sees_account else connection.connection_id,
        since=params.since or 0,
        until=params.until,
        incoming=params.type != "outgoing",
        outgoing=params.type != "incoming",
        unpaid_incoming=unpaid or params.unpaid_incoming or False,
        unpaid_outgoing=unpaid or params.unpaid_outgoing or False,
        limit=limit,
        offset=params.offset or 0,
    )


def _fitting(transactions: list[dict[str, object]]) -> list[dict[str, object]]:
    """As many as fit one event: fewer items, never an oversized event."""
    size_bytes = 0
    for count, item in enumerate(transactions):
        size_bytes += len(orjson.dumps(item)) + 1
        if size_bytes > MAX_REPLY_BYTES:
            return transactions[:count]
    return transactions


METHOD = Method(
    name="list_transactions", params=ListTransactions, handle=handle, preset=Preset.READ
)
