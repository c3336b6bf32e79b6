"""The operator's last word on a payment of which its backend says nothing final."""

import asyncio
from collections.abc import Mapping

from nwc_service.backend import BackendUnavailable, LightningBackend, ref_to
from nwc_service.spend import Spender
from nwc_service.store import payments
from nwc_service.store.database import Database
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.outcome import Failed, InFlight, Settled
from nwc_service.wallet.payment import LIVE_STATES
from nwc_service.wallet.units import BackendName, PaymentId

ASK_TIMEOUT_S = 10.0


class Resolver:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        spender: Spender,
    ) -> None:
        self._db = db
        self._backends = backends
        self._spender = spender

    async def resolve(
        self,
        payment_id: PaymentId,
        outcome: Settled | Failed,
        *,
        reason: str,
        force: bool = False,
        by: str = "",
    ) -> None:
        """State what became of it, and who says so; `force` gives back even what the node has
        under way.

        Raises NotFound and Refused.
        """
        if not reason.strip():
            raise Refused("a reason is required")
        if payment_id in self._spender.active:
            raise Refused("the payment is being sent just now: wait for what the node says")
        if isinstance(outcome, Failed) and not force:
            await self._refuse_what_lives(payment_id)
        await self._spender.recorder.resolve(payment_id, outcome, reason=reason, by=by)

    async def _refuse_what_lives(self, payment_id: PaymentId) -> None:
        payment = await self._db.read(lambda tx: payments.payment(tx, payment_id))
        backend = payment and self._backends.get(payment.backend or BackendName(""))
        if payment is None or not backend or payment.state not in LIVE_STATES:
            return
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                said = await backend.lookup_payment(ref_to(payment))
        except (BackendUnavailable, TimeoutError):
            return
        if isinstance(said, InFlight | Settled):
            raise Refused(
                f"the node says {type(said).__name__}: what is given back now may be paid all"
                " the same; cancel it at the node first, or use --force"
            )
