"""Where the tour takes place: the service on a backend, and somebody outside."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.demo.parties import Outside
from tests.demo.sandbox import SandboxOutside
from tests.e2e.service import ServiceProcess, service_process
from tests.regtest import build
from tests.regtest.lnd import LndNode
from tests.regtest.network import regtest_network
from tests.regtest.outside import LndOutside
from tests.regtest.service import service_on
from tests.regtest.truth import invoices_of, payments_of

Exchange = tuple[str, int, int]
"""Direction, amount and fee of what passed between the service's node and the outside."""


@dataclass(frozen=True, slots=True)
class Stage:
    service: ServiceProcess
    outside: Outside
    exchanged: Callable[[], Awaitable[list[Exchange]]]
    """By the node's own books."""


@asynccontextmanager
async def on_sandbox(directory: Path) -> AsyncIterator[Stage]:
    """On embedded defaults."""
    async with service_process(directory / "data") as service:
        exchanged = partial(_by_the_sandbox, service)
        yield Stage(service, SandboxOutside(service), exchanged)


@asynccontextmanager
async def on_lnd(directory: Path) -> AsyncIterator[Stage]:
    """On one of two real LNDs, which have channels with each other: nobody takes a fee."""
    if not build.built():
        raise RuntimeError("lnd and btcd are not there: `make regtest-tools` builds them")
    async with regtest_network(directory / "network", nodes=2) as network:
        ours, other = network.nodes.values()
        async with service_on(ours, directory) as service:
            yield Stage(service, LndOutside(other, forwarders=0), partial(_by_lnd, ours))


STAGES: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Stage]]] = {
    "sandbox": on_sandbox,
    "lnd": on_lnd,
}


async def _by_the_sandbox(service: ServiceProcess) -> list[Exchange]:
    books = await service.sandbox("show")
    return [
        (one["direction"], one["amount_msat"], one["fee_msat"]) for one in books["payments"]
    ]


async def _by_lnd(node: LndNode) -> list[Exchange]:
    came = [
        ("incoming", int(one["amt_paid_msat"]), 0)
        for one in await invoices_of(node)
        if one["state"] == "SETTLED"
    ]
    left = [
        ("outgoing", int(one["value_msat"]), int(one["fee_msat"]))
        for one in await payments_of(node)
        if one["status"] == "SUCCEEDED"
    ]
    return came + left
