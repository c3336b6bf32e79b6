"""An id for each HTTP request, in the answer and in every line that is logged for it."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from secrets import token_hex
from typing import Any

from structlog.contextvars import bind_contextvars

__all__ = ["HEADER", "RequestIds"]

HEADER = b"x-request-id"
# What a caller sends stands in our log: nothing that could break a line or a terminal.
_IN_ORDER = re.compile(rb"[A-Za-z0-9._-]{1,64}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class RequestIds:
    """ASGI middleware: the caller's `X-Request-Id` if it is in order, else one of our own."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or token_hex(8)
        # For good: the server has a task for each request, and what it logs itself of a
        # request that failed belongs to it, too.
        bind_contextvars(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _given(scope: Message) -> str | None:
    for name, value in scope["headers"]:
        if name.lower() == HEADER and _IN_ORDER.fullmatch(value):
            return str(value, "ascii")
    return None
