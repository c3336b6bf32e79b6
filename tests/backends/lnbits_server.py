"""Real LNbits for the tests: a chain of two, so that payments between them are external.

LNbits "outside" runs on its FakeWallet; "ours" has a wallet there as its funding source. What a
wallet of ours pays to one outside, or is paid from there, crosses a funding source as it would
on the Lightning network, with a real preimage.

`python -m tests.backends.lnbits_server install` makes the virtual environment beforehand.
"""

import asyncio
import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

from nwc_service.wallet.units import MSAT_PER_SAT, Msat, Sat
from tests.backends.lnbits_venv import LnbitsMissingError, install, venv_path

START_TIMEOUT_S = 90
CALL_TIMEOUT_S = 30
FUNDING_SAT = Sat(9_000_000)  # LNbits takes at most ten million in one invoice

# LNbits answers "pending" after this, and then drops its call to the funding source.
PAY_WAIT_S = 2

# Runs a command until standard input ends, as it does when this process dies in any way.
WITH_US = '"$@" & cat; kill -9 0'

SETTINGS: Mapping[str, str] = {
    "LNBITS_ADMIN_UI": "true",  # without it nobody may top up a wallet
    "AUTH_HTTPS_ONLY": "false",
    "AUTH_SECRET_KEY": "only for tests",
    "ENABLE_LOG_TO_FILE": "false",
    "LNBITS_RATE_LIMIT_NO": "1000000",
    "LNBITS_FUNDING_SOURCE_PAY_INVOICE_WAIT_SECONDS": str(PAY_WAIT_S),
    # nothing here may ask the internet: neither for prices nor for extensions
    "LNBITS_DEFAULT_ACCOUNTING_CURRENCY": "",
    "LNBITS_PRICE_AGGREGATOR_ENABLED": "false",
    "LNBITS_EXCHANGE_RATE_PROVIDERS": "[]",
    "LNBITS_EXTENSIONS_MANIFESTS": "[]",
    "LNBITS_WASM_EXTENSIONS_MANIFESTS": "[]",
}


@dataclass(frozen=True, slots=True)
class LnbitsWallet:
    """A wallet and its keys, with what a person would do on its page."""

    url: str
    wallet_id: str
    admin_key: str
    invoice_key: str

    async def make_invoice(self, amount_msat: int, *, expiry_s: int = 3600) -> str:
        amount_sat, rest = divmod(amount_msat, MSAT_PER_SAT)
        assert not rest, "LNbits makes invoices of whole sats only"
        body = {"out": False, "amount": amount_sat, "memo": "outside", "expiry": expiry_s}
        created = await call(
            "POST", f"{self.url}/api/v1/payments", key=self.invoice_key, json=body
        )
        return str(created["bolt11"])

    async def pay(self, invoice: str) -> str:
        """The status in LNbits' own words."""
        body = {"out": True, "bolt11": invoice}
        paid = await call("POST", f"{self.url}/api/v1/payments", key=self.admin_key, json=body)
        return str(paid["status"])

    async def balance_msat(self) -> Msat:
        wallet = await call("GET", f"{self.url}/api/v1/wallet", key=self.invoice_key)
        return Msat(int(str(wallet["balance"])))


@dataclass(slots=True)
class LnbitsServer:
    """One LNbits: its process group, which is a parent and the child that serves."""

    name: str
    directory: Path
    funding: Mapping[str, str]
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None
    token: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start, or start again on the same data. Raises LnbitsMissingError."""
        self.process = await asyncio.to_thread(self._spawn)
        await self._wait_until_it_answers()
        if not self.token:
            user = {"username": "operator", "password": "secret1234"}
            body = user | {"password_repeat": user["password"]}
            answer = await call("PUT", f"{self.url}/api/v1/auth/first_install", json=body)
            self.token = str(answer["access_token"])

    async def new_wallet(self, *, credit_sat: int = 0) -> LnbitsWallet:
        url = f"{self.url}/api/v1/wallet"
        made = await call("POST", url, bearer=self.token, json={"name": "test"})
        wallet = LnbitsWallet(
            self.url, str(made["id"]), str(made["adminkey"]), str(made["inkey"])
        )
        if credit_sat:
            await self.credit(wallet, credit_sat)
        return wallet

    async def credit(self, wallet: LnbitsWallet, amount_sat: int) -> None:
        body = {"id": wallet.wallet_id, "amount": amount_sat}
        await call("PUT", f"{self.url}/users/api/v1/balance", bearer=self.token, json=body)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """The whole group: a SIGTERM to the parent alone leaves the child serving."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.communicate()
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"LNbits {self.name} is not running"
        os.killpg(self.process.pid, number)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True)
        static_parent = self.directory / "lnbits"
        if not static_parent.exists():
            # LNbits looks for lnbits/static below its working directory
            static_parent.symlink_to(
                next(venv_path().glob("lib/python3*/site-packages/lnbits"))
            )
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LNBITS_DATA_FOLDER": str(self.directory / "data"),
            "LNBITS_EXTENSIONS_PATH": str(self.directory / "extensions"),
            "FAKE_WALLET_SECRET": f"{self.name} node",
            **SETTINGS,
            **self.funding,
        }
        lnbits = [str(venv_path() / "bin" / "lnbits"), "--host", "127.0.0.1"]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                ["sh", "-c", WITH_US, "sh", *lnbits, "--port", str(self.port)],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _wait_until_it_answers(self) -> None:
        # The parent outlives a child that died at import, so only time tells.
        for _ in range(START_TIMEOUT_S * 5):
            if await _answers(f"{self.url}/api/v1/health"):
                return
            await asyncio.sleep(0.2)
        self.kill()
        last_line = (self._log_path.read_text().splitlines() or ["no output"])[-1]
        raise LnbitsMissingError(f"LNbits did not start: {last_line}")

    @property
    def _log_path(self) -> Path:
        return self.directory / "log"


@dataclass(frozen=True, slots=True)
class LnbitsChain:
    """Two LNbits, with one wallet on each that has money to try with."""

    upstream: LnbitsServer
    ours: LnbitsServer
    our_wallet: LnbitsWallet
    outside: LnbitsWallet

    @property
    def our_url(self) -> str:
        return self.ours.url

    @property
    def admin_key(self) -> str:
        return self.our_wallet.admin_key

    @property
    def invoice_key(self) -> str:
        return self.our_wallet.invoice_key

    async def balances_msat(self) -> tuple[Msat, Msat]:
        """Ours, then outside."""
        return await self.our_wallet.balance_msat(), await self.outside.balance_msat()

    def pause_upstream(self) -> None:
        self.upstream.pause()

    def resume_upstream(self) -> None:
        self.upstream.resume()

    def kill_upstream(self) -> None:
        self.upstream.kill()

    async def restart_upstream(self) -> None:
        """FakeWallet forgets the invoices that were open."""
        self.upstream.kill()
        await self.upstream.start()


@asynccontextmanager
async def lnbits_chain(directory: Path) -> AsyncIterator[LnbitsChain]:
    """A chain of its own; takes half a minute. Skips or fails as `unavailable` says."""
    servers: list[LnbitsServer] = []
    try:
        try:
            chain = await _start_chain(directory, servers)
        except LnbitsMissingError as problem:
            unavailable(problem)
        yield chain
    finally:
        for server in servers:
            server.kill()


async def shared_chain() -> LnbitsChain:
    """One chain for the whole run: wallets are cheap, so each test takes new ones.

    Bound to no event loop. Whoever pauses or kills a server of it puts it right again.
    """
    if not _shared:
        directory = Path(tempfile.mkdtemp(prefix="nwc-lnbits-"))
        servers: list[LnbitsServer] = []
        atexit.register(_remove, servers, directory)
        try:
            _shared.append(await _start_chain(directory, servers))
        except LnbitsMissingError as problem:
            _shared.append(problem)
    chain = _shared[0]
    if isinstance(chain, LnbitsMissingError):
        unavailable(chain)
    return chain


_shared: list[LnbitsChain | LnbitsMissingError] = []


def unavailable(problem: LnbitsMissingError) -> NoReturn:
    """Fail where real parts are required (CI, NWC_REQUIRE_REAL), else skip."""
    if os.environ.get("CI") or os.environ.get("NWC_REQUIRE_REAL"):
        pytest.fail(str(problem), pytrace=False)
    pytest.skip(str(problem))


async def call(
    method: str,
    url: str,
    *,
    key: str | None = None,
    bearer: str | None = None,
    json: Mapping[str, object] | None = None,
    query: Mapping[str, str] | None = None,
) -> Mapping[str, object]:
    """One request on a connection of its own; raises on any HTTP error."""
    headers = {"X-Api-Key": key} if key else {}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    async with httpx.AsyncClient(
        trust_env=False, verify=False, timeout=CALL_TIMEOUT_S
    ) as client:
        response = await client.request(method, url, headers=headers, json=json, params=query)
    response.raise_for_status()
    answer: Mapping[str, object] = response.json()
    return answer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def _start_chain(directory: Path, servers: list[LnbitsServer]) -> LnbitsChain:
    """Every server that was started is in `servers`, whatever happens."""
    await asyncio.to_thread(install)
    fake_node = {"LNBITS_BACKEND_WALLET_CLASS": "FakeWallet"}
    upstream = LnbitsServer("outside", directory / "outside", fake_node)
    servers.append(upstream)
    await upstream.start()
    funding = await upstream.new_wallet(credit_sat=FUNDING_SAT)
    wallet_upstream = {
        "LNBITS_BACKEND_WALLET_CLASS": "LNbitsWallet",
        "LNBITS_ENDPOINT": upstream.url,
        "LNBITS_KEY": funding.admin_key,
    }
    ours = LnbitsServer("ours", directory / "ours", wallet_upstream)
    servers.append(ours)
    await ours.start()
    return LnbitsChain(
        upstream=upstream,
        ours=ours,
        our_wallet=await ours.new_wallet(credit_sat=1_000_000),
        outside=await upstream.new_wallet(credit_sat=1_000_000),
    )


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            return (await client.get(url)).status_code < 500
    except httpx.HTTPError:
        return False


def _remove(servers: list[LnbitsServer], directory: Path) -> None:
    for server in servers:
        server.kill()
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.backends.lnbits_server install")
    try:
        install()
    except LnbitsMissingError as problem:
        sys.exit(str(problem))
