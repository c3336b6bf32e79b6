"""The admin API under /api/v1; all of it wants the bearer token."""

from collections.abc import Awaitable, Callable
from secrets import compare_digest
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nwc_service import __version__, views
from nwc_service.admin import alarms, backends, health, links, payments, suspense
from nwc_service.admin.state import Body, State, Wanted
from nwc_service.backend import BackendUnavailable, BadRequest, Unsupported
from nwc_service.connections import Wish
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound, Refused, RequestError
from nwc_service.wallet.units import ConnectionId


class NewAccount(Body):
    name: str
    backend: str | None = None


class Movement(Body):
    amount_msat: int
    reason: str
    force: bool = False


def build(state: State, *, token: str) -> FastAPI:
    """The application; every path under /api/v1 wants the bearer token."""
    app = FastAPI(title="nwc-service", version=__version__, docs_url=None, redoc_url=None)
    wanted = [Depends(_authorised(token))]
    _errors(app)
    health.add_routes(app, state)
    _account_routes(app, state, wanted=wanted)
    _connection_routes(app, state, wanted=wanted)
    links.add_routes(app, state, wanted=wanted)
    payments.add_routes(app, state, wanted=wanted)
    suspense.add_routes(app, state, wanted=wanted)
    backends.add_routes(app, state, wanted=wanted)
    alarms.add_routes(app, state, wanted=wanted)
    _audit_route(app, state, wanted=wanted)
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


def _account_routes(app: FastAPI, state: State, *, wanted: Wanted) -> None:
    @app.post("/api/v1/accounts", dependencies=wanted, status_code=201)
    async def create_account(body: NewAccount) -> View:
        return views.account_view(await state.accounts.create(body.name, backend=body.backend))

    @app.get("/api/v1/accounts", dependencies=wanted)
    async def list_accounts() -> list[View]:
        return await state.books.read(views.accounts)

    @app.get("/api/v1/accounts/{name}", dependencies=wanted)
    async def show_account(name: str) -> View:
        return await state.books.read(lambda tx: views.account(tx, name))

    @app.post("/api/v1/accounts/{name}/{movement}", dependencies=wanted)
    async def move(name: str, movement: Literal["credit", "debit"], body: Movement) -> View:
        if movement == "credit":
            account = await state.accounts.credit(
                name, body.amount_msat, reason=body.reason, force=body.force
            )
        else:
            account = await state.accounts.debit(name, body.amount_msat, reason=body.reason)
        return views.account_view(account)


def _connection_routes(app: FastAPI, state: State, *, wanted: Wanted) -> None:
    relays_of = state.relays.advertised

    async def view(connection_id: str) -> View:
        return await state.books.read(
            lambda tx: views.connection(
                tx, connection_id, relays_of=relays_of, now=state.clock()
            )
        )

    @app.post("/api/v1/connections", dependencies=wanted, status_code=201)
    async def create_connection(wish: Wish) -> View:
        created = await state.connections.create(wish)
        connection = created.connection
        return await view(connection.connection_id) | {
            "uri": created.uri,
            "warnings": state.warnings(connection),
        }

    @app.get("/api/v1/connections", dependencies=wanted)
    async def list_connections(account: str | None = None) -> list[View]:
        return await state.books.read(
            lambda tx: views.connection_list(
                tx, account_name=account, relays_of=relays_of, now=state.clock()
            )
        )

    @app.get("/api/v1/connections/{connection_id}", dependencies=wanted)
    async def show_connection(connection_id: str) -> View:
        return await view(connection_id)

    @app.post("/api/v1/connections/{connection_id}/revoke", dependencies=wanted)
    async def revoke_connection(connection_id: str) -> View:
        await state.connections.revoke(ConnectionId(connection_id))
        return await view(connection_id)


def _audit_route(app: FastAPI, state: State, *, wanted: Wanted) -> None:
    @app.get("/api/v1/audit", dependencies=wanted)
    async def run_audit() -> View:
        return await views.audit(
            state.books, now=state.clock(), required_percent=state.required_percent
        )
