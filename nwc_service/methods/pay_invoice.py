"""pay_invoice: pay a BOLT11 invoice from this account."""

from secrets import token_hex

from nwc_service.backend import Cap
from nwc_service.methods.method import (
    AmountMsat,
    Context,
    Method,
    Params,
    Text,
    Wallet,
    stored_metadata,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState
from nwc_service.wallet.units import Msat, PaymentId

MAX_AHEAD_S = 86_400


class PayInvoice(Params):
    invoice: Text
    amount: AmountMsat | None = None
    metadata: dict[str, object] | None = None


async def handle(context: Context, params: PayInvoice) -> None:
    wallet, connection = context.wallet, context.caller.connection
    invoice = _decode(params.invoice)
    _check_payable(invoice, wallet)
    amount_msat = _amount_msat(invoice, params.amount, caps=wallet.backend.caps)
    fee_cap_msat = wallet.backend.fee_cap_msat(amount_msat)
    payment = Payment(
        payment_id=PaymentId(token_hex(16)),
        account_id=connection.account_id,
        connection_id=connection.connection_id,
        kind=PaymentKind.BOLT11,
        state=PaymentState.RESERVED,
        backend=wallet.default_backend,
        payment_hash=invoice.payment_hash,
        invoice=invoice.invoice,
        description=invoice.description or "",
        description_hash=invoice.description_hash,
        amount_msat=amount_msat,
        amount_is_override=invoice.amount_msat is None,
        fee_reserve_msat=wallet.spender.policy.fee.reserve_msat(
            amount_msat, cap_msat=fee_cap_msat
        ),
        metadata=stored_metadata(params.metadata),
        created_at=wallet.clock(),
        expires_at=invoice.expires_at,
    )
    await wallet.spender.spend(context.caller, payment)


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
