"""Serves the public routes on a listener of their own, apart from the admin API."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nwc_service.http_server import listen, serving, url_of
from nwc_service.payers import Payers
from nwc_service.public.app import MAX_QUERY_BYTES, build

MAX_CONNECTIONS = 200
MAX_HEAD_BYTES = 2 * MAX_QUERY_BYTES


@dataclass(frozen=True, slots=True)
class Public:
    url: str
    port: int


@asynccontextmanager
async def open_public(
    payers: Payers, *, host: str, port: int, trusted_proxies: Sequence[str]
) -> AsyncIterator[Public]:
    """Listen until left; who asks is what X-Forwarded-For says behind `trusted_proxies` only.
    Raises OSError naming the address."""
    listener = listen(host, port, what="the public listener")
    async with serving(
        build(payers),
        listener,
        http="h11",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
        forwarded_allow_ips=list(trusted_proxies),
        server_header=False,
    ) as bound_port:
        yield Public(url_of(host, bound_port), bound_port)
