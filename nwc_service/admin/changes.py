"""What becomes of a connection: changed, paused, given a new key, revoked."""

from fastapi import APIRouter

from nwc_service.admin.access import Caller
from nwc_service.admin.connections import connection_view, created_view
from nwc_service.admin.state import Body, Reason, State
from nwc_service.views import View
from nwc_service.wallet.units import ConnectionId
from nwc_service.wishes import Change


class Rotation(Body):
    client_pubkey: str | None = None


def add_routes(api: APIRouter, state: State) -> None:
    @api.patch("/connections/{connection_id}")
    async def change_connection(*, connection_id: str, change: Change, caller: Caller) -> View:
        """Only what is given changes; null ends a limit."""
        await state.connections.change(ConnectionId(connection_id), change, by=caller.name)
        return await connection_view(state, connection_id)

    @api.post("/connections/{connection_id}/pause")
    async def pause_connection(*, connection_id: str, body: Reason, caller: Caller) -> View:
        """Nothing is done for it, nor for what it has made, until it is resumed."""
        await state.connections.pause(
            ConnectionId(connection_id), reason=body.reason, by=caller.name
        )
        return await connection_view(state, connection_id)

    @api.post("/connections/{connection_id}/resume")
    async def resume_connection(*, connection_id: str, body: Reason, caller: Caller) -> View:
        await state.connections.resume(
            ConnectionId(connection_id), reason=body.reason, by=caller.name
        )
        return await connection_view(state, connection_id)

    @api.post("/connections/{connection_id}/rotate")
    async def rotate_connection(*, connection_id: str, body: Rotation, caller: Caller) -> View:
        """The old key is good for nothing from now on; the new URI is in this answer only."""
        created = await state.connections.rotate(
            ConnectionId(connection_id), client_pubkey=body.client_pubkey, by=caller.name
        )
        return await created_view(state, created)

    @api.post("/connections/{connection_id}/revoke")
    async def revoke_connection(*, connection_id: str, body: Reason, caller: Caller) -> View:
        """For good, with all that it has made."""
        await state.connections.revoke(
            ConnectionId(connection_id), reason=body.reason, by=caller.name
        )
        return await connection_view(state, connection_id)
