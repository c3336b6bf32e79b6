"""pay (NWC-321): pay one Lightning instruction of a BIP-321 URI."""

from typing import Annotated

from pydantic import Field

from nwc_service.backend import Cap
from nwc_service.methods import invoice_payment, offer_payment
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Preset,
    Text,
    Wallet,
    stored_metadata,
)
from nwc_service.wallet import bip321
from nwc_service.wallet.bip321 import InvalidUri, PaymentUri, Unsupported, networks_of
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.bolt12 import Offer
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.offer import MAX_NOTE_CHARACTERS
from nwc_service.wallet.units import MAX_MSAT, Msat


class Pay(Params):
    payment: Text
    amount: AmountMsat | None = None
    max_fee: Annotated[int, Field(ge=0, le=MAX_MSAT)] | None = None
    payer_note: Annotated[Text, Field(max_length=MAX_NOTE_CHARACTERS)] | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: Pay) -> None:
    uri = _parsed(params.payment)
    selected = _selected(uri, context.wallet, note=params.payer_note or None)
    asked_msat = _asked_msat(uri, params.amount)
    if isinstance(selected, Bolt11):
        await invoice_payment.pay(
            context, _invoice_order(context, selected, params=params, asked_msat=asked_msat)
        )
    else:
        await offer_payment.pay(
            context, _offer_order(selected, params=params, asked_msat=asked_msat)
        )


def _parsed(text: str) -> PaymentUri:
    try:
        return bip321.parse(text)
    except InvalidUri as error:
        raise RequestError(ErrorCode.BAD_REQUEST, f"payment: {error}") from error


def _selected(uri: PaymentUri, wallet: Wallet, *, note: str | None) -> Bolt11 | Offer:
    """One instruction, an invoice before an offer, and what has not expired before what has.

    NWC-321: "The wallet service MUST deliver the note or reject the request before payment."
    """
    payable = [
        instruction
        for instruction in uri.instructions
        if not isinstance(instruction, Unsupported)
        and _is_payable(instruction, wallet.backend.caps, note=note)
    ]
    if not payable:
        with_note = " together with a payer_note" if note else ""
        raise RequestError(
            ErrorCode.UNSUPPORTED_PAYMENT_INSTRUCTION,
            f"payment: nothing in it is supported by this wallet{with_note}",
        )
    network = wallet.node_info(wallet.backend_name).network
    here = [i for i in payable if network is None or network in networks_of(i)]
    if not here:
        raise RequestError(
            ErrorCode.UNSUPPORTED_NETWORK, f"payment: this wallet is on {network}"
        )
    now = wallet.clock()
    return min(here, key=lambda i: (_has_expired(i, now), isinstance(i, Offer)))


def _is_payable(instruction: Bolt11 | Offer, caps: Cap, *, note: str | None) -> bool:
    if isinstance(instruction, Bolt11):
        # An invoice has no room for a word of its payer.
        return note is None and (
            instruction.amount_msat is not None or Cap.PAY_AMOUNTLESS in caps
        )
    # No exchange rate and no quantity is known here.
    in_msat = instruction.currency is None and instruction.quantity_max is None
    return Cap.BOLT12_SEND in caps and in_msat


def _has_expired(instruction: Bolt11 | Offer, now: int) -> bool:
    return instruction.expires_at is not None and now >= instruction.expires_at


def _asked_msat(uri: PaymentUri, amount: int | None) -> Msat | None:
    """NWC-321: "The wallet service MUST reject conflicting or invalid amounts before payment."

    That the URI agrees with its instructions was looked at when it was read.
    """
    if amount is not None and uri.amount_msat not in (None, amount):
        raise RequestError(
            ErrorCode.BAD_REQUEST, f"amount: the URI asks for {uri.amount_msat} msat"
        )
    return uri.amount_msat if amount is None else Msat(amount)


def _invoice_order(
    context: Context, invoice: Bolt11, *, params: Pay, asked_msat: Msat | None
) -> invoice_payment.Order:
    return invoice_payment.Order(
        invoice=invoice,
        amount_msat=invoice_payment.amount_msat(
            invoice,
            asked_msat,
            caps=context.wallet.backend.caps,
            code=ErrorCode.BAD_REQUEST,
        ),
        max_fee_msat=_max_fee_msat(params),
        metadata=stored_metadata(params.metadata),
    )


def _offer_order(offer: Offer, *, params: Pay, asked_msat: Msat | None) -> offer_payment.Order:
    if params.amount is not None and offer.amount_msat not in (None, asked_msat):
        raise RequestError(
            ErrorCode.BAD_REQUEST, f"amount: the offer is for {offer.amount_msat} msat"
        )
    amount_msat = asked_msat or offer.amount_msat
    if amount_msat is None:
        raise RequestError(ErrorCode.BAD_REQUEST, "amount: the offer names none, so give one")
    return offer_payment.Order(
        offer=offer,
        amount_msat=Msat(amount_msat),
        max_fee_msat=_max_fee_msat(params),
        payer_note=params.payer_note or None,
        metadata=stored_metadata(params.metadata),
    )


def _max_fee_msat(params: Pay) -> Msat | None:
    return None if params.max_fee is None else Msat(params.max_fee)


METHOD = Method(
    name="pay",
    params=Pay,
    handle=handle,
    preset=Preset.ALL,
    mutates=True,
    bad_params=ErrorCode.BAD_REQUEST,
)
