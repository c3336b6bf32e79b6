"""Paying a BOLT12 offer: an invoice is fetched from its payee first, and that is paid.

An offer of this service's own stays inside the ledger and needs no invoice.
"""

import asyncio
from dataclasses import dataclass, replace
from secrets import token_hex

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    FailReason,
    FetchedInvoice,
    NotSent,
    Unsupported,
)
from nwc_service.methods.invoice_payment import check_fee_limit, fee_reserve_msat
from nwc_service.methods.method import Context, Wallet
from nwc_service.store import offers, requests
from nwc_service.store.database import Tx
from nwc_service.store.requests import AlreadyClaimed
from nwc_service.wallet import bolt12, keysend
from nwc_service.wallet.bolt11 import MAX_DESCRIPTION_BYTES, MAX_INVOICE_LENGTH
from nwc_service.wallet.bolt12 import Offer
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.offer import MadeOffer
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState
from nwc_service.wallet.refusals import refusal
from nwc_service.wallet.units import Msat, PaymentId, Preimage

FETCH_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    offer: Offer
    amount_msat: Msat
    max_fee_msat: Msat | None
    payer_note: str | None
    metadata: str | None


async def pay(context: Context, order: Order) -> None:
    """Raises RequestError when refused, and AlreadyClaimed."""
    wallet = context.wallet
    expires_at = order.offer.expires_at
    if expires_at is not None and wallet.clock() >= expires_at:
        raise RequestError(ErrorCode.BAD_REQUEST, "payment: the offer has expired")
    ours = await _ours(context, order.offer)
    if ours is not None:
        payee = wallet.node_info(ours.backend).pubkey
        await wallet.spender.spend(context.caller, _inside(context, order, payee=payee))
        return
    check_fee_limit(wallet.backend, order.amount_msat, max_fee_msat=order.max_fee_msat)
    fetched = await _fetch(wallet, order)
    await wallet.spender.spend(context.caller, _outside(context, order, fetched=fetched))


async def _ours(context: Context, offer: Offer) -> MadeOffer | None:
    """This service's own offer, where the ledger may settle it.

    Raises AlreadyClaimed, so that no payee is asked again for what was paid.
    """
    request_id = context.caller.claim.request_id

    async def work(tx: Tx) -> MadeOffer | None:
        if await requests.claimed(tx, request_id) is not None:
            raise AlreadyClaimed(request_id)
        return await offers.payable_inside(tx, offer.offer)

    return await context.wallet.db.read(work)


async def _fetch(wallet: Wallet, order: Order) -> FetchedInvoice:
    """Nothing is sent yet. Raises RequestError."""
    backend = wallet.backend
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            fetched = await backend.fetch_invoice(
                order.offer.offer,
                amount_msat=order.amount_msat,
                payer_note=order.payer_note,
            )
    except TimeoutError as error:
        raise _no_invoice("the payee sent no invoice in time") from error
    except BackendUnavailable as error:
        wallet.spender.lost(backend.name)
        raise refusal(NotSent(FailReason.UNAVAILABLE)) from error
    except BadRequest as error:
        raise _no_invoice(str(error)) from error
    except Unsupported as error:
        raise RequestError(
            ErrorCode.UNSUPPORTED_PAYMENT_INSTRUCTION, "payment: the node cannot pay this offer"
        ) from error
    if fetched.amount_msat != order.amount_msat:
        raise _no_invoice("the payee's invoice asks for another amount")
    if len(fetched.invoice) > MAX_INVOICE_LENGTH:
        raise _no_invoice("the payee's invoice is too long")
    return fetched


def _no_invoice(problem: str) -> RequestError:
    return RequestError(ErrorCode.PAYMENT_FAILED, f"offer: {problem}; nothing was sent")


def _outside(context: Context, order: Order, *, fetched: FetchedInvoice) -> Payment:
    inside = _inside(context, order, payee=fetched.payee)
    return replace(
        inside,
        kind=PaymentKind.BOLT12,
        payment_hash=fetched.payment_hash,
        invoice=fetched.invoice,
        expires_at=fetched.expires_at,
        own_preimage=None,
    )


def _inside(context: Context, order: Order, *, payee: str | None) -> Payment:
    wallet, connection, now = context.wallet, context.caller.connection, context.wallet.clock()
    preimage = Preimage(token_hex(32))
    return Payment(
        payment_id=PaymentId(token_hex(16)),
        account_id=connection.account_id,
        connection_id=connection.connection_id,
        kind=PaymentKind.INTERNAL,
        state=PaymentState.RESERVED,
        backend=wallet.backend_name,
        payment_hash=keysend.payment_hash(preimage),
        invoice="",
        description=_short(order.offer.description or ""),
        description_hash=None,
        amount_msat=order.amount_msat,
        amount_is_override=False,
        fee_reserve_msat=fee_reserve_msat(
            wallet, order.amount_msat, max_fee_msat=order.max_fee_msat
        ),
        metadata=order.metadata,
        created_at=now,
        expires_at=now + wallet.spender.policy.max_age_s,
        payee=payee,
        own_preimage=preimage,
        offer=order.offer.offer,
        bolt12_id=bolt12.offer_id(order.offer),
        payer_note=order.payer_note,
    )


def _short(description: str) -> str:
    """As an invoice may have it; a longer one stands in the offer itself."""
    return description if len(description.encode()) <= MAX_DESCRIPTION_BYTES else ""
