"""The npm clients, unmodified: each library in one Node process that js/driver.mjs runs in."""

import asyncio
import itertools
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.clients import install
from tests.clients.client import LIBRARY, ClientError, JsonObject, NwcClient
from tests.parts import require_real

# The libraries themselves wait 60 s for an answer at most, but for those that always wait.
CALL_TIMEOUT_S = 90
MAX_LINE_BYTES = 2**20
MAX_NOTIFICATIONS = 1000


@asynccontextmanager
async def node_driver(library: str) -> AsyncIterator["NodeDriver"]:
    """`library` is a module of js/. Skips the test where the npm packages are not installed."""
    require_real(
        f"the npm client {library} (python -m tests.clients.install)",
        install.installed() and install.node() is not None,
    )
    process = await asyncio.create_subprocess_exec(
        str(install.node()),
        str(install.JS_DIR / "driver.mjs"),
        library,
        stdin=PIPE,
        stdout=PIPE,
        limit=MAX_LINE_BYTES,
    )
    driver = NodeDriver(process)
    reader = asyncio.create_task(driver.read())
    try:
        yield driver
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await reader
        await process.wait()


class NodeDriver:
    """One process, any number of connections."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[JsonObject]] = {}
        self._notifications: dict[str, asyncio.Queue[JsonObject]] = {}

    def client(self, uri: str, **options: object) -> "NodeClient":
        """`options` are for the module's `open`, such as `timeout_ms`."""
        return NodeClient(self, uri, options)

    async def call(self, request: JsonObject, *, timeout_s: float) -> JsonObject:
        """Raises ClientError, or TimeoutError where even the library does not give up."""
        if self._stdout.at_eof():
            raise _ended()
        call_id = next(self._ids)
        answer = self._calls[call_id] = asyncio.get_running_loop().create_future()
        try:
            self._stdin.write(json.dumps({"id": call_id, **request}).encode() + b"\n")
            return await asyncio.wait_for(answer, timeout_s)
        finally:
            del self._calls[call_id]

    def queue(self, uri: str) -> asyncio.Queue[JsonObject]:
        return self._notifications.setdefault(uri, asyncio.Queue(MAX_NOTIFICATIONS))

    async def read(self) -> None:
        """Pass on what the process says, until it ends."""
        async for line in self._stdout:
            self._receive(json.loads(line))
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(_ended())

    def _receive(self, message: JsonObject) -> None:
        if "notification" in message:
            self.queue(message["uri"]).put_nowait(message["notification"])
            return
        answer = self._calls.get(message["id"])
        if answer is None or answer.done():  # its caller has stopped waiting
            return
        if message["ok"]:
            answer.set_result(message["result"])
        else:
            answer.set_exception(ClientError(**message["error"]))


class NodeClient(NwcClient):
    """One connection through the library, which the driver keeps per URI."""

    def __init__(self, driver: NodeDriver, uri: str, options: JsonObject) -> None:
        self._driver = driver
        self._uri = uri
        self._options = options

    async def call(
        self, op: str, params: JsonObject | None = None, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> JsonObject:
        """What the library's module offers beside `request`, by its name there."""
        return await self._driver.call(
            {"uri": self._uri, "options": self._options, "op": op, "params": params or {}},
            timeout_s=timeout_s,
        )

    async def request(self, method: str, params: JsonObject | None = None) -> JsonObject:
        return await self.call("request", {"method": method, "params": params or {}})

    async def notifications(self) -> asyncio.Queue[JsonObject]:
        await self.call("subscribe")
        return self._driver.queue(self._uri)

    async def close(self) -> None:
        await self.call("close")


def _ended() -> ClientError:
    return ClientError(LIBRARY, "the Node process has ended")
