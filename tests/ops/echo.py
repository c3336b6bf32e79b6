"""A node that answers everything with an error that says back whatever it was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAX_BODY_BYTES = 64 * 1024


class Echo:
    def __init__(self) -> None:
        self.status = "500 Internal Server Error"
        """None of it: the connection is closed without an answer where this is empty."""
        self.heard: list[str] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body = await reader.read(MAX_BODY_BYTES) if "content-length" not in head else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            body, head = b"", ""
        self.heard.append(head)
        if self.status:
            text = head.encode("latin-1") + body
            writer.write(
                f"HTTP/1.1 {self.status}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                f"Content-Length: {len(text)}\r\n\r\n".encode()
                + text
            )
        writer.close()


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    node = Echo()
    server = await asyncio.start_server(node.answer, "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    try:
        yield node
    finally:
        server.close()
        await server.wait_closed()
