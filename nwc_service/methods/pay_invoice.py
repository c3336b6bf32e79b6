"""pay_invoice: pay a BOLT11 invoice from this account."""

import asyncio
from dataclasses import replace
from secrets import token_hex

import structlog

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Decoded,
    FailReason,
    NotSent,
)
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Text,
    Wallet,
    stored_metadata,
)
from nwc_service.spend import NodeNotAsked
from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState
from nwc_service.wallet.refusals import refusal
from nwc_service.wallet.units import Msat, PaymentId

log = structlog.get_logger()

MAX_AHEAD_S = 86_400
DECODE_TIMEOUT_S = 10.0


class PayInvoice(Params):
    invoice: Text
    amount: AmountMsat | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: PayInvoice) -> None:
    wallet = context.wallet
    invoice = _decode(params.invoice)
    _check_payable(invoice, wallet)
    payment = _planned(context, invoice, params=params)
    try:
        await wallet.spender.spend(context.caller, payment)
    except NodeNotAsked:
        await _check_reading(invoice, wallet)
        payment = replace(payment, backend=wallet.default_backend)
        await wallet.spender.spend(context.caller, payment)


def _planned(context: Context, invoice: Bolt11, *, params: PayInvoice) -> Payment:
    wallet, connection = context.wallet, context.caller.connection
    backend = wallet.backend
    amount_msat = _amount_msat(invoice, params.amount, caps=backend.caps)
    return Payment(
        payment_id=PaymentId(token_hex(16)),
        account_id=connection.account_id,
        connection_id=connection.connection_id,
        kind=PaymentKind.BOLT11,
        state=PaymentState.RESERVED,
        # A node that can be asked must agree first, so that what stays inside never needs it.
        backend=None if Cap.DECODE in backend.caps else wallet.default_backend,
        payment_hash=invoice.payment_hash,
        invoice=invoice.invoice,
        description=invoice.description or "",
        description_hash=invoice.description_hash,
        amount_msat=amount_msat,
        amount_is_override=invoice.amount_msat is None,
        fee_reserve_msat=wallet.spender.policy.fee.reserve_msat(
            amount_msat, cap_msat=backend.fee_cap_msat(amount_msat)
        ),
        metadata=stored_metadata(params.metadata),
        created_at=wallet.clock(),
        expires_at=invoice.expires_at,
    )


async def _check_reading(invoice: Bolt11, wallet: Wallet) -> None:
    """The node must read the invoice as it was read here, its expiry too: rule H counts on it.

    Raises RequestError.
    """
    backend = wallet.backend
    try:
        async with asyncio.timeout(DECODE_TIMEOUT_S):
            told = await backend.decode(invoice.invoice)
    except (BackendUnavailable, TimeoutError) as error:
        wallet.spender.lost(backend.name)
        raise refusal(NotSent(FailReason.UNAVAILABLE)) from error
    except BadRequest as error:
        raise RequestError(ErrorCode.OTHER, "invoice: the node cannot read it") from error
    payee = told.payee and invoice.payee
    if told != Decoded(invoice.payment_hash, invoice.amount_msat, invoice.expires_at, payee):
        log.error("invoice.read_differently", backend=backend.name)
        raise RequestError(ErrorCode.OTHER, "invoice: the node reads it differently")


def _decode(text: str) -> Bolt11:
    try:
        return bolt11.decode(text)
    except bolt11.InvalidInvoice as error:
        raise RequestError(ErrorCode.OTHER, f"invoice: {error}") from error


def _check_payable(invoice: Bolt11, wallet: Wallet) -> None:
    if invoice.created_at > wallet.clock() + MAX_AHEAD_S:
        raise RequestError(ErrorCode.OTHER, "invoice: it is dated in the future")
    network = wallet.node_info(wallet.default_backend).network
    if network is not None and invoice.network != network:
        raise RequestError(
            ErrorCode.OTHER,
            f"invoice: it is for {invoice.network}, this wallet is on {network}",
        )


def _amount_msat(invoice: Bolt11, amount: int | None, *, caps: Cap) -> Msat:
    """The amount that leaves. NWC-321: conflicting amounts MUST be rejected before payment."""
    if invoice.amount_msat is None:
        if amount is None:
            raise RequestError(ErrorCode.OTHER, "amount: the invoice names none, so give one")
        if Cap.PAY_AMOUNTLESS not in caps:
            raise RequestError(
                ErrorCode.OTHER, "invoice: this wallet cannot pay one without an amount"
            )
        return Msat(amount)
    if amount is not None and amount != invoice.amount_msat:
        raise RequestError(
            ErrorCode.OTHER, f"amount: the invoice is for {invoice.amount_msat} msat"
        )
    return invoice.amount_msat


METHOD = Method(name="pay_invoice", params=PayInvoice, handle=handle, mutates=True)
