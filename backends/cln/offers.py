"""BOLT12: offers of this node, and invoices that are asked for by those of others.

CLN makes the same offer for the same wishes, and so one for two askers. Where that happens, the
second one is written here, with metadata of its own, and given to the node.
"""

import time
from hashlib import sha256

from backends.cln.api import BAD_PARAMS, PLUGIN_TERMINATED, SHUTDOWN, ClnApi
from backends.cln.node import ClnNode
from backends.cln.options import Options
from backends.cln.transport import METHOD_NOT_FOUND
from backends.cln.wire import Fetched, Offer, Offers
from nwc_service.backend import (
    BadRequest,
    FetchedInvoice,
    OfferReport,
    OfferSpec,
)
from nwc_service.wallet import bolt12
from nwc_service.wallet.units import MAX_MSAT, Msat

EXISTS_INACTIVE = 1000
ALIKE = "CLN has this very offer already; change its description"
METADATA_BYTES = 16


class ClnOffers:
    """Every method may raise BackendUnavailable and BadRequest."""

    def __init__(self, api: ClnApi, node: ClnNode, *, options: Options) -> None:
        self._api = api
        self._node = node
        self._options = options

    async def create(self, spec: OfferSpec) -> OfferReport:
        reply = await self._api.call("offer", _params(spec), operation="create_offer")
        if reply.code == BAD_PARAMS:
            raise BadRequest(f"CLN says: {reply.words}")
        made = reply.read(Offer)
        if made is None and reply.code != EXISTS_INACTIVE:
            raise self._api.unusable(reply, operation="create_offer")
        if made is None or made.label != spec.our_id or made.single_use != spec.single_use:
            made = await self._create_another(spec)
        return OfferReport(made.offer_id, made.bolt12.lower())

    async def fetch(
        self, text: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        offer = self._read(text)
        wanted_msat = asked_msat(offer, amount_msat, now=time.time())
        own = await self._api.ask(
            Offers,
            "listoffers",
            params={"offer_id": bolt12.offer_id(offer)},
            operation="fetch_invoice",
        )
        if own.offers or offer.issuer_id == self._node.pubkey:
            raise BadRequest("the node does not pay itself")
        params: dict[str, object] = {
            "offer": offer.offer,
            "timeout": self._options.fetch_timeout_s,
        }
        if offer.amount is None:
            params["amount_msat"] = wanted_msat
        if offer.quantity_max is not None:
            params["quantity"] = 1
        if payer_note is not None:
            params["payer_note"] = payer_note
        invoice = await self._fetched(params)
        read = await self._node.decode(invoice, operation="fetch_invoice")
        if read.amount_msat != wanted_msat:
            raise BadRequest("the payee asks for another amount")
        return FetchedInvoice(
            invoice=invoice,
            payment_hash=read.payment_hash,
            amount_msat=wanted_msat,
            expires_at=read.expires_at,
            payee=read.payee,
        )

    async def _fetched(self, params: dict[str, object]) -> str:
        reply = await self._api.long_call(
            "fetchinvoice",
            params,
            operation="fetch_invoice",
            timeout_s=self._options.fetch_timeout_s + self._options.timeout_s,
        )
        fetched = reply.read(Fetched)
        if fetched is not None:
            return fetched.invoice.lower()
        is_of_cln = reply.code in (None, PLUGIN_TERMINATED, SHUTDOWN)
        if reply.problem is None or reply.is_unread or is_of_cln:
            raise self._api.unusable(reply, operation="fetch_invoice")
        raise BadRequest(f"CLN got no invoice: {reply.words}")

    async def _create_another(self, spec: OfferSpec) -> Offer:
        """With the same wishes as one that is somebody else's, or used up."""
        network = self._node.network
        is_announced = await self._node.is_announced(operation="create_offer")
        if network is None or not is_announced:
            # only CLN itself can write the path to a node that strangers do not find
            raise BadRequest(ALIKE)
        about = spec.description or (None if spec.amount_msat is None else "")
        try:
            written = bolt12.encode(
                network=network,
                amount_msat=spec.amount_msat,
                description=about,
                expires_at=spec.expires_at,
                issuer=spec.issuer or None,
                issuer_id=self._node.pubkey,
                metadata=sha256(b"offer of " + spec.our_id.encode()).digest()[:METADATA_BYTES],
            )
        except bolt12.InvalidOffer as wrong:
            raise BadRequest(str(wrong)) from None
        params = {"bolt12": written, "label": spec.our_id, "single_use": spec.single_use}
        reply = await self._api.call("createoffer", params, operation="create_offer")
        if reply.code in (BAD_PARAMS, METHOD_NOT_FOUND):  # it is in no manual
            raise BadRequest(ALIKE)
        made = reply.read(Offer)
        if made is None:
            raise self._api.unusable(reply, operation="create_offer")
        if not made.active or made.label != spec.our_id:
            raise BadRequest(ALIKE)
        return made

    def _read(self, text: str) -> bolt12.Offer:
        try:
            offer = bolt12.decode(text)
        except bolt12.InvalidOffer as wrong:
            raise BadRequest(f"offer: {wrong}") from None
        if self._node.network not in offer.networks:
            raise BadRequest("offer: of another network")
        return offer


def asked_msat(offer: bolt12.Offer, amount_msat: Msat | None, *, now: float) -> Msat:
    """What a payer of the offer pays. Raises BadRequest if he cannot."""
    if offer.expires_at is not None and now >= offer.expires_at:
        raise BadRequest("offer: expired")
    if amount_msat is not None and not 1 <= amount_msat <= MAX_MSAT:
        raise BadRequest("amount_msat: no such amount")
    if offer.currency is not None:
        raise BadRequest("offer: its amount is of another currency")
    wanted_msat = offer.amount_msat if offer.amount_msat is not None else amount_msat
    if wanted_msat is None:
        raise BadRequest("amount_msat: the offer names no amount")
    if amount_msat not in (None, wanted_msat):
        raise BadRequest("amount_msat: not what the offer asks for")
    return wanted_msat


def _params(spec: OfferSpec) -> dict[str, object]:
    params: dict[str, object] = {
        "amount": "any" if spec.amount_msat is None else spec.amount_msat,
        "label": spec.our_id,
        "single_use": spec.single_use,
    }
    if spec.description or spec.amount_msat is not None:
        params["description"] = spec.description  # which goes with every amount
    if spec.issuer:
        params["issuer"] = spec.issuer
    if spec.expires_at is not None:
        params["absolute_expiry"] = spec.expires_at
    return params
