"""The service as its own process on one LND of the network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from backends.lnd.rights import NEEDED
from tests.e2e.service import ServiceProcess, service_process
from tests.regtest.lnd import LndNode

BACKEND = "node"
CONFIG = """\
{settings}
[backends.{name}]
type = "lnd"
url = "{url}"
tls_cert = "{certificate}"
macaroon_path = "{macaroon}"
poll_s = 0.1
"""


@asynccontextmanager
async def service_on(
    node: LndNode, directory: Path, *, settings: str = "", url: str = ""
) -> AsyncIterator[ServiceProcess]:
    """Started, with the rights that it needs and no more; at the end its books are in order.

    `settings` are sections of its configuration, `url` another way to the node.
    """
    directory.mkdir(parents=True, exist_ok=True)
    macaroon, config = directory / "macaroon", directory / "config.toml"
    macaroon.touch(mode=0o600)
    macaroon.write_bytes(bytes.fromhex(await node.bake(*(f"uri:{uri}" for uri in NEEDED))))
    config.write_text(
        CONFIG.format(
            settings=settings,
            name=BACKEND,
            url=url or node.url,
            certificate=node.certificate,
            macaroon=macaroon,
        )
    )
    async with service_process(directory / "data", NWC_CONFIG=str(config)) as service:
        yield service
