"""Serves the admin API and the page, and leaves their address in the data directory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nwc_service import datadir
from nwc_service.http_server import listen, serving, url_of
from nwc_service.request_ids import App, RequestIds


@dataclass(frozen=True, slots=True)
class Admin:
    url: str
    port: int


@asynccontextmanager
async def open_admin(app: App, *, host: str, port: int, data_dir: Path) -> AsyncIterator[Admin]:
    """Listen until left. Raises OSError naming the address."""
    listener = listen(host, port, what="the admin API")
    async with serving(RequestIds(app), listener) as bound_port:
        url = url_of(host, bound_port)
        datadir.write_private(data_dir / datadir.ADMIN_URL, url)
        yield Admin(url, bound_port)
