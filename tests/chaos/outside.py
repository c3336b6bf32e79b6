"""What is beside the service and its users: the operator, and the world behind the node."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.chaos.wire import MAX_LINE_BYTES, to_line

ADMIN_TIMEOUT_S = 5.0


class Outside:
    """Speaks to the node's own socket. Its calls are of the harness, so none may fail."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def call(self, call: str, **arguments: object) -> Any:
        while True:
            try:
                line = await self._attempt(to_line({"call": call, "arguments": arguments}))
            except OSError:
                line = b""  # it refuses for a while, or breaks off
            if line.endswith(b"\n"):
                return orjson.loads(line)["result"]
            await asyncio.sleep(0.02)

    async def _attempt(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=MAX_LINE_BYTES)
        try:
            writer.write(request)
            return await reader.readline()
        finally:
            writer.transport.abort()


class Operator:
    """The admin API, and what he knows of his own movements of money."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._url = ""
        self._http = httpx.AsyncClient(
            timeout=ADMIN_TIMEOUT_S,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self.moved: dict[str, tuple[str, int, bool]] = {}
        """By the reason given: the account, the change, and whether he was told that it is."""
        self.keysend_ids: dict[str, str] = {}  # of the accounts of users
        self.opened: set[str] = set()  # accounts, as he was told
        self.connected: set[str] = set()  # ids of connections
        self.revoked: set[str] = set()

    def serve_at(self, url: str) -> None:
        self._url = url
        token = (self._data_dir / "admin.token").read_text().strip()
        self._http.headers["Authorization"] = f"Bearer {token}"

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, **body: object) -> Any:
        """Raises httpx.HTTPError, HTTPStatusError where it is refused."""
        response = await self._http.request(
            method, f"{self._url}/api/v1/{path}", json=body if method == "POST" else None
        )
        response.raise_for_status()
        return response.json()

    async def move(self, account: str, movement: str, *, amount_msat: int) -> None:
        """Credit or debit, once: the answer to a repetition would prove nothing."""
        reason = f"movement {len(self.moved)}"
        change_msat = amount_msat if movement == "credit" else -amount_msat
        self.moved[reason] = (account, change_msat, False)
        await self.call(
            "POST",
            f"accounts/{account}/{movement}",
            amount_msat=amount_msat,
            reason=reason,
        )
        self.moved[reason] = (account, change_msat, True)

    async def open_account(self, name: str, *, credit_msat: int, notifications: str) -> str:
        """The URI of an app on it."""
        account = await self.call("POST", "accounts", name=name)
        self.keysend_ids[name] = account["keysend_id"]
        await self.move(name, "credit", amount_msat=credit_msat)
        created = await self.call(
            "POST",
            "connections",
            account=name,
            app="chaos",
            scopes="all",
            notifications=notifications,
        )
        return str(created["uri"])

    async def tend(self, name: str) -> None:
        """A new account with a connection, and the end of an older connection."""
        await self.call("POST", "accounts", name=name)
        self.opened.add(name)
        created = await self.call("POST", "connections", account=name, app="brief")
        self.connected.add(created["connection_id"])
        for connection_id in self.connected - self.revoked:
            await self.call("POST", f"connections/{connection_id}/revoke")
            self.revoked.add(connection_id)

    async def resolve(self, payment_id: str, *, found: Mapping[str, Any]) -> None:
        """State what he has found at the node, where that is certain."""
        statement: dict[str, object] = {"reason": "looked at", "paid": False}
        if found["preimage"]:
            fee_msat = found["fee_msat"]
            statement |= {"paid": True, "preimage": found["preimage"]}
            statement["fee_msat"] = None if fee_msat is None else max(fee_msat, 0)
        elif found["arrived"]:
            return
        await self.call("POST", f"payments/{payment_id}/resolve", **statement)

    async def resume(self, backend: str) -> None:
        """He has looked at it, whatever it was."""
        with suppress(httpx.HTTPStatusError):  # it is not paused
            await self.call("POST", f"backends/{backend}/resume", reason="looked at")
