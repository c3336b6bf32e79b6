"""Forks lives of the service, and nodes, from a process that has imported everything.

It has neither threads nor a loop of its own, so a fork is clean and costs milliseconds. When
whoever asks it is gone, it ends with all its children.
"""

import asyncio
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

MESSAGE_BYTES = 2**16
Tell = Callable[[str, Any], None]
"""From a child to whoever asked for it: a word, and what belongs to it."""


class Spec(Protocol):
    """What a child shall do; sent by pickle."""

    def run(self, tell: Tell) -> None: ...


@dataclass(slots=True)
class Child:
    """`ready` has what it said when it was; it is canceled when it ends before."""

    pid: asyncio.Future[int] = field(default_factory=asyncio.Future)
    ready: asyncio.Future[Any] = field(default_factory=asyncio.Future)
    ended: asyncio.Future[int] = field(default_factory=asyncio.Future)
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return not self.ended.done()

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self.is_alive:
                os.kill(self.pid.result(), number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended


class Nursery:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._children: dict[int, Child] = {}

    async def bear(self, spec: Spec, *, log: Path) -> Child:
        """A child that has begun; `ready` tells when it serves."""
        number = len(self._children) + 1
        child = self._children[number] = Child()
        self._link.send(pickle.dumps((number, str(log), spec)))
        await child.pid
        return child

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        while message := await loop.sock_recv(self._link, MESSAGE_BYTES):
            number, word, value = pickle.loads(message)
            child = self._children[number]
            child.said[word] = value
            if word == "pid":
                child.pid.set_result(value)
            elif word == "ready":
                child.ready.set_result(value)
            elif word == "ended":
                child.ready.cancel()
                child.ended.set_result(value)


def open_nursery() -> socket.socket:
    """Fork one; call it before there is a loop or a thread. The link that `nursery` takes."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        mine.close()
        _Matron(its).serve()
        os._exit(0)
    its.close()
    mine.setblocking(False)
    return mine


@asynccontextmanager
async def nursery(link: socket.socket) -> AsyncIterator[Nursery]:
    opened = Nursery(link)
    listening = asyncio.create_task(opened.listen())
    try:
        yield opened
    finally:
        listening.cancel()
        await asyncio.wait([listening])


class _Matron:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._numbers: dict[int, int] = {}  # by pid

    def serve(self) -> None:
        # An interrupt from the terminal is for whoever asks.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        os.set_blocking(readable, False)
        signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._link.fileno(), readable], [], [])
            if readable in ready:
                os.read(readable, 1000)
                self._reap()
            if self._link.fileno() in ready and not self._take_order():
                break
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)

    def _take_order(self) -> bool:
        message = self._link.recv(MESSAGE_BYTES)
        if not message:
            return False
        number, log, spec = pickle.loads(message)
        pid = os.fork()
        if not pid:
            self._live(number, log, spec=spec)
        self._numbers[pid] = number
        self._tell(number, "pid", pid)
        return True

    def _live(self, number: int, log: str, *, spec: Spec) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        try:
            spec.run(lambda word, value: self._tell(number, word, value))
        except Exception:  # noqa: BLE001 (it goes to the log of the child)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(1)

    def _reap(self) -> None:
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._tell(self._numbers.pop(pid), "ended", os.waitstatus_to_exitcode(status))

    def _tell(self, number: int, word: str, value: Any) -> None:
        with suppress(OSError):
            self._link.send(pickle.dumps((number, word, value)))
