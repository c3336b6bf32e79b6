"""multi_pay_invoice (legacy): several invoices in one request, one response for each."""

from collections.abc import Mapping

from nwc_service.methods import pay_invoice
from nwc_service.methods.method import Context, Method, Params
from nwc_service.methods.multi_pay import Items, Kind, pay_each
from nwc_service.wallet import bolt11


class MultiPayInvoice(Params):
    invoices: Items


def _payment_hash(item: Mapping[str, object]) -> str:
    """ "d" is the payment hash where the item has no id, and nothing where it is none."""
    try:
        return bolt11.decode(str(item.get("invoice"))).payment_hash
    except bolt11.InvalidInvoice:
        return ""


KIND = Kind(item=pay_invoice.PayInvoice, pay=pay_invoice.handle, d_tag=_payment_hash)


async def handle(context: Context, params: MultiPayInvoice) -> None:
    await pay_each(context, params.invoices, kind=KIND)


METHOD = Method(
    name="multi_pay_invoice",
    params=MultiPayInvoice,
    handle=handle,
    mutates=True,
)
