"""Lightning addresses of accounts."""

from typing import Annotated

from fastapi import APIRouter, Query

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, Page, State
from nwc_service.views import View


class NewAddress(Body):
    name: str
    account: str
    nostr_pubkey: str | None = None
    """Whose name it is for NIP-05; hex or npub."""


class Removal(Body):
    reason: str = ""


class AddressQuery(Page):
    account: str | None = None


def add_routes(api: APIRouter, state: State) -> None:
    @api.post("/addresses", status_code=201)
    async def add_address(body: NewAddress, caller: Caller) -> View:
        """`name` at the domain of the settings pays the account from now on."""
        added = await state.addresses.add(
            body.name, account=body.account, nostr_pubkey=body.nostr_pubkey, by=caller.name
        )
        return views.address_view(added)

    @api.get("/addresses")
    async def list_addresses(wanted: Annotated[AddressQuery, Query()]) -> View:
        """A page, by name; `next_cursor` is null at the end."""
        return await state.books.read(
            lambda tx: views.address_page(
                tx, account_name=wanted.account, cursor=wanted.cursor, limit=wanted.limit
            )
        )

    @api.post("/addresses/{name}/remove")
    async def remove_address(*, name: str, body: Removal, caller: Caller) -> View:
        """Invoices that payers have already still credit the account."""
        removed = await state.addresses.remove(name, reason=body.reason, by=caller.name)
        return views.address_view(removed)
