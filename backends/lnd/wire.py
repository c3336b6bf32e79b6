"""LND's JSON: only the fields that this backend believes, each checked.

64-bit numbers come as text, bytes as base64.
"""

import binascii
import hashlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

from nwc_service.wallet.units import PaymentHash, Preimage


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("must be base64")
    try:
        return b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("must be base64") from None


Bytes = Annotated[bytes, BeforeValidator(_bytes)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def b64(hex_text: str) -> str:
    """As LND wants bytes in a body."""
    return b64encode(bytes.fromhex(hex_text)).decode()


def b64_path(hex_text: str) -> str:
    """As LND wants bytes in a path."""
    return urlsafe_b64encode(bytes.fromhex(hex_text)).decode()


def proven(preimage: bytes, payment_hash: str) -> Preimage | None:
    """The only proof of a payment: a preimage that hashes to the payment hash."""
    if len(preimage) != 32 or hashlib.sha256(preimage).hexdigest() != payment_hash:
        return None
    return Preimage(preimage.hex())


class Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Problem(Wire):
    """The body of an error, or what a line of a stream has under `error`."""

    code: int  # gRPC's
    message: str = ""


class State(Wire):
    """GET /v1/state"""

    state: str


class Chain(Wire):
    network: str


class Info(Wire):
    """GET /v1/getinfo"""

    version: str = ""
    identity_pubkey: str
    alias: str = ""
    color: str = ""
    block_height: int
    block_hash: str = ""
    synced_to_chain: bool
    synced_to_graph: bool = True
    chains: tuple[Chain, ...] = ()


class Amount(Wire):
    msat: int = 0


class ChannelBalance(Wire):
    """GET /v1/balance/channels"""

    local_balance: Amount


class Channel(Wire):
    active: bool
    channel_point: str
    local_balance: int  # sat, as the three that follow, rounded down
    remote_balance: int
    local_chan_reserve_sat: int
    remote_chan_reserve_sat: int
    num_updates: int


class Channels(Wire):
    """GET /v1/channels"""

    channels: tuple[Channel, ...] = ()


class PayReq(Wire):
    """GET /v1/payreq/INVOICE"""

    destination: str
    payment_hash: Hash
    num_msat: int  # 0 where the invoice names none
    timestamp: int
    expiry: int  # in seconds after the timestamp
    cltv_expiry: int = 0
    route_hints: tuple[object, ...] = ()


class Route(Wire):
    total_fees_msat: int


class Routes(Wire):
    """POST /v1/graph/routes"""

    routes: tuple[Route, ...] = ()


class Attempt(Wire):
    status: str
    resolve_time_ns: int = 0


class Payment(Wire):
    """A line of /v2/router/send and /v2/router/track, and of GET /v1/payments."""

    payment_hash: Hash
    value_msat: int
    fee_msat: int
    payment_preimage: str
    status: Literal["UNKNOWN", "INITIATED", "IN_FLIGHT", "SUCCEEDED", "FAILED"]
    failure_reason: str = ""
    creation_time_ns: int
    payment_index: int
    htlcs: tuple[Attempt, ...] = ()

    @property
    def created_at(self) -> int:
        return self.creation_time_ns // 10**9

    @property
    def proven_preimage(self) -> Preimage | None:
        try:
            preimage = bytes.fromhex(self.payment_preimage)
        except ValueError:
            return None
        return proven(preimage, self.payment_hash)


class Payments(Wire):
    """GET /v1/payments"""

    payments: tuple[Payment, ...] = ()
    last_index_offset: int = 0


class Htlc(Wire):
    state: Literal["ACCEPTED", "SETTLED", "CANCELED"]
    amt_msat: int
    expiry_height: int
    custom_records: Mapping[int, Bytes] = {}


class AmpState(Wire):
    """One payment of an AMP invoice, which itself stays open."""

    state: str
    settle_index: int = 0


class Invoice(Wire):
    """GET /v1/invoice/HASH, a line of the streams of invoices, and of GET /v1/invoices."""

    r_hash: Bytes
    r_preimage: Bytes = b""
    memo: str = ""
    description_hash: Bytes = b""
    value_msat: int
    amt_paid_msat: int
    state: Literal["OPEN", "ACCEPTED", "SETTLED", "CANCELED"]
    creation_date: int
    expiry: int  # in seconds after the creation
    settle_date: int
    add_index: int
    settle_index: int
    payment_request: str
    is_keysend: bool = False
    is_amp: bool = False
    htlcs: tuple[Htlc, ...] = ()
    amp_invoice_state: Mapping[str, AmpState] = {}

    @property
    def hash(self) -> PaymentHash:
        return PaymentHash(self.r_hash.hex())

    @property
    def settle_indexes(self) -> list[int]:
        parts = [part.settle_index for part in self.amp_invoice_state.values()]
        return [index for index in (self.settle_index, *parts) if index]

    @property
    def is_hold(self) -> bool:
        """While it is not settled: LND knows the preimage of every other one."""
        return not self.r_preimage and not self.is_amp and self.state != "SETTLED"


class Invoices(Wire):
    """GET /v1/invoices"""

    invoices: tuple[Invoice, ...] = ()
    first_index_offset: int = 0
    last_index_offset: int = 0


class Created(Wire):
    """POST /v1/invoices and /v2/invoices/hodl, which tells no hash."""

    r_hash: Bytes = b""
    payment_request: str


class Signature(Wire):
    """POST /v1/signmessage"""

    signature: str
