"""A small Core Lightning behind its socket and behind CLNRest, for what the real one does only
by chance.

Both speak for one core, on real sockets, so that a connection may also be cut: before a call is
read, after it, after what it asks for is done, or in the middle of the reply.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backends.cln.rights import NEEDED
from tests.backends.cln_core import Attempt, ClnCore
from tests.backends.cln_rows import Json, RpcFail

__all__ = ["RUNE", "Attempt", "ClnDouble", "Fault", "cln_double"]

RUNE = "tU-RLjMiDpY2U0o3W1oFowar36RFGpWloPbW9-RuZdo9MyZtZXRob2Q9"


class Fault(Enum):
    """Where the connection is cut."""

    BEFORE_READ = "before_read"
    AFTER_READ = "after_read"  # and nothing was done
    AFTER_COMMIT = "after_commit"  # it was done, and nothing was said
    MID_REPLY = "mid_reply"  # half of what was to be said
    HANG = "hang"  # it was read, and nothing is said


@dataclass(slots=True)
class ClnDouble:
    core: ClnCore = field(default_factory=ClnCore)
    socket: Path = Path()
    url: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)  # of the next such call
    http: list[tuple[str, str]] = field(default_factory=list)  # method and rune, as they came
    shared: list[list[str]] = field(default_factory=list)  # the methods of each connection
    _connections: set[asyncio.Task[None] | None] = field(default_factory=set)

    def options(self, way: str) -> dict[str, object]:
        if way == "socket":
            return {"socket": str(self.socket)}
        return {"url": self.url, "rune": RUNE}

    async def close(self) -> None:
        for connection in self._connections:
            if connection is not None:
                connection.cancel()
        await asyncio.gather(*filter(None, self._connections), return_exceptions=True)

    # --- the socket

    async def serve_socket(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connections.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                if Fault.BEFORE_READ in self.faults.values():
                    self.faults.clear()
                    return
                content = await reader.readuntil(b"\n\n")
                request = json.loads(content)
                method, params = request["method"], request["params"]
                reply = {"jsonrpc": "2.0", "id": request["id"]}
                said = await self._done(method, params)
                if said is not None:
                    is_cut, result, fail = said
                    end = {"result": result} if fail is None else {"error": fail.body}
                    await _write(writer, _dump(reply | end) + b"\n\n", is_cut=is_cut)
        finally:
            writer.close()

    # --- CLNRest

    async def serve_http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._connections.add(asyncio.current_task())
        methods: list[str] = []
        self.shared.append(methods)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._serve_one(reader, writer, methods=methods):
                    pass
        finally:
            writer.close()

    async def _serve_one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        methods: list[str],
    ) -> bool:
        """Whether the connection stays."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        verb, path, _ = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if Fault.BEFORE_READ in self.faults.values():
            self.faults.clear()
            return False
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        rune = next((line[6:] for line in head if line.lower().startswith("rune: ")), "")
        method = path.removeprefix("/v1/")
        self.http.append((method, rune))
        methods.append(method)
        refused = self._refused(verb, path, method=method, rune=rune)
        if refused is not None:
            status, fail = refused
            await _write(writer, _http(status, fail.body), is_cut=False)
            return True
        said = await self._done(method, json.loads(body or b"{}"))
        if said is None:
            return False
        is_cut, result, problem = said
        reply = _http(201, result)
        if problem is not None:
            reply = _http(404 if problem.code == -32601 else 500, problem.body)
        await _write(writer, reply, is_cut=is_cut)
        return not is_cut

    def _refused(
        self, verb: str, path: str, *, method: str, rune: str
    ) -> tuple[int, RpcFail] | None:
        if verb != "POST":
            return 405, RpcFail(-32601, "Wrong http method")
        if not path.startswith("/v1/") or "/" in method:
            return 404, RpcFail(-32601, "Path not registered")
        if not rune:
            return 403, RpcFail(1501, "Not authorized: Missing rune")
        try:
            self.core.checkrune(rune, method)
        except RpcFail as fail:
            return 401, fail
        return None

    # --- both

    async def _done(
        self, method: str, params: dict[str, Any]
    ) -> tuple[bool, object, RpcFail | None] | None:
        """Whether the reply is cut, the result, and the error; None for no reply."""
        fault = self.faults.pop(method, None)
        if fault is Fault.AFTER_READ:
            return None
        result: object = None
        problem = None
        try:
            result = await self.core.handle(method, params)
        except RpcFail as fail:
            problem = fail
        if fault is Fault.HANG:
            await asyncio.sleep(60)
        if fault is Fault.AFTER_COMMIT:
            return None
        return fault is Fault.MID_REPLY, result, problem


async def _write(writer: asyncio.StreamWriter, reply: bytes, *, is_cut: bool) -> None:
    writer.write(reply[: len(reply) // 2] if is_cut else reply)
    await writer.drain()


def _dump(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _http(status: int, body: object | Json) -> bytes:
    content = _dump(body)
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def cln_double(tls: ssl.SSLContext | None = None) -> AsyncIterator[ClnDouble]:
    double = ClnDouble()
    double.core.runes[RUNE] = frozenset(NEEDED)
    with TemporaryDirectory() as directory:
        double.socket = Path(directory) / "lightning-rpc"
        servers = (
            await asyncio.start_unix_server(double.serve_socket, double.socket),
            await asyncio.start_server(double.serve_http, "127.0.0.1", 0, ssl=tls),
        )
        scheme = "https" if tls else "http"
        double.url = f"{scheme}://127.0.0.1:{servers[1].sockets[0].getsockname()[1]}"
        try:
            yield double
        finally:
            for server in servers:
                server.close()
            await double.close()
            for server in servers:
                await server.wait_closed()
