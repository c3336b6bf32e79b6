"""Token buckets, one per key; the time is passed in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` tokens come back each second, up to `burst`."""

    per_s: float
    burst: float


class Buckets:
    """A key that has been idle long enough to be full again is forgotten."""

    def __init__(self, rate: Rate, *, max_keys: int = 100_000) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str, *, now: float) -> bool:
        """False when the bucket of `key` is empty."""
        level, since = self._levels.get(key, (self._rate.burst, now))
        level = min(self._rate.burst, level + (now - since) * self._rate.per_s)
        allowed = level >= 1
        self._levels[key] = (level - 1 if allowed else level, now)
        if len(self._levels) > self._max_keys:
            self._forget_full(now)
        return allowed

    def _forget_full(self, now: float) -> None:
        refill_s = self._rate.burst / self._rate.per_s
        self._levels = {
            key: (level, since)
            for key, (level, since) in self._levels.items()
            if now - since < refill_s
        }
