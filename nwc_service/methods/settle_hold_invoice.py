"""settle_hold_invoice (NWC-03): take the payment that is held, with the preimage."""

from nwc_service.backend import Cap
from nwc_service.methods.method import Context, Hex32, Method, Params, Preset
from nwc_service.wallet.units import Preimage


class SettleHoldInvoice(Params):
    preimage: Hex32


async def handle(context: Context, params: SettleHoldInvoice) -> None:
    await context.wallet.holds.settle(context.caller, Preimage(params.preimage))


METHOD = Method(
    name="settle_hold_invoice",
    params=SettleHoldInvoice,
    handle=handle,
    preset=Preset.RECEIVE,
    mutates=True,
    needs=Cap.HOLD,
)
