"""Named places where a test may kill the process: `NWC_FAILPOINT=after_reserve`."""

import os
import signal

_ARMED = os.environ.get("NWC_FAILPOINT")


def failpoint(name: str) -> None:
    """Die here as by a power cut, when armed; nothing otherwise."""
    if name == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)
