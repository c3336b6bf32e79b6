"""CLN's JSON: only the fields that this backend believes, each checked."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from nwc_service.wallet.units import PaymentHash, Preimage


def _msat(value: object) -> object:
    """Amounts are numbers, and were text with a unit once."""
    return value.removesuffix("msat") if isinstance(value, str) else value


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Amount = Annotated[int, BeforeValidator(_msat)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[datetime, AfterValidator(_in_utc)]


def proven(preimage: str | None, payment_hash: str) -> Preimage | None:
    """The only proof of a payment: a preimage that hashes to the payment hash."""
    try:
        raw = bytes.fromhex(preimage or "")
    except ValueError:
        return None
    if len(raw) != 32 or hashlib.sha256(raw).hexdigest() != payment_hash:
        return None
    return Preimage(raw.hex())


class Wire(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )


class Problem(Wire):
    """JSON-RPC's error; CLNRest answers it alone, with a code of null where it is its own."""

    code: int | None = None
    message: str = ""


class Info(Wire):
    """getinfo"""

    id: str
    alias: str = ""
    color: str = ""
    blockheight: int
    network: str
    version: str
    warning_bitcoind_sync: str | None = None
    warning_lightningd_sync: str | None = None


class HelpLine(Wire):
    command: str  # the name, and its parameters


class Help(Wire):
    help: tuple[HelpLine, ...]

    @property
    def commands(self) -> frozenset[str]:
        return frozenset(line.command.split()[0] for line in self.help if line.command)


class Config(Wire):
    value_bool: bool | None = None
    value_int: int | None = None


class Configs(Wire):
    """listconfigs"""

    configs: Mapping[str, Config] = {}


class Rights(Wire):
    """checkrune"""

    valid: bool


class Channel(Wire):
    state: str
    peer_connected: bool = False
    private: bool = False
    spendable_msat: Amount = 0
    receivable_msat: Amount = 0


class Channels(Wire):
    """listpeerchannels"""

    channels: tuple[Channel, ...]


class Waited(Wire):
    """wait"""

    created: int = 0
    updated: int = 0


class Reading(Wire):
    """decode, of a BOLT11 or BOLT12 invoice"""

    type: str
    valid: bool
    currency: str = ""
    payment_hash: Hash | None = None
    amount_msat: Amount | None = None
    created_at: int = 0
    expiry: int = 3600  # in seconds after the creation
    payee: str | None = None
    invoice_payment_hash: Hash | None = None
    invoice_amount_msat: Amount | None = None
    invoice_created_at: int = 0
    invoice_relative_expiry: int = 7200
    invoice_node_id: str | None = None


class Signature(Wire):
    """signmessage"""

    zbase: str


class Made(Wire):
    """invoice"""

    payment_hash: Hash
    bolt11: str


class Invoice(Wire):
    """A row of listinvoices, and what waitanyinvoice gives."""

    label: str
    payment_hash: Hash
    status: Literal["unpaid", "paid", "expired"]
    expires_at: int
    created_index: int
    description: str | None = None
    amount_msat: Amount | None = None
    bolt11: str | None = None
    bolt12: str | None = None
    pay_index: int | None = None
    amount_received_msat: Amount | None = None
    paid_at: int | None = None
    payment_preimage: str | None = None
    local_offer_id: str | None = None
    invreq_payer_note: str | None = None


class Invoices(Wire):
    """listinvoices"""

    invoices: tuple[Invoice, ...]


class Part(Wire):
    """Of a payment; the parts of one attempt have the same group."""

    created_index: int
    payment_hash: Hash
    status: Literal["pending", "failed", "complete"]
    groupid: int
    created_at: int
    amount_sent_msat: Amount
    amount_msat: Amount | None = None
    completed_at: int | None = None
    payment_preimage: str | None = None
    label: str | None = None  # of a keysend, whose it is


class Parts(Wire):
    """listsendpays"""

    payments: tuple[Part, ...]


class RouteStep(Wire):
    """A channel, what goes into it, and who is at its other end; 26.06 has new names."""

    channel: str = Field(
        validation_alias="short_channel_id_dir",
        pattern=r"^[0-9]{1,8}x[0-9]{1,8}x[0-9]{1,5}/[01]$",
    )
    node: str = Field(validation_alias=AliasChoices("node_id_out", "next_node_id"))
    amount_msat: Amount = Field(validation_alias=AliasChoices("amount_in_msat", "amount_msat"))
    cltv: int = Field(validation_alias=AliasChoices("cltv_in", "delay"), ge=0)


class Route(Wire):
    """`amount_msat` is what arrives at its end."""

    amount_msat: Amount
    final_cltv: int = Field(ge=0)
    path: tuple[RouteStep, ...]


class Routes(Wire):
    """getroutes"""

    routes: tuple[Route, ...]


class Onion(Wire):
    """createonion"""

    onion: str


class Injected(Wire):
    """injectpaymentonion"""

    payment_preimage: str


class Paid(Wire):
    """xpay"""

    payment_preimage: str
    amount_msat: Amount
    amount_sent_msat: Amount


class Fetched(Wire):
    """fetchinvoice"""

    invoice: str


class Offer(Wire):
    """offer and createoffer, and a row of listoffers"""

    offer_id: Hash
    bolt12: str
    single_use: bool
    active: bool
    label: str | None = None


class Offers(Wire):
    """listoffers"""

    offers: tuple[Offer, ...]


class Signed(Wire):
    """signinvoice"""

    bolt11: str


class HeldPart(Wire):
    state: str
    msat: int
    cltv_expiry: int | None = None


class Hold(Wire):
    """A row of the hold plugin's listholdinvoices."""

    payment_hash: Hash
    invoice: str
    state: Literal["unpaid", "accepted", "paid", "cancelled"]
    created_at: Time
    settled_at: Time | None = None
    preimage: str | None = None
    htlcs: tuple[HeldPart, ...] = ()

    @property
    def hash(self) -> PaymentHash:
        return PaymentHash(self.payment_hash)


class Holds(Wire):
    """listholdinvoices"""

    holdinvoices: tuple[Hold, ...]


class Empty(Wire):
    """What is answered does not matter."""
