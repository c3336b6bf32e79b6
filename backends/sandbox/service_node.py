"""The service's node: it makes invoices, sends money to the outside node, and keeps books."""

import asyncio
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from backends.sandbox.books import Books, Tx
from nwc_service.backend import (
    BadRequest,
    Balance,
    Failed,
    FailReason,
    InFlight,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
    Outcome,
    PaymentReport,
    PayRequest,
    Settled,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash, Preimage

FEE_PPM = 1000
MIN_FEE_MSAT = 1000
NO_FEE = Msat(0)

INVOICE_SETTLED = "invoice settled"  # what the books announce; held payments by their hash


class SendState(StrEnum):
    """A send that repeats a live one is a DUPLICATE: on the books, and moves nothing."""

    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"
    DUPLICATE = "duplicate"


class Answer(StrEnum):
    """What the outside node does with a payment of one of its invoices."""

    SETTLE = "settle"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Send:
    """One row of the outgoing payments, with the preimage if it settled."""

    payment_id: int
    payment_hash: PaymentHash
    amount_msat: Msat
    fee_msat: Msat
    state: SendState
    reason: FailReason | None
    preimage: Preimage | None
    created_at: int
    resolved_at: int | None

    @property
    def outcome(self) -> Outcome:
        if self.state is SendState.SETTLED and self.preimage is not None:
            return Settled(self.preimage, self.fee_msat, self.resolved_at)
        if self.state is SendState.FAILED and self.reason is not None:
            return Failed(self.reason, "said by the simulated network")
        return InFlight("held by the outside node")

    @property
    def report(self) -> PaymentReport:
        return PaymentReport(self.payment_hash, self.amount_msat, self.outcome, self.created_at)


def fee_msat(amount_msat: Msat) -> Msat:
    """What the way to the outside node costs, rounded up."""
    return Msat(max(MIN_FEE_MSAT, -(-amount_msat * FEE_PPM // 1_000_000)))


class ServiceNode:
    def __init__(self, books: Books) -> None:
        self._books = books

    async def balance(self) -> Balance:
        async with self._books.transaction() as tx:
            [node] = await tx.rows("SELECT available_msat FROM node")
        available_msat = Msat(node["available_msat"])
        return Balance(available_msat, Msat(MAX_MSAT - available_msat))

    async def counters(self) -> dict[str, int]:
        async with self._books.transaction() as tx:
            [row] = await tx.rows(
                """SELECT (SELECT coalesce(max(payment_id), 0) FROM payment) AS payment_index,
                          (SELECT count(*) FROM invoice) AS add_index,
                          (SELECT coalesce(max(settle_index), 0) FROM invoice) AS settle_index
                """
            )
        return {name: int(row[name]) for name in row.keys()}  # noqa: SIM118  (a row)

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        """The same `our_id` gives the invoice that it has already."""
        preimage = spec.preimage or secrets.token_hex(32)
        created_at = self._books.now()
        payment_hash, invoice = _signed_invoice(
            spec, preimage, created_at=created_at, secret_key=self._books.service_key
        )
        async with self._books.transaction() as tx:
            await tx.rows(
                """INSERT INTO invoice (our_id, payment_hash, preimage, invoice, amount_msat,
                                        status, created_at, expires_at)
                   VALUES (:our_id, :payment_hash, :preimage, :invoice, :amount_msat,
                           'open', :created_at, :expires_at)
                   ON CONFLICT DO NOTHING""",
                our_id=spec.our_id,
                payment_hash=payment_hash,
                preimage=preimage,
                invoice=invoice,
                amount_msat=spec.amount_msat,
                created_at=created_at,
                expires_at=created_at + spec.expiry_s,
            )
            row = await tx.row("SELECT * FROM invoice WHERE our_id = :id", id=spec.our_id)
        if row is None:
            raise BadRequest("another invoice has this preimage")
        return self._invoice_report(row)

    async def find_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        async with self._books.transaction() as tx:
            row = await tx.row(
                "SELECT * FROM invoice WHERE payment_hash = :hash", hash=payment_hash
            )
        return None if row is None else self._invoice_report(row)

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        """Only an open one changes. Raises BadRequest if there is no such invoice."""
        async with self._books.transaction() as tx:
            known = await tx.rows(
                """UPDATE invoice
                   SET status = CASE status WHEN 'open' THEN 'canceled' ELSE status END
                   WHERE payment_hash = :hash RETURNING 1""",
                hash=payment_hash,
            )
        if not known:
            raise BadRequest("no invoice of this node has this payment hash")

    async def settled_invoices(
        self, *, after: int, limit: int
    ) -> Sequence[tuple[InvoiceReport, int]]:
        """In the order in which they were settled, each with its place in that order."""
        async with self._books.transaction() as tx:
            rows = await tx.rows(
                """SELECT * FROM invoice WHERE settle_index > :after
                   ORDER BY settle_index LIMIT :limit""",
                after=after,
                limit=limit,
            )
        return [(self._invoice_report(row), int(row["settle_index"])) for row in rows]

    async def send(self, request: PayRequest) -> Send:
        """One attempt, which is on the books whatever comes of it."""
        async with self._books.transaction() as tx:
            live = await _live_send(tx, request.payment_hash)
            if live is not None:
                await self._book(tx, request, state=SendState.DUPLICATE)
                return live
            fee = fee_msat(request.amount_msat)
            answer = await _answer(tx, request)
            reason = _refusal(answer, fee=fee, max_fee=request.max_fee_msat)
            if reason is None and not await _take(tx, Msat(request.amount_msat + fee)):
                reason = FailReason.INSUFFICIENT_BALANCE
            if reason is not None:
                state, fee = SendState.FAILED, NO_FEE
            elif answer is Answer.HOLD:
                state = SendState.PENDING
            else:
                state = SendState.SETTLED
            payment_id = await self._book(tx, request, state=state, fee=fee, reason=reason)
            return await _send_of_id(tx, payment_id)

    async def resolution(self, send: Send, *, timeout_s: float) -> Send:
        """Wait until the outside node settles or cancels what it holds."""
        resolved = self._books.event(send.payment_hash)
        current = await self._read(send.payment_id)
        if current.state is not SendState.PENDING:
            return current
        with suppress(TimeoutError):
            await asyncio.wait_for(resolved.wait(), timeout_s)
        return await self._read(send.payment_id)

    async def find_send(self, our_id: str, payment_hash: PaymentHash) -> Send | None:
        """What became of the sends with this id; if they all only repeated another's, of that
        one. A failure of somebody else's earlier send says nothing about this one."""
        async with self._books.transaction() as tx:
            row = await tx.row(
                """SELECT * FROM send WHERE payment_hash = :hash AND state <> 'duplicate'
                       AND EXISTS (SELECT 1 FROM send
                                   WHERE payment_hash = :hash AND our_id = :our_id)
                   ORDER BY our_id = :our_id DESC, payment_id DESC LIMIT 1""",
                our_id=our_id,
                hash=payment_hash,
            )
        return None if row is None else _send(row)

    async def sends(self, *, after: int, limit: int) -> Sequence[Send]:
        async with self._books.transaction() as tx:
            rows = await tx.rows(
                """SELECT * FROM send WHERE payment_id > :after AND state <> 'duplicate'
                   ORDER BY payment_id LIMIT :limit""",
                after=after,
                limit=limit,
            )
        return [_send(row) for row in rows]

    async def _read(self, payment_id: int) -> Send:
        async with self._books.transaction() as tx:
            return await _send_of_id(tx, payment_id)

    async def _book(
        self,
        tx: Tx,
        request: PayRequest,
        *,
        state: SendState,
        fee: Msat = NO_FEE,
        reason: FailReason | None = None,
    ) -> int:
        now = self._books.now()
        [row] = await tx.rows(
            """INSERT INTO payment (direction, our_id, payment_hash, amount_msat, fee_msat,
                                    state, reason, created_at, resolved_at)
               VALUES ('outgoing', :our_id, :hash, :amount_msat, :fee_msat,
                       :state, :reason, :now, :resolved_at)
               RETURNING payment_id""",
            our_id=request.our_id,
            hash=request.payment_hash,
            amount_msat=request.amount_msat,
            fee_msat=fee,
            state=state,
            reason=reason,
            now=now,
            resolved_at=None if state is SendState.PENDING else now,
        )
        return int(row["payment_id"])

    def _invoice_report(self, row: sqlite3.Row) -> InvoiceReport:
        status = InvoiceStatus(row["status"])
        if status is InvoiceStatus.OPEN and self._books.now() >= row["expires_at"]:
            status = InvoiceStatus.EXPIRED
        return InvoiceReport(
            payment_hash=row["payment_hash"],
            invoice=row["invoice"],
            status=status,
            amount_msat=row["amount_msat"],
            received_msat=row["received_msat"],
            preimage=row["preimage"] if status is InvoiceStatus.SETTLED else None,
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            settled_at=row["settled_at"],
        )


def _signed_invoice(
    spec: InvoiceSpec, preimage: str, *, created_at: int, secret_key: bytes
) -> tuple[PaymentHash, str]:
    try:
        payment_hash = PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())
    except ValueError:
        raise BadRequest("the preimage is not hex") from None
    if len(preimage) != 64 or preimage != preimage.lower():
        raise BadRequest("the preimage is not 32 bytes as lower case hex")
    try:
        invoice = bolt11.encode(
            network="regtest",
            amount_msat=spec.amount_msat,
            payment_hash=payment_hash,
            payment_secret=secrets.token_hex(32),
            description=None if spec.description_hash else spec.description,
            description_hash=spec.description_hash,
            created_at=created_at,
            expiry_s=spec.expiry_s,
            secret_key=secret_key,
        )
    except bolt11.InvalidInvoice as refused:
        raise BadRequest(str(refused)) from None
    return payment_hash, invoice


def _refusal(answer: Answer | None, *, fee: Msat, max_fee: Msat) -> FailReason | None:
    if answer is None:
        return FailReason.NO_ROUTE
    if fee > max_fee:
        return FailReason.FEE_TOO_HIGH
    return FailReason.REJECTED if answer is Answer.FAIL else None


async def _answer(tx: Tx, request: PayRequest) -> Answer | None:
    row = await tx.row(
        "SELECT answer FROM outside_invoice WHERE payment_hash = :hash AND invoice = :invoice",
        hash=request.payment_hash,
        invoice=request.invoice.lower(),
    )
    return None if row is None else Answer(row["answer"])


async def _take(tx: Tx, total_msat: Msat) -> bool:
    return bool(
        await tx.rows(
            """UPDATE node SET available_msat = available_msat - :total
               WHERE available_msat >= :total RETURNING 1""",
            total=total_msat,
        )
    )


async def _live_send(tx: Tx, payment_hash: PaymentHash) -> Send | None:
    row = await tx.row(
        """SELECT * FROM send WHERE payment_hash = :hash
               AND state IN ('pending', 'settled')""",
        hash=payment_hash,
    )
    return None if row is None else _send(row)


async def _send_of_id(tx: Tx, payment_id: int) -> Send:
    [row] = await tx.rows("SELECT * FROM send WHERE payment_id = :id", id=payment_id)
    return _send(row)


def _send(row: sqlite3.Row) -> Send:
    return Send(
        payment_id=row["payment_id"],
        payment_hash=row["payment_hash"],
        amount_msat=row["amount_msat"],
        fee_msat=row["fee_msat"],
        state=SendState(row["state"]),
        reason=None if row["reason"] is None else FailReason(row["reason"]),
        preimage=row["proof"],
        created_at=row["created_at"],
        resolved_at=row["resolved_at"],
    )
