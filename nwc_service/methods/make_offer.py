"""make_offer (NWC-12): have the node make a BOLT12 offer that credits this account."""

from typing import Annotated

from pydantic import Field

from nwc_service.backend import Cap
from nwc_service.methods.make_invoice import check_terms
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Preset,
    Text,
    stored_metadata,
)
from nwc_service.offers import NAME, OfferOrder
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import Msat


class MakeOffer(Params):
    amount: AmountMsat | None = None
    description: Text | None = None
    issuer: Annotated[Text, Field(max_length=256)] | None = None
    single_use: bool | None = None
    expires_at: Annotated[int, Field(ge=1, le=2**53)] | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: MakeOffer) -> None:
    wallet = context.wallet
    _check(params, now=wallet.clock())
    check_terms(
        params.amount, params.description, caps=wallet.backend.caps, code=ErrorCode.BAD_REQUEST
    )
    order = OfferOrder(
        amount_msat=None if params.amount is None else Msat(params.amount),
        description=params.description or "",
        issuer=params.issuer or None,
        single_use=params.single_use or False,
        expires_at=params.expires_at,
        metadata=stored_metadata(params.metadata),
    )
    await wallet.offers.issue(context.caller, order, backend=wallet.backend_name)


def _check(params: MakeOffer, *, now: int) -> None:
    if params.amount is not None and not params.description:
        # NWC-12: "BOLT12 requires an amount-bearing offer to describe the purpose".
        raise RequestError(ErrorCode.BAD_REQUEST, "description: required with an amount")
    if params.expires_at is not None and params.expires_at <= now:
        raise RequestError(ErrorCode.BAD_REQUEST, "expires_at: it is not in the future")


METHOD = Method(
    name=NAME,
    params=MakeOffer,
    handle=handle,
    preset=Preset.ALL,
    mutates=True,
    needs=Cap.BOLT12_RECEIVE,
    bad_params=ErrorCode.BAD_REQUEST,
)
