"""REST with LND: what was surely not sent, what may have been, and what it answered.

LND answers with gRPC's codes, most errors with 2 (unknown) and HTTP 500: its words tell more.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import ValidationError

from backends._http import Http, NoReply, NotReached, Silent, json_of, see_log
from backends.lnd import credentials, rights
from backends.lnd.options import Options
from backends.lnd.wire import Problem, Wire

__all__ = ["LndApi", "NoReply", "NotReached", "Reply", "Silent", "is_refused_unread"]

WireT = TypeVar("WireT", bound=Wire)

PROGRAM = "LND"
NOT_FOUND = 5
ALREADY_EXISTS = 6
NO_SUCH_PATH = "Not Found"

# What LND says before it looks at a request, and what helps.
NOT_STARTED: Mapping[str, str] = {
    "wallet locked": "unlock it: lncli unlock",
    "wallet not created": "create it: lncli create",
    "waiting to start": "wait, or see LND's log",
    "the RPC server is in the process of starting up": "wait until it has started",
}
NO_RIGHT: tuple[str, ...] = (
    "permission denied",
    "verification failed",
    "cannot get macaroon",
    "cannot retrieve macaroon",  # as when its root key was revoked
    "expected 1 macaroon",
    "encoding/hex",
    "cannot determine data format of binary-encoded macaroon",
    "unknown macaroon version",
    "invalid ID",
)
NAME_THE_HOST = (
    "set tlsextradomain or tlsextraip in lnd.conf, remove tls.cert and tls.key, restart LND,"
    " and copy LND's tls.cert again"
)

MAX_LINE_BYTES = 32 * 1024 * 1024  # a payment of many parts and attempts, each with its route
MAX_WORDS = 160
_LONGER_THAN_A_HASH = re.compile(
    r"[0-9a-fA-F]{65,}"
)  # as the macaroon, which nobody is to read


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: object  # of JSON; None for what is none
    date: str = ""  # by LND's clock

    def read(self, model: type[WireT]) -> WireT | None:
        if self.problem is not None:
            return None
        try:
            return model.model_validate(self.body)
        except ValidationError:
            return None

    @property
    def problem(self) -> Problem | None:
        """What LND refused with; None where it did not refuse."""
        if self.status < 300:
            return None
        try:
            return Problem.model_validate(self.body)
        except ValidationError:
            return Problem(code=2, message="")

    @property
    def words(self) -> str:
        return "" if self.problem is None else self.problem.message[:MAX_WORDS]


class LndApi:
    """Every call may raise NotReached or NoReply."""

    def __init__(self, name: str, options: Options) -> None:
        self._options = options
        self._http = Http(name, "lnd", program=PROGRAM, explain=_unreachable)

    def open(self, *, with_any_rights: bool = False) -> None:
        """Read the certificate and the macaroon. Raises NotReached."""
        if self._http.is_open:
            return
        try:
            macaroon = credentials.macaroon(self._options)
            if not with_any_rights:
                broad = self._options.allow_broad_macaroon
                credentials.check_rights(macaroon, may_be_broad=broad)
            trust = credentials.trust(self._options)
        except credentials.Wrong as wrong:
            raise self._http.not_reached("start", wrong.problem, remedy=wrong.remedy) from None
        self._http.open(
            self._options.url,
            timeout_s=self._options.timeout_s,
            verify=trust,
            headers={"Grpc-Metadata-macaroon": macaroon.hex()},
        )

    async def close(self) -> None:
        await self._http.close()

    # --- calls

    async def get(
        self, path: str, *, operation: str, query: Mapping[str, str | int] | None = None
    ) -> Reply:
        request = self._http.kept(operation).build_request("GET", path, params=query)
        return await self._exchange(request, operation=operation)

    async def post(self, path: str, body: Mapping[str, object], *, operation: str) -> Reply:
        request = self._http.kept(operation).build_request("POST", path, json=body)
        return await self._exchange(request, operation=operation)

    @asynccontextmanager
    async def listen(
        self,
        path: str,
        *,
        operation: str,
        query: Mapping[str, str | int] | None = None,
        is_brief: bool = False,
    ) -> AsyncIterator[AsyncIterator[Reply]]:
        """The lines of a stream. Nothing is known of it before the first line: LND sends not
        even a header. Raises also Silent, sooner for a brief one, whose first line is due."""
        client = self._http.kept(operation)
        read_s = self._options.timeout_s if is_brief else self._options.idle_s
        timeout = httpx.Timeout(self._options.timeout_s, read=read_s)
        request = client.build_request("GET", path, params=query, timeout=timeout)
        async with self._stream(client, request, operation=operation) as lines:
            yield lines

    @asynccontextmanager
    async def send(
        self, path: str, body: Mapping[str, object], *, connect_s: float
    ) -> AsyncIterator[AsyncIterator[Reply]]:
        """A payment, once, with its states as they come. The caller watches the time; while
        there is no connection, nothing was sent."""
        client = self._http.fresh("pay")
        connect_s = min(connect_s, self._options.timeout_s)
        timeout = httpx.Timeout(self._options.timeout_s, read=None, connect=connect_s)
        request = client.build_request("POST", path, json=body, timeout=timeout)
        async with self._stream(client, request, operation="pay") as lines:
            yield lines

    # --- what to raise

    def unusable(self, reply: Reply, *, operation: str) -> NoReply:
        """For an answer that is not the one hoped for."""
        said = f": {_LONGER_THAN_A_HASH.sub('…', reply.words)}" if reply.words else ""
        what = f"LND answered HTTP {reply.status}{said}"
        return self.problem(operation, what, remedy=_remedy(reply))

    def problem(self, operation: str, what: str, *, remedy: str) -> NoReply:
        return self._http.problem(operation, what, remedy=remedy)

    # --- HTTP

    async def _exchange(self, request: httpx.Request, *, operation: str) -> Reply:
        client = self._http.kept(operation)
        answer = await self._http.exchange(client, request, operation=operation)
        return Reply(answer.status, answer.json(), answer.date)

    @asynccontextmanager
    async def _stream(
        self, client: httpx.AsyncClient, request: httpx.Request, *, operation: str
    ) -> AsyncIterator[AsyncIterator[Reply]]:
        try:
            response = await client.send(request, stream=True)
        except httpx.HTTPError as lost:
            raise self._http.lost(lost, operation=operation) from None
        lines = self._lines(response, operation=operation)
        try:
            yield lines
        finally:
            await lines.aclose()
            await response.aclose()

    async def _lines(
        self, response: httpx.Response, *, operation: str
    ) -> AsyncGenerator[Reply, None]:
        rest, has_said = b"", False
        try:
            async for chunk in response.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield _line(response.status_code, line)
                    has_said = True
                if len(rest) > MAX_LINE_BYTES:
                    raise self.problem(operation, "a line without end", remedy=see_log(PROGRAM))
        except httpx.HTTPError as lost:
            raise self._http.lost(lost, operation=operation) from None
        if rest or (not has_said and response.is_error):
            yield _line(response.status_code, rest)


def _unreachable(words: str) -> tuple[str, str]:
    """What it is that stands in the way, and what helps."""
    if "CERTIFICATE_VERIFY_FAILED" not in words:
        return "LND cannot be reached", "check url, and that LND runs"
    if "certificate has expired" in words:
        return "LND's certificate has expired", credentials.RENEW
    if "mismatch, certificate is not valid for" in words:
        return "LND's certificate is not for the host of url", NAME_THE_HOST
    remedy = "copy LND's tls.cert again, and name it as tls_cert"
    return "LND's certificate is not the one of tls_cert", remedy


def is_refused_unread(reply: Reply) -> bool:
    """Whether LND did not look at the request: no such right, or not started yet."""
    return reply.words.startswith((*NO_RIGHT, *NOT_STARTED))


def _remedy(reply: Reply) -> str:
    if reply.words.startswith(NO_RIGHT):
        return rights.BAKE
    for words, remedy in NOT_STARTED.items():
        if reply.words.startswith(words):
            return remedy
    if reply.status in (401, 403):
        return rights.BAKE
    if reply.status == 404 and reply.words in ("", NO_SUCH_PATH):
        return "check url: it must be LND's REST listener"
    return see_log(PROGRAM)


def _line(status: int, line: bytes) -> Reply:
    """A result, or an error, which may also come after results with HTTP 200."""
    body = json_of(line)
    if not isinstance(body, dict):
        return Reply(status, None)
    if "error" in body:
        return Reply(status if status >= 300 else 500, body["error"])
    return Reply(status, body.get("result", body))
