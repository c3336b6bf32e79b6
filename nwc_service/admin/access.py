"""Who may do what at the admin API: each route, and the least role that it wants.

A route that is not in the table is refused to everybody.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from secrets import compare_digest
from typing import Annotated

import structlog
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nwc_service.answers import Clock
from nwc_service.store import tokens
from nwc_service.store.database import Database

log = structlog.get_logger()

PREFIX = "/api/v1"
METRICS = "/metrics"
"""The one route that is not below the prefix."""
OWNER_NAME = "owner"
USE_IS_NOTED_EVERY_S = 3600


class Role(StrEnum):
    """Each may do what those after it may."""

    OWNER = "owner"
    OPERATOR = "operator"
    READ_ONLY = "read-only"


RANK = {role: rank for rank, role in enumerate(reversed(Role))}

LEAST: Mapping[tuple[str, str], Role] = {
    ("GET", "/accounts"): Role.READ_ONLY,
    ("GET", "/accounts/{name}"): Role.READ_ONLY,
    ("POST", "/accounts"): Role.OPERATOR,
    ("POST", "/accounts/{name}/{movement}"): Role.OPERATOR,
    ("GET", "/connections"): Role.READ_ONLY,
    ("GET", "/connections/{connection_id}"): Role.READ_ONLY,
    ("POST", "/connections"): Role.OPERATOR,
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
    """Whose token it is."""

    name: str
    role: Role

    def may(self, method: str, path: str) -> bool:
        least = LEAST.get((method, path.removeprefix(PREFIX)))
        return least is not None and RANK[self.role] >= RANK[least]


class Door:
    """The owner's token is that of the data directory; all others are in the database."""

    def __init__(self, db: Database, *, owner_token: str, clock: Clock) -> None:
        self._db = db
        self._owner_token = owner_token.encode()
        self._clock = clock

    async def principal(self, secret: str) -> Principal | None:
        if compare_digest(secret.encode(), self._owner_token):
            return Principal(OWNER_NAME, Role.OWNER)
        found = await self._db.read(lambda tx: tokens.by_secret(tx, hash_of(secret)))
        if found is None:
            return None
        now = self._clock()
        if now - (found.last_used_at or 0) >= USE_IS_NOTED_EVERY_S:
            await self._db.write(lambda tx: tokens.used(tx, found.token_id, now=now))
        return Principal(found.name, Role(found.role))


def hash_of(secret: str) -> str:
    """A secret of 256 random bits needs no salt and no slow hash."""
    return sha256(secret.encode()).hexdigest()


def admission(door: Door) -> Callable[..., Awaitable[None]]:
    """The one check, of every route below the prefix."""
    bearer = HTTPBearer(auto_error=False, description="A token of `nwc-service token create`.")

    async def admit(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        secret = credentials.credentials if credentials else ""
        principal = await door.principal(secret) if secret else None
        if principal is None:
            raise HTTPException(
                401, "a valid bearer token is required", headers={"WWW-Authenticate": "Bearer"}
            )
        if not principal.may(request.method, request.scope["route"].path):
            raise HTTPException(403, f"the role {principal.role} may not do this")
        request.state.principal = principal

    return admit


def _caller(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


Caller = Annotated[Principal, Depends(_caller)]
