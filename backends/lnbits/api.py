"""HTTP with LNbits: what was surely not sent, what may have been, and what it answered."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

import httpx
from pydantic import ValidationError

from backends.lnbits.options import Options
from backends.lnbits.wire import Wire
from nwc_service.backend import BackendUnavailable

KeyKind = Literal["admin", "invoice"]
WireT = TypeVar("WireT", bound=Wire)

# No byte of a request has left when one of these is raised.
NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)

PAYMENTS = "/api/v1/payments"

REMEDIES: Mapping[int, str] = {
    307: "finish its first installation in a browser, or check url",
    401: "check admin_key and invoice_key",
    403: "check admin_key and invoice_key",
    404: "check url, admin_key and invoice_key",
    429: "raise its lnbits_rate_limit_no for this service",
}
OTHER_REMEDY = "see LNbits' log"


class NotReached(BackendUnavailable):
    """The request did not leave."""


class NoReply(BackendUnavailable):
    """LNbits may have acted on the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: object  # of JSON; None for what is none
    date: str = ""  # by LNbits' clock

    def read(self, model: type[WireT]) -> WireT | None:
        try:
            return model.model_validate(self.body)
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class _Clients:
    kept: httpx.AsyncClient
    fresh: httpx.AsyncClient


class LnbitsApi:
    """Payments go out on connections of their own: a kept one may die just when it is used,
    and would leave the outcome unknown."""

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options
        self._clients: _Clients | None = None

    def open(self) -> None:
        if self._clients is None:
            self._clients = _Clients(
                kept=self._new_client(httpx.Limits(max_connections=100)),
                fresh=self._new_client(httpx.Limits(max_keepalive_connections=0)),
            )

    async def close(self) -> None:
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.kept.aclose()
            await clients.fresh.aclose()

    async def get(
        self,
        path: str,
        *,
        operation: str,
        key: KeyKind = "invoice",
        query: Mapping[str, str | int] | None = None,
    ) -> Reply:
        """Raises NotReached or NoReply, as all that follow."""
        client = self._opened(operation).kept
        request = client.build_request(
            "GET", path, params=dict(query or {}), headers=self._headers(key)
        )
        return await self._exchange(client, request, operation=operation)

    async def post(self, path: str, body: Mapping[str, object], *, operation: str) -> Reply:
        """With the invoice key."""
        client = self._opened(operation).kept
        request = client.build_request(
            "POST", path, json=body, headers=self._headers("invoice")
        )
        return await self._exchange(client, request, operation=operation)

    async def pay(self, body: Mapping[str, object], *, timeout_s: float) -> Reply:
        """With the admin key, once."""
        client = self._opened("pay").fresh
        request = client.build_request(
            "POST", PAYMENTS, json=body, headers=self._headers("admin"), timeout=timeout_s
        )
        return await self._exchange(client, request, operation="pay")

    def unusable(self, reply: Reply, *, operation: str) -> BackendUnavailable:
        """What to raise for an answer that is not the one hoped for."""
        remedy = REMEDIES.get(reply.status, OTHER_REMEDY)
        return self.problem(operation, f"LNbits answered HTTP {reply.status}", remedy=remedy)

    def problem(self, operation: str, what: str, *, remedy: str) -> BackendUnavailable:
        return BackendUnavailable(self._said(operation, what), remedy=remedy)

    async def _exchange(
        self, client: httpx.AsyncClient, request: httpx.Request, *, operation: str
    ) -> Reply:
        try:
            response = await client.send(request)
        except NOTHING_SENT as lost:
            what = f"LNbits cannot be reached ({type(lost).__name__})"
            remedy = "check url, and that LNbits runs"
            if "CERTIFICATE_VERIFY_FAILED" in str(lost):
                what = f"the certificate of LNbits is not trusted ({type(lost).__name__})"
                remedy = "renew it, or name its authority in SSL_CERT_FILE"
            raise NotReached(self._said(operation, what), remedy=remedy) from None
        except httpx.HTTPError as lost:
            what = f"no reply from LNbits ({type(lost).__name__})"
            raise NoReply(self._said(operation, what), remedy=OTHER_REMEDY) from None
        date = response.headers.get("date", "")
        return Reply(response.status_code, _json(response), date)

    def _said(self, operation: str, what: str) -> str:
        return f"backend {self._name!r} (lnbits), {operation}: {what}"

    def _opened(self, operation: str) -> _Clients:
        if self._clients is None:
            what = self._said(operation, "it is not started")
            raise NotReached(what, remedy="start it first")
        return self._clients

    def _headers(self, kind: KeyKind) -> dict[str, str]:
        admin = kind == "admin"
        secret = self._options.admin_key if admin else self._options.invoice_key
        return {"X-Api-Key": secret.get_secret_value()}

    def _new_client(self, limits: httpx.Limits) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._options.url,
            timeout=self._options.timeout_s,
            limits=limits,
            verify=tls_context(),
            trust_env=False,  # a proxy that repeats a request would be one more sender
            follow_redirects=False,
        )


@cache
def tls_context() -> ssl.SSLContext:
    """SSL_CERT_FILE names the authorities of an operator who has their own."""
    return httpx.create_ssl_context()


def _json(response: httpx.Response) -> object:
    try:
        body: object = response.json()
    except (ValueError, RecursionError):
        return None
    return body
