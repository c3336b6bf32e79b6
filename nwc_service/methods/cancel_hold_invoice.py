"""cancel_hold_invoice (NWC-03): give the payment back, or let none come any more."""

from nwc_service.backend import Cap
from nwc_service.methods.method import Context, Hex32, Method, Params, Preset
from nwc_service.wallet.units import PaymentHash


class CancelHoldInvoice(Params):
    payment_hash: Hex32


async def handle(context: Context, params: CancelHoldInvoice) -> None:
    await context.wallet.holds.cancel(context.caller, PaymentHash(params.payment_hash))


METHOD = Method(
    name="cancel_hold_invoice",
    params=CancelHoldInvoice,
    handle=handle,
    preset=Preset.RECEIVE,
    mutates=True,
    needs=Cap.HOLD,
)
