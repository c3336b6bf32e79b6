"""What the tests ask of an NWC client library, whichever it is."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

JsonObject = dict[str, Any]

NO_ANSWER = "NO_ANSWER"
LIBRARY = "LIBRARY"


class ClientError(Exception):
    """The call failed. `code` is the wallet's own NIP-47 code; NO_ANSWER where the library
    stopped waiting, LIBRARY where it refused the call or the answer by itself."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class NwcClient(ABC):
    """One connection, spoken to through an unmodified library.

    Methods, params and results have their NIP-47 names and units (msat, unix seconds).
    """

    @abstractmethod
    async def request(self, method: str, params: JsonObject | None = None) -> JsonObject:
        """The `result` of the answer. Raises ClientError."""

    @abstractmethod
    async def notifications(self) -> asyncio.Queue[JsonObject]:
        """`{notification_type, notification}` as they come; the subscription stands."""

    @abstractmethod
    async def close(self) -> None: ...

    async def info(self) -> JsonObject:
        return await self.request("get_info")

    async def balance(self) -> int:
        return int((await self.request("get_balance"))["balance"])

    async def make_invoice(self, amount_msat: int, **others: object) -> JsonObject:
        return await self.request("make_invoice", {"amount": amount_msat, **others})

    async def pay_invoice(self, invoice: str, *, amount_msat: int | None = None) -> JsonObject:
        amount = {} if amount_msat is None else {"amount": amount_msat}
        return await self.request("pay_invoice", {"invoice": invoice, **amount})

    async def lookup_invoice(self, **by: str) -> JsonObject:
        """By `payment_hash`, `invoice` or both."""
        return await self.request("lookup_invoice", dict(by))

    async def list_transactions(self, **filters: object) -> list[JsonObject]:
        result = await self.request("list_transactions", dict(filters))
        return list(result["transactions"])
