"""What service and hostile node say to each other: one JSON object a line."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

import orjson

from nwc_service.backend import (
    FailReason,
    InvoiceReport,
    InvoiceStatus,
    KeysendRequest,
    PayRequest,
)
from nwc_service.wallet import keysend
from nwc_service.wallet.outcome import Outcome

JsonObject = dict[str, Any]
MAX_LINE_BYTES = 2**26

_OUTCOMES = {kind.__name__: kind for kind in get_args(Outcome)}


def to_line(message: Mapping[str, object]) -> bytes:
    return orjson.dumps(message) + b"\n"


def from_outcome(outcome: Outcome | None) -> JsonObject | None:
    return None if outcome is None else asdict(outcome) | {"is": type(outcome).__name__}


def to_outcome(told: JsonObject | None) -> Outcome | None:
    if told is None:
        return None
    fields = {name: value for name, value in told.items() if name != "is"}
    if "reason" in fields:
        fields["reason"] = FailReason(fields["reason"])
    outcome: Outcome = _OUTCOMES[told["is"]](**fields)
    return outcome


def from_report(report: InvoiceReport | None) -> JsonObject | None:
    if report is None:
        return None
    tlvs = None if report.tlvs is None else keysend.to_text(report.tlvs)
    return asdict(report) | {"tlvs": tlvs}


def to_report(told: JsonObject) -> InvoiceReport:
    tlvs = None if told["tlvs"] is None else keysend.from_text(told["tlvs"])
    return InvoiceReport(**told | {"status": InvoiceStatus(told["status"]), "tlvs": tlvs})


def from_request(request: PayRequest | KeysendRequest) -> JsonObject:
    if isinstance(request, KeysendRequest):
        return asdict(request) | {"tlvs": keysend.to_text(request.tlvs)}
    return asdict(request)


def to_request(told: JsonObject) -> PayRequest | KeysendRequest:
    if "tlvs" in told:
        return KeysendRequest(**told | {"tlvs": keysend.from_text(told["tlvs"])})
    return PayRequest(**told)
