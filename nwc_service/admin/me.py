"""What the user of an account sees and does: of that account, whatever is named.

The account is that of who is signed in and in no address, so that none can be named that is
somebody else's; a connection or a payment of another account is not there, in the same words as
one that never was.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from nwc_service import views
from nwc_service.admin.access import Caller, Principal
from nwc_service.admin.connections import connection_view, created_view
from nwc_service.admin.links import Asking, asked_view, linked_view
from nwc_service.admin.state import Body, Page, State
from nwc_service.linking import Consent
from nwc_service.ratelimit import Buckets, Rate
from nwc_service.store import connections, ledger
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import AccountId, ConnectionId
from nwc_service.wishes import Change, ExpiresInS, Wish, client_key

MAX_CONNECTIONS = 100
"""That are not revoked, of one account, for its user to make more."""
MAKING = Rate(per_s=1 / 60, burst=30)
"""Of connections and keys that one user makes: each stays in the books for good."""
OPERATORS_SCOPES = frozenset({"sign_message"})
"""The node's own signature speaks for all its accounts."""


class NewConnection(Body):
    """As `Wish`, of what a user may choose."""

    app: str
    scopes: str = "full"
    budget_msat: int | None = None
    budget_renewal: str | None = None
    max_payment_msat: int | None = None
    expires_in_s: ExpiresInS | None = None
    client_pubkey: str | None = None
    internal_only: bool = False


class Accepted(Asking):
    optional_methods: bool = False
    scopes: str | None = None
    budget_msat: int | None = None
    budget_renewal: str | None = None
    max_payment_msat: int | None = None
    expires_in_s: ExpiresInS | None = None


class Key(Body):
    nostr_pubkey: str | None


class Rotation(Body):
    client_pubkey: str | None = None


def add_routes(api: APIRouter, state: State) -> None:
    own = Own(state)

    @api.get("/me")
    async def show_me(caller: Caller) -> View:
        account_id = _account(caller)
        return await state.books.read(lambda tx: views.me(tx, account_id, now=state.clock()))

    @api.patch("/me")
    async def change_me(body: Key, caller: Caller) -> View:
        """With which key its user signs in; that it is the user's own, the page has seen."""
        account_id, pubkey = _account(caller), body.nostr_pubkey
        key = None if pubkey is None else client_key("nostr_pubkey", pubkey)
        if not await state.db.write(
            lambda tx: ledger.set_nostr(tx, account_id, nostr_pubkey=key)
        ):
            raise Refused("nostr_pubkey: another account has this key")
        return await show_me(caller)

    @api.get("/me/payments")
    async def list_my_payments(wanted: Annotated[Page, Query()], caller: Caller) -> View:
        """A page, newest first; `next_cursor` is null at the end."""
        account_id = _account(caller)
        return await state.books.read(
            lambda tx: views.users_page(
                tx,
                account_id=account_id,
                cursor=wanted.cursor,
                limit=wanted.limit,
                now=state.clock(),
            )
        )

    @api.get("/me/payments/{name}")
    async def show_my_payment(name: str, caller: Caller) -> View:
        account_id = _account(caller)
        return await state.books.read(
            lambda tx: views.users_payment(tx, name, account_id=account_id, now=state.clock())
        )

    makers = Makers(state)
    _add_connections(api, state, own=own)
    _add_making(api, state, makers=makers)
    _add_changing(api, state, own=own, makers=makers)


class Makers:
    """Whether a user may make one more."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._buckets = Buckets(MAKING)

    async def admit(self, caller: Principal, *, is_new: bool = True) -> None:
        """Raises Refused."""
        account_id = _account(caller)
        if (await self._state.accounts.named(caller.name)).frozen_at is not None:
            raise Refused("this account is frozen by its operator")
        if not self._buckets.take(account_id, now=self._state.clock()):
            raise Refused("too many at once: wait a minute")
        if is_new and await self._count(account_id) >= MAX_CONNECTIONS:
            raise Refused(f"at most {MAX_CONNECTIONS} apps: revoke one first")

    async def _count(self, account_id: AccountId) -> int:
        found = await self._state.db.read(
            lambda tx: connections.connections(tx, account_id=account_id)
        )
        return sum(each.revoked_at is None for each in found)


class Own:
    """The connections of who is signed in."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def view(self, connection_id: str, caller: Principal) -> View:
        return await connection_view(self._state, await self.id(connection_id, caller))

    async def id(self, connection_id: str, caller: Principal) -> ConnectionId:
        """Raises NotFound for one of another account."""
        name = ConnectionId(connection_id)
        found = await self._state.db.read(lambda tx: connections.connection(tx, name))
        if found is None or found.account_id != _account(caller):
            raise NotFound(f"there is no connection {connection_id!r}")
        return name


def _add_connections(api: APIRouter, state: State, *, own: Own) -> None:
    @api.get("/me/connections")
    async def list_my_connections(wanted: Annotated[Page, Query()], caller: Caller) -> View:
        return await state.books.read(
            lambda tx: views.connection_page(
                tx,
                account_name=caller.name,
                cursor=wanted.cursor,
                limit=wanted.limit,
                relays_of=state.relays.advertised,
                now=state.clock(),
            )
        )

    @api.get("/me/connections/{connection_id}")
    async def show_my_connection(connection_id: str, caller: Caller) -> View:
        return await own.view(connection_id, caller)


def _add_making(api: APIRouter, state: State, *, makers: Makers) -> None:
    @api.post("/me/connections", status_code=201)
    async def create_my_connection(body: NewConnection, caller: Caller) -> View:
        """The URI is in this answer and nowhere else."""
        await makers.admit(caller)
        _check_scopes(body.scopes)
        wish = Wish(account=caller.name, **body.model_dump())
        return await created_view(state, await state.connections.create(wish))

    @api.post("/me/links")
    async def show_link_to_me(body: Asking) -> View:
        return asked_view(state.linking, body.link)

    @api.post("/me/links/accept", status_code=201)
    async def accept_link_for_me(body: Accepted, caller: Caller) -> View:
        await makers.admit(caller)
        asked = asked_view(state.linking, body.link)
        named = [*_words(asked.get("request_methods"))]
        _check_scopes(",".join([body.scopes or "", *named]))
        if body.optional_methods:
            _check_scopes(",".join(_words(asked.get("optional_request_methods"))))
        consent = Consent(account=caller.name, **body.model_dump(exclude={"link"}))
        return await linked_view(state, await state.linking.accept(body.link, consent))


def _add_changing(api: APIRouter, state: State, *, own: Own, makers: Makers) -> None:
    @api.patch("/me/connections/{connection_id}")
    async def change_my_connection(
        *, connection_id: str, change: Change, caller: Caller
    ) -> View:
        name = await own.id(connection_id, caller)
        await makers.admit(caller, is_new=False)
        _check_scopes(change.scopes)
        await state.connections.change(name, change, by=_by(caller))
        return await own.view(connection_id, caller)

    @api.post("/me/connections/{connection_id}/pause")
    async def pause_my_connection(connection_id: str, caller: Caller) -> View:
        await state.connections.pause(await own.id(connection_id, caller), by=_by(caller))
        return await own.view(connection_id, caller)

    @api.post("/me/connections/{connection_id}/resume")
    async def resume_my_connection(connection_id: str, caller: Caller) -> View:
        await state.connections.resume(await own.id(connection_id, caller), by=_by(caller))
        return await own.view(connection_id, caller)

    @api.post("/me/connections/{connection_id}/rotate")
    async def rotate_my_connection(
        *, connection_id: str, body: Rotation, caller: Caller
    ) -> View:
        name = await own.id(connection_id, caller)
        await makers.admit(caller, is_new=False)
        created = await state.connections.rotate(
            name, client_pubkey=body.client_pubkey, by=_by(caller)
        )
        return await created_view(state, created)

    @api.post("/me/connections/{connection_id}/revoke")
    async def revoke_my_connection(connection_id: str, caller: Caller) -> View:
        await state.connections.revoke(await own.id(connection_id, caller), by=_by(caller))
        return await own.view(connection_id, caller)


def _account(caller: Principal) -> AccountId:
    """Raises Refused for who is no user: without an account there is nothing of one's own."""
    if caller.account_id is None:
        raise Refused("only the user of an account may do this")
    return caller.account_id


def _by(caller: Principal) -> str:
    return f"the user of {caller.name}"


def _check_scopes(scopes: str) -> None:
    """Raises Refused."""
    asked = {word.strip() for word in scopes.split(",")}
    if beyond := asked & OPERATORS_SCOPES:
        raise Refused(f"scopes: only the operator grants {', '.join(sorted(beyond))}")


def _words(found: object) -> list[str]:
    return [str(word) for word in found] if isinstance(found, list) else []
