"""What LND's REST says, as LND v0.21 said it: rows of payments and of invoices, errors, and
macaroons."""

import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from backends.lnd import LndBackend
from backends.lnd.rights import NEEDED
from nwc_service.backend import Failed, KeysendRequest, NotSent, Outcome, PayRequest, Settled
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage

Json = Mapping[str, Any]

PREIMAGE = "12" * 32
PAYMENT_HASH = PaymentHash(sha256(bytes.fromhex(PREIMAGE)).hexdigest())
AMOUNT_MSAT = Msat(21_000)
PAYEE = "02" + "ab" * 32
SETTLED_AT = 1_796_095_204
SETTLED = Settled(Preimage(PREIMAGE), Msat(1_002), SETTLED_AT)

INFO: Json = {
    "version": "0.21.2-beta commit=",
    "identity_pubkey": PAYEE,
    "alias": "alice",
    "color": "#3399ff",
    "block_height": 457,
    "block_hash": "4f" * 32,
    "synced_to_chain": True,
    "synced_to_graph": True,
    "chains": [{"chain": "bitcoin", "network": "regtest"}],
}


def b64(hex_text: str) -> str:
    return b64encode(bytes.fromhex(hex_text)).decode()


def hex_of(b64_text: str) -> str:
    return b64decode(b64_text).hex()


def hash_of(preimage: str) -> PaymentHash:
    return PaymentHash(sha256(bytes.fromhex(preimage)).hexdigest())


def a_macaroon(*operations: tuple[str, str]) -> bytes:
    """In LND's format, with a signature that nobody checks here."""
    identifier = b"\x03" + _field(1, bytes(16)) + _field(2, b"0")
    for entity, action in operations:
        operation = _field(1, entity.encode()) + _field(2, action.encode())
        identifier += _field(3, operation)
    body = _packet(1, b"lnd") + _packet(2, identifier)
    return b"\x02" + body + b"\x00\x00" + _packet(6, bytes(32))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _packet(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


MACAROON = a_macaroon(*(("uri", uri) for uri in NEEDED)).hex()


def a_backend(url: str, **options: object) -> LndBackend:
    configured: dict[str, object] = {
        "url": url,
        "macaroon_hex": MACAROON,
        "timeout_s": 1,
        "poll_s": 0.05,
    }
    return LndBackend(BackendName("mine"), configured | options, data_dir=Path())


def error(code: int, message: str) -> Json:
    return {"code": code, "message": message, "details": []}


def a_payment(
    payment_hash: str = PAYMENT_HASH,
    *,
    status: str = "SUCCEEDED",
    index: int = 7,
    preimage: str = PREIMAGE,
    reason: str = "FAILURE_REASON_NONE",
    created_at: float | None = None,
    **changed: Any,
) -> Json:
    has_settled = status == "SUCCEEDED"
    created_ns = int((time.time() if created_at is None else created_at) * 10**9)
    attempt = {"status": status, "resolve_time_ns": str(SETTLED_AT * 10**9 + 5)}
    return {
        "payment_hash": payment_hash,
        "value_msat": str(AMOUNT_MSAT),
        "fee_msat": "1002" if has_settled else "0",
        "payment_preimage": preimage if has_settled else "00" * 32,
        "status": status,
        "failure_reason": reason,
        "creation_time_ns": str(created_ns),
        "payment_index": str(index),
        "htlcs": [attempt] if has_settled else [],
        **changed,
    }


def a_failure(reason: str = "FAILURE_REASON_NO_ROUTE", **changed: object) -> Json:
    return {"status": "FAILED", "reason": reason, **changed}


def an_invoice_row(index: int, *, preimage: str = "") -> dict[str, Any]:
    preimage = preimage or sha256(str(index).encode()).hexdigest()
    return {
        "memo": "tea",
        "r_preimage": b64(preimage),
        "r_hash": b64(hash_of(preimage)),
        "value_msat": str(AMOUNT_MSAT),
        "creation_date": str(int(time.time())),
        "settle_date": "0",
        "payment_request": an_invoice(payment_hash=hash_of(preimage)),
        "description_hash": "",
        "expiry": "3600",
        "add_index": str(index),
        "settle_index": "0",
        "amt_paid_msat": "0",
        "state": "OPEN",
        "htlcs": [],
        "is_keysend": False,
        "is_amp": False,
        "amp_invoice_state": {},
    }


def an_htlc(
    state: str = "ACCEPTED",
    *,
    expiry_height: int = 540,
    amt_msat: int = AMOUNT_MSAT,
    custom_records: Mapping[int, bytes] | None = None,
) -> Json:
    records = {106_823: b"\0", **(custom_records or {})}
    return {
        "state": state,
        "amt_msat": str(amt_msat),
        "expiry_height": expiry_height,
        "custom_records": {
            str(type_): b64encode(value).decode() for type_, value in records.items()
        },
    }


def an_invoice(
    amount_msat: int | None = AMOUNT_MSAT,
    *,
    payment_hash: str = PAYMENT_HASH,
    age_s: int = 0,
    network: bolt11.Network = "regtest",
) -> str:
    """That expires when it is an hour old."""
    return bolt11.encode(
        network=network,
        amount_msat=None if amount_msat is None else Msat(amount_msat),
        payment_hash=PaymentHash(payment_hash),
        payment_secret="11" * 32,
        description="tea",
        created_at=int(time.time()) - age_s,
        expiry_s=3600,
        secret_key=b"\x07" * 32,
    )


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


def a_keysend(
    *,
    our_id: str = "our_id",
    destination: str = PAYEE,
    preimage: str = PREIMAGE,
    tlvs: Mapping[int, bytes] | None = None,
    amount_msat: int = AMOUNT_MSAT,
    timeout_s: float = 0.3,
) -> KeysendRequest:
    return KeysendRequest(
        our_id=our_id,
        destination=destination,
        amount_msat=Msat(amount_msat),
        preimage=Preimage(preimage),
        tlvs=tlvs or {},
        max_fee_msat=Msat(2_000),
        timeout_s=timeout_s,
    )


def shape(outcome: Outcome | None) -> object:
    """The outcome without its words."""
    if isinstance(outcome, Failed | NotSent):
        return type(outcome), outcome.reason
    return outcome if isinstance(outcome, Settled) else type(outcome)
