"""What strangers reach of the service, opened where the operator has set a domain."""

from contextlib import AsyncExitStack

import structlog

from nwc_service.answers import Clock
from nwc_service.backend import NodeInfo
from nwc_service.edges import Edges, remember_port, stable_address
from nwc_service.flow import Flow
from nwc_service.outbound import Outbound
from nwc_service.payers import Payers
from nwc_service.public import open_public
from nwc_service.zaps import Zaps, publisher

log = structlog.get_logger()


async def open_outside(
    edges: Edges, flow: Flow, *, stack: AsyncExitStack, outbound: Outbound, clock: Clock
) -> str | None:
    """The URL of the public listener; None without a domain, when only the receipts of zaps
    that were paid before are still published. Raises OSError naming the address."""
    settings = edges.settings.public
    zaps = Zaps(edges.db, keyring=edges.keyring, publish=publisher(outbound), clock=clock)
    edges.spawn(zaps.run())
    if settings.domain is None:
        return None
    payers = _payers(edges, flow, clock=clock)
    edges.spawn(payers.tidy())
    host, port = await stable_address(edges.db, "public", listen=settings.listen)
    public = await stack.enter_async_context(
        open_public(payers, host=host, port=port, trusted_proxies=settings.trusted_proxies)
    )
    await remember_port(edges.db, "public", port_number=public.port)
    log.info("public.started", url=public.url, domain=settings.domain)
    return public.url


def _payers(edges: Edges, flow: Flow, *, clock: Clock) -> Payers:
    node_info = flow.reconciler.node_info
    return Payers(
        edges.db,
        receiver=flow.receiver,
        backends=edges.backends,
        keyring=edges.keyring,
        node_info=lambda name: node_info.get(name, NodeInfo()),
        settings=edges.settings.public,
        clock=clock,
    )
