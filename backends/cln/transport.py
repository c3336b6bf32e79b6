"""Two ways to CLN: its Unix socket, and CLNRest.

Both tell apart what never left (NotReached) from what CLN may have acted on (NoReply).
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import httpx
from pydantic import ValidationError

from backends._http import NOTHING_SENT
from backends.cln.wire import Problem

END = b"\n\n"  # of a reply on the socket; inside of one, line feeds are escaped
MAX_REPLY_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 256 * 1024

METHOD_NOT_FOUND = -32601
PAYING = ("xpay", "injectpaymentonion")
# CLNRest did not hand the call on: no such right, path or form of request.
REFUSED_UNREAD = (401, 403, 404, 405, 406, 413)
DONE = 201


class Lost(Exception):
    """No usable reply; the message says what happened, `remedy` what helps."""

    def __init__(self, what: str, *, remedy: str, may_have_arrived: bool) -> None:
        super().__init__(what)
        self.remedy = remedy
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class RawReply:
    result: object = None
    problem: Problem | None = None
    is_unread: bool = False  # CLN did not look at the call


class Transport(Protocol):
    async def call(
        self, method: str, params: Mapping[str, object], *, timeout_s: float | None
    ) -> RawReply:
        """Raises Lost, and UnicodeEncodeError before anything is sent."""

    async def close(self) -> None: ...


def to_json(value: object) -> bytes:
    """As UTF-8: CLN takes no escaped characters in a description, and signs them as they
    stand in a message."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class SocketTransport:
    """A connection for each call: CLN may die at any time, and one call is as good as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = count(1)

    async def call(
        self, method: str, params: Mapping[str, object], *, timeout_s: float | None
    ) -> RawReply:
        name = f"nwc-service:{method}#{next(self._numbers)}"
        request = {"jsonrpc": "2.0", "id": name, "method": method, "params": params}
        data = to_json(request)
        reader, writer = await self._connect(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(data + END)
                await writer.drain()
                content = await _until_end(reader)
        except TimeoutError:
            raise _no_reply("TimeoutError") from None
        except OSError as lost:
            raise _no_reply(type(lost).__name__) from None
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        return _from_json_rpc(content, name=name)

    async def close(self) -> None:
        pass

    async def _connect(
        self, timeout_s: float | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.open_unix_connection(self._path)
        except (OSError, TimeoutError) as lost:
            remedy = "check socket and its rights, and that lightningd runs"
            what = f"CLN cannot be reached ({type(lost).__name__})"
            raise Lost(what, remedy=remedy, may_have_arrived=False) from None


class RestTransport:
    """Payments go out on connections of their own: a kept one may die just when it is used,
    and would leave the outcome unknown."""

    def __init__(self, url: str, *, rune: str, tls_cert: Path | None, timeout_s: float) -> None:
        self._kept, self._fresh = (
            httpx.AsyncClient(
                base_url=url,
                timeout=timeout_s,
                limits=limits,
                headers={"Rune": rune, "Content-Type": "application/json"},
                verify=_trust(tls_cert),
                trust_env=False,  # a proxy that repeats a request would be one more sender
                follow_redirects=False,
            )
            for limits in (
                httpx.Limits(max_connections=100),
                httpx.Limits(max_keepalive_connections=0),
            )
        )
        self._timeout_s = timeout_s

    async def call(
        self, method: str, params: Mapping[str, object], *, timeout_s: float | None
    ) -> RawReply:
        client = self._fresh if method in PAYING else self._kept
        timeout = httpx.Timeout(self._timeout_s, read=timeout_s)
        request = client.build_request(
            "POST", f"/v1/{method}", content=to_json(params), timeout=timeout
        )
        try:
            response = await client.send(request, stream=True)
            try:
                content = await _all_of(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as lost:
            raise _lost_http(lost) from None
        return _from_rest(response.status_code, content)

    async def close(self) -> None:
        await self._kept.aclose()
        await self._fresh.aclose()


async def _until_end(reader: asyncio.StreamReader) -> bytes:
    content = bytearray()
    while not content.endswith(END):
        chunk = await reader.read(CHUNK_BYTES)
        if not chunk:
            raise _no_reply("the connection was closed")
        content += chunk
        _check_size(content)
    return bytes(content)


async def _all_of(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        _check_size(content)
    return bytes(content)


def _check_size(content: bytearray) -> None:
    if len(content) > MAX_REPLY_BYTES:
        raise _no_reply("a reply without end")


def _from_json_rpc(content: bytes, *, name: str) -> RawReply:
    reply = _json(content)
    if not isinstance(reply, dict) or reply.get("id") != name:
        raise _no_reply("what came is no reply to this call")
    if "result" in reply:
        return RawReply(result=reply["result"])
    problem = _problem(reply.get("error"))
    return RawReply(problem=problem, is_unread=problem.code == METHOD_NOT_FOUND)


def _from_rest(status: int, content: bytes) -> RawReply:
    body = _json(content)
    if status == DONE and isinstance(body, dict):
        return RawReply(result=body)
    problem = _problem(body)
    if not problem.message:
        problem = Problem(code=problem.code, message=f"HTTP {status}")
    return RawReply(problem=problem, is_unread=status in REFUSED_UNREAD)


def _problem(body: object) -> Problem:
    try:
        return Problem.model_validate(body)
    except ValidationError:
        return Problem()


def _json(content: bytes) -> object:
    try:
        body: object = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body


def _no_reply(what: str) -> Lost:
    return Lost(f"no reply from CLN ({what})", remedy="see CLN's log", may_have_arrived=True)


def _lost_http(lost: httpx.HTTPError) -> Lost:
    if not isinstance(lost, NOTHING_SENT):
        return _no_reply(type(lost).__name__)
    what, remedy = "CLNRest cannot be reached", "check url, and that CLNRest runs"
    if "CERTIFICATE_VERIFY_FAILED" in str(lost):
        what = "CLNRest's certificate is not the one of tls_cert"
        remedy = "copy CLN's ca.pem again; clnrest-host must be the host of url"
    return Lost(f"{what} ({type(lost).__name__})", remedy=remedy, may_have_arrived=False)


def _trust(tls_cert: Path | None) -> ssl.SSLContext:
    """CLN's own certificate and no other; without it, the authorities of the system."""
    if tls_cert is None:
        return httpx.create_ssl_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # its server.pem will do as well
    try:
        context.load_verify_locations(tls_cert)
    except (OSError, ssl.SSLError) as wrong:
        what = f"tls_cert cannot be read ({type(wrong).__name__})"
        remedy = "name CLN's ca.pem, readable for this service"
        raise Lost(what, remedy=remedy, may_have_arrived=False) from None
    return context
