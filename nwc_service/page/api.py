"""The admin API, asked within the process for somebody who is signed in at the page."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from nwc_service.admin.access import PREFIX, SIGNED_IN, Principal
from nwc_service.request_ids import App, Message, Receive, Send

BASE = "http://page"


class Problem(Exception):
    """What the API refused, in its words for people."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Api:
    def __init__(self, app: App, principal: Principal) -> None:
        async def signed_in(scope: Message, receive: Receive, send: Send) -> None:
            await app({**scope, SIGNED_IN: principal}, receive, send)

        transport = httpx.ASGITransport(app=signed_in, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=BASE)
        self.principal = principal

    async def get(self, *path: str, **query: object) -> Any:
        """Raises Problem. What is None or empty in the query is left out."""
        wanted = {name: str(value) for name, value in query.items() if value not in (None, "")}
        return await self._ask("GET", path, params=wanted)

    async def post(self, *path: str, **body: object) -> Any:
        """Raises Problem."""
        return await self._ask("POST", path, json=body)

    async def patch(self, *path: str, **body: object) -> Any:
        """Raises Problem."""
        return await self._ask("PATCH", path, json=body)

    async def _ask(self, method: str, path: tuple[str, ...], **content: Any) -> Any:
        address = "/".join([PREFIX, *(quote(part, safe="") for part in path)])
        response = await self._client.request(method, address, **content)
        found = response.json()
        if not response.is_success:
            raise Problem(response.status_code, _detail(found))
        return found


def _detail(found: object) -> str:
    detail = found.get("detail") if isinstance(found, Mapping) else None
    return str(detail or "the service could not do this; see its log")
