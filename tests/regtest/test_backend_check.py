"""nwc-service backend check, before the first start, against a real LND."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from backends.lnd.rights import NEEDED
from tests.e2e.conftest import Cli
from tests.regtest.lnd import LndNode
from tests.regtest.network import RegtestNetwork, shared_network

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

ROOT_KEY_ID = 78


@pytest.fixture
async def network() -> AsyncIterator[RegtestNetwork]:
    network = await shared_network()
    yield network
    await network.heal()


class Checked:
    """What the command says of one macaroon for alice."""

    def __init__(self, node: LndNode, directory: Path) -> None:
        self._node = node
        self._macaroon = directory / "nwc.macaroon"
        self._cli = Cli(directory / "data")

    async def wrong(self, macaroon: str) -> Mapping[str, str]:
        """By their subjects, what is wrong and how it is mended; exit 1 where anything is."""
        self._macaroon.write_bytes(bytes.fromhex(macaroon))
        done = await self._cli.run(
            "backend",
            "check",
            "lnd",
            "--json",
            NWC_BACKEND="lnd",
            NWC_LND_URL=self._node.url,
            NWC_LND_TLS_CERT=str(self._node.certificate),
            NWC_LND_MACAROON_PATH=str(self._macaroon),
        )
        self.told = {found["subject"]: found["says"] for found in json.loads(done.stdout)}
        wrong = {
            found["subject"]: f"{found['says']}; {found['remedy']}"
            for found in json.loads(done.stdout)
            if found["remedy"] is not None
        }
        assert (done.code, done.stderr) == (1 if wrong else 0, "")
        assert macaroon[:32] not in done.stdout
        return wrong


async def test_a_real_node_is_told_as_it_is_and_as_what_is_wrong_with_it(
    network: RegtestNetwork, tmp_path: Path
) -> None:
    alice = network.nodes["alice"]
    checked = Checked(alice, tmp_path)
    baked = await alice.bake(*(f"uri:{uri}" for uri in NEEDED), root_key_id=ROOT_KEY_ID)

    assert await checked.wrong(baked) == {}
    assert checked.told["identity"] == f"alice {alice.pubkey}"
    assert checked.told["network"] == "regtest"
    assert checked.told["version"].startswith("LND 0.")
    assert checked.told["clock"] == "this machine's and the node's agree"
    right = dict(checked.told)

    admin = await checked.wrong(alice.macaroon)
    assert list(admin) == ["macaroon"]
    assert "more than is needed: address:read" in admin["macaroon"]
    assert {**checked.told, "macaroon": right["macaroon"]} == right

    narrow = await checked.wrong(await alice.bake("info:read"))
    assert "does not allow /lnrpc.Lightning/ChannelBalance" in narrow["macaroon"]
    assert "permission denied" in narrow["balance"]

    await alice.rest("DELETE", f"/v1/macaroon/{ROOT_KEY_ID}")
    revoked = await checked.wrong(baked)
    assert "backend bake lnd" in revoked["connection"]

    alice.kill()
    down = await checked.wrong(baked)
    assert list(down) == ["connection"]
    assert "check url, and that LND runs" in down["connection"]
