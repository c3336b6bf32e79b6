"""A program that dies with the tests, however they end, and that can be frozen and killed."""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Runs a command until standard input ends, as it does when this process dies in any way. The
# shell is not frozen with the program, or it could not kill it any more.
WITH_US = '"$@" >>"$0" 2>&1 </dev/null & echo $!; cat; kill -9 $!; wait'


class Program:
    """One command with one log, started as often as wanted. Bound to no event loop."""

    def __init__(self, command: Sequence[str], *, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._command = command
        self._shell: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def start(self) -> None:
        assert not self.running, "it is already running"
        self.kill()
        self._shell = subprocess.Popen(
            ["sh", "-c", WITH_US, str(self.log), *self._command],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._shell.stdout is not None
        self._pid = int(self._shell.stdout.readline())

    @property
    def running(self) -> bool:
        """Paused is running too; what has ended by itself is not."""
        if self._shell is None:
            return False
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def pid(self) -> int:
        assert self._shell is not None, f"{self._command[0]} is not running"
        return self._pid

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As kill -9 does. Nothing happens to what is not running."""
        if self._shell is not None:
            self._shell.communicate()  # closes its input
            self._shell = None

    def last_words(self) -> str:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return "\n".join(lines[-20:])


def free_port() -> int:
    """Of those that no system gives to a client: still free when a killed program returns."""
    while True:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            if port not in _taken:
                _taken.add(port)
                return port


_taken: set[int] = set()
