"""Offers of either node, and the BOLT12 invoices that are made for them.

An invoice is opaque: `lni1` and random characters, which only these books can read.
"""

import secrets
from hashlib import sha256

from backends.sandbox.books import Books, Tx
from backends.sandbox.sends import Answer
from nwc_service.backend import (
    BadRequest,
    Decoded,
    FetchedInvoice,
    OfferReport,
    OfferSpec,
)
from nwc_service.wallet import bech32, bolt12
from nwc_service.wallet.units import MAX_MSAT, Msat, PaymentHash

PREFIX = "lni1"
EXPIRY_S = 3600


class Offers:
    def __init__(self, books: Books) -> None:
        self._books = books

    async def create(self, spec: OfferSpec) -> OfferReport:
        """An offer of the service's node. The same `our_id` gives the same one."""
        offer = _encode(
            amount_msat=spec.amount_msat,
            description=spec.description,
            issuer=spec.issuer,
            expires_at=spec.expires_at,
            issuer_id=self._books.service_pubkey,
        )
        async with self._books.transaction() as tx:
            await tx.rows(
                """INSERT INTO offer (offer_id, our_id, offer, amount_msat, single_use,
                                      expires_at)
                   VALUES (:offer_id, :our_id, :offer, :amount_msat, :single_use, :expires_at)
                   ON CONFLICT DO NOTHING""",
                offer_id=bolt12.offer_id(offer),
                our_id=spec.our_id,
                offer=offer.offer,
                amount_msat=spec.amount_msat,
                single_use=spec.single_use,
                expires_at=spec.expires_at,
            )
            [row] = await tx.rows("SELECT * FROM offer WHERE our_id = :id", id=spec.our_id)
        return OfferReport(row["offer_id"], row["offer"])

    async def create_outside(
        self,
        amount_msat: Msat | None,
        *,
        description: str,
        answer: Answer,
        expiry_s: int | None,
    ) -> str:
        """An offer of the outside node."""
        expires_at = None if expiry_s is None else self._books.now() + expiry_s
        offer = _encode(
            amount_msat=amount_msat,
            description=description,
            issuer=None,
            expires_at=expires_at,
            issuer_id=self._books.outside_pubkey,
        )
        async with self._books.transaction() as tx:
            await tx.rows(
                """INSERT INTO outside_offer (offer, amount_msat, answer, expires_at)
                   VALUES (:offer, :amount_msat, :answer, :expires_at)""",
                offer=offer.offer,
                amount_msat=amount_msat,
                answer=answer,
                expires_at=expires_at,
            )
        return offer.offer

    async def fetch(
        self, text: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        """The outside node makes an invoice for an offer of its own. Raises BadRequest."""
        offer = read_offer(text)
        if offer.issuer_id == self._books.service_pubkey:
            raise BadRequest("the node does not pay itself")
        now = self._books.now()
        preimage = secrets.token_bytes(32)
        payment_hash = PaymentHash(sha256(preimage).hexdigest())
        async with self._books.transaction() as tx:
            row = await tx.row(
                "SELECT answer FROM outside_offer WHERE offer = :offer", offer=offer.offer
            )
            if row is None:
                raise BadRequest("nobody answers for this offer")
            fetched = FetchedInvoice(
                invoice=new_invoice(),
                payment_hash=payment_hash,
                amount_msat=asked_msat(offer, amount_msat, now=now),
                expires_at=now + EXPIRY_S,
                payee=self._books.outside_pubkey,
            )
            await tx.rows(
                """INSERT INTO outside_invoice (payment_hash, preimage, invoice, answer,
                                                amount_msat, expires_at, offer, payer_note)
                   VALUES (:hash, :preimage, :invoice, :answer,
                           :amount_msat, :expires_at, :offer, :payer_note)""",
                hash=payment_hash,
                preimage=preimage.hex(),
                invoice=fetched.invoice,
                answer=row["answer"],
                amount_msat=fetched.amount_msat,
                expires_at=fetched.expires_at,
                offer=offer.offer,
                payer_note=payer_note,
            )
        return fetched

    async def decode(self, invoice: str) -> Decoded:
        """What `fetch` gave. Raises BadRequest for any other."""
        async with self._books.transaction() as tx:
            row = await _fetched(tx, invoice, payee=self._books.outside_pubkey)
        if row is None:
            raise BadRequest("the invoice is none that this node has asked for")
        return row


def read_offer(text: str) -> bolt12.Offer:
    try:
        offer = bolt12.decode(text)
    except bolt12.InvalidOffer as refused:
        raise BadRequest(f"offer: {refused}") from None
    if "regtest" not in offer.networks:
        raise BadRequest("offer: of another network")
    return offer


def asked_msat(offer: bolt12.Offer, amount_msat: Msat | None, *, now: int) -> Msat:
    """What a payer of the offer pays. Raises BadRequest if he cannot."""
    if offer.expires_at is not None and now >= offer.expires_at:
        raise BadRequest("offer: expired")
    if amount_msat is not None and not 1 <= amount_msat <= MAX_MSAT:
        raise BadRequest("amount_msat: no such amount")
    wanted_msat = amount_msat if offer.amount_msat is None else Msat(offer.amount_msat)
    if wanted_msat is None:
        raise BadRequest("amount_msat: the offer names no amount")
    if amount_msat not in (None, wanted_msat):
        raise BadRequest("amount_msat: not what the offer asks for")
    return wanted_msat


def new_invoice() -> str:
    digits = bech32.digits_from_bytes(secrets.token_bytes(40))
    return PREFIX + bech32.chars_from_digits(digits)


def _encode(
    *,
    amount_msat: Msat | None,
    description: str,
    issuer: str | None,
    expires_at: int | None,
    issuer_id: str,
) -> bolt12.Offer:
    try:
        text = bolt12.encode(
            network="regtest",
            amount_msat=amount_msat,
            description=description,
            expires_at=expires_at,
            issuer=issuer,
            issuer_id=issuer_id,
            metadata=secrets.token_bytes(16),
        )
    except bolt12.InvalidOffer as refused:
        raise BadRequest(str(refused)) from None
    return bolt12.decode(text)


async def _fetched(tx: Tx, invoice: str, *, payee: str) -> Decoded | None:
    row = await tx.row(
        """SELECT payment_hash, amount_msat, expires_at FROM outside_invoice
           WHERE invoice = :invoice AND offer IS NOT NULL""",
        invoice=invoice.lower(),
    )
    if row is None:
        return None
    return Decoded(row["payment_hash"], row["amount_msat"], row["expires_at"], payee)
