"""Connections: made, shown and revoked."""

from fastapi import APIRouter

from nwc_service import views
from nwc_service.admin.state import State
from nwc_service.connections import Wish
from nwc_service.views import View
from nwc_service.wallet.units import ConnectionId


def add_routes(api: APIRouter, state: State) -> None:
    relays_of = state.relays.advertised

    async def view(connection_id: str) -> View:
        return await state.books.read(
            lambda tx: views.connection(
                tx, connection_id, relays_of=relays_of, now=state.clock()
            )
        )

    @api.post("/connections", status_code=201)
    async def create_connection(wish: Wish) -> View:
        """The URI is in this answer and nowhere else."""
        created = await state.connections.create(wish)
        connection = created.connection
        return await view(connection.connection_id) | {
            "uri": created.uri,
            "warnings": state.warnings(connection),
        }

    @api.get("/connections")
    async def list_connections(account: str | None = None) -> list[View]:
        return await state.books.read(
            lambda tx: views.connection_list(
                tx, account_name=account, relays_of=relays_of, now=state.clock()
            )
        )

    @api.get("/connections/{connection_id}")
    async def show_connection(connection_id: str) -> View:
        return await view(connection_id)

    @api.post("/connections/{connection_id}/revoke")
    async def revoke_connection(connection_id: str) -> View:
        await state.connections.revoke(ConnectionId(connection_id))
        return await view(connection_id)
