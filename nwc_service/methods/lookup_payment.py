"""lookup_payment (NWC-09): one payment record, of whatever type."""

from nwc_service.backend import Cap
from nwc_service.methods.method import Context, Hex32, Method, Params, Preset, Result, Text
from nwc_service.nip47 import payment_record
from nwc_service.nip47.payment_record import BOLT11, BOLT12
from nwc_service.store import history, offers
from nwc_service.store.database import Tx
from nwc_service.store.history import Selector
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice

NAME = "lookup_payment"


class Lookup(Params):
    """The selectors of `bolt12` (NWC-12)."""

    payment_hash: Hex32 | None = None
    invoice: Text | None = None
    offer_id: Hex32 | None = None


class LookupPayment(Params):
    transaction_id: Text | None = None
    payment_hash: Hex32 | None = None
    invoice: Text | None = None
    payment_type: Text | None = None
    lookup: Lookup | None = None


async def handle(context: Context, params: LookupPayment) -> Result:
    selector = _selector(params, context.wallet.backend.caps)
    connection = context.caller.connection
    now = context.wallet.clock()

    async def find(tx: Tx) -> list[Result]:
        found = await history.matches(
            tx,
            selector,
            account_id=connection.account_id,
            connection_id=None if connection.sees_account else connection.connection_id,
            limit=2,
        )
        return [
            payment_record.of_invoice(item, await offers.of_invoice(tx, item), now=now)
            if isinstance(item, Invoice)
            else payment_record.of_payment(item)
            for item in found
        ]

    found = await context.wallet.db.read(find)
    if not found:
        raise RequestError(ErrorCode.NOT_FOUND, "there is no such payment")
    if len(found) > 1:
        # NWC-09: it "MUST NOT select an arbitrary record".
        raise RequestError(ErrorCode.MULTIPLE_MATCHES, "several payments match")
    return found[0]


def _selector(params: LookupPayment, caps: Cap) -> Selector:
    """NWC-09: "A request MUST use exactly one of these forms"."""
    by_id = params.transaction_id is not None
    by_bolt11 = params.payment_hash is not None or params.invoice is not None
    by_type = params.payment_type is not None or params.lookup is not None
    if by_id + by_bolt11 + by_type != 1:
        raise _bad(
            "exactly one of transaction_id, payment_hash or invoice, payment_type with lookup"
        )
    if by_id:
        return Selector(transaction_id=params.transaction_id)
    if by_bolt11:
        return _bolt11_selector(params)
    return _bolt12_selector(params, caps)


def _bolt11_selector(params: LookupPayment) -> Selector:
    """By the invoice itself where it is named: anybody can make another of its hash."""
    if params.invoice is None:
        return Selector(payment_hash=params.payment_hash, is_bolt12=False)
    try:
        decoded = bolt11.decode(params.invoice)
    except bolt11.InvalidInvoice as error:
        raise _bad(f"invoice: {error}") from error
    if params.payment_hash not in (None, decoded.payment_hash):
        raise _bad("payment_hash: the invoice has another")
    return Selector(payment_hash=decoded.payment_hash, invoice=decoded.invoice, is_bolt12=False)


def _bolt12_selector(params: LookupPayment, caps: Cap) -> Selector:
    if params.payment_type is None or params.lookup is None:
        raise _bad("payment_type and lookup go together")
    if params.payment_type == BOLT11:
        raise _bad("payment_type: bolt11 is looked up by payment_hash and invoice alone")
    if params.payment_type != BOLT12 or not caps & (Cap.BOLT12_SEND | Cap.BOLT12_RECEIVE):
        raise RequestError(
            ErrorCode.UNSUPPORTED_PAYMENT_TYPE, "payment_type: not supported by this wallet"
        )
    wanted = params.lookup
    # NWC-12: `payment_hash`, or `invoice`, or "`offer_id`, optionally qualified by
    # `payment_hash`".
    if wanted.invoice is not None and (wanted.offer_id or wanted.payment_hash):
        raise _bad("lookup: invoice stands alone")
    if wanted == Lookup():
        raise _bad("lookup: payment_hash, invoice or offer_id is required")
    return Selector(
        payment_hash=wanted.payment_hash,
        invoice=None if wanted.invoice is None else wanted.invoice.lower(),
        bolt12_id=wanted.offer_id,
        is_bolt12=True,
    )


def _bad(problem: str) -> RequestError:
    return RequestError(ErrorCode.BAD_REQUEST, problem)


METHOD = Method(
    name=NAME,
    params=LookupPayment,
    handle=handle,
    preset=Preset.ALL,
    bad_params=ErrorCode.BAD_REQUEST,
)
