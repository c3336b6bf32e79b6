"""A small phoenixd, as its sources and manual (0.8) describe it.

It keeps payments as phoenixd does, on a real socket, so that a connection may also be cut:
before a request is read, after it, after what it asks for is done, or in the middle of the
answer. As the real one it pays expired invoices, and refuses a second payment of a hash only
once the first is settled.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from nwc_service.wallet import bolt11
from tests.backends.phoenixd_http import (
    CLOSE_FRAME,
    Answer,
    Fault,
    Request,
    encoded,
    handshake,
    read_request,
    text_frame,
)
from tests.backends.phoenixd_rows import (
    OUTSIDE_KEY,
    Incoming,
    Json,
    Outgoing,
    an_invoice,
    fee_msat,
    hash_of,
    without_nulls,
)

PASSWORD, LIMITED_PASSWORD = "f0" * 32, "11" * 32
NODE_ID = "03" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

GET_INFO = "GET /getinfo"
BALANCE = "GET /getbalance"
CREATE = "POST /createinvoice"
DECODE = "POST /decodeinvoice"
PAY = "POST /payinvoice"
LIST_IN = "GET /payments/incoming"
LIST_OUT = "GET /payments/outgoing"
LOOK_UP = "GET /payments/outgoingbyhash"
WEBSOCKET = "GET /websocket"

WITH_ARGUMENT = (LIST_IN, LOOK_UP)

ALREADY_PAID = "this invoice has already been paid"
IN_PROGRESS = "another payment is in progress for that invoice"
NO_FUNDS = "not enough funds in wallet to afford payment"
REJECTED = "recipient node rejected the payment"
PAID, PENDING = "paid", "pending"  # how a payment ends, beside the words of a failure

UNAUTHORIZED = Answer(
    401, "Invalid authentication (use basic auth with the http password set in phoenix.conf)"
)
NOT_FOUND = Answer(404, "Not found")
NO_FORM = Answer(415, "Cannot transform this request's content to io.ktor.http.Parameters")


@dataclass(slots=True)
class PhoenixdDouble:
    url: str = ""
    balance_msat: int = 100_000_000
    fee_credit_msat: int = 0
    chain: str = "regtest"
    script: dict[str, Answer] = field(default_factory=dict)  # before all else
    faults: dict[str, Fault] = field(default_factory=dict)  # of the next such request
    not_found_once: set[str] = field(default_factory=set)
    ends: list[str] = field(default_factory=list)  # of the next payments, which else are paid
    requests: list[Request] = field(default_factory=list)
    incoming: list[Incoming] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    on_chain: list[Json] = field(default_factory=list)  # rows among the outgoing ones
    asked: dict[str, asyncio.Event] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)  # preimages of others, by hash
    clock: Callable[[], float] = time.time
    server: asyncio.Server | None = None
    _ended: dict[str, asyncio.Event] = field(default_factory=dict)
    _listeners: list[asyncio.StreamWriter] = field(default_factory=list)
    _connections: set[asyncio.Task[None] | None] = field(default_factory=set)

    def of(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.name == name]

    async def until_asked(self, name: str) -> None:
        await asyncio.wait_for(self.asked.setdefault(name, asyncio.Event()).wait(), 5)

    # --- what happens at the node

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    def make_outside_invoice(self, amount_msat: int | None, *, expiry_s: int = 3600) -> str:
        preimage = secrets.token_hex(32)
        self.outside[hash_of(preimage)] = preimage
        return an_invoice(amount_msat, hash_of(preimage), expiry_s=expiry_s, key=OUTSIDE_KEY)

    def receive(
        self,
        payment_hash: str,
        amount_msat: int | None = None,
        *,
        fee_msat: int = 0,
        is_credit: bool = False,
    ) -> None:
        """`fee_msat` is what new liquidity costs, and is taken off; a fee credit is not, but
        cannot be spent either."""
        row = next(row for row in self.incoming if hash_of(row.preimage) == payment_hash)
        named_msat = row.invoice.amount_msat if row.invoice else None
        paid_msat = amount_msat or named_msat or 0
        if row.completed_at_ms is not None or paid_msat <= fee_msat:
            raise ValueError("it is paid already, or with too little")
        row.received_msat, row.fee_msat = paid_msat - fee_msat, fee_msat
        row.completed_at_ms = self.now_ms()
        if is_credit:
            self.fee_credit_msat += row.received_msat
        else:
            self.balance_msat += row.received_msat
        self.say({"type": "payment_received", "paymentHash": payment_hash})

    def say(self, message: object) -> None:
        for listener in self._listeners:
            listener.write(text_frame(message))

    def drop_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().close()

    def accept_no_more(self) -> None:
        """Connections that are open stay so."""
        if self.server is not None:
            self.server.close()

    def finish(self, payment: Outgoing, end: str = PAID) -> None:
        payment.completed_at_ms = self.now_ms()
        if end == PAID:
            payment.preimage = self.outside[payment.invoice.payment_hash]
            payment.fee_msat = fee_msat(payment.amount_msat)
            self.balance_msat -= payment.amount_msat + payment.fee_msat
        self._ended.setdefault(payment.payment_id, asyncio.Event()).set()

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
        if request.name == WEBSOCKET and request.password in (PASSWORD, LIMITED_PASSWORD):
            await self._listen(request, reader=reader, writer=writer)
            return False
        answer = await self._answer(request)
        if fault is Fault.AFTER_COMMIT:
            return False
        await asyncio.sleep(answer.delay_s)
        said = encoded(answer)
        writer.write(said[:-5] if fault is Fault.MID_BODY else said)
        await writer.drain()
        return fault is None

    async def _listen(
        self,
        request: Request,
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        writer.write(handshake(request.websocket_key))
        self._listeners.append(writer)
        try:
            while data := await reader.read(1024):
                if data[0] == CLOSE_FRAME[0]:
                    writer.write(CLOSE_FRAME)
                    return
        finally:
            with suppress(ValueError):
                self._listeners.remove(writer)

    # --- what it answers

    async def _answer(self, request: Request) -> Answer:
        if request.password not in (PASSWORD, LIMITED_PASSWORD):
            return UNAUTHORIZED
        if request.name == PAY and request.password != PASSWORD:
            return UNAUTHORIZED
        if request.name.startswith("POST ") and not request.is_form:
            return NO_FORM
        if request.name in self.script:
            return self.script[request.name]
        if request.name in self.not_found_once:
            self.not_found_once.discard(request.name)
            return NOT_FOUND
        if request.name == PAY:
            return await self._pay(request)
        answers = {
            GET_INFO: self._info,
            BALANCE: self._balance,
            CREATE: self._create,
            DECODE: self._decode,
            LIST_IN: self._incoming,
            LIST_OUT: self._list_out,
            LOOK_UP: self._look_up,
        }
        if request.name not in answers:
            return Answer(404, "Unknown endpoint (check api doc)")
        return answers[request.name](request)

    def _info(self, request: Request) -> Answer:
        channel = {"state": "Normal", "balanceSat": 1, "inboundLiquiditySat": 50_000}
        info = {"nodeId": NODE_ID, "channels": [channel], "chain": self.chain}
        return Answer(200, info | {"blockHeight": 101, "version": "0.8.0"})

    def _balance(self, request: Request) -> Answer:
        credit_sat = self.fee_credit_msat // 1000
        return Answer(
            200, {"balanceSat": self.balance_msat // 1000, "feeCreditSat": credit_sat}
        )

    def _create(self, request: Request) -> Answer:
        form = request.form
        if ("description" in form) == ("descriptionHash" in form):
            return Answer(400, "Must provide either a description or descriptionHash")
        if len(form.get("description", "")) > 128:
            return Answer(400, "Request parameter description is too long")
        preimage = secrets.token_hex(32)
        text = an_invoice(
            int(form["amountSat"]) * 1000 if "amountSat" in form else None,
            hash_of(preimage),
            description=form.get("description"),
            description_hash=form.get("descriptionHash"),
            expiry_s=int(form.get("expirySeconds", 3600)),
        )
        invoice = bolt11.decode(text)
        self.incoming.append(Incoming(form.get("externalId"), invoice, preimage, self.now_ms()))
        amount_sat = invoice.amount_msat and invoice.amount_msat // 1000
        body = {"paymentHash": invoice.payment_hash, "serialized": text}
        return Answer(200, body | without_nulls(amountSat=amount_sat))

    def _decode(self, request: Request) -> Answer:
        try:
            invoice = bolt11.decode(request.form["invoice"])
        except (KeyError, bolt11.InvalidInvoice):
            return _no_invoice(request)
        return Answer(
            200,
            without_nulls(
                chain=self.chain,
                amount=invoice.amount_msat,
                paymentHash=invoice.payment_hash,
                timestampSeconds=invoice.created_at,
                expirySeconds=None if invoice.expiry_s == 3600 else invoice.expiry_s,
            ),
        )

    def _incoming(self, request: Request) -> Answer:
        if request.argument:
            found = [
                row.row() for row in self.incoming if hash_of(row.preimage) == request.argument
            ]
            return Answer(200, found[0]) if found else NOT_FOUND
        wanted = request.query.get("externalId")
        rows = [row for row in self.incoming if wanted in (None, row.external_id)]
        if request.query.get("all") == "true":
            times = [(row.created_at_ms, row.row()) for row in rows]
        else:
            times = [
                (row.completed_at_ms, row.row())
                for row in rows
                if row.completed_at_ms is not None
            ]
        return Answer(200, self._page(times, request))

    def _list_out(self, request: Request) -> Answer:
        is_all = request.query.get("all") == "true"
        times = [
            (row.created_at_ms, row.row()) for row in self.outgoing if is_all or row.rank > 1
        ]
        times += [(row["createdAt"], row) for row in self.on_chain]
        return Answer(200, self._page(times, request))

    def _page(self, times: Sequence[tuple[int, Json]], request: Request) -> list[Json]:
        """Newest first."""
        query = request.query
        since, until = int(query.get("from", 0)), int(query.get("to", self.now_ms()))
        rows = [row for at, row in reversed(times) if since <= at <= until]
        offset = int(query.get("offset", 0))
        return rows[offset : offset + int(query.get("limit", 20))]

    def _look_up(self, request: Request) -> Answer:
        attempts = self.attempts(request.argument)
        best = max(attempts, key=lambda row: row.rank, default=None)
        return NOT_FOUND if best is None else Answer(200, best.row())

    def attempts(self, payment_hash: str) -> list[Outgoing]:
        return [row for row in self.outgoing if row.invoice.payment_hash == payment_hash]

    async def _pay(self, request: Request) -> Answer:
        try:
            invoice = bolt11.decode(request.form["invoice"])
        except (KeyError, bolt11.InvalidInvoice):
            return _no_invoice(request)
        told_msat = int(request.form.get("amountSat", 0)) * 1000
        amount_msat = told_msat or invoice.amount_msat
        if amount_msat is None:
            return Answer(400, "Request parameter amountSat is missing")
        if any(row.preimage for row in self.attempts(invoice.payment_hash)):
            return _not_paid(invoice.payment_hash, ALREADY_PAID)
        end = self.ends.pop(0) if self.ends else PAID
        if self.balance_msat < amount_msat + fee_msat(amount_msat):
            end = NO_FUNDS
        payment = Outgoing(invoice, amount_msat, self.now_ms())
        self.outgoing.append(payment)
        if end != PENDING:
            self.finish(payment, end)
        await self._ended.setdefault(payment.payment_id, asyncio.Event()).wait()
        if payment.preimage is None:
            return _not_paid(invoice.payment_hash, end)
        return Answer(
            200,
            {
                "recipientAmountSat": amount_msat // 1000,
                "routingFeeSat": payment.fee_msat // 1000,
                "paymentId": payment.payment_id,
                "paymentHash": invoice.payment_hash,
                "paymentPreimage": payment.preimage,
            },
        )


@asynccontextmanager
async def phoenixd_double() -> AsyncIterator[PhoenixdDouble]:
    double = PhoenixdDouble()
    server = double.server = await asyncio.start_server(double.serve, "127.0.0.1", 0)
    double.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        await double.close()
        await server.wait_closed()


def _not_paid(payment_hash: str, reason: str) -> Answer:
    return Answer(200, {"paymentHash": payment_hash, "reason": reason})


def _no_invoice(request: Request) -> Answer:
    if "invoice" not in request.form:
        return Answer(400, "Request parameter invoice is missing")
    return Answer(
        400, "Request parameter invoice couldn't be parsed/converted to bolt11invoice"
    )
