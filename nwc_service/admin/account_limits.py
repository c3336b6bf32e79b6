"""What an account may hold and pay, and whether its apps are served at all."""

from fastapi import APIRouter

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, Reason, State
from nwc_service.views import View


class Limits(Body):
    max_balance_msat: int | None = None
    max_payment_msat: int | None = None
    max_daily_msat: int | None = None


def add_routes(api: APIRouter, state: State) -> None:
    @api.patch("/accounts/{name}")
    async def limit_account(*, name: str, body: Limits, caller: Caller) -> View:
        """Only what is given changes; null ends a limit."""
        given = body.model_dump(include=body.model_fields_set)
        return views.account_view(await state.accounts.set_limits(name, given, by=caller.name))

    @api.post("/accounts/{name}/freeze")
    async def freeze_account(*, name: str, body: Reason, caller: Caller) -> View:
        """Its apps may only read, until it is thawed; what comes in is credited."""
        account = await state.accounts.set_frozen(
            name, frozen=True, reason=body.reason, by=caller.name
        )
        return views.account_view(account)

    @api.post("/accounts/{name}/thaw")
    async def thaw_account(*, name: str, body: Reason, caller: Caller) -> View:
        account = await state.accounts.set_frozen(
            name, frozen=False, reason=body.reason, by=caller.name
        )
        return views.account_view(account)
