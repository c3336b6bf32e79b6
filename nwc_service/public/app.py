"""The routes of LUD-06, LUD-16, LUD-21 and NIP-05.

LUD-01: "Neither status codes or any HTTP Header has any meaning"; they are for people and
proxies, and the body says it all.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from nwc_service.lnurl import pay
from nwc_service.lnurl.pay import InvalidAsk
from nwc_service.payers import Payers
from nwc_service.wallet.errors import ErrorCode, NotFound, RequestError
from nwc_service.wallet.invoice import InvoiceState

log = structlog.get_logger()

MAX_QUERY_BYTES = 16_384  # a zap request, each of its characters escaped

HEADERS = {
    # LUD-01 and NIP-05: web pages ask, too; nothing here depends on who asks.
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
Answer = Mapping[str, object]
Ask = Callable[[Request], Awaitable[Answer]]


def build(payers: Payers) -> Starlette:
    async def terms(request: Request) -> Answer:
        return (await payers.terms(_name(request))).answer()

    async def callback(request: Request) -> Answer:
        made = await payers.invoice(_name(request), _once_each(request))
        return {"pr": made.invoice, "routes": [], "verify": payers.verify_url(made)}

    async def verify(request: Request) -> Answer:
        path = request.path_params
        found = await payers.verified(path["invoice_id"], path["token"])
        is_settled = found.state is InvoiceState.SETTLED
        return {
            "status": "OK",
            "settled": is_settled,
            # A preimage is a proof of payment, so never before.
            "preimage": found.preimage if is_settled else None,
            "pr": found.invoice,
        }

    async def names(request: Request) -> Answer:
        name = request.query_params.get("name", "").lower()
        pubkey = await payers.pubkey(name)
        return {"names": {name: pubkey} if pubkey else {}}

    routes = {
        "/.well-known/lnurlp/{name}": terms,
        "/.well-known/nostr.json": names,
        "/lnurlp/{name}/callback": callback,
        "/lnurlp/verify/{invoice_id}/{token}": verify,
    }
    return Starlette(
        routes=[Route(path, _answering(payers, ask)) for path, ask in routes.items()],
        exception_handlers={HTTPException: _of_http},
    )


def _answering(payers: Payers, ask: Ask) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answer(request: Request) -> JSONResponse:
        try:
            if len(request.scope["query_string"]) > MAX_QUERY_BYTES:
                return _error("the query is too long", 414)
            payers.admit(request.client.host if request.client else "")
            return JSONResponse(dict(await ask(request)), headers=HEADERS)
        except NotFound as error:
            return _error(str(error), 404)
        except InvalidAsk as error:
            return _error(str(error), 400)
        except RequestError as error:
            is_limit = error.code is ErrorCode.RATE_LIMITED
            return _error(error.message, 429 if is_limit else 503)
        except Exception:
            log.exception("public.failed")
            return _error("the service could not do this", 500)

    return answer


async def _of_http(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _error("there is nothing here", status)


def _name(request: Request) -> str:
    """Names are in lower case; people are not always."""
    return str(request.path_params["name"]).lower()


def _once_each(request: Request) -> dict[str, str]:
    """Raises InvalidAsk for a parameter that stands there twice: which one is meant?"""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidAsk("a parameter stands there twice")
    return found


def _error(reason: str, status: int) -> JSONResponse:
    return JSONResponse(dict(pay.error(reason)), status, headers=HEADERS)
