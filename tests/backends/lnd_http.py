"""HTTP as LND's REST speaks it, and where it may be cut."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Fault(Enum):
    """Where the connection is cut."""

    BEFORE_READ = "before_read"
    AFTER_READ = "after_read"  # and nothing was done
    AFTER_COMMIT = "after_commit"  # it was done, and nothing was said
    MID_STREAM = "mid_stream"  # after the first line


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: object = None
    lines: tuple[object, ...] = ()  # of a stream, each said when it comes to it
    delay_s: float = 0
    date: str = ""  # by the server's clock
    stays_open: bool = False  # after the last line


@dataclass(frozen=True, slots=True)
class Request:
    name: str
    argument: str  # the last part of the path, where it is one
    query: Mapping[str, str]
    body: Mapping[str, Any]
    connection: int
    macaroon: str


class Lines:
    """The lines of a stream, in chunks, with the header before the first, as LND does."""

    def __init__(self, writer: asyncio.StreamWriter, status: int) -> None:
        self._writer = writer
        self._status = status
        self._has_begun = False

    async def write(self, line: object) -> None:
        self._begin()
        text = line.encode() if isinstance(line, str) else json.dumps(line).encode() + b"\n"
        self._writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
        await self._writer.drain()

    async def end(self) -> None:
        self._begin()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _begin(self) -> None:
        if not self._has_begun:
            head = f"HTTP/1.1 {self._status} Said\r\nTransfer-Encoding: chunked\r\n\r\n"
            self._writer.write(head.encode())
            self._has_begun = True


async def read_request(
    reader: asyncio.StreamReader,
    connection: int,
    *,
    faults: dict[str, Fault],
    with_argument: tuple[str, ...],
) -> Request | None:
    first = await reader.readline()
    if not first:
        return None
    method, target, _ = first.decode().split(" ")
    parts = urlsplit(target)
    name, argument = f"{method} {parts.path}", ""
    for prefix in with_argument:
        if name.startswith(prefix + "/"):
            name, argument = prefix, name.removeprefix(prefix + "/")
    if faults.get(name) is Fault.BEFORE_READ:
        faults.pop(name)
        return None
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = dict(line.lower().split(": ", 1) for line in head.rstrip().split("\r\n"))
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(
        name,
        argument,
        dict(parse_qsl(parts.query)),
        json.loads(content or b"{}"),
        connection,
        headers.get("grpc-metadata-macaroon", ""),
    )


def unary(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    date = f"Date: {answer.date}\r\n" if answer.date else ""
    length = f"Content-Length: {len(body.encode())}\r\n"
    return f"HTTP/1.1 {answer.status} Said\r\n{date}{length}\r\n{body}".encode()
