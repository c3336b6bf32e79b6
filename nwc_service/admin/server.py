"""Serves the admin API and the page, and leaves their address in the data directory."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from nwc_service import datadir
from nwc_service.request_ids import App, RequestIds


@dataclass(frozen=True, slots=True)
class Admin:
    url: str
    port: int


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The application stops everything in its own order.
        yield


@asynccontextmanager
async def open_admin(app: App, *, host: str, port: int, data_dir: Path) -> AsyncIterator[Admin]:
    """Listen until left. Raises OSError naming the address."""
    listener = _listen(host, port)
    bound_port = int(listener.getsockname()[1])
    config = uvicorn.Config(
        RequestIds(app),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    shown_host = f"[{host}]" if ":" in host else host
    url = f"http://{shown_host}:{bound_port}"
    datadir.write_private(data_dir / datadir.ADMIN_URL, url)
    try:
        yield Admin(url, bound_port)
    finally:
        server.should_exit = True
        await asyncio.wait([task])
        with contextlib.suppress(OSError):
            listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"the admin API cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    listener.setblocking(False)
    return listener
