"""What ends together with a hold invoice, in the transaction that ends it."""

from nwc_service.answers import Answers, Clock
from nwc_service.nip47.envelope import error_payload, result_payload
from nwc_service.record import Recorder
from nwc_service.store import alarms, payments
from nwc_service.store.database import Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet import hold
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState, Resolution
from nwc_service.wallet.outcome import Failed, FailReason
from nwc_service.wallet.payment import PaymentState

STUCK = "hold_stuck"

SETTLE = "settle_hold_invoice"
CANCEL = "cancel_hold_invoice"

_GIVEN_BACK = "the payment was given back before it was settled"


class HoldEnd:
    def __init__(self, *, answers: Answers, recorder: Recorder, clock: Clock) -> None:
        self._answers = answers
        self._recorder = recorder
        self._clock = clock

    async def end(self, tx: Tx, before: Invoice, *, after: Invoice) -> list[Outgoing]:
        """Whoever waits for it is answered, and a payer inside the ledger who has not paid it
        gets his money back."""
        if not before.is_hold:
            return []
        await alarms.clear(tx, STUCK, subject=after.invoice_id)
        given_back = await self._give_back(tx, before) if hold.is_inside(before) else []
        return given_back + await self._answers.store_for_invoice(
            tx, after.invoice_id, payload=lambda method: _payload(method, after)
        )

    async def _give_back(self, tx: Tx, invoice: Invoice) -> list[Outgoing]:
        payer = invoice.payer_payment_id and await payments.payment(
            tx, invoice.payer_payment_id
        )
        if not payer or payer.state is not PaymentState.RESERVED:
            return []
        why = "its payee cancelled" if invoice.resolution is Resolution.CANCEL else "it ended"
        released, entries = hold.give_back(payer, why=why, now=self._clock())
        return await self._recorder.finish(
            tx, payer, after=released, entries=entries, outcome=Failed(FailReason.REJECTED)
        )


def _payload(method: str, invoice: Invoice) -> str:
    """The answer to who decided about a hold invoice, by what became of it."""
    is_settled = invoice.state is InvoiceState.SETTLED
    if method == (SETTLE if is_settled else CANCEL):
        return result_payload(method, {})
    problem = hold.SETTLED if is_settled else _GIVEN_BACK
    return error_payload(method, RequestError(ErrorCode.OTHER, problem))
