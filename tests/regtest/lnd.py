"""One LND of the network: its process, and its REST interface as anybody sees it."""

import asyncio
import base64
import json as jsonlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.regtest import build
from tests.regtest.btcd import Btcd, pinned
from tests.regtest.keys import master_key_of
from tests.regtest.program import Program, free_port

START_TIMEOUT_S = 120
CALL_TIMEOUT_S = 60
PASSWORD = "only for tests"

# Gossip and reconnecting are hurried; a route that failed in one test is soon forgotten, so
# that the next test finds it; a peer may have several channels opening at once.
OPTIONS = """\
[Application Options]
alias={name}
lnddir={directory}
listen=127.0.0.1:{p2p_port}
rpclisten=127.0.0.1:{rpc_port}
restlisten=127.0.0.1:{rest_port}
tlsdisableautofill=1
nobootstrap=1
wallet-unlock-password-file={directory}/password
wallet-unlock-allow-create=1
accept-keysend=1
maxpendingchannels=10
trickledelay=50
minbackoff=200ms
maxbackoff=1s
channel-commit-interval=10ms
debuglevel=info
[bitcoin]
bitcoin.regtest=1
bitcoin.node=btcd
bitcoin.defaultchanconfs=1
[btcd]
btcd.rpchost=127.0.0.1:{btcd.port}
btcd.rpcuser={btcd.user}
btcd.rpcpass={btcd.password}
btcd.rpccert={btcd.certificate}
[gossip]
gossip.sub-batch-delay=5ms
gossip.announcement-conf=3
[routerrpc]
routerrpc.apriori.penaltyhalflife=1s
[db]
db.batch-commit-interval=10ms
"""


class RestError(Exception):
    """LND refused. `code` is gRPC's; both codes and the words are LND's own."""

    def __init__(self, status: int, *, code: int, message: str) -> None:
        super().__init__(f"HTTP {status}, code {code}: {message}")
        self.status, self.code, self.message = status, code, message


class LndNode:
    """Started again, it has the same wallet, ports, certificate and macaroons."""

    def __init__(self, name: str, *, directory: Path, btcd: Btcd) -> None:
        directory.mkdir(parents=True)
        self.name = name
        self.pubkey = ""
        self.p2p_port, self.rest_port = free_port(), free_port()
        self.certificate = directory / "tls.cert"
        self._admin_macaroon = directory / "data/chain/bitcoin/regtest/admin.macaroon"
        self._tls: ssl.SSLContext | None = None
        options = OPTIONS.format(
            name=name,
            directory=directory,
            btcd=btcd,
            p2p_port=self.p2p_port,
            rpc_port=free_port(),
            rest_port=self.rest_port,
        )
        (directory / "lnd.conf").touch(mode=0o600)
        (directory / "lnd.conf").write_text(options)
        (directory / "password").write_text(PASSWORD)
        command = [str(build.LND), f"--configfile={directory}/lnd.conf"]
        self.program = Program(command, directory=directory)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.rest_port}"

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts this node and no other."""
        if self._tls is None:
            self._tls = pinned(self.certificate)
        return self._tls

    @property
    def host(self) -> str:
        """Where its peers find it."""
        return f"127.0.0.1:{self.p2p_port}"

    @property
    def macaroon(self) -> str:
        """The admin's, in hex."""
        return self._admin_macaroon.read_bytes().hex()

    def log_text(self) -> str:
        """Of all its lives."""
        return self.program.log.read_text(errors="replace")

    # --- its life

    async def start(self) -> None:
        """Until it is active, with a wallet; that a channel is usable takes longer."""
        self.program.start()
        await self.wait_for(self._is_up, what="its databases")
        if await self.state() == "NON_EXISTING":
            await self._make_wallet()
        await self.wait_for(self._is_active, what="SERVER_ACTIVE")
        self.pubkey = (await self.rest("GET", "/v1/getinfo"))["identity_pubkey"]

    @property
    def running(self) -> bool:
        return self.program.running

    def kill(self) -> None:
        self.program.kill()

    async def restart(self) -> None:
        """Killed, if it runs; for its channels `heal` of the network waits."""
        self.kill()
        await self.start()

    def pause(self) -> None:
        self.program.pause()

    def resume(self) -> None:
        self.program.resume()

    async def state(self) -> str:
        return str((await self.rest("GET", "/v1/state", macaroon=""))["state"])

    async def wait_for(self, condition: Callable[[], Awaitable[bool]], *, what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await condition():
            alive = self.running and time.monotonic() < deadline
            assert alive, f"{self.name} waits in vain for {what}:\n{self.program.last_words()}"
            await asyncio.sleep(0.05)

    # --- what anybody may ask

    async def rest(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        macaroon: str | None = None,
    ) -> dict[str, Any]:
        """One call, as admin unless a macaroon is given. Raises RestError."""
        async with self.client(macaroon) as client:
            answer = await client.request(method, path, json=json, params=query)
        reply: dict[str, Any] = answer.json()
        if answer.is_error:
            raise RestError(answer.status_code, code=reply["code"], message=reply["message"])
        return reply

    async def stream(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        query: Mapping[str, str] | None = None,
        macaroon: str | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """The results of a streaming call. Raises RestError."""
        async with (
            self.client(macaroon) as client,
            client.stream(method, path, json=json, params=query) as answer,
        ):
            async for line in answer.aiter_lines():
                reply = jsonlib.loads(line)
                if "result" not in reply:
                    error = reply.get("error", reply)
                    raise RestError(
                        answer.status_code, code=error["code"], message=error["message"]
                    )
                yield reply["result"]

    @asynccontextmanager
    async def client(self, macaroon: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A client of this node, as admin unless a macaroon is given."""
        macaroon = self.macaroon if macaroon is None else macaroon
        headers = {"Grpc-Metadata-macaroon": macaroon} if macaroon else {}
        async with httpx.AsyncClient(
            base_url=self.url,
            verify=self.tls,
            headers=headers,
            timeout=CALL_TIMEOUT_S,
            trust_env=False,
        ) as client:
            yield client

    async def bake(self, *permissions: str, root_key_id: int = 0) -> str:
        """A macaroon in hex; permissions are like "offchain:read"."""
        pairs = [permission.split(":", 1) for permission in permissions]
        body = {
            "permissions": [{"entity": entity, "action": action} for entity, action in pairs],
            "root_key_id": str(root_key_id),
            "allow_external_permissions": True,
        }
        return str((await self.rest("POST", "/v1/macaroon", json=body))["macaroon"])

    async def make_invoice(self, amount_msat: int, **fields: object) -> dict[str, Any]:
        """LND's answer; bytes in the fields are base64, as its REST wants them."""
        body = {"value_msat": str(amount_msat), **fields}
        return await self.rest("POST", "/v1/invoices", json=body)

    async def pay(self, **fields: object) -> dict[str, Any]:
        """The last state of the payment."""
        body = {"timeout_seconds": 30, "fee_limit_msat": "100000", **fields}
        states = [state async for state in self.stream("POST", "/v2/router/send", json=body)]
        return states[-1]

    # --- what the network waits for

    async def connect_to(self, peer: "LndNode") -> None:
        """For good; LND answers before they have greeted each other."""
        if await self._is_connected_to(peer):
            return
        address = {"pubkey": peer.pubkey, "host": peer.host}
        await self.rest("POST", "/v1/peers", json={"addr": address, "perm": True})
        await self.wait_for(partial(self._is_connected_to, peer), what=peer.name)

    async def _is_connected_to(self, peer: "LndNode") -> bool:
        peers = (await self.rest("GET", "/v1/peers"))["peers"]
        return any(known["pub_key"] == peer.pubkey for known in peers)

    async def _is_up(self) -> bool:
        try:
            return await self.state() != "WAITING_TO_START"
        except (httpx.TransportError, ssl.SSLError, FileNotFoundError, RestError):
            return False

    async def _is_active(self) -> bool:
        return await self.state() == "SERVER_ACTIVE"

    async def _make_wallet(self) -> None:
        body = {
            "wallet_password": base64.b64encode(PASSWORD.encode()).decode(),
            "extended_master_key": master_key_of(self.name),
            "extended_master_key_birthday_timestamp": "1",
            "recovery_window": 1,
        }
        await self.rest("POST", "/v1/initwallet", json=body, macaroon="")
