"""The outside node: it asks for money, holds or refuses it, pays, and keeps its own books."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from backends.sandbox import holds, offers
from backends.sandbox.books import Books, Tx, pubkey, read_only
from backends.sandbox.chain import block_height
from backends.sandbox.sends import Answer, SendState, tlv_text
from backends.sandbox.service_node import INVOICE_UPDATED
from nwc_service.backend import BadRequest, FailReason, InvoiceStatus
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash, Preimage


@dataclass(frozen=True, slots=True)
class BookedPayment:
    """One payment between the two nodes; `direction` is the service's. Of a keysend with the
    records that it brought, as NWC-04 writes them."""

    payment_hash: str
    direction: str
    amount_msat: int
    fee_msat: int
    state: str
    tlv_records: list[dict[str, object]] | None
    payer_note: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the payer has: the proof, or the height until which his payment is held."""

    payment_hash: PaymentHash
    preimage: Preimage | None = field(repr=False)
    settle_deadline: int | None


@dataclass(frozen=True, slots=True)
class Statement:
    """What the outside node received and paid, and what the service's node has left."""

    outside_pubkey: str  # whom a keysend can be sent to
    block_height: int
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
                """INSERT INTO outside_invoice (payment_hash, preimage, invoice, answer)
                   VALUES (:hash, :preimage, :invoice, :answer)""",
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

    async def pay(self, invoice: str, amount_msat: Msat | None) -> Receipt:
        """Pay an invoice of the service's node. Raises BadRequest if it cannot be paid."""
        asked_msat = _decoded(invoice).amount_msat
        paid_msat = asked_msat if amount_msat is None else amount_msat
        if paid_msat is None:
            raise BadRequest("amount_msat: the invoice names no amount")
        if asked_msat not in (None, paid_msat):
            raise BadRequest("amount_msat: not what the invoice asks for")
        async with holds.up_to_date(self._books) as tx:
            receipt = await self._pay(tx, invoice.lower(), paid_msat)
        self._books.announce(INVOICE_UPDATED)
        return receipt

    async def keysend(self, amount_msat: Msat, tlvs: Mapping[int, bytes]) -> PaymentHash:
        """Send the service's node money that nobody asked for."""
        async with self._books.transaction() as tx:
            payment_hash = await self._pay_unasked(tx, amount_msat, tlv_records=tlv_text(tlvs))
        self._books.announce(INVOICE_UPDATED)
        return payment_hash

    async def pay_offer(
        self, text: str, amount_msat: Msat | None, *, payer_note: str | None
    ) -> PaymentHash:
        """Pay an offer of the service's node. Raises BadRequest if it cannot be paid."""
        offer = offers.read_offer(text)
        asked_msat = offers.asked_msat(offer, amount_msat, now=self._books.now())
        async with self._books.transaction() as tx:
            offer_id = await _payable_offer(tx, offer.offer)
            payment_hash = await self._pay_unasked(
                tx,
                asked_msat,
                invoice=offers.new_invoice(),
                offer_id=offer_id,
                payer_note=payer_note,
            )
        self._books.announce(INVOICE_UPDATED)
        return payment_hash

    async def answer_keysends(self, answer: Answer) -> None:
        async with self._books.transaction() as tx:
            await tx.rows("UPDATE node SET keysend_answer = :answer", answer=answer)

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

    async def _pay(self, tx: Tx, invoice: str, amount_msat: Msat) -> Receipt:
        now = self._books.now()
        row = await tx.row(
            """UPDATE invoice
               SET status = iif(is_hold, 'accepted', 'settled'), received_msat = :amount_msat,
                   settled_at = iif(is_hold, NULL, :now),
                   settle_deadline = iif(is_hold, :height + hold_blocks, NULL)
               WHERE invoice = :invoice AND status = 'open' AND expires_at > :now
               RETURNING payment_hash, preimage, status, settle_deadline""",
            invoice=invoice,
            amount_msat=amount_msat,
            height=self._books.block_height,
            now=now,
        )
        if row is None:
            raise BadRequest(await _why_not_payable(tx, invoice))
        status = InvoiceStatus(row["status"])
        await self._book(tx, row["payment_hash"], amount_msat=amount_msat, status=status)
        return Receipt(row["payment_hash"], row["preimage"], row["settle_deadline"])

    async def _pay_unasked(
        self,
        tx: Tx,
        amount_msat: Msat,
        *,
        invoice: str = "",
        tlv_records: str | None = None,
        offer_id: str | None = None,
        payer_note: str | None = None,
    ) -> PaymentHash:
        """Whatever the service did not make an invoice for: the node has one from now on."""
        now = self._books.now()
        preimage = secrets.token_bytes(32)
        payment_hash = PaymentHash(sha256(preimage).hexdigest())
        await tx.rows(
            """INSERT INTO invoice (payment_hash, preimage, invoice, amount_msat, status,
                                    received_msat, created_at, expires_at, settled_at,
                                    tlv_records, offer_id)
               VALUES (:hash, :preimage, :invoice, :amount_msat, 'settled',
                       :amount_msat, :now, :now, :now, :tlv_records, :offer_id)""",
            hash=payment_hash,
            preimage=preimage.hex(),
            invoice=invoice,
            amount_msat=amount_msat,
            now=now,
            tlv_records=tlv_records,
            offer_id=offer_id,
        )
        await self._book(
            tx,
            payment_hash,
            amount_msat=amount_msat,
            status=InvoiceStatus.SETTLED,
            tlv_records=tlv_records,
            payer_note=payer_note,
        )
        return payment_hash

    async def _book(
        self,
        tx: Tx,
        payment_hash: PaymentHash,
        *,
        amount_msat: Msat,
        status: InvoiceStatus,
        tlv_records: str | None = None,
        payer_note: str | None = None,
    ) -> None:
        now = self._books.now()
        is_settled = status is InvoiceStatus.SETTLED
        await tx.rows(
            """INSERT INTO payment (direction, payment_hash, amount_msat, fee_msat, state,
                                    created_at, resolved_at, tlv_records, payer_note)
               VALUES ('incoming', :hash, :amount_msat, 0, :state,
                       :now, :resolved_at, :tlv_records, :payer_note)""",
            hash=payment_hash,
            amount_msat=amount_msat,
            state=SendState.SETTLED if is_settled else SendState.PENDING,
            now=now,
            resolved_at=now if is_settled else None,
            tlv_records=tlv_records,
            payer_note=payer_note,
        )
        await holds.note_update(tx, payment_hash, status)
        if is_settled:
            await holds.give(tx, amount_msat)


async def read_statement(books: Books) -> Statement:
    """Without a running service too. Raises BadRequest if there are no books yet."""
    if not books.exist():
        raise BadRequest("there is no sandbox yet: start the service first")
    async with read_only(books.path) as tx:
        [node] = await tx.rows(
            """SELECT available_msat, outside_key, mined_blocks,
                      (SELECT coalesce(sum(amount_msat), 0) FROM payment
                       WHERE direction = 'outgoing' AND state = 'settled') AS received_msat,
                      (SELECT coalesce(sum(amount_msat), 0) FROM payment
                       WHERE direction = 'incoming' AND state = 'settled') AS paid_msat
               FROM node"""
        )
        rows = await tx.rows(
            """SELECT payment_hash, direction, amount_msat, fee_msat, state,
                      tlv_records, payer_note
               FROM payment ORDER BY payment_id"""
        )
    return Statement(
        outside_pubkey=pubkey(node["outside_key"]),
        block_height=block_height(now=books.now(), mined_blocks=node["mined_blocks"]),
        received_msat=node["received_msat"],
        paid_msat=node["paid_msat"],
        node_available_msat=node["available_msat"],
        payments=[
            BookedPayment(
                **dict(row) | {"tlv_records": json.loads(row["tlv_records"] or "null")}
            )
            for row in rows
        ],
    )


def _decoded(invoice: str) -> bolt11.Bolt11:
    try:
        return bolt11.decode(invoice)
    except bolt11.InvalidInvoice as refused:
        raise BadRequest(f"invoice: {refused}") from None


async def _payable_offer(tx: Tx, offer: str) -> str:
    row = await tx.row(
        """SELECT offer_id, single_use AND EXISTS (
               SELECT 1 FROM invoice WHERE invoice.offer_id = offer.offer_id) AS is_used
           FROM offer WHERE offer = :offer""",
        offer=offer,
    )
    if row is None:
        raise BadRequest("offer: not one of the service's node")
    if row["is_used"]:
        raise BadRequest("offer: was used already, and may be once")
    return str(row["offer_id"])


async def _why_not_payable(tx: Tx, invoice: str) -> str:
    row = await tx.row("SELECT status FROM invoice WHERE invoice = :invoice", invoice=invoice)
    if row is None:
        return "invoice: not one of the service's node"
    status = "expired" if row["status"] == "open" else row["status"]
    return f"invoice: {status}"


async def _check_resolved(tx: Tx, payment_hash: PaymentHash, state: SendState) -> None:
    row = await tx.row(
        """SELECT state FROM send
           WHERE payment_hash = :hash AND state <> 'duplicate'
           ORDER BY payment_id DESC LIMIT 1""",
        hash=payment_hash,
    )
    if row is None or row["state"] != state:
        raise BadRequest("payment_hash: the outside node holds no payment of this hash")
