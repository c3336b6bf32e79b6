"""The real service as its own process, and its admin API, for the end-to-end tests."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

START_TIMEOUT_S = 30.0
PROGRAM = [sys.executable, "-m", "nwc_service"]


class CommandFailed(Exception):
    """The command exited non-zero; `code` and its standard error."""

    def __init__(self, code: int, stderr: str) -> None:
        super().__init__(f"exit {code}: {stderr}")
        self.code = code
        self.stderr = stderr


class ServiceProcess:
    """One data directory, and the process that serves it: start, kill and start again."""

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str],
        *,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.data_dir = data_dir
        self._program = program
        self.log_path = data_dir / "service.log"
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self.admin = httpx.AsyncClient(timeout=30, trust_env=False)

    async def start(self, **extra: str) -> None:
        """`extra` are environment variables of this one life, such as NWC_FAILPOINT."""
        url = self.data_dir / "admin.url"
        url.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._program, "serve", stdout=log, stderr=log, env=self._env() | extra
            )
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers(url):
                if self._process.returncode is not None:
                    raise RuntimeError(f"the service did not start:\n{self.log_text()}")
                await asyncio.sleep(0.05)

    async def wait(self) -> int:
        """Until the process ends by itself, as at a failpoint."""
        assert self._process is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            return await self._process.wait()

    async def kill(self) -> None:
        """As by a power cut."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def close(self) -> None:
        await self.stop()
        await self.admin.aclose()

    async def call(self, method: str, path: str, **body: object) -> Any:
        """The JSON answer of the admin API. Raises httpx.HTTPStatusError."""
        response = await self.admin.request(
            method, f"/api/v1/{path}", json=body if method == "POST" else None
        )
        if response.is_error:
            raise httpx.HTTPStatusError(
                response.text, request=response.request, response=response
            )
        return response.json()

    async def create_account(self, name: str, *, credit_msat: int = 0) -> dict[str, Any]:
        account = await self.call("POST", "accounts", name=name)
        if credit_msat:
            account = await self.call(
                "POST", f"accounts/{name}/credit", amount_msat=credit_msat, reason="a test"
            )
        return dict(account)

    async def connect(self, account: str, **wishes: object) -> str:
        """A new connection's URI."""
        created = await self.call(
            "POST", "connections", account=account, app="a test", **wishes
        )
        return str(created["uri"])

    async def account(self, name: str) -> dict[str, Any]:
        return dict(await self.call("GET", f"accounts/{name}"))

    async def sandbox(self, command: str, **arguments: object) -> dict[str, Any]:
        return dict(
            await self.call("POST", f"backends/sandbox/commands/{command}", **arguments)
        )

    async def audit(self) -> dict[str, Any]:
        return dict(await self.call("GET", "audit"))

    async def cli(self, *arguments: str) -> Any:
        """The JSON that the real command line prints. Raises CommandFailed."""
        process = await asyncio.create_subprocess_exec(
            *self._program,
            *arguments,
            "--json",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._env(),
        )
        stdout, stderr = await process.communicate()
        if process.returncode:
            raise CommandFailed(process.returncode, stderr.decode())
        return json.loads(stdout)

    def log_text(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    async def _answers(self, url: Path) -> bool:
        if not url.exists():
            return False
        self.admin.base_url = httpx.URL(url.read_text().strip())
        token = (self.data_dir / "admin.token").read_text().strip()
        self.admin.headers["Authorization"] = f"Bearer {token}"
        try:
            return (await self.admin.get("/healthz")).is_success
        except httpx.TransportError:
            return False

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(number)
            async with asyncio.timeout(START_TIMEOUT_S):
                await process.wait()

    def _env(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("NWC_")
        }
        return inherited | {"NWC_DATA_DIR": str(self.data_dir)} | self._environment


@asynccontextmanager
async def service_process(
    data_dir: Path, *, program: Sequence[str] = PROGRAM, **environment: str
) -> AsyncIterator[ServiceProcess]:
    """A started service on `data_dir`; stopped and closed on leaving."""
    data_dir.mkdir(parents=True, exist_ok=True)
    service = ServiceProcess(data_dir, environment, program=program)
    try:
        await service.start()
        yield service
    finally:
        await service.close()
