"""lookup_invoice: one invoice or payment of this account, by payment hash or invoice."""

from nwc_service.methods.method import Context, Hex32, Method, Params, Preset, Result, Text
from nwc_service.nip47 import transaction
from nwc_service.store import invoices, payments
from nwc_service.store.database import Tx
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import PaymentHash


class LookupInvoice(Params):
    payment_hash: Hex32 | None = None
    invoice: Text | None = None


async def handle(context: Context, params: LookupInvoice) -> Result:
    payment_hash, invoice = _selected(params)
    connection = context.caller.connection
    account_id = connection.account_id
    made_by = None if connection.sees_account else connection.connection_id
    now = context.wallet.clock()

    async def find(tx: Tx) -> Result | None:
        incoming = await invoices.of_account(
            tx,
            account_id=account_id,
            payment_hash=payment_hash,
            connection_id=made_by,
            invoice=invoice,
        )
        if incoming is not None:
            return transaction.from_invoice(incoming, now=now)
        outgoing = await payments.of_account(
            tx,
            account_id=account_id,
            payment_hash=payment_hash,
            connection_id=made_by,
            invoice=invoice,
        )
        return None if outgoing is None else transaction.from_payment(outgoing)

    found = await context.wallet.db.read(find)
    if found is None:
        raise RequestError(ErrorCode.NOT_FOUND, "there is no such invoice or payment")
    return found


def _selected(params: LookupInvoice) -> tuple[PaymentHash, str | None]:
    """The hash, and the invoice where it is named: anybody can make another of its hash."""
    if params.invoice:
        try:
            decoded = bolt11.decode(params.invoice)
        except bolt11.InvalidInvoice as error:
            raise RequestError(ErrorCode.OTHER, f"invoice: {error}") from error
        if params.payment_hash and params.payment_hash != decoded.payment_hash:
            raise RequestError(ErrorCode.OTHER, "payment_hash: the invoice has another")
        return decoded.payment_hash, decoded.invoice
    if params.payment_hash:
        return PaymentHash(params.payment_hash), None
    raise RequestError(ErrorCode.OTHER, "payment_hash or invoice is required")


METHOD = Method(name="lookup_invoice", params=LookupInvoice, handle=handle, preset=Preset.READ)
