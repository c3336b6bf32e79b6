"""HTTP with phoenixd: what was surely not sent, what may have been, and what it answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx
from pydantic import ValidationError

from backends._http import Http, NoReply, NotReached, explained, see_log, tls_context
from backends.phoenixd.options import Options
from backends.phoenixd.wire import Wire
from nwc_service.backend import BackendUnavailable

__all__ = ["NoReply", "NotReached", "PhoenixdApi", "Reply", "tls_context"]

PROGRAM = "phoenixd"
WireT = TypeVar("WireT", bound=Wire)

PAY = "/payinvoice"
# httpx leaves it out where there is nothing in the form, and phoenixd then reads none.
IS_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

REMEDIES: Mapping[int, str] = {
    401: "check password against phoenix.conf",
    404: "check url, and run phoenixd 0.8 or newer",
    405: "check url, and run phoenixd 0.8 or newer",
}
MAX_WORDS_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: object  # of JSON; None for what is none
    words: str  # of what is none: how phoenixd tells errors

    def read(self, model: type[WireT]) -> WireT | None:
        try:
            return model.model_validate(self.body)
        except ValidationError:
            return None


class PhoenixdApi:
    def __init__(self, name: str, options: Options) -> None:
        self._options = options
        self._http = Http(name, "phoenixd", program=PROGRAM, explain=explained(PROGRAM))

    def open(self) -> None:
        self._http.open(
            self._options.url,
            timeout_s=self._options.timeout_s,
            verify=tls_context(),
            auth=httpx.BasicAuth("", self._options.password.get_secret_value()),
        )

    async def close(self) -> None:
        await self._http.close()

    async def get(
        self, path: str, *, operation: str, query: Mapping[str, str | int] | None = None
    ) -> Reply:
        """Raises NotReached or NoReply, as all that follow."""
        client = self._http.kept(operation)
        request = client.build_request("GET", path, params=dict(query or {}))
        return await self._exchange(client, request, operation=operation)

    async def post(self, path: str, form: Mapping[str, str | int], *, operation: str) -> Reply:
        client = self._http.kept(operation)
        request = client.build_request("POST", path, data=dict(form), headers=IS_FORM)
        return await self._exchange(client, request, operation=operation)

    async def pay(self, form: Mapping[str, str | int], *, timeout_s: float) -> Reply:
        """Once."""
        client = self._http.fresh("pay")
        request = client.build_request(
            "POST", PAY, data=dict(form), headers=IS_FORM, timeout=timeout_s
        )
        return await self._exchange(client, request, operation="pay")

    def unusable(self, reply: Reply, *, operation: str) -> BackendUnavailable:
        """What to raise for an answer that is not the one hoped for."""
        remedy = REMEDIES.get(reply.status, see_log(PROGRAM))
        return self.problem(operation, f"phoenixd answered HTTP {reply.status}", remedy=remedy)

    def problem(self, operation: str, what: str, *, remedy: str) -> BackendUnavailable:
        return self._http.problem(operation, what, remedy=remedy)

    async def _exchange(
        self, client: httpx.AsyncClient, request: httpx.Request, *, operation: str
    ) -> Reply:
        answer = await self._http.exchange(client, request, operation=operation)
        body = answer.json()
        text = answer.content[: 4 * MAX_WORDS_LENGTH].decode(errors="replace")
        words = text[:MAX_WORDS_LENGTH] if body is None else ""
        return Reply(answer.status, body, words)
