"""What waits in suspense, and whose it is."""

from fastapi import APIRouter

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, State
from nwc_service.suspense import Suspense
from nwc_service.views import View
from nwc_service.wallet.errors import Refused
from nwc_service.wallet.units import BackendName, PaymentHash


class Assignment(Body):
    account: str | None = None
    operator: bool = False
    backend: str | None = None
    reason: str


def add_routes(api: APIRouter, state: State) -> None:
    suspense = Suspense(state.db, books=state.books, clock=state.clock)

    @api.get("/suspense")
    async def list_suspense() -> list[View]:
        return await state.books.read(views.suspense_list)

    @api.post("/suspense/{payment_hash}/assign")
    async def assign_receipts(*, payment_hash: str, body: Assignment, caller: Caller) -> View:
        if body.operator is (body.account is not None):
            raise Refused("name an account or the operator, one of them")
        assigned = await suspense.assign(
            PaymentHash(payment_hash),
            backend=None if body.backend is None else BackendName(body.backend),
            account=body.account,
            reason=body.reason,
            by=caller.name,
        )
        return {
            "payment_hash": payment_hash,
            "backend": assigned[0].backend,
            "amount_msat": sum(each.amount_msat for each in assigned),
            "assigned_to": body.account or "operator",
            "reason": body.reason,
        }
