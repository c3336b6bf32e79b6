"""The chain: one btcd on regtest that knows no other node and mines when told."""

import asyncio
import secrets
import ssl
from pathlib import Path
from typing import Any

import httpx

from tests.regtest import build
from tests.regtest.program import Program, free_port

START_TIMEOUT_S = 60
CALL_TIMEOUT_S = 60
OPTIONS = """\
[Application Options]
regtest=1
nolisten=1
nodnsseed=1
txindex=1
rpcuser={user}
rpcpass={password}
rpclisten=127.0.0.1:{port}
rpccert={directory}/rpc.cert
rpckey={directory}/rpc.key
datadir={directory}/data
logdir={directory}/logs
miningaddr={address}
"""


class Btcd:
    def __init__(self, directory: Path, *, mine_to: str) -> None:
        directory.mkdir(parents=True)
        self.user, self.password = "regtest", secrets.token_urlsafe(16)
        self.port = free_port()
        self.certificate = directory / "rpc.cert"
        options = directory / "btcd.conf"
        options.touch(mode=0o600)
        options.write_text(
            OPTIONS.format(
                user=self.user,
                password=self.password,
                port=self.port,
                directory=directory,
                address=mine_to,
            )
        )
        command = [str(build.BTCD), f"--configfile={options}"]
        self.program = Program(command, directory=directory)

    async def start(self) -> None:
        self.program.start()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._answers():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"btcd: {self.program.last_words()}") from None

    async def mine(self, blocks: int) -> None:
        await self.call("generate", blocks)

    async def call(self, method: str, *parameters: object) -> Any:
        """One JSON-RPC call; raises AssertionError with what btcd says."""
        body = {"jsonrpc": "1.0", "id": 1, "method": method, "params": parameters}
        async with httpx.AsyncClient(
            verify=pinned(self.certificate), trust_env=False, timeout=CALL_TIMEOUT_S
        ) as client:
            url = f"https://127.0.0.1:{self.port}"
            answer = await client.post(url, json=body, auth=(self.user, self.password))
        reply = answer.json()
        assert reply["error"] is None, reply["error"]
        return reply["result"]

    async def _answers(self) -> bool:
        if not self.certificate.exists():
            return False
        try:
            await self.call("getblockcount")
        except (httpx.TransportError, ssl.SSLError):
            return False
        return True


def pinned(certificate: Path) -> ssl.SSLContext:
    """Trusts this certificate and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate)
    return context
