"""A Lightning network of real LNDs on a chain of its own, all of it on loopback.

Alice and bob share two channels, so that a payment may have to be split; every further node has
one channel with the node before it, so that alice reaches carol over bob. Each channel has half
of its money on either side.
"""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

from tests.parts import require_real
from tests.regtest import build
from tests.regtest.btcd import Btcd
from tests.regtest.lnd import LndNode

NAMES = ("alice", "bob", "carol")
CAPACITY_SAT = 10_000_000
FUNDS_SAT = 100_000_000
BLOCKS_AT_START = 450  # segwit is active from 432, and what the first ones pay is spendable
BLOCKS_TO_ANNOUNCE = 6

# The first address of the wallet that keys.py makes for alice.
ALICE_ADDRESS = "bcrt1qk2rg52ye4hhn6xk5y3mh2egke3wfjdvnx6qf0t"

Condition = Callable[[LndNode], Awaitable[bool]]


class RegtestNetwork:
    """Bound to no event loop."""

    def __init__(self, directory: Path, *, nodes: int) -> None:
        names = NAMES[:nodes]
        self.btcd = Btcd(directory / "btcd", mine_to=ALICE_ADDRESS)
        self.nodes = {
            name: LndNode(name, directory=directory / name, btcd=self.btcd) for name in names
        }
        self.channels = [("alice", "bob"), *pairwise(names)]
        self.started = False

    async def start(self) -> None:
        await self.btcd.start()
        await self.btcd.mine(BLOCKS_AT_START)
        await asyncio.gather(*(node.start() for node in self.nodes.values()))
        await self._until_all(self._knows_the_chain, what="the chain")
        await self._fund()
        for opener, peer in self.channels:
            await self._open_channel(self.nodes[opener], peer=self.nodes[peer])
        await self.mine(BLOCKS_TO_ANNOUNCE)
        await self._until_all(self._is_whole, what="its channels")
        await self._until_all(self._knows_the_graph, what="the graph")
        self.started = True

    async def mine(self, blocks: int = 1) -> None:
        """Until every node that runs has seen the blocks."""
        await self.btcd.mine(blocks)
        await self._until_all(self._knows_the_chain, what="the chain")

    async def heal(self) -> None:
        """Whatever a test has done: every node runs, and its channels are usable."""
        for node in self.nodes.values():
            if node.running:
                node.resume()
            else:
                await node.start()
        await self._until_all(self._is_whole, what="its channels")

    def kill(self) -> None:
        for node in self.nodes.values():
            node.kill()
        self.btcd.program.kill()

    async def _fund(self) -> None:
        """What was mined is alice's; the others that open a channel get some of it."""
        alice = self.nodes["alice"]
        for name in {opener for opener, _ in self.channels} - {"alice"}:
            address = (await self.nodes[name].rest("GET", "/v1/newaddress"))["address"]
            body = {"addr": address, "amount": str(FUNDS_SAT)}
            await alice.rest("POST", "/v1/transactions", json=body)
        await self.mine()

    async def _open_channel(self, opener: LndNode, *, peer: LndNode) -> None:
        await opener.connect_to(peer)
        body = {
            "node_pubkey_string": peer.pubkey,
            "local_funding_amount": str(CAPACITY_SAT),
            "push_sat": str(CAPACITY_SAT // 2),
            "sat_per_vbyte": "2",
        }
        await opener.rest("POST", "/v1/channels", json=body)

    async def _until_all(self, condition: Condition, *, what: str) -> None:
        for node in self.nodes.values():
            if node.running:
                await node.wait_for(partial(condition, node), what=what)

    async def _knows_the_chain(self, node: LndNode) -> bool:
        info = await node.rest("GET", "/v1/getinfo")
        height = await self.btcd.call("getblockcount")
        return bool(info["synced_to_chain"] and info["block_height"] == height)

    async def _is_whole(self, node: LndNode) -> bool:
        query = {"active_only": "true"}
        active = (await node.rest("GET", "/v1/channels", query=query))["channels"]
        return len(active) == sum(node.name in channel for channel in self.channels)

    async def _knows_the_graph(self, node: LndNode) -> bool:
        edges = (await node.rest("GET", "/v1/graph"))["edges"]
        usable = [edge for edge in edges if edge["node1_policy"] and edge["node2_policy"]]
        return len(usable) == len(self.channels)


@asynccontextmanager
async def regtest_network(directory: Path, *, nodes: int = 3) -> AsyncIterator[RegtestNetwork]:
    """A network of its own. Skips, or fails in CI, where it is not built."""
    _require()
    network = RegtestNetwork(directory, nodes=nodes)
    try:
        await network.start()
        yield network
    finally:
        network.kill()


async def shared_network() -> RegtestNetwork:
    """One network of three for the whole run. Skips, or fails in CI, where it is not built.

    Whoever kills or pauses a node heals the network again.
    """
    _require()
    if not _shared:
        directory = Path(tempfile.mkdtemp(prefix="nwc-regtest-"))
        _shared.append(RegtestNetwork(directory, nodes=3))
        atexit.register(_remove, _shared[0], directory)
        await _shared[0].start()
    assert _shared[0].started, "it did not start when the first test wanted it"
    return _shared[0]


_shared: list[RegtestNetwork] = []


def _require() -> None:
    require_real("the Lightning network (python -m tests.regtest.build)", build.built())


def _remove(network: RegtestNetwork, directory: Path) -> None:
    network.kill()
    shutil.rmtree(directory, ignore_errors=True)
