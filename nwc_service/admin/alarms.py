"""What an operator must look at, has looked at, and decided."""

from typing import Annotated

from fastapi import APIRouter, Query

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, Page, State
from nwc_service.store import alarms, decisions, nodes, payments, receipts
from nwc_service.store.database import Tx
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.payment import LIVE_STATES
from nwc_service.wallet.units import BackendName, PaymentHash, PaymentId

CLEARED = "alarm_cleared"


class Clearance(Body):
    kind: str
    subject: str
    reason: str


def add_routes(api: APIRouter, state: State) -> None:
    @api.get("/alarms")
    async def list_alarms() -> list[View]:
        return await state.books.read(views.alarm_list)

    @api.post("/alarms/clear")
    async def clear_alarm(body: Clearance, caller: Caller) -> View:
        if not body.reason.strip():
            raise Refused("a reason is required")
        return await state.db.write(lambda tx: _clear(tx, body, state=state, by=caller.name))

    @api.get("/decisions")
    async def list_decisions(wanted: Annotated[Page, Query()]) -> View:
        """A page, newest first; `next_cursor` is null at the end."""
        return await state.books.read(
            lambda tx: views.decision_page(tx, cursor=wanted.cursor, limit=wanted.limit)
        )


async def _clear(tx: Tx, body: Clearance, *, state: State, by: str) -> View:
    """Of something that happened, never of something that still is so."""
    alarm = await alarms.alarm(tx, body.kind, subject=body.subject)
    if alarm is None:
        raise NotFound(f"there is no alarm {body.kind!r} about {body.subject!r}")
    if ends := await _what_ends(tx, body, state=state):
        raise Refused(f"this still is so; {ends}")
    await alarms.clear(tx, body.kind, subject=body.subject)
    await decisions.record(
        tx,
        CLEARED,
        subject=body.subject,
        reason=body.reason,
        detail=f"{body.kind}: {alarm['detail']}",
        by=by,
        now=state.clock(),
    )
    return {**alarm, "reason": body.reason}


async def _what_ends(tx: Tx, body: Clearance, *, state: State) -> str | None:
    """None where nothing stands any more that the alarm told of."""
    subject = body.subject
    match body.kind:
        case "insolvent" | "cover_unknown" if not state.solvency.is_covered:
            return "the alarm ends when the backends cover what is owed"
        case "backend_paused" if await nodes.paused(tx, BackendName(subject)):
            return f"`backend resume {subject}` ends it"
        case "unattributed" if await receipts.is_unattributed(tx, PaymentHash(subject)):
            return f"`suspense assign {subject}` ends it"
        case "payment_stuck" | "backend_missing" if await _is_open(tx, PaymentId(subject)):
            return f"the alarm ends with the payment: `payment resolve {subject}`"
    return None


async def _is_open(tx: Tx, payment_id: PaymentId) -> bool:
    payment = await payments.payment(tx, payment_id)
    return payment is not None and payment.state in LIVE_STATES
