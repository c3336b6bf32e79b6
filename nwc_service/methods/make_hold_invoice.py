"""make_hold_invoice (NWC-03): an invoice of which a payment is held until the app decides."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from nwc_service.backend import Cap
from nwc_service.methods.make_invoice import MakeInvoice, ordered
from nwc_service.methods.method import Context, Hex32, Method, Preset
from nwc_service.wallet.hold import DEFAULT_CLTV_EXPIRY_BLOCKS
from nwc_service.wallet.units import PaymentHash

MAX_CLTV_EXPIRY_BLOCKS = 2016
"""Two weeks: few payers lock their money for longer."""


class MakeHoldInvoice(MakeInvoice):
    """The client holds the preimage of `payment_hash`."""

    payment_hash: Hex32
    min_cltv_expiry_delta: (
        Annotated[int, Field(ge=DEFAULT_CLTV_EXPIRY_BLOCKS, le=MAX_CLTV_EXPIRY_BLOCKS)] | None
    ) = None


async def handle(context: Context, params: MakeHoldInvoice) -> None:
    wallet = context.wallet
    order = replace(
        ordered(context, params),
        hold_hash=PaymentHash(params.payment_hash),
        min_cltv_expiry_delta=params.min_cltv_expiry_delta,
    )
    await wallet.receiver.issue(context.caller, order, backend=wallet.backend_name)


METHOD = Method(
    name="make_hold_invoice",
    params=MakeHoldInvoice,
    handle=handle,
    preset=Preset.RECEIVE,
    mutates=True,
    needs=Cap.HOLD,
)
