"""python -m tests.fuzz.speed: what the worst inputs cost at the size cap of their parser.

Processor time, the least of several runs, in milliseconds and as a multiple of a floor: SHA-256
over 128 KiB on the same machine. Only the multiples can be compared between machines.
"""

import contextlib
import time
from collections.abc import Callable
from hashlib import sha256

from tests.core import bolt11_forge
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.worst import GOOD_FIELDS, WORST

RUNS = 15
FLOOR_BYTES = bytes(131_072)


def cost_s(action: Callable[[], object], *, runs: int = RUNS) -> float:
    """The processor time of one call."""
    return min(_once_s(action) for _ in range(runs))


def _once_s(action: Callable[[], object]) -> float:
    began_at = time.thread_time()
    action()
    return time.thread_time() - began_at


def reading(target: Target, data: bytes) -> Callable[[], None]:
    def read() -> None:
        with contextlib.suppress(*target.refusals):
            target.read(data)

    return read


def main() -> None:
    floor_s = cost_s(lambda: sha256(FLOOR_BYTES).digest())
    print(
        f"floor {floor_s * 1000:.3f} ms\n{'parser':16}{'input':20}{'bytes':>8}{'ms':>9}{'x':>8}"
    )
    _tell("bolt11", "a normal invoice", bolt11_forge.invoice_of(GOOD_FIELDS).encode(), floor_s)
    for name, inputs in WORST.items():
        for kind, grow in inputs.items():
            _tell(name, kind, grow(TARGETS[name].max_bytes), floor_s)


def _tell(name: str, kind: str, data: bytes, floor_s: float) -> None:
    took_s = cost_s(reading(TARGETS[name], data))
    print(f"{name:16}{kind:20}{len(data):8}{took_s * 1000:9.3f}{took_s / floor_s:8.1f}")


if __name__ == "__main__":
    main()
