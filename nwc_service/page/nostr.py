"""Signing in with a Nostr key, by a browser's extension."""

from collections import OrderedDict
from collections.abc import Callable

import orjson
from starlette.requests import Request

from nwc_service.nostr.event import InvalidEvent, parse_event
from nwc_service.nostr.http_auth import LASTS_S, NotProven, proven_key
from nwc_service.nostr.keys import PublicKey
from nwc_service.page.api import Problem

MAX_REMEMBERED = 10_000


class Proofs:
    """Each is good once."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._used: OrderedDict[str, int] = OrderedDict()

    def key_of(self, request: Request, text: str) -> PublicKey:
        """Who proves, with an event as JSON, that this request is theirs. Raises Problem."""
        now = self._clock()
        url = f"{request.url.scheme}://{request.url.netloc}{request.url.path}"
        try:
            event = parse_event(orjson.loads(text))
            key = proven_key(event, url=url, method=request.method, now=now)
        except (InvalidEvent, NotProven, orjson.JSONDecodeError) as error:
            raise Problem(403, f"Nostr: {error}") from error
        self._forget(now)
        if event.id in self._used:
            raise Problem(403, "Nostr: this proof was used already")
        self._used[event.id] = now
        return key

    def _forget(self, now: int) -> None:
        """What is too old to be believed anyway; its own date may be ahead of ours."""
        for event_id, used_at in tuple(self._used.items()):
            if now - used_at <= 2 * LASTS_S and len(self._used) < MAX_REMEMBERED:
                return
            del self._used[event_id]
