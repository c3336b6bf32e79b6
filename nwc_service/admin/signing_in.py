"""Links with which the holder of a token signs in at the page, once."""

from fastapi import APIRouter, Request

from nwc_service.admin.access import Caller
from nwc_service.admin.sessions import LINK_LASTS_S, Sessions
from nwc_service.admin.state import State
from nwc_service.views import View


def add_routes(api: APIRouter, state: State) -> None:
    sessions = Sessions(state.db, clock=state.clock)

    @api.get("/whoami")
    async def whoami(caller: Caller) -> View:
        """Whose token it is, and its role."""
        return {"name": caller.name, "role": caller.role}

    @api.post("/sign-ins", status_code=201)
    async def create_sign_in(request: Request, caller: Caller) -> View:
        """The link is good for one sign-in, and in this answer only."""
        secret = await sessions.link(caller)
        address = f"{request.base_url}sign-in#{secret}"
        return {"uri": address, "expires_at": state.clock() + LINK_LASTS_S}
