"""The relay of this folder as a process: khatru, with NIP-42 for several keys on one socket."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from tests.parts import require_real
from tests.relays import build

Auth = Literal["all", "requests", "none"]

START_TIMEOUT_S = 30


class KhatruRelay:
    """One address; started again on it, the relay has forgotten everything."""

    def __init__(self, auth: Auth) -> None:
        self.url = ""
        self._auth = auth
        self._listen = "127.0.0.1:0"
        self._process: Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            build.BINARY, "-listen", self._listen, "-auth", self._auth, stdin=PIPE, stdout=PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            self.url = (await self._process.stdout.readline()).decode().strip()
        assert self.url, "the relay did not start"
        self._listen = self.url.removeprefix("ws://")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


@asynccontextmanager
async def khatru_relay(*, auth: Auth = "all") -> AsyncIterator[KhatruRelay]:
    """With `requests` only who reads requests has to authenticate; with `all` also who writes,
    and who reads anything that is encrypted."""
    require_real("the khatru relay (python -m tests.relays.build)", build.built())
    relay = KhatruRelay(auth)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
