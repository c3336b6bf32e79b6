"""What a payer is told of an address, what he asks, and what an invoice for him commits to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import orjson

from nwc_service.lnurl.payerdata import OFFERED, PayerData, parse_payerdata
from nwc_service.lnurl.zap import ZapRequest, parse_zap_request
from nwc_service.wallet.units import MAX_MSAT, MSAT_PER_SAT, Msat

Json = Mapping[str, object]

MAX_COMMENT_CHARACTERS = 255
MAX_METADATA_CHARACTERS = 4096  # NWC-06


class InvalidAsk(ValueError):
    """What the payer asks for cannot be; the message is for him."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an address takes. `whole_sats`: its node makes no other invoices."""

    name: str
    domain: str
    callback: str
    min_msat: Msat
    max_msat: Msat
    whole_sats: bool
    nostr_pubkey: str
    """That of the key which signs zap receipts."""

    @property
    def lud16(self) -> str:
        return f"{self.name}@{self.domain}"

    @property
    def metadata(self) -> str:
        """The very text that the description hash is of."""
        lines = [["text/plain", f"To {self.lud16}"], ["text/identifier", self.lud16]]
        return orjson.dumps(lines).decode()

    def answer(self) -> Json:
        """LUD-06, with LUD-12, LUD-18 and NIP-57."""
        return {
            "tag": "payRequest",
            "callback": self.callback,
            "minSendable": self.min_msat,
            "maxSendable": self.max_msat,
            "metadata": self.metadata,
            "commentAllowed": MAX_COMMENT_CHARACTERS,
            "payerData": OFFERED,
            "allowsNostr": True,
            "nostrPubkey": self.nostr_pubkey,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for an invoice. `hashed_text` is what its description hash is of: the metadata,
    with the payer's data behind it (LUD-18), or the zap request (NIP-57)."""

    amount_msat: Msat
    hashed_text: str = field(repr=False)
    comment: str | None = field(default=None, repr=False)
    payer_data: PayerData | None = field(default=None, repr=False)
    zap: ZapRequest | None = field(default=None, repr=False)

    @property
    def description_hash(self) -> str:
        return sha256(self.hashed_text.encode()).hexdigest()

    @property
    def metadata(self) -> str | None:
        """As NWC-06 has it; a zap request that is too long for it is left out."""
        about: dict[str, object] = {}
        if self.comment:
            about["comment"] = self.comment
        if self.payer_data:
            about["payer_data"] = self.payer_data
        if self.zap is not None:
            with_zap = orjson.dumps(about | {"nostr": self.zap.event.to_dict()}).decode()
            if len(with_zap) <= MAX_METADATA_CHARACTERS:
                return with_zap
        return orjson.dumps(about).decode() if about else None


def parse_ask(terms: Terms, query: Mapping[str, str]) -> Ask:
    """Raises InvalidAsk."""
    amount_msat = _amount(terms, query.get("amount"))
    comment = query.get("comment") or None
    if comment and len(comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidAsk(f"comment: more than {MAX_COMMENT_CHARACTERS} characters")
    raw_payerdata, raw_zap = query.get("payerdata"), query.get("nostr")
    if raw_payerdata and raw_zap:
        # Either wants the description hash for itself.
        raise InvalidAsk("nostr and payerdata: only one of them")
    try:
        payer_data = parse_payerdata(raw_payerdata) if raw_payerdata else None
        zap = _zap(terms, raw_zap, amount_msat=amount_msat) if raw_zap else None
    except ValueError as error:
        raise InvalidAsk(str(error)) from error
    return Ask(
        amount_msat=amount_msat,
        hashed_text=raw_zap or terms.metadata + (raw_payerdata or ""),
        comment=comment,
        payer_data=payer_data,
        zap=zap,
    )


def error(reason: str) -> Json:
    return {"status": "ERROR", "reason": reason}


def _zap(terms: Terms, raw: str, *, amount_msat: Msat) -> ZapRequest:
    return parse_zap_request(raw, amount_msat=amount_msat, signer=terms.nostr_pubkey)


def _amount(terms: Terms, text: str | None) -> Msat:
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 19:
        raise InvalidAsk("amount: a whole number of millisatoshis is needed")
    amount_msat = int(text)
    if not terms.min_msat <= amount_msat <= min(terms.max_msat, MAX_MSAT):
        raise InvalidAsk(f"amount: not from {terms.min_msat} to {terms.max_msat} msat")
    if terms.whole_sats and amount_msat % MSAT_PER_SAT:
        raise InvalidAsk("amount: whole sats (1000 msat) only")
    return Msat(amount_msat)
