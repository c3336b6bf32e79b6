"""Money bugs to sow into a life, to see that the harness sees them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from nwc_service.backend import InvoiceReport, InvoiceStatus, LightningBackend
from nwc_service.holds import Holds
from nwc_service.methods import multi_pay
from nwc_service.nostr.event import Event
from nwc_service.outbox import Outbox, event_of
from nwc_service.reconciler import Reconciler
from nwc_service.store import invoices, requests
from nwc_service.store.database import Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.store.requests import AlreadyClaimed, Claim
from nwc_service.wallet.outcome import Failed, FailReason, Unknown
from nwc_service.wallet.payment import Payment
from nwc_service.wallet.units import BackendName, ConnectionId
from tests.chaos.backend import ChaosBackend


def release_on_not_found() -> None:
    """The node knows nothing of it, so it has failed (variant C)."""

    async def not_found(
        self: Reconciler, payment: Payment, backend: LightningBackend, *, asked_at: int
    ) -> None:
        failed = Failed(FailReason.OTHER, "not known to the node")
        await self._spender.recorder.record(payment.payment_id, failed)

    Reconciler._not_found = not_found  # type: ignore[method-assign]


def release_on_no_reply() -> None:
    """No answer means no (variant B)."""
    pay = ChaosBackend.pay

    async def hasty(self: ChaosBackend, request: Any) -> Any:
        outcome = await pay(self, request)
        return Failed(FailReason.TIMEOUT) if isinstance(outcome, Unknown) else outcome

    ChaosBackend.pay = hasty  # type: ignore[method-assign]


def credit_each_event() -> None:
    """Each time that the stream tells of a settlement it is credited."""
    insert = invoices.insert_receipt

    async def insert_always(tx: Tx, **receipt: Any) -> bool:
        await insert(tx, **receipt)
        return True

    vars(invoices)["insert_receipt"] = insert_always


def answer_anew() -> None:
    """A repeated request gets its answer, signed again."""

    def resend(self: Outbox, connection_id: ConnectionId, outgoing: Outgoing) -> None:
        connection = self._directory.by_id(connection_id)
        assert connection is not None
        fresh = self._answers.redate(connection, event_of(outgoing))
        self._spawn(self._send(connection, fresh))

    Outbox.resend = resend  # type: ignore[method-assign]


def keep_silent() -> None:
    """What was stored and not published is forgotten with the process."""

    async def nothing(self: Outbox, **_: Any) -> list[Event]:
        return []

    Outbox.recover = nothing  # type: ignore[assignment, method-assign]
    Outbox.recent = nothing  # type: ignore[method-assign]


def credit_on_accepted() -> None:
    """What a node only holds is credited, though its owner may never settle it."""

    async def accept(
        self: Holds, name: BackendName, report: InvoiceReport, **named: Any
    ) -> None:
        settled = replace(report, status=InvoiceStatus.SETTLED)
        await self._crediter.credit(name, settled, **named)

    Holds._accept = accept  # type: ignore[method-assign]


def pay_items_again() -> None:
    """A copy of a request that asks for several payments makes each of them once more."""
    claim = requests.claim

    async def forgetful(tx: Tx, claimed: Claim, *, now: int) -> None:
        with suppress(AlreadyClaimed):
            await claim(tx, claimed, now=now)

    async def open_for_ever(tx: Tx, request_id: str) -> None:
        pass

    vars(multi_pay)["requests"] = SimpleNamespace(claim=forgetful)
    vars(requests)["_still_open"] = open_for_ever


SABOTAGES: dict[str, Callable[[], None]] = {
    "release_on_not_found": release_on_not_found,
    "release_on_no_reply": release_on_no_reply,
    "credit_each_event": credit_each_event,
    "answer_anew": answer_anew,
    "keep_silent": keep_silent,
    "credit_on_accepted": credit_on_accepted,
    "pay_items_again": pay_items_again,
}
