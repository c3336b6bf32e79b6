"""The service's node as a payer: invoices, and keysends to the outside node."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from backends.sandbox.books import Books, Tx
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    KeysendRequest,
    NotSent,
    Outcome,
    PaymentReport,
    PayRequest,
    Settled,
)
from nwc_service.wallet.units import Msat, PaymentHash, Preimage

FEE_PPM = 1000
MIN_FEE_MSAT = 1000
NO_FEE = Msat(0)


class SendState(StrEnum):
    """A send that repeats a live one is a DUPLICATE: on the books, and moves nothing."""

    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"
    DUPLICATE = "duplicate"


class Answer(StrEnum):
    """What the outside node does with a payment."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    our_id: str
    payment_hash: PaymentHash
    amount_msat: Msat
    max_fee_msat: Msat
    answer: Answer | None  # None: nobody is there to be paid
    preimage: Preimage | None = field(default=None, repr=False)
    tlv_records: str | None = None
    payer_note: str | None = None


def fee_msat(amount_msat: Msat) -> Msat:
    """What the way to the outside node costs, rounded up."""
    return Msat(max(MIN_FEE_MSAT, -(-amount_msat * FEE_PPM // 1_000_000)))


def hash_of(preimage: Preimage) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def is_hex32(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")


def tlv_text(tlvs: Mapping[int, bytes]) -> str:
    """As NWC-04 writes them."""
    return json.dumps(
        [{"type": type_, "value": value.hex()} for type_, value in sorted(tlvs.items())]
    )


class Sends:
    def __init__(self, books: Books) -> None:
        self._books = books

    async def send(self, request: PayRequest) -> Send:
        """One attempt, which is on the books whatever comes of it."""
        async with self._books.transaction() as tx:
            row = await tx.row(
                """SELECT answer, payer_note FROM outside_invoice
                   WHERE payment_hash = :hash AND invoice = :invoice""",
                hash=request.payment_hash,
                invoice=request.invoice.lower(),
            )
            attempt = _Attempt(
                our_id=request.our_id,
                payment_hash=request.payment_hash,
                amount_msat=request.amount_msat,
                max_fee_msat=request.max_fee_msat,
                answer=None if row is None else Answer(row["answer"]),
                payer_note=None if row is None else row["payer_note"],
            )
            return await self._attempt(tx, attempt)

    async def keysend(self, request: KeysendRequest) -> Send | NotSent:
        """As `send`. The same `our_id` again is the same send, whatever became of it."""
        payment_hash = hash_of(request.preimage)
        async with self._books.transaction() as tx:
            if (earlier := await _send_of(tx, request.our_id, payment_hash)) is not None:
                return earlier
            if await _is_used(tx, payment_hash):
                return NotSent(FailReason.REJECTED, "the preimage was used before")
            attempt = _Attempt(
                our_id=request.our_id,
                payment_hash=payment_hash,
                amount_msat=request.amount_msat,
                max_fee_msat=request.max_fee_msat,
                answer=await self._answer_of(tx, request.destination),
                preimage=request.preimage,
                tlv_records=tlv_text(request.tlvs),
            )
            return await self._attempt(tx, attempt)

    async def resolution(self, send: Send, *, timeout_s: float) -> Send:
        """Wait until the outside node settles or cancels what it holds."""
        resolved = self._books.event(send.payment_hash)
        current = await self._read(send.payment_id)
        if current.state is not SendState.PENDING:
            return current
        with suppress(TimeoutError):
            await asyncio.wait_for(resolved.wait(), timeout_s)
        return await self._read(send.payment_id)

    async def find(self, our_id: str, payment_hash: PaymentHash) -> Send | None:
        async with self._books.transaction() as tx:
            return await _send_of(tx, our_id, payment_hash)

    async def page(self, *, after: int, limit: int) -> Sequence[Send]:
        async with self._books.transaction() as tx:
            rows = await tx.rows(
                """SELECT * FROM send WHERE payment_id > :after AND state <> 'duplicate'
                   ORDER BY payment_id LIMIT :limit""",
                after=after,
                limit=limit,
            )
        return [_send(row) for row in rows]

    async def _answer_of(self, tx: Tx, destination: str) -> Answer | None:
        if destination != self._books.outside_pubkey:
            return None
        [node] = await tx.rows("SELECT keysend_answer FROM node")
        return Answer(node["keysend_answer"])

    async def _attempt(self, tx: Tx, attempt: _Attempt) -> Send:
        live = await _live_send(tx, attempt.payment_hash)
        if live is not None:
            await self._book(tx, attempt, state=SendState.DUPLICATE)
            return live
        fee = fee_msat(attempt.amount_msat)
        reason = _refusal(attempt.answer, fee=fee, max_fee=attempt.max_fee_msat)
        if reason is None and not await _take(tx, Msat(attempt.amount_msat + fee)):
            reason = FailReason.INSUFFICIENT_BALANCE
        if reason is not None:
            state, fee = SendState.FAILED, NO_FEE
        elif attempt.answer is Answer.HOLD:
            state = SendState.PENDING
        else:
            state = SendState.SETTLED
        payment_id = await self._book(tx, attempt, state=state, fee=fee, reason=reason)
        return await _send_of_id(tx, payment_id)

    async def _read(self, payment_id: int) -> Send:
        async with self._books.transaction() as tx:
            return await _send_of_id(tx, payment_id)

    async def _book(
        self,
        tx: Tx,
        attempt: _Attempt,
        *,
        state: SendState,
        fee: Msat = NO_FEE,
        reason: FailReason | None = None,
    ) -> int:
        now = self._books.now()
        [row] = await tx.rows(
            """INSERT INTO payment (direction, our_id, payment_hash, amount_msat, fee_msat,
                                    state, reason, created_at, resolved_at, preimage,
                                    tlv_records, payer_note)
               VALUES ('outgoing', :our_id, :hash, :amount_msat, :fee_msat,
                       :state, :reason, :now, :resolved_at, :preimage,
                       :tlv_records, :payer_note)
               RETURNING payment_id""",
            our_id=attempt.our_id,
            hash=attempt.payment_hash,
            amount_msat=attempt.amount_msat,
            fee_msat=fee,
            state=state,
            reason=reason,
            now=now,
            resolved_at=None if state is SendState.PENDING else now,
            preimage=attempt.preimage,
            tlv_records=attempt.tlv_records,
            payer_note=attempt.payer_note,
        )
        return int(row["payment_id"])


def _refusal(answer: Answer | None, *, fee: Msat, max_fee: Msat) -> FailReason | None:
    if answer is None:
        return FailReason.NO_ROUTE
    if fee > max_fee:
        return FailReason.FEE_TOO_HIGH
    return FailReason.REJECTED if answer is Answer.FAIL else None


async def _take(tx: Tx, total_msat: Msat) -> bool:
    return bool(
        await tx.rows(
            """UPDATE node SET available_msat = available_msat - :total
               WHERE available_msat >= :total RETURNING 1""",
            total=total_msat,
        )
    )


async def _is_used(tx: Tx, payment_hash: PaymentHash) -> bool:
    """By a payment in either direction, or by somebody's invoice."""
    return bool(
        await tx.rows(
            """SELECT 1 FROM payment WHERE payment_hash = :hash
               UNION SELECT 1 FROM invoice WHERE payment_hash = :hash
               UNION SELECT 1 FROM outside_invoice WHERE payment_hash = :hash""",
            hash=payment_hash,
        )
    )


async def _send_of(tx: Tx, our_id: str, payment_hash: PaymentHash) -> Send | None:
    """What became of the sends with this id; if they all only repeated another's, of that one.
    A failure of somebody else's earlier send says nothing about this one."""
    row = await tx.row(
        """SELECT * FROM send WHERE payment_hash = :hash AND state <> 'duplicate'
               AND EXISTS (SELECT 1 FROM send
                           WHERE payment_hash = :hash AND our_id = :our_id)
           ORDER BY our_id = :our_id DESC, payment_id DESC LIMIT 1""",
        our_id=our_id,
        hash=payment_hash,
    )
    return None if row is None else _send(row)


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
