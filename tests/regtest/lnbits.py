"""Two LNbits in a row before an LND of the network: ours pays from a wallet of the upstream's,
and the upstream from the node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.backends.lnbits_server import LnbitsServer, LnbitsWallet, unavailable
from tests.backends.lnbits_venv import LnbitsMissingError, install
from tests.e2e.service import ServiceProcess, service_process
from tests.regtest.lnd import LndNode

FUNDS_SAT = 4_000_000
REQUESTS_A_MINUTE = 300
CONFIG = """\
{settings}
[backends.node]
type = "lnbits"
url = "{wallet.url}"
admin_key = "{wallet.admin_key}"
invoice_key = "{wallet.invoice_key}"
fee_cap = "{fee_cap_msat} msat"
poll_s = 0.5
"""


@dataclass(frozen=True, slots=True)
class LnbitsOnLnd:
    upstream: LnbitsServer
    ours: LnbitsServer
    wallet: LnbitsWallet
    """Of ours; what the service works with."""

    async def restart_upstream(self) -> None:
        self.upstream.kill()
        await self.upstream.start()

    @asynccontextmanager
    async def busy_upstream(self) -> AsyncIterator[None]:
        """It answers 429 to whoever wants to pay or to be paid, until it is started again at
        the end."""
        refused = asyncio.Event()
        asking = asyncio.create_task(_ask_without_a_pause(self.upstream.url, refused))
        try:
            await refused.wait()
            yield
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            await self.restart_upstream()


@asynccontextmanager
async def lnbits_on(
    node: LndNode, directory: Path, *, fee_cap_msat: int
) -> AsyncIterator[LnbitsOnLnd]:
    """Takes half a minute. Skips, or fails in CI, where LNbits is missing."""
    servers: list[LnbitsServer] = []
    try:
        try:
            yield await _start(node, directory, servers, caps=_caps(fee_cap_msat))
        except LnbitsMissingError as problem:
            unavailable(problem)
    finally:
        for server in servers:
            server.kill()


@asynccontextmanager
async def service_on_lnbits(
    wallet: LnbitsWallet, directory: Path, *, settings: str, fee_cap_msat: int
) -> AsyncIterator[ServiceProcess]:
    config = directory / "config.toml"
    config.touch(mode=0o600)
    config.write_text(
        CONFIG.format(settings=settings, wallet=wallet, fee_cap_msat=fee_cap_msat)
    )
    async with service_process(directory / "data", NWC_CONFIG=str(config)) as service:
        yield service


async def _start(
    node: LndNode, directory: Path, servers: list[LnbitsServer], *, caps: dict[str, str]
) -> LnbitsOnLnd:
    """Every server that was started is in `servers`, whatever happens."""
    await asyncio.to_thread(install)
    on_lnd: dict[str, str] = {
        "LNBITS_BACKEND_WALLET_CLASS": "LndRestWallet",
        "LND_REST_ENDPOINT": node.url,
        "LND_REST_CERT": str(node.certificate),
        "LND_REST_MACAROON": node.macaroon,
        "LNBITS_RATE_LIMIT_NO": str(REQUESTS_A_MINUTE),
    }
    upstream = LnbitsServer("upstream", directory / "upstream", on_lnd | caps)
    servers.append(upstream)
    await upstream.start()
    funding = await upstream.new_wallet(credit_sat=FUNDS_SAT)
    on_upstream = {
        "LNBITS_BACKEND_WALLET_CLASS": "LNbitsWallet",
        "LNBITS_ENDPOINT": upstream.url,
        "LNBITS_KEY": funding.admin_key,
    }
    ours = LnbitsServer("ours", directory / "ours", on_upstream | caps)
    servers.append(ours)
    await ours.start()
    return LnbitsOnLnd(upstream, ours, await ours.new_wallet(credit_sat=FUNDS_SAT))


def _caps(fee_cap_msat: int) -> dict[str, str]:
    """LNbits hands its own reserve to LND as the most that the fee may be."""
    return {
        "LNBITS_RESERVE_FEE_MIN": str(fee_cap_msat),
        "LNBITS_RESERVE_FEE_PERCENT": "0",
    }


async def _ask_without_a_pause(url: str, refused: asyncio.Event) -> None:
    """Where payments and invoices are asked for, since LNbits counts by endpoint and address,
    and whoever has no key too."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while True:
            answer = await client.post("/api/v1/payments", json={})
            if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                refused.set()
