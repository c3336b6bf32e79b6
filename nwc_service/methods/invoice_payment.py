"""Paying a BOLT11 invoice that was read: for every method that comes to hold one."""

import asyncio
from dataclasses import dataclass, replace
from secrets import token_hex

import structlog

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    Decoded,
    FailReason,
    LightningBackend,
    NotSent,
)
from nwc_service.methods.method import Context, Wallet
from nwc_service.spend import NodeNotAsked
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState
from nwc_service.wallet.refusals import refusal
from nwc_service.wallet.units import Msat, PaymentId

log = structlog.get_logger()

MAX_AHEAD_S = 86_400
DECODE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`amount_msat` is what the payee gets, and what the invoice asks for where it does;
    `max_fee_msat` is the client's own limit."""

    invoice: Bolt11
    amount_msat: Msat
    max_fee_msat: Msat | None = None
    metadata: str | None


async def pay(context: Context, order: Order) -> None:
    """Raises RequestError when refused, and AlreadyClaimed."""
    wallet = context.wallet
    _check_payable(order.invoice, wallet)
    payment = _planned(context, order)
    try:
        await wallet.spender.spend(context.caller, payment)
    except NodeNotAsked:
        check_fee_limit(wallet.backend, order.amount_msat, max_fee_msat=order.max_fee_msat)
        await _check_reading(order.invoice, wallet)
        payment = replace(payment, backend=wallet.backend_name)
        await wallet.spender.spend(context.caller, payment)


def amount_msat(invoice: Bolt11, amount: int | None, *, caps: Cap, code: ErrorCode) -> Msat:
    """The amount that leaves. NWC-321: conflicting amounts MUST be rejected before payment."""
    if invoice.amount_msat is None:
        if amount is None:
            raise RequestError(code, "amount: the invoice names none, so give one")
        if Cap.PAY_AMOUNTLESS not in caps:
            raise RequestError(code, "invoice: this wallet cannot pay one without an amount")
        return Msat(amount)
    if amount is not None and amount != invoice.amount_msat:
        raise RequestError(code, f"amount: the invoice is for {invoice.amount_msat} msat")
    return invoice.amount_msat


def fee_reserve_msat(wallet: Wallet, amount_msat: Msat, *, max_fee_msat: Msat | None) -> Msat:
    """What is reserved, and the cap that the node gets: never above the client's own limit."""
    reserve_msat = wallet.spender.policy.fee.reserve_msat(
        amount_msat, cap_msat=wallet.backend.fee_cap_msat(amount_msat)
    )
    return reserve_msat if max_fee_msat is None else min(reserve_msat, max_fee_msat)


def check_fee_limit(
    backend: LightningBackend, amount_msat: Msat, *, max_fee_msat: Msat | None
) -> None:
    """NWC-321: where the limit cannot be kept, it "MUST NOT send the payment and MUST return a
    `FEE_LIMIT_EXCEEDED` error"."""
    cap_msat = backend.fee_cap_msat(amount_msat)
    if max_fee_msat is not None and cap_msat is not None and cap_msat > max_fee_msat:
        raise RequestError(
            ErrorCode.FEE_LIMIT_EXCEEDED,
            f"max_fee: this wallet may have to pay up to {cap_msat} msat",
        )


def _planned(context: Context, order: Order) -> Payment:
    wallet, connection, invoice = context.wallet, context.caller.connection, order.invoice
    return Payment(
        payment_id=PaymentId(token_hex(16)),
        account_id=connection.account_id,
        connection_id=connection.connection_id,
        kind=PaymentKind.BOLT11,
        state=PaymentState.RESERVED,
        # Inside the ledger first: what stays there needs no node, and costs no fee.
        backend=None,
        payment_hash=invoice.payment_hash,
        invoice=invoice.invoice,
        description=invoice.description or "",
        description_hash=invoice.description_hash,
        amount_msat=order.amount_msat,
        amount_is_override=invoice.amount_msat is None,
        fee_reserve_msat=fee_reserve_msat(
            wallet, order.amount_msat, max_fee_msat=order.max_fee_msat
        ),
        metadata=order.metadata,
        created_at=wallet.clock(),
        expires_at=invoice.expires_at,
        payee=invoice.payee,
    )


async def _check_reading(invoice: Bolt11, wallet: Wallet) -> None:
    """A node that can be asked must read the invoice as it was read here, its expiry too: rule
    H counts on it.

    Raises RequestError.
    """
    backend = wallet.backend
    if Cap.DECODE not in backend.caps:
        return
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


def _check_payable(invoice: Bolt11, wallet: Wallet) -> None:
    if invoice.created_at > wallet.clock() + MAX_AHEAD_S:
        raise RequestError(ErrorCode.OTHER, "invoice: it is dated in the future")
    network = wallet.node_info(wallet.backend_name).network
    if network is not None and invoice.network != network:
        raise RequestError(
            ErrorCode.OTHER,
            f"invoice: it is for {invoice.network}, this wallet is on {network}",
        )
