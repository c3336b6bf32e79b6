"""Links with which somebody signs in at the page, once: who asks, or the user of an account."""

from fastapi import APIRouter, Request

from nwc_service.admin.access import Caller, Principal, user_of
from nwc_service.admin.sessions import Sessions
from nwc_service.admin.state import State
from nwc_service.views import View


def add_routes(api: APIRouter, state: State) -> None:
    sessions = Sessions(state.db, clock=state.clock)

    async def link(request: Request, principal: Principal) -> View:
        # Behind the #, which no browser sends and no log has.
        secret, expires_at = await sessions.link(principal)
        return {"uri": f"{request.base_url}sign-in#{secret}", "expires_at": expires_at}

    @api.get("/whoami")
    async def whoami(caller: Caller) -> View:
        """Whose token it is, and its role."""
        return {"name": caller.name, "role": caller.role}

    @api.post("/sign-ins", status_code=201)
    async def create_sign_in(request: Request, caller: Caller) -> View:
        """The link is good for one sign-in, and in this answer only."""
        return await link(request, caller)

    @api.post("/accounts/{name}/sign-ins", status_code=201)
    async def create_users_sign_in(name: str, request: Request) -> View:
        """For the user of the account: whoever opens it first is that user."""
        return await link(request, user_of(await state.accounts.named(name)))
