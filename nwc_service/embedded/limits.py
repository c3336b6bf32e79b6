"""What one socket, one address and the whole embedded relay may take."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

__all__ = ["RelayLimits", "SocketCount", "Strangers", "TokenBucket"]

IPV6_PREFIX_BITS = 64  # one customer of a provider has at least so many addresses


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Sizes in bytes, counts, and seconds. The NIP-11 document tells clients most of them."""

    frame_bytes: int = 128 * 1024
    content_chars: int = 64 * 1024  # NIP-47 suggests that relays accept 64 KB
    tags_per_event: int = 100

    subscriptions_per_socket: int = 20
    filters_per_req: int = 10
    values_per_filter: int = 2_000
    values_per_socket: int = 4_000
    keys_per_socket: int = 100  # authenticated by NIP-42
    subscription_id_chars: int = 64  # NIP-01

    # Below the 1024 open files that many systems allow, since the database and the backend
    # need some too. When all are taken, the oldest stranger gives way to the next to come.
    sockets: int = 800
    sockets_per_ip: int = 100  # public addresses only: behind a proxy all clients share one

    # A client pays for what it costs, and one in debt is read more slowly, not cut off. One
    # message is one token and more if it is large, refused, or searches much: enough for some
    # 600 requests a second, each with a subscription of its own, and for 200 refusals.
    tokens_per_s: float = 2_000
    token_burst: float = 8_000
    unsent_bytes: int = 1024 * 1024  # who leaves more unread is disconnected
    unread_s: float = 30  # likewise who leaves replies of half as much unread for so long

    # What is refused, and whatever else strangers send, is read no faster than this from all
    # sockets together. A forged signature costs about 0.1 ms, so a flood of them takes a tenth
    # of one processor. A stranger is who has not shown a signature of a key that we know.
    stranger_frames_per_s: float = 1_000
    stranger_frame_burst: float = 2_000
    address_frames_per_s: float = 200  # of these, from one public address
    address_frame_burst: float = 1_000
    addresses: int = 10_000  # remembered

    # The websocket library decodes all that one read brings, and answers the pings in it,
    # before it looks at how much is waiting already.
    read_bytes: int = 4 * 1024
    pings_per_s: float = 2  # who sends more is disconnected
    ping_burst: float = 60

    max_age_s: int = 300
    max_ahead_s: int = 60
    stored_count: int = 20_000  # for requests, and again for what the service publishes
    stored_bytes: int = 32 * 1024 * 1024  # likewise
    stored_per_filter: int = 500
    remembered_ids: int = 100_000

    open_timeout_s: float = 10
    ping_interval_s: float = 30  # proxies drop sockets that are idle for a minute
    ping_timeout_s: float = 20

    @property
    def kept_s(self) -> int:
        """Five minutes, and the minute that a client's clock may be ahead: so no request can be
        replayed by the time it is forgotten."""
        return self.max_age_s + self.max_ahead_s


class TokenBucket:
    """Never refuses; it tells how long to wait before the next message is read."""

    __slots__ = ("_as_of", "_burst", "_rate_per_s", "_tokens")

    def __init__(self, *, rate_per_s: float, burst: float, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._as_of = now

    def take(self, tokens: float) -> None:
        self._tokens -= tokens

    def wait_s(self, now: float) -> float:
        """Zero unless in debt."""
        gained = (now - self._as_of) * self._rate_per_s
        self._tokens = min(self._burst, self._tokens + gained)
        self._as_of = now
        return max(0.0, -self._tokens / self._rate_per_s)


class Strangers:
    """The buckets that sockets share: one for the whole relay, one for each public address."""

    def __init__(self, limits: RelayLimits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._relay = TokenBucket(
            rate_per_s=limits.stranger_frames_per_s,
            burst=limits.stranger_frame_burst,
            now=clock(),
        )
        self._by_source: dict[str, TokenBucket] = {}  # the latest to connect is the last

    def buckets(self, ip: str) -> tuple[TokenBucket, ...]:
        """What a new socket from this address draws on."""
        source = _source(ip)
        if source is None:
            return (self._relay,)
        bucket = self._by_source.pop(source, None) or self._new_bucket()
        self._by_source[source] = bucket
        if len(self._by_source) > self._limits.addresses:
            del self._by_source[next(iter(self._by_source))]
        return self._relay, bucket

    def _new_bucket(self) -> TokenBucket:
        return TokenBucket(
            rate_per_s=self._limits.address_frames_per_s,
            burst=self._limits.address_frame_burst,
            now=self._clock(),
        )


class SocketCount:
    """How many sockets are open by public address."""

    __slots__ = ("_by_source", "_maximum")

    def __init__(self, limits: RelayLimits) -> None:
        self._maximum = limits.sockets_per_ip
        self._by_source: dict[str, int] = {}

    def enter(self, ip: str) -> bool:
        """Whether there is room. Counted either way, so each call needs its `leave`."""
        source = _source(ip)
        if source is None:
            return True
        self._by_source[source] = self._by_source.get(source, 0) + 1
        return self._by_source[source] <= self._maximum

    def leave(self, ip: str) -> None:
        source = _source(ip)
        if source is not None:
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]


def _source(ip: str) -> str | None:
    """What stands for one owner of public addresses; None for private ones, behind which a
    proxy may bring anybody."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    if not address.is_global:
        return None
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, IPV6_PREFIX_BITS), strict=False))
