"""BOLT12 of the double. What a payee answers with is opaque: only the double can read it."""

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nwc_service.wallet import bech32, bolt11, bolt12
from nwc_service.wallet.units import Msat
from tests.backends.cln_rows import NODE_ID, NODE_KEY, OUTSIDE_ID, Json, RpcFail, hash_of

if TYPE_CHECKING:
    from tests.backends.cln_core import ClnCore


@dataclass(slots=True)
class Bolt12:
    offers: dict[str, dict[str, Any]] = field(default_factory=dict)  # ours
    outside: set[str] = field(default_factory=set)
    fetched: dict[str, Json] = field(default_factory=dict)

    def offer(
        self,
        core: "ClnCore",
        amount: int | str,
        *,
        description: str | None = None,
        issuer: str | None = None,
        label: str | None = None,
        absolute_expiry: int | None = None,
        single_use: bool = False,
    ) -> Json:
        if amount != "any" and description is None:
            raise RpcFail(-32602, "description is required for the user to know what it was")
        text = bolt12.encode(
            network="regtest",
            amount_msat=None if amount == "any" else Msat(int(amount)),
            description=description,
            expires_at=absolute_expiry,
            issuer=issuer,
            issuer_id=NODE_ID,
        )
        made = self.createoffer(core, text, label=label, single_use=single_use)
        if not made["active"]:
            raise RpcFail(1000, "Offer already exists, but isn't active")
        return made

    def createoffer(
        self,
        core: "ClnCore",
        bolt12: str,
        *,
        label: str | None = None,
        single_use: bool = False,
    ) -> Json:
        """The label and the use are those of the first that asked."""
        offer_id = _id(bolt12)
        is_new = offer_id not in self.offers
        if is_new:
            self.offers[offer_id] = {
                "offer_id": offer_id,
                "active": True,
                "single_use": single_use,
                "bolt12": bolt12,
                "used": False,
                **({} if label is None else {"label": label}),
            }
        return self.offers[offer_id] | {"created": is_new}

    def listoffers(self, core: "ClnCore", offer_id: str = "") -> Json:
        rows = [row for id_, row in self.offers.items() if offer_id in ("", id_)]
        return {"offers": rows}

    def fetchinvoice(
        self,
        core: "ClnCore",
        offer: str,
        *,
        amount_msat: int | None = None,
        timeout: int = 60,
        payer_note: str = "",
    ) -> Json:
        read = bolt12.decode(offer)
        if offer not in self.outside:
            raise RpcFail(1003, "Failed: could not route or connect directly to payee")
        if read.expires_at is not None and read.expires_at <= time.time():
            raise RpcFail(1002, "Offer expired")
        preimage = secrets.token_hex(32)
        core.outside[hash_of(preimage)] = preimage
        text = _opaque()
        self.fetched[text] = {
            "type": "bolt12 invoice",
            "valid": True,
            "offer_id": bolt12.offer_id(read),
            "invoice_created_at": int(time.time()),
            "invoice_relative_expiry": 7200,
            "invoice_payment_hash": hash_of(preimage),
            "invoice_amount_msat": int(read.amount or amount_msat or 0),
            "invoice_node_id": OUTSIDE_ID,
        }
        return {"invoice": text, "changes": {}}

    def reading(self, invoice: str) -> Json:
        return self.fetched[invoice]

    def make_outside_offer(self, amount_msat: int | None, *, expiry_s: int | None) -> str:
        text = bolt12.encode(
            network="regtest",
            amount_msat=None if amount_msat is None else Msat(amount_msat),
            description="tea",
            expires_at=None if expiry_s is None else int(time.time()) + expiry_s,
            issuer_id=OUTSIDE_ID,
            metadata=secrets.token_bytes(16),
        )
        self.outside.add(text)
        return text

    def invoice_for(
        self, core: "ClnCore", offer: bolt12.Offer, *, amount_msat: int | None
    ) -> dict[str, Any]:
        """As the node makes one when an outside payer asks."""
        row = self.offers[bolt12.offer_id(offer)]
        if not row["active"]:
            raise ValueError("the offer is no longer available")
        row |= {"used": True, "active": not row["single_use"]}
        return core.add_invoice(
            f"{row['offer_id']}-{secrets.token_hex(8)}-0",
            secrets.token_hex(32),
            bolt12=_opaque(),
            amount_msat=int(offer.amount or amount_msat or 0),
            description=offer.description,
            local_offer_id=row["offer_id"],
            invreq_payer_note="thanks",
        )

    def signinvoice(self, core: "ClnCore", invstring: str) -> Json:
        """The same, with the node's own signature."""
        read = bolt11.decode(invstring)
        about = {"description_hash": read.description_hash} if read.description_hash else {}
        signed = bolt11.encode(
            network=read.network,
            amount_msat=read.amount_msat,
            payment_hash=read.payment_hash,
            payment_secret=read.payment_secret,
            description=read.description,
            created_at=read.created_at,
            expiry_s=read.expiry_s,
            min_final_cltv_delta=read.min_final_cltv_delta,
            secret_key=NODE_KEY.secret,
            **about,
        )
        return {"bolt11": signed}


def _id(text: str) -> str:
    return bolt12.offer_id(bolt12.decode(text))


def _opaque() -> str:
    digits = bech32.digits_from_bytes(secrets.token_bytes(40))
    return "lni1" + bech32.chars_from_digits(digits)
