"""Accounts, their money by the operator's hand, and the audit of all books."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from nwc_service import views
from nwc_service.admin.access import Caller
from nwc_service.admin.state import Body, Page, State
from nwc_service.views import View


class NewAccount(Body):
    name: str
    backend: str | None = None


class AccountQuery(Page):
    prefix: str = ""
    """With which the names begin."""


class Movement(Body):
    amount_msat: int
    reason: str
    force: bool = False


def add_routes(api: APIRouter, state: State) -> None:
    @api.post("/accounts", status_code=201)
    async def create_account(body: NewAccount, caller: Caller) -> View:
        made = await state.accounts.create(
            body.name, backend=body.backend, made_by=caller.token_id
        )
        return views.account_view(made)

    @api.get("/accounts")
    async def list_accounts(wanted: Annotated[AccountQuery, Query()]) -> View:
        """A page, oldest first; `next_cursor` is null at the end."""
        return await state.books.read(
            lambda tx: views.account_page(
                tx, cursor=wanted.cursor, limit=wanted.limit, prefix=wanted.prefix
            )
        )

    @api.get("/accounts/{name}")
    async def show_account(name: str) -> View:
        return await state.books.read(lambda tx: views.account(tx, name))

    @api.post("/accounts/{name}/{movement}")
    async def move(
        *, name: str, movement: Literal["credit", "debit"], body: Movement, caller: Caller
    ) -> View:
        if movement == "credit":
            account = await state.accounts.credit(
                name, body.amount_msat, reason=body.reason, force=body.force, by=caller.name
            )
        else:
            account = await state.accounts.debit(name, body.amount_msat, reason=body.reason)
        return views.account_view(account)

    @api.get("/audit")
    async def run_audit() -> View:
        return await views.audit(
            state.books, now=state.clock(), required_percent=state.required_percent
        )
