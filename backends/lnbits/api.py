"""HTTP with LNbits: what was surely not sent, what may have been, and what it answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import httpx
from pydantic import ValidationError

from backends._http import Http, NoReply, NotReached, explained, see_log, tls_context
from backends.lnbits.options import Options
from backends.lnbits.wire import Wire
from nwc_service.backend import BackendUnavailable

__all__ = ["LnbitsApi", "NoReply", "NotReached", "Reply", "tls_context"]

PROGRAM = "LNbits"
KeyKind = Literal["admin", "invoice"]
WireT = TypeVar("WireT", bound=Wire)

PAYMENTS = "/api/v1/payments"

REMEDIES: Mapping[int, str] = {
    307: "finish its first installation in a browser, or check url",
    401: "check admin_key and invoice_key",
    403: "check admin_key and invoice_key",
    404: "check url, admin_key and invoice_key",
    429: "raise its lnbits_rate_limit_no for this service",
}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: object  # of JSON; None for what is none
    date: str = ""  # by LNbits' clock

    def read(self, model: type[WireT]) -> WireT | None:
        try:
            return model.model_validate(self.body)
        except ValidationError:
            return None


class LnbitsApi:
    def __init__(self, name: str, options: Options) -> None:
        self._options = options
        self._http = Http(name, "lnbits", program=PROGRAM, explain=explained(PROGRAM))

    def open(self) -> None:
        timeout_s = self._options.timeout_s
        self._http.open(self._options.url, timeout_s=timeout_s, verify=tls_context())

    async def close(self) -> None:
        await self._http.close()

    async def get(
        self,
        path: str,
        *,
        operation: str,
        key: KeyKind = "invoice",
        query: Mapping[str, str | int] | None = None,
    ) -> Reply:
        """Raises NotReached or NoReply, as all that follow."""
        client = self._http.kept(operation)
        request = client.build_request(
            "GET", path, params=dict(query or {}), headers=self._headers(key)
        )
        return await self._exchange(client, request, operation=operation)

    async def post(self, path: str, body: Mapping[str, object], *, operation: str) -> Reply:
        """With the invoice key."""
        client = self._http.kept(operation)
        request = client.build_request(
            "POST", path, json=body, headers=self._headers("invoice")
        )
        return await self._exchange(client, request, operation=operation)

    async def pay(self, body: Mapping[str, object], *, timeout_s: float) -> Reply:
        """With the admin key, once."""
        client = self._http.fresh("pay")
        request = client.build_request(
            "POST", PAYMENTS, json=body, headers=self._headers("admin"), timeout=timeout_s
        )
        return await self._exchange(client, request, operation="pay")

    def unusable(self, reply: Reply, *, operation: str) -> BackendUnavailable:
        """What to raise for an answer that is not the one hoped for."""
        remedy = REMEDIES.get(reply.status, see_log(PROGRAM))
        return self.problem(operation, f"LNbits answered HTTP {reply.status}", remedy=remedy)

    def problem(self, operation: str, what: str, *, remedy: str) -> BackendUnavailable:
        return self._http.problem(operation, what, remedy=remedy)

    async def _exchange(
        self, client: httpx.AsyncClient, request: httpx.Request, *, operation: str
    ) -> Reply:
        answer = await self._http.exchange(client, request, operation=operation)
        return Reply(answer.status, answer.json(), answer.date)

    def _headers(self, kind: KeyKind) -> dict[str, str]:
        admin = kind == "admin"
        secret = self._options.admin_key if admin else self._options.invoice_key
        return {"X-Api-Key": secret.get_secret_value()}
