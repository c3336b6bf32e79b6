"""make_invoice: have the node make an invoice that credits this account."""

from hashlib import sha256
from typing import Annotated

from pydantic import Field

from nwc_service.backend import Cap
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Hex32,
    Method,
    Params,
    Preset,
    Text,
    stored_metadata,
)
from nwc_service.receive import InvoiceOrder
from nwc_service.wallet.bolt11 import MAX_DESCRIPTION_BYTES, MAX_EXPIRY_S
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import MSAT_PER_SAT, Msat


class MakeInvoice(Params):
    amount: AmountMsat
    description: Text | None = None
    description_hash: Hex32 | None = None
    # 0 is none: some clients send every key.
    expiry: Annotated[int, Field(ge=0, le=MAX_EXPIRY_S)] | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: MakeInvoice) -> None:
    wallet = context.wallet
    order = ordered(context, params)
    await wallet.receiver.issue(context.caller, order, backend=wallet.backend_name)


def ordered(context: Context, params: MakeInvoice) -> InvoiceOrder:
    """Raises RequestError for what the node cannot make."""
    wallet = context.wallet
    _check(params, wallet.backend.caps)
    return InvoiceOrder(
        amount_msat=Msat(params.amount),
        description=params.description or "",
        description_hash=params.description_hash,
        expiry_s=params.expiry or wallet.invoice_expiry_s,
        metadata=stored_metadata(params.metadata),
    )


def check_terms(
    amount: int | None, description: str | None, *, caps: Cap, code: ErrorCode
) -> None:
    """Raises RequestError with this code for what the node cannot ask for."""
    if description and len(description.encode()) > MAX_DESCRIPTION_BYTES:
        raise RequestError(code, f"description: more than {MAX_DESCRIPTION_BYTES} bytes")
    if Cap.MSAT_INVOICE not in caps and amount and amount % MSAT_PER_SAT:
        raise RequestError(code, "amount: this wallet asks for whole sats (1000 msat) only")


def _check(params: MakeInvoice, caps: Cap) -> None:
    check_terms(params.amount, params.description, caps=caps, code=ErrorCode.OTHER)
    if params.description_hash is not None and Cap.DESCRIPTION_HASH not in caps:
        _check_hashed(params.description_hash, text=params.description or "", caps=caps)


def _check_hashed(description_hash: str, *, text: str, caps: Cap) -> None:
    if Cap.HASHED_DESCRIPTION not in caps:
        raise RequestError(ErrorCode.OTHER, "description_hash: not supported by this wallet")
    if sha256(text.encode()).hexdigest() != description_hash:
        raise RequestError(
            ErrorCode.OTHER,
            "description_hash: this wallet needs the text that it is of, as description",
        )


METHOD = Method(
    name="make_invoice",
    params=MakeInvoice,
    handle=handle,
    preset=Preset.RECEIVE,
    mutates=True,
)
