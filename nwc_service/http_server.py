"""An HTTP listener of the service, stopped with it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from nwc_service.request_ids import App


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The application stops everything in its own order.
        yield


def listen(host: str, port: int, *, what: str) -> socket.socket:
    """Raises OSError that names the address and `what` cannot listen on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"{what} cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def serving(
    app: App,
    listener: socket.socket,
    **options: Any,
) -> AsyncIterator[int]:
    """Serve until left; the port. `options` are uvicorn's."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        **options,
    )
    server = _Server(config)
    port = int(listener.getsockname()[1])
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield port
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        with contextlib.suppress(OSError):
            listener.close()


def url_of(host: str, port: int) -> str:
    shown_host = f"[{host}]" if ":" in host else host
    return f"http://{shown_host}:{port}"
