"""The outside node: it asks for money, holds or refuses it, pays, and keeps its own books."""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from backends.sandbox.books import Books, Tx, read_only
from backends.sandbox.service_node import INVOICE_SETTLED, Answer, SendState
from nwc_service.backend import BadRequest, FailReason
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash, Preimage


@dataclass(frozen=True, slots=True)
class BookedPayment:
    """One payment between the two nodes; `direction` is the service's."""

    payment_hash: str
    direction: str
    amount_msat: int
    fee_msat: int
    state: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What the outside node received and paid, and what the service's node has left."""

    received_msat: int
    paid_msat: int
    node_available_msat: int
    payments: list[BookedPayment]


class OutsideNode:
    def __init__(self, books: Books) -> None:
        self._books = books

    async def create_invoice(
        self, amount_msat: Msat | None, *, answer: Answer, expiry_s: int
    ) -> tuple[str, PaymentHash]:
        preimage = secrets.token_bytes(32)
        payment_hash = PaymentHash(sha256(preimage).hexdigest())
        async with self._books.transaction() as tx:
            invoice = bolt11.encode(
                network="regtest",
                amount_msat=amount_msat,
                payment_hash=payment_hash,
                payment_secret=secrets.token_hex(32),
                description="sandbox",
                created_at=self._books.now(),
                expiry_s=expiry_s,
                secret_key=self._books.outside_key,
            )
            await tx.rows(
                "INSERT INTO outside_invoice VALUES (:hash, :preimage, :invoice, :answer)",
                hash=payment_hash,
                preimage=preimage.hex(),
                invoice=invoice,
                answer=answer,
            )
        return invoice, payment_hash

    async def settle(self, payment_hash: PaymentHash) -> SendState:
        """Take what is held. Raises BadRequest if nothing is."""
        async with self._books.transaction() as tx:
            await self._resolve(tx, payment_hash, state=SendState.SETTLED, reason=None)
        self._books.announce(payment_hash)
        return SendState.SETTLED

    async def cancel(self, payment_hash: PaymentHash) -> SendState:
        """Give back what is held, and take no other payment. Raises BadRequest as `settle`."""
        async with self._books.transaction() as tx:
            await self._resolve(
                tx, payment_hash, state=SendState.FAILED, reason=FailReason.REJECTED
            )
        self._books.announce(payment_hash)
        return SendState.FAILED

    async def pay(self, invoice: str, amount_msat: Msat | None) -> Preimage:
        """Pay an invoice of the service's node. Raises BadRequest if it cannot be paid."""
        asked_msat = _decoded(invoice).amount_msat
        if amount_msat is None and asked_msat is None:
            raise BadRequest("amount_msat: the invoice names no amount")
        if None not in (amount_msat, asked_msat) and amount_msat != asked_msat:
            raise BadRequest("amount_msat: not what the invoice asks for")
        async with self._books.transaction() as tx:
            preimage = await self._pay(tx, invoice.lower(), amount_msat or asked_msat)
        self._books.announce(INVOICE_SETTLED)
        return preimage

    async def _resolve(
        self,
        tx: Tx,
        payment_hash: PaymentHash,
        *,
        state: SendState,
        reason: FailReason | None,
    ) -> None:
        """Repeating it changes nothing."""
        row = await tx.row(
            """UPDATE payment SET state = :state, reason = :reason, resolved_at = :now
               WHERE direction = 'outgoing' AND payment_hash = :hash AND state = 'pending'
               RETURNING amount_msat + fee_msat AS total_msat""",
            state=state,
            reason=reason,
            now=self._books.now(),
            hash=payment_hash,
        )
        if row is None:
            await _check_resolved(tx, payment_hash, state)
        elif state is SendState.FAILED:
            await tx.rows(
                "UPDATE node SET available_msat = available_msat + :total_msat",
                total_msat=row["total_msat"],
            )
            await tx.rows(
                "UPDATE outside_invoice SET answer = 'fail' WHERE payment_hash = :hash",
                hash=payment_hash,
            )

    async def _pay(self, tx: Tx, invoice: str, amount_msat: Msat | None) -> Preimage:
        now = self._books.now()
        row = await tx.row(
            """UPDATE invoice
               SET status = 'settled', received_msat = :amount_msat, settled_at = :now,
                   settle_index = (SELECT coalesce(max(settle_index), 0) + 1 FROM invoice)
               WHERE invoice = :invoice AND status = 'open' AND expires_at > :now
               RETURNING payment_hash, preimage""",
            invoice=invoice,
            amount_msat=amount_msat,
            now=now,
        )
        if row is None:
            raise BadRequest(await _why_not_payable(tx, invoice))
        await tx.rows(
            """INSERT INTO payment (direction, payment_hash, amount_msat, fee_msat, state,
                                    created_at, resolved_at)
               VALUES ('incoming', :hash, :amount_msat, 0, 'settled', :now, :now)""",
            hash=row["payment_hash"],
            amount_msat=amount_msat,
            now=now,
        )
        await _give(tx, amount_msat)
        return Preimage(row["preimage"])


async def read_statement(books: Books) -> Statement:
    """Without a running service too. Raises BadRequest if there are no books yet."""
    if not books.exist():
        raise BadRequest("there is no sandbox yet: start the service first")
    async with read_only(books.path) as tx:
        [node] = await tx.rows(
            """SELECT available_msat,
                      (SELECT coalesce(sum(amount_msat), 0) FROM payment
                       WHERE direction = 'outgoing' AND state = 'settled') AS received_msat,
                      (SELECT coalesce(sum(amount_msat), 0) FROM payment
                       WHERE direction = 'incoming' AND state = 'settled') AS paid_msat
               FROM node"""
        )
        rows = await tx.rows(
            """SELECT payment_hash, direction, amount_msat, fee_msat, state
               FROM payment ORDER BY payment_id"""
        )
    payments = [BookedPayment(*row) for row in rows]
    return Statement(node["received_msat"], node["paid_msat"], node["available_msat"], payments)


def _decoded(invoice: str) -> bolt11.Bolt11:
    try:
        return bolt11.decode(invoice)
    except bolt11.InvalidInvoice as refused:
        raise BadRequest(f"invoice: {refused}") from None


async def _give(tx: Tx, amount_msat: Msat | None) -> None:
    given = await tx.rows(
        """UPDATE node SET available_msat = available_msat + :amount_msat
           WHERE available_msat + :amount_msat <= :most RETURNING 1""",
        amount_msat=amount_msat,
        most=MAX_MSAT,
    )
    if not given:
        raise BadRequest("the service's node would have more than all bitcoin")


async def _why_not_payable(tx: Tx, invoice: str) -> str:
    row = await tx.row("SELECT status FROM invoice WHERE invoice = :invoice", invoice=invoice)
    if row is None:
        return "invoice: not one of the service's node"
    status = "expired" if row["status"] == "open" else row["status"]
    return f"invoice: {status}"


async def _check_resolved(tx: Tx, payment_hash: PaymentHash, state: SendState) -> None:
    row = await tx.row(
        """SELECT state FROM send JOIN outside_invoice USING (payment_hash)
           WHERE payment_hash = :hash AND state <> 'duplicate'
           ORDER BY payment_id DESC LIMIT 1""",
        hash=payment_hash,
    )
    if row is None or row["state"] != state:
        raise BadRequest("payment_hash: the outside node holds no payment of this hash")
