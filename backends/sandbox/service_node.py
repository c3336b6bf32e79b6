"""The service's node as a payee: its invoices, plain and on hold, and its balance."""

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence

from backends.sandbox import holds
from backends.sandbox.books import Books
from backends.sandbox.sends import hash_of, is_hex32
from nwc_service.backend import (
    BadRequest,
    Balance,
    FailReason,
    InvoiceReport,
    InvoiceSpec,
    InvoiceStatus,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash, Preimage

INVOICE_UPDATED = "invoice updated"  # what the books announce; held payments by their hash


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
                          (SELECT coalesce(max(update_id), 0) FROM invoice_update)
                              AS settle_index"""
            )
        return {name: int(row[name]) for name in row.keys()}  # noqa: SIM118  (a row)

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport:
        """The same `our_id` gives the invoice that it has already."""
        preimage = None if spec.hold_hash else spec.preimage or secrets.token_hex(32)
        payment_hash = _payment_hash(spec, preimage)
        created_at = self._books.now()
        invoice = _signed_invoice(
            spec, payment_hash, created_at=created_at, secret_key=self._books.service_key
        )
        async with self._books.transaction() as tx:
            await tx.rows(
                """INSERT INTO invoice (our_id, payment_hash, preimage, invoice, amount_msat,
                                        status, created_at, expires_at, is_hold, hold_blocks)
                   VALUES (:our_id, :payment_hash, :preimage, :invoice, :amount_msat,
                           'open', :created_at, :expires_at, :is_hold, :hold_blocks)
                   ON CONFLICT DO NOTHING""",
                our_id=spec.our_id,
                payment_hash=payment_hash,
                preimage=preimage,
                invoice=invoice,
                amount_msat=spec.amount_msat,
                created_at=created_at,
                expires_at=created_at + spec.expiry_s,
                is_hold=spec.hold_hash is not None,
                hold_blocks=_hold_blocks(spec) if spec.hold_hash else None,
            )
            row = await tx.row("SELECT * FROM invoice WHERE our_id = :id", id=spec.our_id)
        if row is None:
            raise BadRequest("another invoice has this payment hash")
        return self._report(row)

    async def find_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None:
        async with holds.up_to_date(self._books) as tx:
            row = await tx.row(
                "SELECT * FROM invoice WHERE payment_hash = :hash", hash=payment_hash
            )
        return None if row is None else self._report(row)

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        async with holds.up_to_date(self._books) as tx:
            now = self._books.now()
            if preimage is None:
                await holds.cancel(tx, payment_hash, now=now)
            else:
                await holds.settle(tx, payment_hash, preimage=preimage, now=now)
            [row] = await tx.rows(
                "SELECT * FROM invoice WHERE payment_hash = :hash", hash=payment_hash
            )
        self._books.announce(INVOICE_UPDATED)
        return self._report(row)

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        """One that is settled stays so. Raises BadRequest if there is no such invoice."""
        async with holds.up_to_date(self._books) as tx:
            if not await tx.rows(
                "SELECT 1 FROM invoice WHERE payment_hash = :hash", hash=payment_hash
            ):
                raise BadRequest("no invoice of this node has this payment hash")
            await holds.give_back(
                tx, payment_hash, reason=FailReason.REJECTED, now=self._books.now()
            )

    async def updates(
        self, *, after: int, limit: int, with_accepted: bool
    ) -> Sequence[tuple[InvoiceReport, int]]:
        """What was settled, or also accepted, in that order, each as it is now and with its
        place in that order. What was given back since then is left out."""
        async with holds.up_to_date(self._books) as tx:
            rows = await tx.rows(
                """SELECT invoice.*, update_id
                   FROM invoice_update AS told JOIN invoice USING (payment_hash)
                   WHERE update_id > :after AND invoice.status IN ('accepted', 'settled')
                       AND (told.status = 'settled' OR :with_accepted)
                   ORDER BY update_id LIMIT :limit""",
                after=after,
                limit=limit,
                with_accepted=with_accepted,
            )
        return [(self._report(row), int(row["update_id"])) for row in rows]

    def _report(self, row: sqlite3.Row) -> InvoiceReport:
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
            settle_deadline=row["settle_deadline"],
            tlvs=_tlvs(row["tlv_records"]),
            node_offer_id=row["offer_id"],
        )


def _payment_hash(spec: InvoiceSpec, preimage: str | None) -> PaymentHash:
    if preimage is None:
        return _hold_hash(spec)
    try:
        payment_hash = hash_of(Preimage(preimage))
    except ValueError:
        raise BadRequest("the preimage is not hex") from None
    if not is_hex32(preimage):
        raise BadRequest("the preimage is not 32 bytes as lower case hex")
    return payment_hash


def _hold_hash(spec: InvoiceSpec) -> PaymentHash:
    if spec.hold_hash is None or not is_hex32(spec.hold_hash):
        raise BadRequest("the payment hash is not 32 bytes as lower case hex")
    if spec.preimage is not None:
        raise BadRequest("a hold invoice comes without its preimage")
    if not 1 <= _hold_blocks(spec) <= holds.MAX_HOLD_BLOCKS:
        raise BadRequest(f"min_cltv_expiry_delta: not from 1 to {holds.MAX_HOLD_BLOCKS}")
    return spec.hold_hash


def _hold_blocks(spec: InvoiceSpec) -> int:
    asked = spec.min_cltv_expiry_delta
    return holds.HOLD_BLOCKS if asked is None else asked


def _signed_invoice(
    spec: InvoiceSpec, payment_hash: PaymentHash, *, created_at: int, secret_key: bytes
) -> str:
    blocks = _hold_blocks(spec) if spec.hold_hash else spec.min_cltv_expiry_delta
    try:
        return bolt11.encode(
            network="regtest",
            amount_msat=spec.amount_msat,
            payment_hash=payment_hash,
            payment_secret=secrets.token_hex(32),
            description=None if spec.description_hash else spec.description,
            description_hash=spec.description_hash,
            created_at=created_at,
            expiry_s=spec.expiry_s,
            min_final_cltv_delta=bolt11.DEFAULT_FINAL_CLTV_DELTA if blocks is None else blocks,
            secret_key=secret_key,
        )
    except bolt11.InvalidInvoice as refused:
        raise BadRequest(str(refused)) from None


def _tlvs(tlv_records: str | None) -> Mapping[int, bytes] | None:
    if tlv_records is None:
        return None
    return {each["type"]: bytes.fromhex(each["value"]) for each in json.loads(tlv_records)}
