"""The BOLT12 of a hostile node: offers of its own, and a payee outside, who has offers too and
makes an invoice for whoever asks for one."""

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from coincurve import PrivateKey

from nwc_service.backend import FetchedInvoice, OfferReport, OfferSpec
from nwc_service.wallet import bolt12
from nwc_service.wallet.units import Msat, PaymentHash, Preimage

NODE_KEY = b"\x11" * 32
PAYEE_KEY = b"\x22" * 32
NODE_PUBKEY = PrivateKey(NODE_KEY).public_key.format().hex()
PAYEE_PUBKEY = PrivateKey(PAYEE_KEY).public_key.format().hex()
LONGEST_EXPIRY_S = 600


def hash_of(preimage: str) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


@dataclass(frozen=True, slots=True)
class Made:
    """An offer of the node's own, and what was asked for."""

    spec: OfferSpec
    report: OfferReport


def made(spec: OfferSpec, *, random: Random) -> Made:
    """Another each time."""
    offer = bolt12.encode(
        network="regtest",
        amount_msat=spec.amount_msat,
        description=spec.description,
        expires_at=spec.expires_at,
        issuer=spec.issuer,
        issuer_id=NODE_PUBKEY,
        metadata=random.randbytes(16),
    )
    return Made(spec, OfferReport(random.randbytes(8).hex(), offer))


def outside_offer(
    amount_msat: int | None, *, random: Random, expires_at: int | None = None
) -> str:
    """Of the payee outside."""
    return bolt12.encode(
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        description="outside",
        expires_at=expires_at,
        issuer_id=PAYEE_PUBKEY,
        metadata=random.randbytes(16),
    )


@dataclass(slots=True)
class Fetched:
    """An invoice of the payee outside, with the notes of all who were given it."""

    offer: str
    told: FetchedInvoice
    preimage: Preimage
    notes: list[str | None] = field(default_factory=list)


class OutsidePayee:
    def __init__(self, random: Random) -> None:
        self.fetched: dict[str, Fetched] = {}
        """By the invoice."""
        self._random = random

    def invoice_again(self, offer: str) -> Fetched | None:
        """One that he made for this offer before, whatever it was about."""
        before = [fetched for fetched in self.fetched.values() if fetched.offer == offer]
        return self._random.choice(before) if before else None

    def new_invoice(self, offer: str, amount_msat: int, *, now: float) -> Fetched:
        preimage = Preimage(self._random.randbytes(32).hex())
        told = FetchedInvoice(
            invoice=f"lni1{self._random.randbytes(16).hex()}",
            payment_hash=hash_of(preimage),
            amount_msat=Msat(amount_msat),
            expires_at=int(now) + self._random.randint(5, LONGEST_EXPIRY_S),
            payee=PAYEE_PUBKEY,
        )
        fetched = self.fetched[told.invoice] = Fetched(offer, told, preimage)
        return fetched

    def other_amount(self, amount_msat: int) -> int:
        """What he asks for who baits: less, or more than he was asked for."""
        return self._random.choice((amount_msat + 1, amount_msat * 3, amount_msat // 2 + 1))
