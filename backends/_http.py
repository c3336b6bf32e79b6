"""HTTP with a node: what was surely not sent, what may have been, and what to say of it."""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import httpx

from nwc_service.backend import BackendUnavailable

# No byte of a request has left when one of these is raised.
NOTHING_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_CONNECTIONS = 100

Explain = Callable[[str], tuple[str, str]]
"""From the words of a connection that failed, what stands in the way, and what helps."""


class NotReached(BackendUnavailable):
    """The request did not leave."""


class NoReply(BackendUnavailable):
    """The node may have acted on the request."""


class Silent(NoReply):
    """Nothing came for too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes
    date: str = ""  # by the node's clock

    def json(self) -> object:
        """None for what is none."""
        return json_of(self.content)


@dataclass(frozen=True, slots=True)
class _Clients:
    kept: httpx.AsyncClient
    fresh: httpx.AsyncClient


class Http:
    """Two clients of one node. What pays goes out on connections of its own: a kept one may
    die just when it is used, and would leave the outcome unknown."""

    def __init__(self, name: str, backend_type: str, *, program: str, explain: Explain) -> None:
        self._who = f"backend {name!r} ({backend_type})"
        self._program = program
        self._explain = explain
        self._clients: _Clients | None = None

    @property
    def is_open(self) -> bool:
        return self._clients is not None

    def open(
        self,
        base_url: str,
        *,
        timeout_s: float,
        verify: ssl.SSLContext,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
    ) -> None:
        if self._clients is not None:
            return

        def client(limits: httpx.Limits) -> httpx.AsyncClient:
            return httpx.AsyncClient(
                base_url=base_url,
                timeout=timeout_s,
                limits=limits,
                headers=headers,
                auth=auth,
                verify=verify,
                trust_env=False,  # a proxy that repeats a request would be one more sender
                follow_redirects=False,
            )

        self._clients = _Clients(
            kept=client(httpx.Limits(max_connections=MAX_CONNECTIONS)),
            fresh=client(httpx.Limits(max_keepalive_connections=0)),
        )

    async def close(self) -> None:
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.kept.aclose()
            await clients.fresh.aclose()

    def kept(self, operation: str) -> httpx.AsyncClient:
        """Raises NotReached."""
        return self._opened(operation).kept

    def fresh(self, operation: str) -> httpx.AsyncClient:
        """Raises NotReached."""
        return self._opened(operation).fresh

    async def exchange(
        self, client: httpx.AsyncClient, request: httpx.Request, *, operation: str
    ) -> Answer:
        """Once. Raises NotReached and NoReply."""
        try:
            response = await client.send(request, stream=True)
            try:
                content = await self._body(response, operation=operation)
            finally:
                await response.aclose()
        except httpx.HTTPError as lost:
            raise self.lost(lost, operation=operation) from None
        return Answer(response.status_code, content, response.headers.get("date", ""))

    async def _body(self, response: httpx.Response, *, operation: str) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_BODY_BYTES:
                what = f"an answer of {self._program} that has no end"
                raise self.problem(operation, what, remedy="check url")
        return bytes(content)

    # --- what to raise

    def problem(self, operation: str, what: str, *, remedy: str) -> NoReply:
        return NoReply(self._said(operation, what), remedy=remedy)

    def not_reached(self, operation: str, what: str, *, remedy: str) -> NotReached:
        return NotReached(self._said(operation, what), remedy=remedy)

    def lost(self, lost: httpx.HTTPError, *, operation: str) -> BackendUnavailable:
        """Never with httpx's own words, which may repeat a header."""
        if isinstance(lost, NOTHING_SENT):
            what, remedy = self._explain(str(lost))
            return self.not_reached(operation, f"{what} ({type(lost).__name__})", remedy=remedy)
        what = f"no reply from {self._program} ({type(lost).__name__})"
        kind = Silent if isinstance(lost, httpx.ReadTimeout) else NoReply
        return kind(self._said(operation, what), remedy=see_log(self._program))

    def _said(self, operation: str, what: str) -> str:
        return f"{self._who}, {operation}: {what}"

    def _opened(self, operation: str) -> _Clients:
        if self._clients is None:
            raise self.not_reached(operation, "it is not started", remedy="start it first")
        return self._clients


def see_log(program: str) -> str:
    return f"see {program}'{'' if program.endswith('s') else 's'} log"


def explained(program: str) -> Explain:
    """For a node whose certificate an authority vouches for, or which has none."""

    def explain(words: str) -> tuple[str, str]:
        if "CERTIFICATE_VERIFY_FAILED" in words:
            remedy = "renew it, or name its authority in SSL_CERT_FILE"
            return f"the certificate of {program} is not trusted", remedy
        return f"{program} cannot be reached", f"check url, and that {program} runs"

    return explain


@cache
def tls_context() -> ssl.SSLContext:
    """SSL_CERT_FILE names the authorities of an operator who has their own."""
    return httpx.create_ssl_context()


def json_of(content: bytes) -> object:
    """None for what is none."""
    try:
        body: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body
