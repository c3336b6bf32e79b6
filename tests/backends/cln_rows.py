"""What Core Lightning's JSON-RPC takes and says, as its schemas of v26.06 have it."""

import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from coincurve import PrivateKey

from backends.cln import ClnBackend
from nwc_service.backend import Failed, NotSent, Outcome, PayRequest, Settled
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

Json = Mapping[str, Any]

NODE_KEY, OUTSIDE_KEY = PrivateKey(b"\x05" * 32), PrivateKey(b"\x07" * 32)
NODE_ID = NODE_KEY.public_key.format().hex()
OUTSIDE_ID = OUTSIDE_KEY.public_key.format().hex()

PREIMAGE = "12" * 32
PAYMENT_HASH = PaymentHash(sha256(bytes.fromhex(PREIMAGE)).hexdigest())
AMOUNT_MSAT = Msat(21_000)
COMPLETED_AT = 1_796_095_204
SETTLED = Settled(Preimage(PREIMAGE), Msat(1_002), COMPLETED_AT)

# The parameters of each command, those that it needs first.
PARAMETERS: Mapping[str, tuple[str, str]] = {
    "getinfo": ("", ""),
    "help": ("", "command"),
    "listconfigs": ("", "config"),
    "listpeerchannels": ("", "id short_channel_id"),
    "wait": ("subsystem indexname nextvalue", ""),
    "decode": ("string", ""),
    "signmessage": ("message", ""),
    "invoice": (
        "amount_msat label description",
        "expiry fallbacks preimage cltv deschashonly exposeprivatechannels",
    ),
    "listinvoices": ("", "label invstring payment_hash offer_id index start limit"),
    "delinvoice": ("label status", "desconly"),
    "waitanyinvoice": ("", "lastpay_index timeout"),
    "xpay": (
        "invstring",
        "amount_msat maxfee layers retry_for partial_msat maxdelay payer_note",
    ),
    "getroutes": (
        "source destination amount_msat layers maxfee_msat final_cltv",
        "maxdelay maxparts",
    ),
    "createonion": ("hops assocdata", "session_key onion_size"),
    "injectpaymentonion": (
        "onion payment_hash amount_msat cltv_expiry partid groupid",
        "label invstring localinvreqid destination_msat destination",
    ),
    "listsendpays": ("", "bolt11 payment_hash status index start limit"),
    "listpays": ("", "bolt11 payment_hash status index start limit"),
    "fetchinvoice": (
        "offer",
        "amount_msat quantity timeout payer_note payer_metadata bip353",
    ),
    "offer": (
        "amount",
        "description issuer label quantity_max absolute_expiry single_use fronting_nodes",
    ),
    "createoffer": ("bolt12", "label single_use"),
    "listoffers": ("", "offer_id active_only"),
    "signinvoice": ("invstring", ""),
    "injectholdinvoice": ("invoice", "min_cltv"),
    "listholdinvoices": ("", "payment_hash invoice"),
    "settleholdinvoice": ("preimage", ""),
    "cancelholdinvoice": ("payment_hash", ""),
    "checkrune": ("rune", "nodeid method params"),
}


class RpcFail(Exception):
    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def body(self) -> Json:
        return {"code": self.code, "message": str(self)}


def a_backend(**options: object) -> ClnBackend:
    configured = {"timeout_s": 1, "poll_s": 0.05, "wait_s": 1, **options}
    return ClnBackend(BackendName("mine"), configured, data_dir=Path())


def hash_of(preimage: str) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def an_invoice(
    amount_msat: int | None = AMOUNT_MSAT,
    *,
    payment_hash: str = PAYMENT_HASH,
    expiry_s: int = 3600,
    age_s: int = 0,
    **fields: Any,
) -> str:
    about = {} if "description_hash" in fields else {"description": "tea"}
    return bolt11.encode(
        network="regtest",
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        payment_secret="11" * 32,
        created_at=int(time.time()) - age_s,
        expiry_s=expiry_s,
        **{"secret_key": OUTSIDE_KEY.secret, **about, **fields},
    )


def a_part(
    status: str,
    *,
    index: int,
    payment_hash: str = PAYMENT_HASH,
    preimage: str = PREIMAGE,
    group: int = 77,
    amount_msat: int = AMOUNT_MSAT,
    fee_msat: int = 1_002,
    age_s: int = 0,
    label: str | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "created_index": index,
        "id": index,
        "payment_hash": payment_hash,
        "groupid": group,
        "partid": index,
        "status": status,
        "amount_msat": amount_msat,
        "amount_sent_msat": amount_msat + fee_msat,
        "created_at": int(time.time()) - age_s,
    }
    if label is not None:
        row["label"] = label
    if status == "complete":
        row |= {"payment_preimage": preimage, "completed_at": COMPLETED_AT}
    return row


def a_request(
    invoice: str = "",
    *,
    our_id: str = "our_id",
    payment_hash: str = PAYMENT_HASH,
    amount_msat: int = AMOUNT_MSAT,
    amount_is_override: bool = False,
    max_fee_msat: int = 2_000,
    timeout_s: float = 0.3,
) -> PayRequest:
    return PayRequest(
        our_id=our_id,
        invoice=invoice or an_invoice(None if amount_is_override else AMOUNT_MSAT),
        payment_hash=PaymentHash(payment_hash),
        amount_msat=Msat(amount_msat),
        amount_is_override=amount_is_override,
        max_fee_msat=Msat(max_fee_msat),
        timeout_s=timeout_s,
    )


def shape(outcome: Outcome | None) -> object:
    """The outcome without its words."""
    if isinstance(outcome, Failed | NotSent):
        return type(outcome), outcome.reason
    return outcome if isinstance(outcome, Settled) else type(outcome)
