"""Serves the admin API, and leaves its address and token in the data directory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nwc_service import datadir
from nwc_service.admin.api import build
from nwc_service.admin.state import State
from nwc_service.http_server import listen, serving, url_of
from nwc_service.request_ids import RequestIds


@dataclass(frozen=True, slots=True)
class Admin:
    url: str
    port: int


@asynccontextmanager
async def open_admin(
    state: State, *, host: str, port: int, data_dir: Path
) -> AsyncIterator[Admin]:
    """Listen until left. Raises OSError naming the address."""
    listener = listen(host, port, what="the admin API")
    app = build(state, token=datadir.admin_token(data_dir))
    async with serving(RequestIds(app), listener) as bound_port:
        url = url_of(host, bound_port)
        datadir.write_private(data_dir / datadir.ADMIN_URL, url)
        yield Admin(url, bound_port)
