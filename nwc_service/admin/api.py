"""The admin API under /api/v1, and the two health endpoints that need no token."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import compare_digest
from typing import Annotated, Literal

import structlog
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi import params as fastapi_params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict

from nwc_service import __version__, views
from nwc_service.accounts import Accounts
from nwc_service.answers import Clock
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cap,
    LightningBackend,
    NodeInfo,
    Unsupported,
)
from nwc_service.connections import Connections, Wish
from nwc_service.relays import Relays
from nwc_service.store import alarms
from nwc_service.store.database import Database, Tx
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound, Refused, RequestError
from nwc_service.wallet.units import BackendName, ConnectionId


@dataclass(frozen=True, slots=True)
class State:
    """What the API works on. `node_info` has the nodes that answered last time."""

    db: Database
    books: Database
    accounts: Accounts
    connections: Connections
    relays: Relays
    backends: Mapping[BackendName, LightningBackend]
    backend_types: Mapping[BackendName, str]
    node_info: Mapping[BackendName, NodeInfo]
    clock: Clock


log = structlog.get_logger()

Guard = Sequence[fastapi_params.Depends]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewAccount(_Body):
    name: str


class Movement(_Body):
    amount_msat: int
    reason: str
    force: bool = False


def build(state: State, *, token: str) -> FastAPI:
    """The application; every path under /api/v1 wants the bearer token."""
    app = FastAPI(title="nwc-service", version=__version__, docs_url=None, redoc_url=None)
    guard = [Depends(_authorised(token))]
    _errors(app)
    _health(app, state)
    _account_routes(app, state, guard=guard)
    _connection_routes(app, state, guard=guard)
    _other_routes(app, state, guard=guard)
    return app


def _authorised(token: str) -> Callable[..., None]:
    bearer = HTTPBearer(auto_error=False)

    def check(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        given = credentials.credentials if credentials else ""
        if not compare_digest(given.encode(), token.encode()):
            raise HTTPException(401, "a valid bearer token is required")

    return check


def _errors(app: FastAPI) -> None:
    statuses = (
        (NotFound, 404),
        (Refused, 400),
        (RequestError, 400),
        (BadRequest, 400),
        (Unsupported, 404),
        (BackendUnavailable, 503),
    )
    for kind, status in statuses:
        app.add_exception_handler(kind, _handler(status))
    app.add_exception_handler(RequestValidationError, _invalid)


def _handler(status: int) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handle(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=status)

    return handle


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Name the field and what is wrong with it, never its value."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    if not problems:
        return JSONResponse({"detail": "the request is not valid"}, status_code=422)
    problem = problems[0]
    field = ".".join(str(part) for part in problem["loc"][1:]) or "body"
    return JSONResponse({"detail": f"{field}: {problem['msg']}"}, status_code=422)


def _health(app: FastAPI, state: State) -> None:
    @app.get("/healthz")
    async def healthz() -> View:
        """The process answers."""
        return {"ok": True, "version": __version__}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Database open, every backend answering, at least one relay subscribed."""

        async def ping(tx: Tx) -> None:
            answer["alarms"] = len(await alarms.alarms(tx))

        answer: View = {"alarms": None}
        database = await _succeeds(state.db.read(ping))
        backends = {name: name in state.node_info for name in state.backends}
        ready = database and all(backends.values()) and state.relays.is_ready
        answer |= {
            "ready": ready,
            "database": database,
            "backends": backends,
            "relays": state.relays.is_ready,
        }
        if any(Cap.SIMULATED in backend.caps for backend in state.backends.values()):
            answer["notice"] = "simulated Lightning: no real money moves"
        return JSONResponse(answer, status_code=200 if ready else 503)


async def _succeeds(work: Awaitable[None]) -> bool:
    try:
        await work
    except Exception:
        log.exception("health.database_failed")
        return False
    return True


def _account_routes(app: FastAPI, state: State, *, guard: Guard) -> None:
    @app.post("/api/v1/accounts", dependencies=guard, status_code=201)
    async def create_account(body: NewAccount) -> View:
        return views.account_view(await state.accounts.create(body.name))

    @app.get("/api/v1/accounts", dependencies=guard)
    async def list_accounts() -> list[View]:
        return await state.books.read(views.accounts)

    @app.get("/api/v1/accounts/{name}", dependencies=guard)
    async def show_account(name: str) -> View:
        return await state.books.read(lambda tx: views.account(tx, name))

    @app.post("/api/v1/accounts/{name}/{movement}", dependencies=guard)
    async def move(name: str, movement: Literal["credit", "debit"], body: Movement) -> View:
        if movement == "credit":
            account = await state.accounts.credit(
                name, body.amount_msat, reason=body.reason, force=body.force
            )
        else:
            account = await state.accounts.debit(name, body.amount_msat, reason=body.reason)
        return views.account_view(account)


def _connection_routes(app: FastAPI, state: State, *, guard: Guard) -> None:
    relays_of = state.relays.advertised

    async def view(connection_id: str) -> View:
        return await state.books.read(
            lambda tx: views.connection(
                tx, connection_id, relays_of=relays_of, now=state.clock()
            )
        )

    @app.post("/api/v1/connections", dependencies=guard, status_code=201)
    async def create_connection(wish: Wish) -> View:
        created = await state.connections.create(wish)
        return await view(created.connection.connection_id) | {"uri": created.uri}

    @app.get("/api/v1/connections", dependencies=guard)
    async def list_connections(account: str | None = None) -> list[View]:
        return await state.books.read(
            lambda tx: views.connection_list(
                tx, account_name=account, relays_of=relays_of, now=state.clock()
            )
        )

    @app.get("/api/v1/connections/{connection_id}", dependencies=guard)
    async def show_connection(connection_id: str) -> View:
        return await view(connection_id)

    @app.post("/api/v1/connections/{connection_id}/revoke", dependencies=guard)
    async def revoke_connection(connection_id: str) -> View:
        await state.connections.revoke(ConnectionId(connection_id))
        return await view(connection_id)


def _other_routes(app: FastAPI, state: State, *, guard: Guard) -> None:
    @app.get("/api/v1/payments", dependencies=guard)
    async def list_payments(account: str | None = None) -> list[View]:
        return await state.books.read(
            lambda tx: views.payment_list(tx, account_name=account, now=state.clock())
        )

    @app.get("/api/v1/payments/{payment_id}", dependencies=guard)
    async def show_payment(payment_id: str) -> View:
        return await state.books.read(
            lambda tx: views.payment(tx, payment_id, now=state.clock())
        )

    @app.get("/api/v1/alarms", dependencies=guard)
    async def list_alarms() -> list[View]:
        return await state.books.read(views.alarm_list)

    @app.get("/api/v1/audit", dependencies=guard)
    async def run_audit() -> View:
        return await state.books.read(views.audit)

    @app.post("/api/v1/backends/{backend_type}/commands/{command}", dependencies=guard)
    async def backend_command(
        backend_type: str, command: str, arguments: dict[str, object]
    ) -> View:
        """What only one type of backend can do, such as the sandbox's outside node."""
        for name, configured_type in state.backend_types.items():
            if configured_type == backend_type:
                return dict(await state.backends[name].command(command, arguments))
        raise NotFound(f"this service runs no backend of type {backend_type!r}")
