"""A scripted HTTP server in LNbits' place, for answers that the real one gives only by chance.

A real server on a real socket: it may also cut the connection, or take its time.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from backends.lnbits import LnbitsBackend
from nwc_service.backend import Failed, NotSent, Outcome, Settled
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

ADMIN_KEY = "ad" * 16
INVOICE_KEY = "1c" * 16
WALLET_ID = "wallet1"
PREIMAGE = "12" * 32
PAYMENT_HASH = PaymentHash(sha256(bytes.fromhex(PREIMAGE)).hexdigest())
AMOUNT_MSAT = Msat(21_000)

PAY = CREATE = "POST /api/v1/payments"
DECODE = "POST /api/v1/payments/decode"
LOOK_UP = f"GET /api/v1/payments/{PAYMENT_HASH}"
LIST = "GET /api/v1/payments/paginated"
WALLET = "GET /api/v1/wallet"

READING = {
    "currency": "bc",
    "payment_hash": PAYMENT_HASH,
    "amount_msat": AMOUNT_MSAT,
    "date": 1_795_558_000,
    "expiry": 3600,
    "payee": "02" + "ab" * 32,
}

SETTLED_AT = 1795558916
SETTLED = Settled(Preimage(PREIMAGE), Msat(1_500), SETTLED_AT)

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: Json | str = ""
    delay_s: float = 0
    date: str = ""  # by the server's clock
    cut: bool = False  # read the request, then say nothing


NOT_KNOWN = Answer(404, {"detail": "Payment does not exist."})


@dataclass(frozen=True, slots=True)
class Request:
    name: str  # the method and the path
    query: str
    key: str
    body: Json
    connection: int


@dataclass(slots=True)
class LnbitsDouble:
    url: str = ""
    script: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    cut_off: list[str] = field(default_factory=list)  # where the client left before the answer
    asked_to_pay: asyncio.Event = field(default_factory=asyncio.Event)
    paid: asyncio.Event = field(default_factory=asyncio.Event)  # and said so
    _connections: set[asyncio.Task[None] | None] = field(default_factory=set)

    def asked(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.name == name]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer, number=len(self._connections))
        finally:
            writer.close()

    async def close(self) -> None:
        for connection in self._connections:
            if connection is not None:
                connection.cancel()
        await asyncio.gather(*filter(None, self._connections), return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, number: int
    ) -> None:
        while True:
            request = await _read(reader, number)
            self.requests.append(request)
            if request.name == PAY:
                self.asked_to_pay.set()
            answer = self._answer(request)
            await asyncio.sleep(answer.delay_s)
            if reader.at_eof():
                self.cut_off.append(request.name)
            if answer.cut:
                return
            writer.write(_encoded(answer))
            await writer.drain()
            if request.name == PAY:
                self.paid.set()

    def _answer(self, request: Request) -> Answer:
        """A key of its own goes before what is said to both."""
        role = "admin" if request.key == ADMIN_KEY else "invoice"
        return self.script.get(f"{role} {request.name}") or self.script.get(
            request.name, NOT_KNOWN
        )


@asynccontextmanager
async def lnbits_double() -> AsyncIterator[LnbitsDouble]:
    """With a wallet, and an invoice over AMOUNT_MSAT that it can decode."""
    double = LnbitsDouble()
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0)
    double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    wallet: Json = {"name": "test", "balance": 1_000_000}
    double.script |= {
        f"admin {WALLET}": Answer(200, {**wallet, "id": WALLET_ID}),
        WALLET: Answer(200, wallet),
        LIST: Answer(200, {"data": [], "total": 0}),
        DECODE: Answer(200, READING),
    }
    try:
        yield double
    finally:
        server.close()
        await double.close()
        await server.wait_closed()


def a_backend(url: str) -> LnbitsBackend:
    options = {
        "url": url,
        "admin_key": ADMIN_KEY,
        "invoice_key": INVOICE_KEY,
        "fee_cap": "2000, 1%",
        "timeout_s": 1,
    }
    return LnbitsBackend(BackendName("lnbits"), options, data_dir=Path())


def shape(outcome: Outcome | None) -> object:
    """The outcome without its words."""
    if isinstance(outcome, Failed | NotSent):
        return type(outcome), outcome.reason
    return outcome if isinstance(outcome, Settled) else type(outcome)


def an_invoice(
    amount_msat: int = AMOUNT_MSAT, *, payment_hash: str = PAYMENT_HASH, age_s: int = 0
) -> str:
    """That expires when it is an hour old."""
    return bolt11.encode(
        network="mainnet",
        amount_msat=Msat(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        payment_secret="11" * 32,
        description="tea",
        created_at=int(time.time()) - age_s,
        expiry_s=3600,
        secret_key=b"\x07" * 32,
    )


def a_row(status: str = "success", **changed: object) -> Json:
    """An outgoing payment that was settled, unless told otherwise."""
    row: Json = {
        "checking_id": PAYMENT_HASH,
        "payment_hash": PAYMENT_HASH,
        "wallet_id": WALLET_ID,
        "amount": -AMOUNT_MSAT,
        "fee": -1_500,
        "bolt11": an_invoice(),
        "status": status,
        "preimage": PREIMAGE,
        "created_at": "2026-11-24T22:21:55.738639+00:00",
        "updated_at": "2026-11-24T22:21:56+00:00",
        "external_id": "our id",
    }
    return {**row, **changed}


def a_lookup(row: Json) -> Answer:
    return Answer(200, {"paid": row["status"] == "success", "details": row})


def a_refusal(detail: object, status: str | None, *, http: int = 520) -> Answer:
    return Answer(http, {"detail": detail, "status": status})


async def _read(reader: asyncio.StreamReader, connection: int) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    return Request(
        f"{method} {parts.path}",
        parts.query,
        headers.get("x-api-key", ""),
        json.loads(content or b"{}"),
        connection,
    )


def _encoded(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    date = f"Date: {answer.date}\r\n" if answer.date else ""
    length = f"Content-Length: {len(body.encode())}\r\n"
    return f"HTTP/1.1 {answer.status} Said\r\n{date}{length}\r\n{body}".encode()
