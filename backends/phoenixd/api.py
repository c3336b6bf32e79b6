"""HTTP with phoenixd: what was surely not sent, what may have been, and what it answered."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import httpx
from pydantic import ValidationError

from backends.phoenixd.options import Options
from backends.phoenixd.wire import Wire
from nwc_service.backend import BackendUnavailable

WireT = TypeVar("WireT", bound=Wire)

# No byte of a request has left when one of these is raised.
NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)

PAY = "/payinvoice"

REMEDIES: Mapping[int, str] = {
    401: "check password against phoenix.conf",
    404: "check url, and run phoenixd 0.8 or newer",
    405: "check url, and run phoenixd 0.8 or newer",
}
OTHER_REMEDY = "see phoenixd's log"

MAX_WORDS_LENGTH = 120


class NotReached(BackendUnavailable):
    """The request did not leave."""


class NoReply(BackendUnavailable):
    """phoenixd may have acted on the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: object  # of JSON; None for what is none
    words: str  # of what is none: how phoenixd tells errors

    def read(self, model: type[WireT]) -> WireT | None:
        try:
            return model.model_validate(self.body)
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class _Clients:
    kept: httpx.AsyncClient
    fresh: httpx.AsyncClient


class PhoenixdApi:
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
        self, path: str, *, operation: str, query: Mapping[str, str | int] | None = None
    ) -> Reply:
        """Raises NotReached or NoReply, as all that follow."""
        client = self._opened(operation).kept
        request = client.build_request("GET", path, params=dict(query or {}))
        return await self._exchange(client, request, operation=operation)

    async def post(self, path: str, form: Mapping[str, str | int], *, operation: str) -> Reply:
        client = self._opened(operation).kept
        request = client.build_request("POST", path, data=dict(form))
        return await self._exchange(client, request, operation=operation)

    async def pay(self, form: Mapping[str, str | int], *, timeout_s: float) -> Reply:
        """Once."""
        client = self._opened("pay").fresh
        request = client.build_request("POST", PAY, data=dict(form), timeout=timeout_s)
        return await self._exchange(client, request, operation="pay")

    def unusable(self, reply: Reply, *, operation: str) -> BackendUnavailable:
        """What to raise for an answer that is not the one hoped for."""
        remedy = REMEDIES.get(reply.status, OTHER_REMEDY)
        return self.problem(operation, f"phoenixd answered HTTP {reply.status}", remedy=remedy)

    def problem(self, operation: str, what: str, *, remedy: str) -> BackendUnavailable:
        return BackendUnavailable(self._message(operation, what, remedy=remedy))

    async def _exchange(
        self, client: httpx.AsyncClient, request: httpx.Request, *, operation: str
    ) -> Reply:
        try:
            response = await client.send(request)
        except NOTHING_SENT as lost:
            what = f"phoenixd cannot be reached ({type(lost).__name__})"
            remedy = "check url, and that phoenixd runs"
            raise NotReached(self._message(operation, what, remedy=remedy)) from None
        except httpx.HTTPError as lost:
            what = f"no reply from phoenixd ({type(lost).__name__})"
            raise NoReply(self._message(operation, what, remedy=OTHER_REMEDY)) from None
        return _reply(response)

    def _message(self, operation: str, what: str, *, remedy: str) -> str:
        return f"backend {self._name!r} (phoenixd), {operation}: {what}; {remedy}"

    def _opened(self, operation: str) -> _Clients:
        if self._clients is None:
            raise NotReached(
                self._message(operation, "it is not started", remedy="start it first")
            )
        return self._clients

    def _new_client(self, limits: httpx.Limits) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._options.url,
            auth=httpx.BasicAuth("", self._options.password.get_secret_value()),
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


def _reply(response: httpx.Response) -> Reply:
    try:
        body: object = response.json()
    except (ValueError, RecursionError):
        return Reply(response.status_code, None, response.text[:MAX_WORDS_LENGTH])
    return Reply(response.status_code, body, "")
