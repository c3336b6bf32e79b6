"""A POST with an `Idempotency-Key` is done once, however often it is sent.

As the draft of the IETF's HTTPAPI working group has it: the answer is kept and given again,
without the secrets that it showed the first time.
"""

import json
import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from nwc_service.admin.problems import problem
from nwc_service.answers import Clock
from nwc_service.backend import BadRequest, Unsupported
from nwc_service.store import keyed_requests
from nwc_service.store.database import Database, Tx
from nwc_service.store.keyed_requests import KeyedRequest
from nwc_service.wallet.errors import Refused, RequestError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

HEADER = "idempotency-key"
REPLAYED = "Idempotent-Replayed"
IN_ORDER = re.compile(r"[!-~]{1,255}")
KEPT_S = 24 * 3600
SHOWN_ONCE = frozenset({"uri", "token", "opened", "preimage", "secret"})
"""What an answer holds of secrets: null when it is given again."""
# Nothing was changed, so the same key may be used for a better request.
REFUSALS = (
    Refused,
    RequestError,
    BadRequest,
    Unsupported,
    HTTPException,
    RequestValidationError,
)


class KeyedRequests:
    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def once(self, request: Request, handle: Handler, *, caller: str) -> Response:
        """Raises what `handle` raises, and Refused for a key that is none."""
        key = request.headers.get(HEADER)
        if request.method != "POST" or key is None:
            return await handle(request)
        if not IN_ORDER.fullmatch(key):
            raise Refused("Idempotency-Key: 1 to 255 visible ASCII characters")
        asked = KeyedRequest(caller, key, await _hash_of(request))
        stored = await self._db.write(lambda tx: self._claim(tx, asked))
        if stored is not None:
            return _again(stored, asked)
        try:
            response = await handle(request)
        except REFUSALS:
            await self._db.write(lambda tx: keyed_requests.forget(tx, asked))
            raise
        body = _without_secrets(bytes(response.body))
        await self._db.write(
            lambda tx: keyed_requests.answer(tx, asked, status=response.status_code, body=body)
        )
        return response

    async def _claim(self, tx: Tx, asked: KeyedRequest) -> KeyedRequest | None:
        """The one that has the key already."""
        now = self._clock()
        await keyed_requests.forget_before(tx, now - KEPT_S)
        return await keyed_requests.claim(tx, asked, now=now)


def _again(stored: KeyedRequest, asked: KeyedRequest) -> Response:
    if stored.request_hash != asked.request_hash:
        return problem(
            "key-reused", 422, detail="Idempotency-Key: it was used for another request"
        )
    if stored.status is None:
        return problem(
            "under-way",
            409,
            detail="the request with this key is under way, or was cut off by a stop of the"
            " service: look at what became of it",
        )
    return JSONResponse(
        json.loads(stored.body or "null"), stored.status, headers={REPLAYED: "true"}
    )


async def _hash_of(request: Request) -> str:
    """Of what is asked for, and not only of the key."""
    body = await request.body()
    return sha256(f"{request.url.path}\n".encode() + body).hexdigest()


def _without_secrets(body: bytes) -> str:
    return json.dumps(_blanked(json.loads(body or b"null")))


def _blanked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: None if name in SHOWN_ONCE else _blanked(part) for name, part in value.items()
        }
    if isinstance(value, list):
        return [_blanked(part) for part in value]
    return value
