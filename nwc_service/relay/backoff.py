"""How long to wait before the next try."""

import secrets
from collections.abc import Callable

__all__ = ["RANDOM", "Backoff", "Jitter"]

Jitter = Callable[[], float]
"""A random number from 0 up to 1."""

RANDOM: Jitter = secrets.SystemRandom().random

FIRST_S = 1.0
LAST_S = 300.0
STABLE_S = 60.0


class Backoff:
    """Doubles from 1 s to 5 min. Half of each wait is random, so that those who lost a relay
    together do not come back together."""

    def __init__(self, *, jitter: Jitter = RANDOM) -> None:
        self._jitter = jitter
        self._ceiling_s = FIRST_S

    def next_s(self, *, lasted_s: float) -> float:
        """`lasted_s` is for how long the last try held: a stable minute begins anew."""
        ceiling_s = FIRST_S if lasted_s >= STABLE_S else self._ceiling_s
        self._ceiling_s = min(2 * ceiling_s, LAST_S)
        return max(FIRST_S, ceiling_s * (1 + self._jitter()) / 2)
