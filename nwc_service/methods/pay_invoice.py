"""pay_invoice: pay a BOLT11 invoice from this account."""

from nwc_service.methods import invoice_payment
from nwc_service.methods.invoice_payment import Order
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Text,
    stored_metadata,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError


class PayInvoice(Params):
    invoice: Text
    amount: AmountMsat | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: PayInvoice) -> None:
    invoice = _decode(params.invoice)
    order = Order(
        invoice=invoice,
        amount_msat=invoice_payment.amount_msat(
            invoice, params.amount, caps=context.wallet.backend.caps, code=ErrorCode.OTHER
        ),
        metadata=stored_metadata(params.metadata),
    )
    await invoice_payment.pay(context, order)


def _decode(text: str) -> Bolt11:
    try:
        return bolt11.decode(text)
    except bolt11.InvalidInvoice as error:
        raise RequestError(ErrorCode.OTHER, f"invoice: {error}") from error


METHOD = Method(name="pay_invoice", params=PayInvoice, handle=handle, mutates=True)
