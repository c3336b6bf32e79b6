"""What LND says of itself: who it is, what it can spend, and how it reads an invoice."""

import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote

from backends.lnd.api import NOT_FOUND, LndApi, Reply, is_refused_unread
from backends.lnd.wire import (
    ChannelBalance,
    Channels,
    Info,
    PayReq,
    Routes,
    Signature,
    State,
)
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Balance,
    Decoded,
    FailReason,
    KeysendRequest,
    NodeInfo,
    PayRequest,
)
from nwc_service.wallet.bolt11 import MAX_INVOICE_LENGTH
from nwc_service.wallet.units import MAX_MSAT, MSAT_PER_SAT, Msat, PaymentHash

READY_STATES = ("RPC_ACTIVE", "SERVER_ACTIVE")
OLDEST_VERSION = (0, 20)
UPDATE = "use LND 0.20 or newer"
NETWORKS: Mapping[str, str] = {"testnet4": "testnet"}  # its invoices are those of testnet

UNKNOWN = 2
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_INVOICE = re.compile(rf"[0-9A-Za-z]{{1,{MAX_INVOICE_LENGTH}}}")
_COLOR = re.compile(r"#([0-9a-f]{6})")


class LndNode:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: LndApi) -> None:
        self._api = api

    async def info(self) -> NodeInfo:
        info = await self.told()
        self._check_version(info.version)
        return node_info(info)

    async def told(self) -> Info:
        """Of any version."""
        state = (await self._api.get("/v1/state", operation="start")).read(State)
        if state is not None and state.state not in READY_STATES:
            what = f"LND is not ready, its state is {state.state[:40]}"
            remedy = "unlock its wallet (lncli unlock), or wait until it has started"
            raise self._api.problem("start", what, remedy=remedy)
        reply = await self._api.get("/v1/getinfo", operation="start")
        info = reply.read(Info)
        if info is None:
            raise self._api.unusable(reply, operation="start")
        return info

    async def balance(self) -> Balance:
        """Of the channels that can be used now, without their reserves.

        Channels are told in whole sats, their sum in msat: what was rounded off is spendable.
        """
        channels = (await self._channels("balance")).channels
        reply = await self._api.get("/v1/balance/channels", operation="balance")
        total = reply.read(ChannelBalance)
        if total is None:
            raise self._api.unusable(reply, operation="balance")
        usable = [channel for channel in channels if channel.active]
        spendable = sum(max(0, c.local_balance - c.local_chan_reserve_sat) for c in usable)
        receivable = sum(max(0, c.remote_balance - c.remote_chan_reserve_sat) for c in usable)
        told_msat = sum(c.local_balance for c in channels) * MSAT_PER_SAT
        rest_msat = total.local_balance.msat - told_msat
        if not usable or not 0 <= rest_msat < len(channels) * MSAT_PER_SAT:
            rest_msat = 0  # something moved between the two answers
        return Balance(
            spendable_msat=Msat(spendable * MSAT_PER_SAT + rest_msat),
            receivable_msat=Msat(receivable * MSAT_PER_SAT),
        )

    async def channel_updates(self) -> Mapping[str, int]:
        """How often each channel's state was changed."""
        channels = (await self._channels("counters")).channels
        return {f"channel_{c.channel_point}": c.num_updates for c in channels}

    async def decode(self, invoice: str) -> Decoded:
        """Raises also BadRequest."""
        read = await self._read(invoice, operation="decode")
        return Decoded(
            payment_hash=PaymentHash(read.payment_hash),
            amount_msat=Msat(read.num_msat) if read.num_msat else None,
            expires_at=read.timestamp + read.expiry,
            payee=read.destination,
        )

    async def sign(self, message: str) -> str:
        """Raises also BadRequest."""
        if not message:
            raise BadRequest("LND signs no empty message")
        body = {"msg": b64encode(message.encode(errors="surrogatepass")).decode()}
        reply = await self._api.post("/v1/signmessage", body, operation="sign_message")
        signed = reply.read(Signature)
        if signed is None:
            raise self._api.unusable(reply, operation="sign_message")
        return signed.signature

    async def has_invoice(self, payment_hash: PaymentHash) -> bool:
        reply = await self._api.get(f"/v1/invoice/{payment_hash}", operation="pay")
        if is_no_invoice(reply):
            return False
        if reply.problem is not None:
            raise self._api.unusable(reply, operation="pay")
        return True

    async def why(self, request: PayRequest | KeysendRequest, reason: FailReason) -> FailReason:
        """LND says "no route" also where the fee limit alone stood in the way."""
        if reason is not FailReason.NO_ROUTE:
            return reason
        try:
            fee_msat = await self._cheapest_fee_msat(request)
        except (BackendUnavailable, BadRequest):
            return reason
        is_too_dear = fee_msat is not None and fee_msat > request.max_fee_msat
        return FailReason.FEE_TOO_HIGH if is_too_dear else reason

    async def _cheapest_fee_msat(self, request: PayRequest | KeysendRequest) -> int | None:
        destination, wanted = "", dict[str, object]()
        if isinstance(request, KeysendRequest):
            destination = request.destination
        else:
            read = await self._read(request.invoice, operation="pay")
            destination = read.destination
            hints = {"route_hints": read.route_hints, "final_cltv_delta": read.cltv_expiry}
            wanted = {name: hint for name, hint in hints.items() if hint}
        body = {
            **wanted,
            "amt_msat": str(request.amount_msat),
            "fee_limit": {"fixed_msat": str(MAX_MSAT)},
            "use_mission_control": True,
        }
        path = f"/v1/graph/routes/{quote(destination, safe='')}/0"
        found = (await self._api.post(path, body, operation="pay")).read(Routes)
        fees = [route.total_fees_msat for route in found.routes] if found else []
        return min(fees) if fees else None

    async def _read(self, invoice: str, *, operation: str) -> PayReq:
        if not _INVOICE.fullmatch(invoice):
            raise BadRequest("LND cannot read the invoice")
        reply = await self._api.get(f"/v1/payreq/{invoice}", operation=operation)
        read = reply.read(PayReq)
        if read is not None:
            return read
        problem = reply.problem
        is_read = problem is not None and problem.code == UNKNOWN and problem.message
        if is_read and not is_refused_unread(reply):
            raise BadRequest("LND cannot read the invoice")
        raise self._api.unusable(reply, operation=operation)

    async def _channels(self, operation: str) -> Channels:
        reply = await self._api.get("/v1/channels", operation=operation)
        channels = reply.read(Channels)
        if channels is None:
            raise self._api.unusable(reply, operation=operation)
        return channels

    def _check_version(self, version: str) -> None:
        if is_too_old(version):
            what = f"it is LND {version[:40]}"
            raise self._api.problem("start", what, remedy=UPDATE)


def node_info(info: Info) -> NodeInfo:
    network = info.chains[0].network if info.chains else None
    color = _COLOR.fullmatch(info.color.lower())
    return NodeInfo(
        alias=info.alias or None,
        color=color.group(1) if color else None,
        pubkey=info.identity_pubkey,
        network=NETWORKS.get(network, network) if network else None,
        block_height=info.block_height,
        block_hash=info.block_hash or None,
        synced=info.synced_to_chain,
    )


def is_too_old(version: str) -> bool:
    found = _VERSION.match(version)
    if found is None:
        return False  # of somebody's own build
    return (int(found.group(1)), int(found.group(2))) < OLDEST_VERSION


def is_no_invoice(reply: Reply) -> bool:
    problem = reply.problem
    return (
        problem is not None
        and problem.code == NOT_FOUND
        and problem.message.startswith(("unable to locate invoice", "there are no existing"))
    )
