"""Connections: made and shown; `changes.py` has what becomes of them."""

from typing import Annotated

from fastapi import APIRouter, Query

from nwc_service import views
from nwc_service.admin.access import Caller, Principal, Role
from nwc_service.admin.state import Page, State
from nwc_service.connections import Created
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound
from nwc_service.wishes import Wish


class ConnectionQuery(Page):
    account: str | None = None


def add_routes(api: APIRouter, state: State) -> None:
    @api.post("/connections", status_code=201)
    async def create_connection(wish: Wish, caller: Caller) -> View:
        """The URI is in this answer and nowhere else."""
        await _must_be_its_own(state, wish.account, caller=caller)
        return await created_view(state, await state.connections.create(wish))

    @api.get("/connections")
    async def list_connections(wanted: Annotated[ConnectionQuery, Query()]) -> View:
        """A page, oldest first; `next_cursor` is null at the end."""
        return await state.books.read(
            lambda tx: views.connection_page(
                tx,
                account_name=wanted.account,
                cursor=wanted.cursor,
                limit=wanted.limit,
                relays_of=state.relays.advertised,
                now=state.clock(),
            )
        )

    @api.get("/connections/{connection_id}")
    async def show_connection(connection_id: str) -> View:
        return await connection_view(state, connection_id)


async def connection_view(state: State, connection_id: str) -> View:
    """Raises NotFound."""
    return await state.books.read(
        lambda tx: views.connection(
            tx, connection_id, relays_of=state.relays.advertised, now=state.clock()
        )
    )


async def created_view(state: State, created: Created) -> View:
    """With the secret that nobody sees again."""
    connection = created.connection
    return await connection_view(state, connection.connection_id) | {
        "uri": created.uri,
        "warnings": state.warnings(connection),
    }


async def _must_be_its_own(state: State, account: str, *, caller: Principal) -> None:
    """A server that signs people up must not reach the money of others. Raises NotFound."""
    if caller.role is not Role.PROVISIONING:
        return
    found = await state.accounts.named(account)
    if found.made_by is None or found.made_by != caller.token_id:
        raise NotFound(f"there is no account {account!r}")
