"""Who may do what at the admin API: each route, and the least role that it wants.

A route that is not in the table is refused to everybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from secrets import compare_digest
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from nwc_service.admin.keyed import Handler, KeyedRequests
from nwc_service.answers import Clock
from nwc_service.store import tokens
from nwc_service.store.database import Database
from nwc_service.store.ledger import Account
from nwc_service.store.tokens import Token
from nwc_service.wallet.units import AccountId

PREFIX = "/api/v1"
METRICS = "/metrics"
"""The one route that is not below the prefix."""
OWNER_NAME = "owner"
USE_IS_NOTED_EVERY_S = 3600


class Role(StrEnum):
    """Each of the first three may do what those after it may."""

    OWNER = "owner"
    OPERATOR = "operator"
    READ_ONLY = "read-only"
    PROVISIONING = "provisioning"
    """Beside them: makes accounts, and connections of these, and sees nothing else."""
    USER = "user"
    """Who is signed in at the page for one account, and sees nothing of any other."""


RANK = {Role.READ_ONLY: 0, Role.OPERATOR: 1, Role.OWNER: 2}
PROVISIONING = frozenset({("POST", "/accounts"), ("POST", "/connections"), ("POST", "/bulk")})

ME = frozenset(
    {
        ("GET", "/me"),
        ("PATCH", "/me"),
        ("GET", "/me/payments"),
        ("GET", "/me/payments/{name}"),
        ("GET", "/me/connections"),
        ("POST", "/me/connections"),
        ("GET", "/me/connections/{connection_id}"),
        ("PATCH", "/me/connections/{connection_id}"),
        ("POST", "/me/connections/{connection_id}/pause"),
        ("POST", "/me/connections/{connection_id}/resume"),
        ("POST", "/me/connections/{connection_id}/rotate"),
        ("POST", "/me/connections/{connection_id}/revoke"),
        ("POST", "/me/links"),
        ("POST", "/me/links/accept"),
    }
)
"""What a user may do, each for the account that is signed in, and nobody else."""

LEAST: Mapping[tuple[str, str], Role] = {
    ("GET", "/overview"): Role.READ_ONLY,
    ("GET", "/relays"): Role.READ_ONLY,
    ("GET", "/series"): Role.READ_ONLY,
    ("GET", "/whoami"): Role.READ_ONLY,
    ("POST", "/sign-ins"): Role.READ_ONLY,
    ("GET", "/accounts"): Role.READ_ONLY,
    ("GET", "/accounts/{name}"): Role.READ_ONLY,
    ("POST", "/bulk"): Role.OPERATOR,
    ("POST", "/accounts"): Role.OPERATOR,
    ("PATCH", "/accounts/{name}"): Role.OPERATOR,
    ("POST", "/accounts/{name}/sign-ins"): Role.OPERATOR,
    ("POST", "/accounts/{name}/freeze"): Role.OPERATOR,
    ("POST", "/accounts/{name}/thaw"): Role.OPERATOR,
    ("POST", "/accounts/{name}/{movement}"): Role.OPERATOR,
    ("GET", "/addresses"): Role.READ_ONLY,
    ("POST", "/addresses"): Role.OPERATOR,
    ("POST", "/addresses/{name}/remove"): Role.OPERATOR,
    ("GET", "/connections"): Role.READ_ONLY,
    ("GET", "/connections/{connection_id}"): Role.READ_ONLY,
    ("POST", "/connections"): Role.OPERATOR,
    ("PATCH", "/connections/{connection_id}"): Role.OPERATOR,
    ("POST", "/connections/{connection_id}/pause"): Role.OPERATOR,
    ("POST", "/connections/{connection_id}/resume"): Role.OPERATOR,
    ("POST", "/connections/{connection_id}/rotate"): Role.OPERATOR,
    ("POST", "/connections/{connection_id}/revoke"): Role.OPERATOR,
    ("POST", "/links"): Role.OPERATOR,
    ("POST", "/links/accept"): Role.OPERATOR,
    ("GET", "/payments"): Role.READ_ONLY,
    ("GET", "/payments/{name}"): Role.READ_ONLY,
    ("GET", "/payments/{name}/outcome"): Role.READ_ONLY,
    ("POST", "/payments/{name}/resolve"): Role.OPERATOR,
    ("GET", "/suspense"): Role.READ_ONLY,
    ("POST", "/suspense/{payment_hash}/assign"): Role.OPERATOR,
    ("GET", "/backends"): Role.READ_ONLY,
    ("GET", "/backends/{name}"): Role.READ_ONLY,
    ("POST", "/backends/{name}/resume"): Role.OPERATOR,
    ("POST", "/backends/{backend_type}/commands/{command}"): Role.OPERATOR,
    ("GET", "/alarms"): Role.READ_ONLY,
    ("POST", "/alarms/clear"): Role.OPERATOR,
    ("GET", "/decisions"): Role.READ_ONLY,
    ("GET", "/audit"): Role.READ_ONLY,
    ("GET", METRICS): Role.READ_ONLY,
    ("GET", "/tokens"): Role.OWNER,
    ("POST", "/tokens"): Role.OWNER,
    ("POST", "/tokens/{name}/revoke"): Role.OWNER,
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose token it is, the owner's without an id; or the user of an account."""

    name: str
    role: Role
    token_id: str | None = None
    account_id: AccountId | None = None

    def may(self, method: str, path: str) -> bool:
        route = (method, path.removeprefix(PREFIX))
        if self.role is Role.PROVISIONING:
            return route in PROVISIONING
        if self.role is Role.USER:
            return route in ME
        least = LEAST.get(route)
        return least is not None and RANK[self.role] >= RANK[least]

    @property
    def caller_id(self) -> str:
        """That no other principal has."""
        return f"account {self.account_id}" if self.account_id else self.token_id or OWNER_NAME


def owner() -> Principal:
    return Principal(OWNER_NAME, Role.OWNER)


def principal_of(token: Token) -> Principal:
    return Principal(token.name, Role(token.role), token.token_id)


def user_of(account: Account) -> Principal:
    return Principal(account.name, Role.USER, account_id=account.account_id)


class Door:
    """The owner's token is that of the data directory; all others are in the database."""

    def __init__(self, db: Database, *, owner_token: str, clock: Clock) -> None:
        self._db = db
        self._owner_token = owner_token.encode()
        self._clock = clock

    async def principal(self, secret: str) -> Principal | None:
        if compare_digest(secret.encode(), self._owner_token):
            return owner()
        found = await self._db.read(lambda tx: tokens.by_secret(tx, hash_of(secret)))
        if found is None:
            return None
        now = self._clock()
        if now - (found.last_used_at or 0) >= USE_IS_NOTED_EVERY_S:
            await self._db.write(lambda tx: tokens.used(tx, found.token_id, now=now))
        return principal_of(found)


def hash_of(secret: str) -> str:
    """A secret of 256 random bits needs no salt and no slow hash."""
    return sha256(secret.encode()).hexdigest()


BEARER = HTTPBearer(auto_error=False, description="A token of `nwc-service token create`.")
"""For the description of the API: who may come in is judged before a route's own parts are."""


def admitted(door: Door, keyed: KeyedRequests) -> type[APIRoute]:
    """Each route that is made of this is behind the one check; a POST of it may have a key."""

    class AdmittedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def admit(request: Request) -> Response:
                principal = await _admitted(request, door=door, path=self.path)
                request.state.principal = principal
                return await keyed.once(request, handle, caller=principal.caller_id)

            return admit

    return AdmittedRoute


SIGNED_IN = "nwc_service.principal"
"""In the ASGI scope of a request that the page makes for who is signed in there. Nothing that
comes over a socket can set it."""


async def _admitted(request: Request, *, door: Door, path: str) -> Principal:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    is_bearer = scheme.lower() == "bearer" and secret
    principal: Principal | None = request.scope.get(SIGNED_IN)
    if principal is None and is_bearer:
        principal = await door.principal(secret)
    if principal is None:
        raise HTTPException(
            401, "a valid bearer token is required", headers={"WWW-Authenticate": "Bearer"}
        )
    if not principal.may(request.method, path):
        raise HTTPException(403, f"the role {principal.role} may not do this")
    return principal


def _caller(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


Caller = Annotated[Principal, Depends(_caller)]
