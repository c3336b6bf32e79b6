"""Payments: their history, what their backend says now, and the operator's last word."""

import asyncio
import re
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Query
from pydantic import Field

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, Page, State
from nwc_service.backend import BackendUnavailable, LightningBackend, ref_to
from nwc_service.views import PaymentFilter, View
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.outcome import Failed, FailReason, NotSent, Outcome, Settled
from nwc_service.wallet.payment import Payment, proves
from nwc_service.wallet.units import MAX_MSAT, BackendName, Msat, Preimage

log = structlog.get_logger()

ASK_TIMEOUT_S = 10.0


class Resolution(Body):
    reason: str
    paid: bool
    force: bool = False
    preimage: str | None = Field(default=None, repr=False)
    fee_msat: Annotated[int, Field(ge=0, le=MAX_MSAT)] | None = None


class PaymentQuery(Page):
    account: str | None = None
    connection_id: str | None = None
    direction: Literal["incoming", "outgoing"] | None = None
    since: Annotated[int, Field(ge=0, lt=2**53)] = 0
    until: Annotated[int, Field(ge=0, lt=2**53)] | None = None


def add_routes(api: APIRouter, state: State) -> None:
    async def view(name: str) -> View:
        return await state.books.read(lambda tx: views.payment(tx, name, now=state.clock()))

    async def outgoing(name: str) -> Payment:
        found = await state.books.read(lambda tx: views.outgoing(tx, name))
        if found is None:
            raise NotFound(f"there is no outgoing payment {name!r}")
        return found

    @api.get("/payments")
    async def list_payments(
        wanted: Annotated[PaymentQuery, Query()],
    ) -> View:
        """A page, newest first; `next_cursor` is null at the end."""
        chosen = PaymentFilter(**wanted.model_dump(exclude={"cursor", "limit"}))
        return await state.books.read(
            lambda tx: views.payment_page(
                tx, wanted=chosen, cursor=wanted.cursor, limit=wanted.limit, now=state.clock()
            )
        )

    @api.get("/payments/{name}")
    async def show_payment(name: str) -> View:
        return await view(name)

    @api.get("/payments/{name}/outcome")
    async def ask_backend(name: str) -> View:
        payment = await outgoing(name)
        backend = state.backends.get(payment.backend or BackendName(""))
        return {"backend_says": await _says(backend, payment)}

    @api.post("/payments/{name}/resolve")
    async def resolve_payment(*, name: str, body: Resolution, caller: Caller) -> View:
        payment_id = (await outgoing(name)).payment_id
        await state.resolver.resolve(
            payment_id, _outcome(body), reason=body.reason, force=body.force, by=caller.name
        )
        return await view(payment_id)


def _outcome(body: Resolution) -> Settled | Failed:
    """Raises Refused."""
    if not body.paid:
        if body.preimage is not None or body.fee_msat is not None:
            raise Refused("only what was paid has a preimage and a fee")
        return Failed(FailReason.OTHER)
    preimage = (body.preimage or "").strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", preimage):
        raise Refused("what was paid has a preimage, of 64 hex digits")
    fee_msat = None if body.fee_msat is None else Msat(body.fee_msat)
    return Settled(Preimage(preimage), fee_msat)


async def _says(backend: LightningBackend | None, payment: Payment) -> str:
    """Only asks: what follows from the answer is the reconciler's to do."""
    if backend is None:
        return "not configured"
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            return _word(await backend.lookup_payment(ref_to(payment)), payment)
    except (BackendUnavailable, TimeoutError):
        return "no answer"
    except Exception:
        log.exception("backend.broken", backend=backend.name)
        return "no answer"


def _word(outcome: Outcome | None, payment: Payment) -> str:
    if outcome is None:
        return "not found"
    word = type(outcome).__name__
    if isinstance(outcome, Failed | NotSent):
        return f"{word}: {outcome.reason}"
    if isinstance(outcome, Settled) and not proves(outcome.preimage, payment.payment_hash):
        return f"{word}, without a preimage that proves it"
    return word
