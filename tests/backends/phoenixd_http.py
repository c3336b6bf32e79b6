"""HTTP and the websocket as phoenixd speaks them, and where a connection may be cut."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha1
from urllib.parse import parse_qsl, urlsplit

CLOSE_FRAME = b"\x88\x00"
FORM = "application/x-www-form-urlencoded"


class Fault(Enum):
    """Where the connection is cut."""

    BEFORE_READ = "before_read"
    AFTER_READ = "after_read"  # and nothing was done
    AFTER_COMMIT = "after_commit"  # it was done, and nothing was said
    MID_BODY = "mid_body"


@dataclass(frozen=True, slots=True)
class Answer:
    """The body is JSON unless it is words, which is how phoenixd tells errors."""

    status: int = 200
    body: object = None
    delay_s: float = 0


@dataclass(frozen=True, slots=True)
class Request:
    name: str  # the method and the path
    argument: str  # the last part of the path, where it is one
    query: Mapping[str, str]
    form: Mapping[str, str]
    is_form: bool  # it says that its body is one, as even an empty one must
    connection: int
    password: str
    websocket_key: str


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
    lines = (line.split(": ", 1) for line in head.rstrip().split("\r\n"))
    headers = {key.lower(): value for key, value in lines}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(
        name,
        argument,
        dict(parse_qsl(parts.query, keep_blank_values=True)),
        dict(parse_qsl(content.decode(), keep_blank_values=True)),
        headers.get("content-type") == FORM,
        connection,
        _password(headers.get("authorization", "")),
        headers.get("sec-websocket-key", ""),
    )


def encoded(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    head = f"HTTP/1.1 {answer.status} Said\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    return head.encode() + body.encode()


def handshake(websocket_key: str) -> bytes:
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accepted = b64encode(sha1(f"{websocket_key}{guid}".encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accepted}\r\n\r\n"
    ).encode()


def text_frame(message: object) -> bytes:
    payload = json.dumps(message).encode()
    assert len(payload) < 65_536
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def _password(authorization: str) -> str:
    """Of Basic authentication, whose user phoenixd does not look at."""
    scheme, _, login = authorization.partition(" ")
    if scheme != "Basic":
        return ""
    return b64decode(login).decode().partition(":")[2]
