"""A small LND behind its REST, for what the real one does only by chance.

It keeps payments and invoices as LND does, on a real socket, so that a connection may also be
cut: before a request is read, after it, after what it asks for is done, or in the middle of a
stream.
"""

import asyncio
import ssl
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from nwc_service.wallet import bolt11
from tests.backends.lnd_http import Answer, Fault, Lines, Request, read_request, unary
from tests.backends.lnd_rows import (
    INFO,
    MACAROON,
    Json,
    a_payment,
    an_invoice,
    an_invoice_row,
    b64,
    error,
    hash_of,
    hex_of,
)

SEND = "POST /v2/router/send"
TRACK = "GET /v2/router/track"
LOOK_UP = "GET /v1/invoice"
CREATE = "POST /v1/invoices"
CREATE_HOLD = "POST /v2/invoices/hodl"
SETTLE = "POST /v2/invoices/settle"
CANCEL = "POST /v2/invoices/cancel"
LIST_IN = "GET /v1/invoices"
LIST_OUT = "GET /v1/payments"
SUBSCRIBE = "GET /v1/invoices/subscribe"
DECODE = "GET /v1/payreq"
STATE = "GET /v1/state"
GET_INFO = "GET /v1/getinfo"
CHANNELS = "GET /v1/channels"
BALANCE = "GET /v1/balance/channels"
ROUTES = "POST /v1/graph/routes"
SIGN = "POST /v1/signmessage"

WITH_ARGUMENT = (TRACK, LOOK_UP, DECODE, ROUTES)
STREAMS = (SEND, TRACK, SUBSCRIBE)


@dataclass(slots=True)
class LndDouble:
    url: str = ""
    script: dict[str, Answer] = field(default_factory=dict)  # before all else
    faults: dict[str, Fault] = field(default_factory=dict)  # of the next such request
    not_found_once: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)
    payments: dict[str, Json] = field(default_factory=dict)
    ends: list[Json] = field(default_factory=lambda: [{}])  # of the next payments
    invoices: list[dict[str, Any]] = field(default_factory=list)
    replayed: list[int] | None = None  # the order in which settled ones are replayed
    asked: dict[str, asyncio.Event] = field(default_factory=dict)
    cut_off: list[str] = field(default_factory=list)  # where the client left first
    _listeners: list["asyncio.Queue[Json]"] = field(default_factory=list)
    _connections: set[asyncio.Task[None] | None] = field(default_factory=set)

    def of(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.name == name]

    async def until_asked(self, name: str) -> None:
        event = self.asked.setdefault(name, asyncio.Event())
        await asyncio.wait_for(event.wait(), 5)

    # --- what happens at the node

    def add_invoice(self, **row: object) -> dict[str, Any]:
        index = len(self.invoices) + 1
        invoice = an_invoice_row(index) | row
        self.invoices.append(invoice)
        self._publish(invoice)
        return invoice

    def settle(self, invoice: dict[str, Any], **row: object) -> None:
        settled = [int(each["settle_index"]) for each in self.invoices]
        end = {"state": "SETTLED", "settle_index": str(max(settled) + 1), "settle_date": "9"}
        invoice |= end | {"amt_paid_msat": invoice["value_msat"]} | row
        self._publish(invoice)

    def say_again(self, invoice: Mapping[str, Any]) -> None:
        self._publish(invoice)

    def _publish(self, invoice: Mapping[str, Any]) -> None:
        if invoice["state"] in ("OPEN", "SETTLED"):
            for listener in self._listeners:
                listener.put_nowait(dict(invoice))

    def row_of(self, hash_hex: str) -> dict[str, Any] | None:
        return next((row for row in self.invoices if hex_of(row["r_hash"]) == hash_hex), None)

    # --- HTTP

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        number = len(self._connections)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._serve_one(reader, writer, number=number):
                    pass
        finally:
            writer.close()

    async def close(self) -> None:
        for connection in self._connections:
            if connection is not None:
                connection.cancel()
        await asyncio.gather(*filter(None, self._connections), return_exceptions=True)

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, number: int
    ) -> bool:
        """Whether the connection stays."""
        request = await read_request(
            reader, number, faults=self.faults, with_argument=WITH_ARGUMENT
        )
        if request is None:
            return False
        self.requests.append(request)
        self.asked.setdefault(request.name, asyncio.Event()).set()
        fault = self.faults.pop(request.name, None)
        if fault is Fault.AFTER_READ:
            return False
        answer = self._answer(request)
        if fault is Fault.AFTER_COMMIT:
            return False
        await asyncio.sleep(answer.delay_s)
        if reader.at_eof():
            self.cut_off.append(request.name)
            return False
        is_stream = request.name in STREAMS or bool(answer.lines)
        if is_stream and answer.body is None:
            is_cut = fault is Fault.MID_STREAM
            return await self._say(answer, request, reader=reader, writer=writer, is_cut=is_cut)
        writer.write(unary(answer))
        await writer.drain()
        return True

    async def _say(
        self,
        answer: Answer,
        request: Request,
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_cut: bool,
    ) -> bool:
        """Whether the connection stays."""
        lines = Lines(writer, answer.status)
        for line in answer.lines:
            await lines.write(line)
            if is_cut:
                return False
        if not answer.stays_open:
            await lines.end()
            return True
        if request.name == SUBSCRIBE:
            await self._tell(lines, reader)
        else:
            await reader.read()
        return False

    async def _tell(self, lines: Lines, reader: asyncio.StreamReader) -> None:
        queue: asyncio.Queue[Json] = asyncio.Queue()
        self._listeners.append(queue)
        gone = asyncio.create_task(reader.read())
        try:
            while not gone.done():
                getting = asyncio.create_task(queue.get())
                await asyncio.wait({getting, gone}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    await lines.write({"result": getting.result()})
                getting.cancel()
        finally:
            gone.cancel()
            self._listeners.remove(queue)

    # --- what it answers

    def _answer(self, request: Request) -> Answer:
        if request.name in self.script:
            return self.script[request.name]
        if request.macaroon != MACAROON and request.name != STATE:
            words = "verification failed: signature mismatch after caveat verification"
            return self._refuse(request, 500, code=2, words=words)
        if request.name in self.not_found_once:
            self.not_found_once.discard(request.name)
            return self._not_found(request)
        answers = {
            SEND: self._send,
            TRACK: self._track,
            LOOK_UP: self._look_up,
            CREATE: self._create,
            CREATE_HOLD: self._create,
            LIST_IN: self._list_in,
            LIST_OUT: self._list_out,
            SUBSCRIBE: self._subscribe,
            SETTLE: self._settle,
            CANCEL: self._cancel,
        }
        if request.name in answers:
            return answers[request.name](request)
        return self._refuse(request, 404, code=5, words="Not Found")

    def _refuse(self, request: Request, status: int, *, code: int, words: str) -> Answer:
        problem = error(code, words)
        return Answer(status, {"error": problem} if request.name in STREAMS else problem)

    def _not_found(self, request: Request) -> Answer:
        words = (
            "payment isn't initiated" if request.name == TRACK else "unable to locate invoice"
        )
        return self._refuse(request, 404, code=5, words=words)

    def _send(self, request: Request) -> Answer:
        hash_hex = hex_of(str(request.body.get("payment_hash", "")))
        if "payment_request" in request.body:
            hash_hex = bolt11.decode(str(request.body["payment_request"])).payment_hash
        known = self.payments.get(hash_hex, {}).get("status")
        refusals = {
            "SUCCEEDED": "invoice is already paid",
            "IN_FLIGHT": "payment is in transition",
        }
        if known in refusals:
            return self._refuse(request, 409, code=6, words=refusals[known])
        states = [
            a_payment(hash_hex, index=len(self.payments) + 100, **end) for end in self.ends
        ]
        self.payments[hash_hex] = states[-1]
        first = a_payment(hash_hex, index=len(self.payments) + 100, status="IN_FLIGHT")
        lines = tuple({"result": state} for state in (first, *states))
        return Answer(lines=lines, stays_open=states[-1]["status"] == "IN_FLIGHT")

    def _track(self, request: Request) -> Answer:
        payment = self.payments.get(urlsafe_b64decode(request.argument).hex())
        if payment is None:
            return self._not_found(request)
        is_open = payment["status"] == "IN_FLIGHT"
        return Answer(lines=({"result": payment},), stays_open=is_open)

    def _look_up(self, request: Request) -> Answer:
        row = self.row_of(request.argument)
        return self._not_found(request) if row is None else Answer(200, row)

    def _create(self, request: Request) -> Answer:
        wanted = dict(request.body)
        preimage = hex_of(str(wanted.pop("r_preimage", "")))
        hash_hex = hex_of(str(wanted.pop("hash", ""))) or (preimage and hash_of(preimage))
        if self.row_of(hash_hex) is not None:
            words = "invoice with payment hash already exists"
            return self._refuse(request, 500, code=2, words=words)
        if hash_hex:
            invoice = an_invoice(int(wanted["value_msat"]) or None, payment_hash=hash_hex)
            wanted |= {"r_hash": b64(hash_hex), "payment_request": invoice}
            wanted |= {"r_preimage": b64(preimage)}
        row = self.add_invoice(**wanted)
        body = {"payment_request": row["payment_request"], "add_index": row["add_index"]}
        return Answer(200, body | ({"r_hash": row["r_hash"]} if request.name == CREATE else {}))

    def _list_in(self, request: Request) -> Answer:
        offset = int(request.query.get("index_offset", 0))
        at_most = int(request.query.get("num_max_invoices", 100))
        rows = [row for row in self.invoices if _is_wanted(row, request.query)]
        if request.query.get("reversed") == "true":
            rows = [row for row in rows if not offset or int(row["add_index"]) < offset][
                -at_most:
            ]
        else:
            rows = [row for row in rows if int(row["add_index"]) > offset][:at_most]
        return Answer(200, {"invoices": rows, **_offsets(rows, "add_index")})

    def _list_out(self, request: Request) -> Answer:
        offset = int(request.query.get("index_offset", 0))
        at_most = int(request.query.get("max_payments", 100))
        rows = sorted(self.payments.values(), key=lambda row: int(row["payment_index"]))
        if request.query.get("reversed") == "true":
            rows = rows[-at_most:]
        else:
            rows = [row for row in rows if int(row["payment_index"]) > offset][:at_most]
        return Answer(200, {"payments": rows, **_offsets(rows, "payment_index")})

    def _subscribe(self, request: Request) -> Answer:
        after = int(request.query.get("settle_index", 0))
        settled = {int(row["settle_index"]): row for row in self.invoices}
        order = sorted(settled) if self.replayed is None else self.replayed
        rows = [settled[index] for index in order if after and index > after]
        return Answer(lines=tuple({"result": row} for row in rows), stays_open=True)

    def _settle(self, request: Request) -> Answer:
        row = self.row_of(hash_of(hex_of(str(request.body["preimage"]))))
        words = {None: "unable to locate invoice", "OPEN": "invoice still open"}
        words["CANCELED"] = "invoice already canceled"
        state = None if row is None else row["state"]
        if row is None or state in words:
            return self._refuse(request, 500, code=2, words=words[state])
        if state == "ACCEPTED":
            self.settle(row, r_preimage=request.body["preimage"])
        return Answer(200, {})

    def _cancel(self, request: Request) -> Answer:
        row = self.row_of(hex_of(str(request.body["payment_hash"])))
        if row is None:
            return self._refuse(request, 500, code=2, words="unable to locate invoice")
        if row["state"] == "SETTLED":
            return self._refuse(request, 500, code=2, words="invoice already settled")
        row["state"] = "CANCELED"
        return Answer(200, {})


@asynccontextmanager
async def lnd_double(tls: ssl.SSLContext | None = None) -> AsyncIterator[LndDouble]:
    double = LndDouble()
    double.script |= {
        STATE: Answer(200, {"state": "SERVER_ACTIVE"}),
        GET_INFO: Answer(200, INFO),
    }
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0, ssl=tls)
    scheme = "https" if tls else "http"
    double.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        await double.close()
        await server.wait_closed()


def _is_wanted(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    if query.get("pending_only") == "true" and row["state"] not in ("OPEN", "ACCEPTED"):
        return False
    return int(row["creation_date"]) >= int(query.get("creation_date_start", 0))


def _offsets(rows: list[Any], key: str) -> dict[str, str]:
    if not rows:
        return {"first_index_offset": "0", "last_index_offset": "0"}
    return {"first_index_offset": rows[0][key], "last_index_offset": rows[-1][key]}
