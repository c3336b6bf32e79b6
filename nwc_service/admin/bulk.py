"""Many accounts and connections in one call: a line of JSON for each account, and one back.

The whole request is read before anything is done, and answered a line at a time: a caller that
does not read while it sends cannot block itself. One line that is refused stops no other.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO

import orjson
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import Field, ValidationError

from nwc_service import views
from nwc_service.admin import keyed
from nwc_service.admin.access import Caller, Principal
from nwc_service.admin.me import NewConnection
from nwc_service.admin.state import Body, State
from nwc_service.views import View
from nwc_service.wallet.errors import Refused
from nwc_service.wishes import Wish

MAX_BYTES = 64 << 20
MAX_LINE_BYTES = 64 << 10
IN_MEMORY_BYTES = 1 << 20
MAX_CONNECTIONS = 20
AT_ONCE = 64
"""Lines under way; their commits share the disk."""
MEDIA_TYPE = "application/x-ndjson"


class Line(Body):
    name: str
    backend: str | None = None
    connections: list[NewConnection] = Field(default_factory=list, max_length=MAX_CONNECTIONS)


def add_routes(api: APIRouter, state: State) -> None:
    @api.post("/bulk", response_class=StreamingResponse)
    async def create_many(request: Request, caller: Caller) -> StreamingResponse:
        """Lines of `{"name": …, "backend": …, "connections": [{"app": …}, …]}`, each answered
        in its order by the account with its connections and their URIs, or by a `problem`."""
        if keyed.HEADER in request.headers:
            raise Refused("Idempotency-Key: not for many at once; an account is made once")
        spooled = await _read(request)
        return StreamingResponse(_answers(state, spooled, caller=caller), media_type=MEDIA_TYPE)


async def _read(request: Request) -> IO[bytes]:
    spooled = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 (closed by its reader)
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > MAX_BYTES:
            spooled.close()
            raise HTTPException(413, f"at most {MAX_BYTES} bytes in one call")
        spooled.write(chunk)
    spooled.seek(0)
    return spooled


async def _answers(
    state: State, spooled: IO[bytes], *, caller: Principal
) -> AsyncIterator[bytes]:
    under_way: deque[asyncio.Task[View]] = deque()
    with spooled:
        for raw in _lines(spooled):
            under_way.append(asyncio.create_task(_answer(state, raw, caller=caller)))
            if len(under_way) >= AT_ONCE:
                yield orjson.dumps(await under_way.popleft(), option=orjson.OPT_APPEND_NEWLINE)
        while under_way:
            yield orjson.dumps(await under_way.popleft(), option=orjson.OPT_APPEND_NEWLINE)


def _lines(spooled: IO[bytes]) -> Iterator[bytes]:
    while raw := spooled.readline(MAX_LINE_BYTES + 1):
        if raw.strip():
            yield raw


async def _answer(state: State, raw: bytes, *, caller: Principal) -> View:
    name: object = None
    try:
        values = orjson.loads(raw)
        name = values.get("name") if isinstance(values, dict) else None
        return await _made(state, Line.model_validate(values), caller=caller)
    except orjson.JSONDecodeError:
        return {"name": name, "problem": "this line is no JSON, or too long"}
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "line"
        return {"name": name, "problem": f"{where}: {first['msg']}"}
    except Refused as error:
        return {"name": name, "problem": str(error)}


async def _made(state: State, line: Line, *, caller: Principal) -> View:
    """The account first, then what of its connections can be made. Raises Refused."""
    account = await state.accounts.create(
        line.name, backend=line.backend, made_by=caller.token_id
    )
    made: list[View] = []
    for wanted in line.connections:
        wish = Wish(account=line.name, **wanted.model_dump())
        try:
            created = await state.connections.create(wish)
        except Refused as error:
            made.append({"app": wanted.app, "problem": str(error)})
            continue
        connection = created.connection
        made.append(
            {
                "app": connection.app,
                "connection_id": connection.connection_id,
                "uri": created.uri,
                "warnings": state.warnings(connection),
            }
        )
    return views.account_view(account) | {"connections": made}
