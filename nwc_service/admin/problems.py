"""Errors of the admin API, as RFC 9457 has them."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from nwc_service.backend import BackendUnavailable, BadRequest, Unsupported
from nwc_service.wallet.errors import NotFound, Refused, RequestError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]

# The type of each, after `urn:nwc-service:problem:`, and its status.
KINDS: Mapping[type[Exception], tuple[str, int]] = {
    NotFound: ("not-found", 404),
    Refused: ("refused", 400),
    RequestError: ("refused", 400),
    BadRequest: ("refused", 400),
    Unsupported: ("not-supported", 404),
    BackendUnavailable: ("backend-unavailable", 503),
}
OF_STATUS: Mapping[int, str] = {
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
}


def add_handlers(app: FastAPI) -> None:
    for kind, (name, status) in KINDS.items():
        app.add_exception_handler(kind, _handler(name, status))
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _broken)


def problem(
    name: str,
    status: int,
    *,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **others: object,
) -> JSONResponse:
    body = {
        "type": f"urn:nwc-service:problem:{name}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **others,
    }
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _handler(name: str, status: int) -> Handler:
    async def handle(_request: Request, error: Exception) -> JSONResponse:
        return problem(name, status, detail=str(error))

    return handle


async def _of_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    name = OF_STATUS.get(error.status_code, "refused")
    return problem(name, error.status_code, detail=str(error.detail), headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Name each field and what is wrong with it, never its value."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    errors = [
        {"field": ".".join(map(str, each["loc"][1:])) or "body", "says": each["msg"]}
        for each in found
    ]
    first = errors[0] if errors else {"field": "body", "says": "is not valid"}
    detail = f"{first['field']}: {first['says']}"
    return problem("invalid", 422, detail=detail, errors=errors)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """What went wrong is in the log, and nothing of it here."""
    log.error("admin.failed", path=request.url.path, exc_info=error)
    return problem("internal", 500, detail="the service could not do this; see its log")
