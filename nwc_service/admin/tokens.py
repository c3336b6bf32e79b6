"""Tokens for people and programs that are not the owner."""

from secrets import token_hex, token_urlsafe
from typing import Literal

from fastapi import APIRouter

from nwc_service import views
from nwc_service.admin.access import OWNER_NAME, Caller, Role, hash_of
from nwc_service.admin.state import Body, State
from nwc_service.store import decisions, tokens
from nwc_service.store.database import Tx
from nwc_service.store.tokens import Token
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound, Refused

PREFIX = "nwc_"
"""So that a token is told from other secrets, by people and by what looks for leaked ones."""
CREATED, REVOKED = "token_created", "token_revoked"
MAX_NAME_LENGTH = 64


class NewToken(Body):
    name: str
    role: Literal["owner", "operator", "read-only", "provisioning"]  # as `access.Role` has them


class Revocation(Body):
    reason: str = ""


def add_routes(api: APIRouter, state: State) -> None:
    @api.get("/tokens")
    async def list_tokens() -> list[View]:
        return await state.books.read(views.token_list)

    @api.post("/tokens", status_code=201)
    async def create_token(body: NewToken, caller: Caller) -> View:
        """The secret is in this answer and nowhere else."""
        name = body.name.strip()
        if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
            raise Refused(f"name: 1 to {MAX_NAME_LENGTH} printable characters")
        if name == OWNER_NAME:
            raise Refused(f"name: {OWNER_NAME!r} is the token of the data directory")
        secret = PREFIX + token_urlsafe(32)
        token = Token(token_hex(8), name, Role(body.role), state.clock())
        await state.db.write(lambda tx: _create(tx, token, secret=secret, by=caller.name))
        return views.token_view(token) | {"token": secret}

    @api.post("/tokens/{name}/revoke")
    async def revoke_token(*, name: str, body: Revocation, caller: Caller) -> View:
        now = state.clock()
        token = await state.db.write(
            lambda tx: _revoke(tx, name, reason=body.reason, by=caller.name, now=now)
        )
        return views.token_view(token)


async def _create(tx: Tx, token: Token, *, secret: str, by: str) -> None:
    if not await tokens.insert(tx, token, secret_hash=hash_of(secret)):
        raise Refused(f"there is a token {token.name!r} already")
    await decisions.record(
        tx,
        CREATED,
        subject=token.name,
        reason="",
        detail=f"role {token.role}",
        by=by,
        now=token.created_at,
    )


async def _revoke(tx: Tx, name: str, *, reason: str, by: str, now: int) -> Token:
    token = await tokens.revoke(tx, name, now=now)
    if token is None:
        raise NotFound(f"there is no token {name!r}")
    await decisions.record(tx, REVOKED, subject=name, reason=reason, by=by, now=now)
    return token
